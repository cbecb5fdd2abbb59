//! Devices that break the ring's rules towards the driver (robustness catalogue A): frames are lost and
//! counted, memory is not, and what follows still flows.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use net_fake::{Bench, Fake, HEADER};
use netdev::DropCause::{BadDescriptor, Oversize, RingBroken, Undersize};
use netdev::{Burst, DropCause};
use proptest::prelude::*;
use virtio::features::Features;
use virtio::ring::split::{Desc, UsedElem};

/// A lie of the device about the receive ring, and the cause that counts it.
fn receive_lie(name: &str, cause: DropCause, lie: impl Fn(&mut Bench, u16)) {
    for event_idx in [false, true] {
        let mut bench = Bench::new(Fake::with(|registers| {
            if event_idx {
                registers.features |= Features::EVENT_IDX.bits();
            }
        }));
        bench.assert_flows();
        let head = bench.buffer().unwrap();
        lie(&mut bench, head);
        assert_eq!(bench.receive(), Vec::<Vec<u8>>::new(), "{name}");
        assert_eq!(bench.rx_drops(cause), 1, "{name}");
        assert_eq!(bench.port.rx[0].stats().drops.total(), 1, "{name}");
        bench.assert_flows();
        bench.assert_stops();
    }
}

#[test]
fn used_id_that_is_no_descriptor() {
    for id in [16, 17, 0xffff, u32::MAX] {
        receive_lie("id", BadDescriptor, |bench, head| {
            bench.claim(0, id, 72);
            bench.held.push_front(head);
        });
    }
}

#[test]
fn used_id_that_is_valid_in_its_lower_half_only() {
    receive_lie("0x1_0000 | id", BadDescriptor, |bench, head| {
        bench.claim(0, 0x1_0000 | u32::from(head), 72);
        bench.held.push_front(head);
    });
}

