//! The driver half against a device that breaks the rules (robustness of the receive and transmit rings):
//! bounded, counted, no buffer lost or freed twice, and good traffic afterwards.

mod ring_support;

use netbuf::Burst;
use netdev::DropCause::{self, BadDescriptor, RingBroken, Undersize};
use netdev::QueueCounters;
use ring_support::frame;
use ring_support::pair::{Machine, Pair};
use ring_support::rule_breaker::{Lie, RuleBreaker};
use virtio::ring::split::{Indexes, SplitDevice, UsedElem};

const ENTRIES: u16 = 16;

fn whole(machine: &Machine) {
    let (guest, host) = (&machine.guest_pool, &machine.host_pool);
    assert_eq!((guest.available(), host.available()), (guest.buffers(), host.buffers()));
}

/// The device lies between two honest completions on the receive ring; `cause` goes up by `count`, and
/// `delivered` frames come out of the lie itself.
fn receive_lie(lie: Lie, cause: DropCause, count: u64, delivered: usize) {
    let machine = Machine::new();
    let mut pair = Pair::new(&machine, ENTRIES.into(), false);
    let counters = QueueCounters::default();
    let _ = pair.driver_rx.refill();
    let breaker = RuleBreaker(pair.rings()[1]);
    breaker.complete(&[UsedElem { id: 0, len: 72 }]);
    breaker.tell(lie);
    let mut out = Burst::new();
    assert_eq!(pair.driver_rx.receive(&mut out, &counters), 1 + delivered, "{lie:?}");
    let drops = counters.snapshot().drops;
    assert_eq!((drops[cause], drops.total()), (count, count), "{lie:?}");
    out.clear();
    let _ = pair.driver_rx.refill();
    // Good traffic: an honest device half takes over where the ring stands.
    let ring = pair.rings()[1];
    let used = ring.load_used_index(std::sync::atomic::Ordering::Relaxed);
    let avail = 1 + u16::try_from(delivered).unwrap() + u16::from(matches!(lie, Lie::Used(1, _)));
    let options = ring_support::OPTIONS;
    pair.device_tx = SplitDevice::new(ring, Indexes { avail, used }, options).into();
    for round in 0..50 {
        let mut packets: Burst =
            machine.host_pool.copy_from(&frame(round, 90)).into_iter().collect();
        assert_eq!(pair.device_tx.transmit(&pair.map, &mut packets, &counters), 1);
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 1, "{lie:?} {round}");
        assert_eq!(out.pop().unwrap().bytes(), frame(round, 90));
        let _ = pair.driver_rx.refill();
    }
    drop(pair);
    whole(&machine);
}

#[test]
fn used_id_outside_the_ring_or_not_outstanding() {
    for id in [16, 0xffff, 0x1_0000, 0x1_0001, u32::MAX, 0] {
        receive_lie(Lie::Used(id, 72), BadDescriptor, 1, 0);
    }
}

#[test]
fn the_same_id_twice_in_a_burst() {
    receive_lie(Lie::Twice(1), BadDescriptor, 1, 1);
}

#[test]
fn used_length_less_than_header_and_ethernet_header() {
    for len in [0, 11, 12, 13, 25] {
        receive_lie(Lie::Used(1, len), Undersize, 1, 0);
    }
}

#[test]
fn used_length_more_than_was_posted() {
    for len in [12 + 2049, 0x1_0000 + 72, u32::MAX] {
        receive_lie(Lie::Used(1, len), BadDescriptor, 1, 0);
    }
}

#[test]
fn used_index_that_jumps_or_goes_back_breaks_either_ring_once() {
    for by in [17, 0x8000, 0xffff] {
        let machine = Machine::new();
        let mut pair = Pair::new(&machine, ENTRIES.into(), false);
        let counters = QueueCounters::default();
        let _ = pair.driver_rx.refill();
        for ring in pair.rings() {
            RuleBreaker(ring).tell(Lie::Jump(by));
        }
        let mut out = Burst::new();
        for _ in 0..3 {
            assert_eq!(pair.driver_rx.receive(&mut out, &counters), 0);
        }
        assert_eq!(counters.snapshot().drops[RingBroken], 1);
        for _ in 0..3 {
            let _ = pair.driver_tx.transmit(&mut out, &counters);
        }
        assert_eq!(counters.snapshot().drops[RingBroken], 2);
        assert_eq!(counters.snapshot().drops.total(), 2);
        drop(pair);
        whole(&machine);
    }
}

#[test]
fn transmit_completions_that_lie_free_nothing_twice() {
    for lie in [
        Lie::Used(16, 0),
        Lie::Used(0x1_0000, 0),
        Lie::Used(u32::MAX, u32::MAX),
        Lie::Twice(0),
        Lie::Used(9, 0),
    ] {
        let machine = Machine::new();
        let mut pair = Pair::new(&machine, ENTRIES.into(), false);
        let counters = QueueCounters::default();
        let mut packets: Burst = (0..4)
            .map(|number| machine.guest_pool.copy_from(&frame(number, 60)).unwrap())
            .collect();
        assert_eq!(pair.driver_tx.transmit(&mut packets, &counters).taken, 4);
        RuleBreaker(pair.rings()[0]).tell(lie);
        // An empty burst reclaims.
        let _ = pair.driver_tx.transmit(&mut packets, &counters);
        assert_eq!(counters.snapshot().drops[BadDescriptor], 1, "{lie:?}");
        let back = machine.guest_pool.buffers() - machine.guest_pool.available();
        assert_eq!(back, 4 - usize::from(lie == Lie::Twice(0)), "{lie:?}");
        drop(pair);
        whole(&machine);
    }
}

#[test]
fn descriptors_and_avail_ring_rewritten_by_the_device() {
    let machine = Machine::new();
    let mut pair = Pair::new(&machine, ENTRIES.into(), false);
    let counters = QueueCounters::default();
    let _ = pair.driver_rx.refill();
    let [sent, received] = pair.rings().map(RuleBreaker);
    let mut out: Burst = machine.guest_pool.copy_from(&frame(1, 60)).into_iter().collect();
    let _ = pair.driver_tx.transmit(&mut out, &counters);
    sent.poison();
    received.poison();
    // Completions name the entries that the driver remembers, whatever the ring says now.
    sent.complete(&[UsedElem { id: 0, len: 0 }]);
    received.complete(&[UsedElem { id: 0, len: 72 }, UsedElem { id: 1, len: 100 }]);
    let _ = pair.driver_tx.transmit(&mut out, &counters);
    assert_eq!(pair.driver_rx.receive(&mut out, &counters), 2);
    assert_eq!((out[0].len(), out[1].len()), (60, 88));
    assert_eq!(counters.snapshot().drops.total(), 0);
    drop((out, pair));
    whole(&machine);
}
