//! The packed driver half against a device that breaks the rules: bounded, counted, no buffer lost or freed
//! twice, and good traffic afterwards, as long as there is an entry left to carry it.

mod ring_support;

use netbuf::Burst;
use netdev::DropCause::{self, BadDescriptor, Oversize, RingBroken, Undersize};
use netdev::{QueueCounters, RingFormat};
use proptest::prelude::*;
use ring_support::frame;
use ring_support::pair::{Machine, Pair};
use virtio::ring::packed::{Desc, Event, PackedDevice, PackedRing, flags};
use virtio::ring::split::Indexes;

const ENTRIES: u16 = 16;
const USED: u16 = flags::AVAIL | flags::USED;

fn whole(machine: &Machine) {
    let (guest, host) = (&machine.guest_pool, &machine.host_pool);
    assert_eq!((guest.available(), host.available()), (guest.buffers(), host.buffers()));
}

fn pair(machine: &Machine) -> Pair {
    let mut pair = Pair::of(RingFormat::Packed, machine, ENTRIES.into(), false);
    let _ = pair.driver_rx.refill();
    pair
}

/// After an honest completion the device says something else about the second descriptor, and then an honest
/// device half goes on behind it.
fn receive_lie(id: u16, len: u32, cause: DropCause) {
    let machine = Machine::new();
    let mut pair = pair(&machine);
    let counters = QueueCounters::default();
    let ring = pair.packed_rings()[1];
    ring.set_used(0, 72, 0, USED);
    ring.set_used(1, len, id, USED);
    let mut out = Burst::new();
    assert_eq!(pair.driver_rx.receive(&mut out, &counters), 1, "{id} {len}");
    let drops = counters.snapshot().drops;
    assert_eq!((drops[cause], drops.total()), (1, 1), "{id} {len}");
    out.clear();
    let _ = pair.driver_rx.refill();
    let at = Indexes { avail: 1 << 15 | 2, used: 1 << 15 | 2 };
    pair.device_tx = PackedDevice::new(ring, at, ring_support::OPTIONS).into();
    for round in 0..100 {
        let mut packets: Burst =
            machine.host_pool.copy_from(&frame(round, 90)).into_iter().collect();
        assert_eq!(pair.device_tx.transmit(&pair.map, &mut packets, &counters), 1, "{id} {round}");
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 1, "{id} {len} {round}");
        assert_eq!(out.pop().unwrap().bytes(), frame(round, 90));
        let _ = pair.driver_rx.refill();
    }
    assert_eq!(counters.snapshot().drops.total(), 1);
    drop(pair);
    whole(&machine);
}

#[test]
fn id_out_of_range_or_not_outstanding_or_duplicated() {
    for id in [16, 17, 0x8001, 0xffff, 0] {
        receive_lie(id, 72, BadDescriptor);
    }
}

#[test]
fn length_less_than_header_and_ethernet_header() {
    for len in [0, 11, 12, 13, 25] {
        receive_lie(1, len, Undersize);
    }
}

#[test]
fn length_more_than_was_posted_or_than_max_frame() {
    for len in [12 + 2049, 0x1_0000 + 72, u32::MAX] {
        receive_lie(1, len, BadDescriptor);
    }
    for len in [12 + 1519, 12 + 2048] {
        receive_lie(1, len, Oversize);
    }
}

/// Neither flags that say nothing, nor flags of another lap, nor flags beyond what was made available.
#[test]
fn wrap_bits_flapping() {
    let machine = Machine::new();
    let mut pair = pair(&machine);
    let counters = QueueCounters::default();
    let ring = pair.packed_rings()[1];
    let mut out = Burst::new();
    for turn in [flags::AVAIL, flags::USED, 0, flags::USED | 0x7f, 0x7f7f & !flags::AVAIL] {
        for index in 0..ENTRIES {
            ring.set_used(index, 72, index, turn);
        }
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 0, "{turn:#x}");
    }
    // All of them, and once round again without a new buffer: nothing more is outstanding.
    for index in 0..ENTRIES {
        ring.set_used(index, 72, index, USED);
    }
    assert_eq!(pair.driver_rx.receive(&mut out, &counters), 16);
    for turn in [USED, 0] {
        for index in 0..ENTRIES {
            ring.set_used(index, 72, index, turn);
        }
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 0);
    }
    assert_eq!(counters.snapshot().drops.total(), 0);
    drop((out, pair));
    whole(&machine);
}

#[test]
fn completion_in_any_order_is_no_violation() {
    let machine = Machine::new();
    let mut pair = pair(&machine);
    let counters = QueueCounters::default();
    let ring = pair.packed_rings()[1];
    let mut out = Burst::new();
    for round in 0..40u16 {
        // What the driver has posted for this lap, finished from some other end.
        let turn = if round % 2 == 0 { USED } else { 0 };
        let mut ids: Vec<u16> = (0..ENTRIES).map(|index| ring.desc(index).id).collect();
        ids.rotate_left(usize::from(round % 16));
        if round % 3 == 0 {
            ids.reverse();
        }
        for (index, &id) in (0..).zip(&ids) {
            ring.set_used(index, 60 + u32::from(id), id, turn);
        }
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 16, "{round}");
        let lengths: Vec<_> = out.drain(..).map(|packet| packet.len()).collect();
        let expected: Vec<_> = ids.iter().map(|&id| 48 + usize::from(id)).collect();
        assert_eq!(lengths, expected);
        let _ = pair.driver_rx.refill();
    }
    assert_eq!(counters.snapshot().drops.total(), 0);
    drop(pair);
    whole(&machine);
}