#[test]
fn used_id_that_is_not_outstanding() {
    let mut bench = Bench::new(Fake::new());
    bench.assert_flows();
    // Give one back and do not let the driver refill: its threshold for 16 entries is two.
    let head = bench.buffer().unwrap();
    bench.fill(head, &[1; 60]);
    bench.claim(0, head.into(), 72);
    assert_eq!(bench.receive().len(), 1);
    bench.claim(0, head.into(), 72);
    assert_eq!(bench.receive().len(), 0);
    assert_eq!(bench.rx_drops(BadDescriptor), 1);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn used_id_twice_in_a_burst() {
    let mut bench = Bench::new(Fake::new());
    let (one, two) = (bench.buffer().unwrap(), bench.buffer().unwrap());
    bench.fill(one, &[1; 60]);
    bench.fill(two, &[2; 60]);
    for head in [one, one, two, one] {
        bench.claim(0, head.into(), 72);
    }
    assert_eq!(bench.receive(), [[1; 60], [2; 60]]);
    assert_eq!(bench.rx_drops(BadDescriptor), 2);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn used_len_shorter_than_header_and_frame() {
    for len in [0, 1, 11, 12, 13, 25] {
        receive_lie("short", Undersize, |bench, head| bench.claim(0, head.into(), len));
    }
}

#[test]
fn used_len_longer_than_posted() {
    for len in [12 + 2048 + 1, 0xffff, 0x1_0000, 0x1_0000 + 72, u32::MAX] {
        receive_lie("long", BadDescriptor, |bench, head| bench.claim(0, head.into(), len));
    }
}

#[test]
fn used_len_beyond_max_frame_but_within_the_buffer() {
    for frame in [1515, 2048] {
        receive_lie("oversize", Oversize, |bench, head| {
            bench.claim(0, head.into(), (HEADER + frame) as u32);
        });
    }
    let mut bench = Bench::new(Fake::new());
    bench.deliver(&[5; 1514]);
    bench.deliver(&[6; 14]);
    assert_eq!(bench.receive(), [vec![5; 1514], vec![6; 14]]);
    bench.assert_stops();
}

#[test]
fn used_index_that_jumps_or_goes_back_breaks_the_queue_for_good() {
    for jump in [17u16, 18, 0x8000, 0xffff] {
        let mut bench = Bench::new(Fake::new());
        bench.assert_flows();
        let ring = bench.fake.ring(0);
        ring.store_used_index(bench.done[0].wrapping_add(jump));
        for _ in 0..3 {
            assert_eq!(bench.receive().len(), 0);
        }
        ring.store_used_index(bench.done[0]);
        assert_eq!(bench.receive().len(), 0);
        assert_eq!(bench.rx_drops(RingBroken), 1);

        let ring = bench.fake.ring(1);
        let mut burst = Burst::new();
        bench.port.tx[0].tx_burst(&mut burst);
        ring.store_used_index(bench.done[1].wrapping_add(jump));
        for _ in 0..3 {
            assert_eq!(bench.port.tx[0].tx_burst(&mut burst), 0);
        }
        burst.push(bench.pool.copy_from(&[1; 60]).unwrap());
        assert_eq!(bench.port.tx[0].tx_burst(&mut burst), 0);
        assert_eq!(burst.len(), 1);
        drop(burst);
        assert_eq!(bench.tx_drops(RingBroken), 1);

        // A restart mends both.
        let (fake, pool) = (bench.fake.clone(), bench.pool);
        let device = bench.assert_stops();
        let port = device.start(&netdev::Config::default(), &pool).unwrap();
        let held = Default::default();
        let mut bench = Bench { fake, pool, port, taken: [0; 2], done: [0; 2], held };
        bench.assert_flows();
        bench.assert_stops();
    }
}

#[test]
fn used_id_lies_about_transmit() {
    for id in [16, 0xffff, 0x1_0000, u32::MAX] {
        let mut bench = Bench::new(Fake::new());
        bench.assert_flows();
        assert_eq!(bench.send_frame(&[7; 60]), 1);
        bench.claim(1, id, 0);
        bench.port.tx[0].tx_burst(&mut Burst::new());
        assert_eq!(bench.tx_drops(BadDescriptor), 1);
        let (head, sent) = bench.accept().unwrap();
        assert_eq!(sent, [7; 60]);
        bench.claim(1, head.into(), 0);
        bench.claim(1, head.into(), 0);
        bench.port.tx[0].tx_burst(&mut Burst::new());
        // The second time nothing is outstanding, so that the index is a lie.
        assert_eq!(bench.tx_drops(RingBroken) + bench.tx_drops(BadDescriptor), 2);
        bench.assert_stops();
    }
}

#[test]
fn descriptors_and_avail_ring_rewritten_after_completion() {
    let mut bench = Bench::new(Fake::new());
    bench.assert_flows();
    for queue in [0, 1] {
        let ring = bench.fake.ring(queue);
        for id in 0..16 {
            let desc = ring.desc(id);
            ring.set_desc(id, Desc { addr: 0xdead_0000, next: 0xffff, ..desc });
            ring.set_avail(id, 0xffff);
        }
    }
    // The device has destroyed what it could have used; the driver's own state is untouched.
    let ring = bench.fake.ring(0);
    ring.set_used(bench.done[0], UsedElem { id: 0xffff, len: 72 });
    bench.done[0] = bench.done[0].wrapping_add(1);
    ring.store_used_index(bench.done[0]);
    assert_eq!(bench.receive().len(), 0);
    assert_eq!(bench.rx_drops(BadDescriptor), 1);
    bench.assert_stops();
}

#[test]
fn completion_in_any_order_is_no_violation() {
    let mut bench = Bench::new(Fake::new());
    for round in 0..100u8 {
        let mut heads = Vec::new();
        while let Some(head) = bench.buffer() {
            heads.push(head);
        }
        assert!(heads.len() >= 14, "{heads:?}");
        heads.reverse();
        heads.rotate_left(usize::from(round) % 5);
        let keep = heads.split_off(heads.len() - usize::from(round % 4));
        bench.held.extend(keep);
        for &head in &heads {
            bench.fill(head, &[head as u8; 64]);
            bench.claim(0, head.into(), 76);
        }
        let expected: Vec<_> = heads.iter().map(|&head| vec![head as u8; 64]).collect();
        assert_eq!(bench.receive(), expected);

        let sent: Vec<_> = (0..16).filter(|&number| bench.send_frame(&[number; 60]) == 1).collect();
        assert_eq!(sent.len(), 16, "round {round}");
        let mut taken: Vec<_> = core::iter::from_fn(|| bench.accept()).collect();
        assert_eq!(taken.iter().map(|(_, frame)| frame[0]).collect::<Vec<_>>(), sent);
        taken.rotate_left(usize::from(round) % 16);
        for (head, _) in taken {
            bench.claim(1, head.into(), 0);
        }
    }
    assert_eq!(bench.port.rx[0].stats().drops.total(), 0);
    assert_eq!(bench.port.tx[0].stats().drops.total(), 0);
    bench.assert_stops();
}

#[test]
fn a_device_that_never_completes_anything() {
    let mut bench = Bench::new(Fake::new());
    let sent = (0..40).filter(|_| bench.send_frame(&[1; 60]) == 1).count();
    assert_eq!(sent, 16);
    assert_eq!(bench.receive().len(), 0);
    bench.assert_stops();
}

proptest! {
    /// Whatever a device writes into its used rings: no panic, no frame twice, no buffer lost.
    #[test]
    fn any_used_ring(
        steps in prop::collection::vec((any::<bool>(), 0u32..20, 0u32..2100, 0u16..3), 1..200),
        event_idx in any::<bool>(),
    ) {
        let mut bench = Bench::new(Fake::with(|registers| {
            if event_idx {
                registers.features |= Features::EVENT_IDX.bits();
            }
        }));
        for (transmit, id, len, index) in steps {
            let queue = usize::from(transmit);
            let _ = bench.send_frame(&[1; 60]);
            bench.claim(queue, id, len);
            if index == 2 {
                bench.fake.ring(queue).set_used_event(id as u16);
                bench.fake.ring(queue).set_avail_event(len as u16);
            }
            let _ = bench.receive();
            bench.port.tx[0].tx_burst(&mut Burst::new());
        }
        bench.assert_stops();
    }
}