#[test]
fn a_ring_of_lies_is_broken_once_and_gives_everything_back() {
    let machine = Machine::new();
    let mut pair = pair(&machine);
    let counters = QueueCounters::default();
    let [sent, received] = pair.packed_rings();
    let mut out = Burst::new();
    for index in 0..ENTRIES {
        received.set_used(index, 72, 0x4000, USED);
    }
    for _ in 0..3 {
        assert_eq!(pair.driver_rx.receive(&mut out, &counters), 0);
        assert!(!pair.driver_rx.refill());
    }
    let drops = counters.snapshot().drops;
    assert_eq!((drops[RingBroken], drops[BadDescriptor]), (1, 15));
    let fresh = |number| machine.guest_pool.copy_from(&frame(number, 60)).unwrap();
    out.extend((0..16).map(fresh));
    assert_eq!(pair.driver_tx.transmit(&mut out, &counters).taken, 16);
    for index in 0..ENTRIES {
        sent.set_used(index, 0, 0x4000, USED);
    }
    for _ in 0..3 {
        out.extend([fresh(1)]);
        assert_eq!(pair.driver_tx.transmit(&mut out, &counters).taken, 0);
        out.clear();
    }
    assert_eq!(counters.snapshot().drops[RingBroken], 2);
    drop((out, pair));
    whole(&machine);
}

#[test]
fn transmit_completions_that_lie_free_nothing_twice() {
    for ids in [[16, 0], [0xffff, 0], [0, 0], [9, 0]] {
        let machine = Machine::new();
        let mut pair = pair(&machine);
        let before = machine.guest_pool.available();
        let counters = QueueCounters::default();
        let mut packets: Burst = (0..4)
            .map(|number| machine.guest_pool.copy_from(&frame(number, 60)).unwrap())
            .collect();
        assert_eq!(pair.driver_tx.transmit(&mut packets, &counters).taken, 4);
        let ring = pair.packed_rings()[0];
        ring.set_used(0, 0, ids[0], USED);
        ring.set_used(1, 0, ids[1], USED);
        // An empty burst reclaims.
        let _ = pair.driver_tx.transmit(&mut packets, &counters);
        assert_eq!(counters.snapshot().drops[BadDescriptor], 1, "{ids:?}");
        assert_eq!(before - machine.guest_pool.available(), 3, "{ids:?}");
        drop(pair);
        whole(&machine);
    }
}

fn poison(ring: PackedRing, seed: u16) {
    for index in 0..ENTRIES {
        let flags = seed.rotate_left(u32::from(index)) & !flags::USED;
        ring.set_desc(index, Desc { addr: u64::MAX, len: u32::MAX, id: seed ^ index, flags });
    }
}

#[test]
fn descriptors_rewritten_by_the_device() {
    let machine = Machine::new();
    let mut pair = pair(&machine);
    let counters = QueueCounters::default();
    let [sent, received] = pair.packed_rings();
    let mut out: Burst = machine.guest_pool.copy_from(&frame(1, 60)).into_iter().collect();
    let _ = pair.driver_tx.transmit(&mut out, &counters);
    poison(sent, 0x1234 & !flags::AVAIL);
    poison(received, 0);
    // Completions name the entries that the driver remembers, whatever the ring said meanwhile.
    sent.set_used(0, 0, 0, USED);
    received.set_used(0, 72, 0, USED);
    received.set_used(1, 100, 1, USED);
    let _ = pair.driver_tx.transmit(&mut out, &counters);
    assert_eq!(pair.driver_rx.receive(&mut out, &counters), 2);
    assert_eq!((out[0].len(), out[1].len()), (60, 88));
    assert_eq!(counters.snapshot().drops.total(), 0);
    drop((out, pair));
    whole(&machine);
}

/// Whatever a device writes into the rings: no panic, no packet twice, no buffer lost, in bounded time.
#[test]
fn any_ring() {
    let machine = Machine::new();
    let word = (0u16..16, 0u32..2100, 0u16..20, any::<u16>(), 0usize..4);
    let strategy = (any::<bool>(), prop::collection::vec(word, 1..300));
    let config = ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&strategy, |(event_idx, words)| {
        let mut pair = Pair::of(RingFormat::Packed, &machine, ENTRIES.into(), event_idx);
        let counters = QueueCounters::default();
        for (index, len, id, turn, choice) in words {
            let _ = pair.driver_rx.refill();
            let mut burst: Burst =
                machine.guest_pool.copy_from(&frame(1, 60)).into_iter().collect();
            let _ = pair.driver_tx.transmit(&mut burst, &counters);
            burst.clear();
            let ring = pair.packed_rings()[choice % 2];
            ring.set_used(index, len, id, if choice < 2 { turn } else { USED });
            ring.set_device_event(Event { off_wrap: turn, flags: id % 4 });
            let got = pair.driver_rx.receive(&mut burst, &counters);
            prop_assert_eq!(burst.len(), got);
            prop_assert!(got <= 16);
        }
        drop(pair);
        whole(&machine);
        Ok(())
    });
    outcome.unwrap();
}
