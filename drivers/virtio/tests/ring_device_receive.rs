//! The device half's receive against drivers that break the rules, and against every layout that is allowed.
//!
//! After each case: nothing was received that was not sent, one named counter went up, the chain came back,
//! valid traffic flows, and no buffer is lost.

mod ring_support;

use netdev::DropCause::{self, BadDescriptor, BadHeader, Oversize, RingBroken, Undersize};
use ring_support::{END, Guest, HIGH, LOW, OPTIONS, frame, pool};
use virtio::ring::RingOptions;
use virtio::ring::split::{Desc, DeviceOptions, Indexes, SplitDevice, flags};

const NEXT: u16 = flags::DESC_NEXT;
const WRITE: u16 = flags::DESC_WRITE;
const INDIRECT: u16 = flags::DESC_INDIRECT;

fn desc(addr: u64, len: u32, flags: u16, next: u16) -> Desc {
    Desc { addr, len, flags, next }
}

/// `spoil` writes descriptors behind head `head` (of a ring of 16), in the middle of good traffic.
fn dropped(options: DeviceOptions, cause: DropCause, head: u16, spoil: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(16), pool(64));
    let mut device = guest.device(options);
    guest.send(14, &frame(1, 60));
    guest.publish(head);
    spoil(&guest);
    guest.send(15, &frame(2, 60));
    let packets = guest.receive(&mut device, &pool);
    let frames: Vec<&[u8]> = packets.iter().map(|packet| packet.bytes()).collect();
    assert_eq!(frames, [frame(1, 60), frame(2, 60)], "{cause:?}");
    assert_eq!((guest.drops(cause), guest.all_drops()), (1, 1), "{cause:?}: {:?}", guest.counters);
    let mut heads = vec![14, u32::from(head), 15];
    heads.retain(|&head| head < 16);
    for head in heads {
        let elem = guest.used().unwrap();
        assert_eq!((elem.id, elem.len), (head, 0));
    }
    assert_eq!(guest.used(), None);
    drop(packets);
    for round in 0..40 {
        guest.send(3, &frame(round, 100));
        assert_eq!(guest.receive(&mut device, &pool)[0].bytes(), frame(round, 100));
    }
    assert_eq!(pool.available(), 64);
}

/// `lay` writes `frame(9, len)` behind head 0 in some allowed way.
fn accepted(options: DeviceOptions, len: usize, lay: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(64), pool(64));
    let mut device = guest.device(options);
    lay(&guest);
    guest.publish(0);
    guest.send(60, &frame(2, 60));
    let packets = guest.receive(&mut device, &pool);
    assert_eq!(guest.all_drops(), 0, "{:?}", guest.counters);
    let mut bytes = vec![0; len];
    assert_eq!(packets[0].len(), len);
    packets[0].copy_to(&mut bytes);
    assert_eq!(bytes, frame(9, len));
    assert_eq!((packets[0].port(), packets[1].bytes()), (7, &frame(2, 60)[..]));
    let stats = guest.counters.snapshot();
    assert_eq!((stats.packets, stats.bytes, stats.bursts), (2, len as u64 + 60, 1));
    drop(packets);
    assert_eq!(pool.available(), 64);
}

fn indirect() -> DeviceOptions {
    DeviceOptions { ring: RingOptions::INDIRECT, ..OPTIONS }
}

#[test]
fn head_outside_the_table() {
    for head in [16, 17, 0x8000, 0xffff] {
        dropped(OPTIONS, BadDescriptor, head, |_| ());
    }
}

#[test]
fn next_outside_the_table() {
    for next in [16, 0xffff] {
        dropped(OPTIONS, BadDescriptor, 0, |guest| {
            guest.ring.set_desc(0, desc(LOW, 12, NEXT, next));
        });
    }
}

#[test]
fn self_loop_and_long_loop() {
    dropped(OPTIONS, BadDescriptor, 5, |guest| guest.ring.set_desc(5, desc(LOW, 1, NEXT, 5)));
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        for at in 0..14 {
            guest.ring.set_desc(at, desc(LOW, 20, NEXT, (at + 1) % 14));
        }
    });
}

#[test]
fn chain_of_exactly_the_header_or_less() {
    dropped(OPTIONS, Undersize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 12, 0, 0)));
    dropped(OPTIONS, Undersize, 0, |guest| guest.chain(0, &[(LOW, 5), (LOW + 5, 7)], 0));
    dropped(OPTIONS, BadHeader, 0, |guest| guest.ring.set_desc(0, desc(LOW, 11, 0, 0)));
    dropped(OPTIONS, BadHeader, 0, |guest| guest.ring.set_desc(0, desc(LOW, 1, 0, 0)));
}

#[test]
fn frame_shorter_than_an_ethernet_header() {
    dropped(OPTIONS, Undersize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 25, 0, 0)));
    dropped(OPTIONS, Undersize, 0, |guest| guest.chain(0, &[(LOW, 12), (LOW + 12, 13)], 0));
}

#[test]
fn zero_length() {
    dropped(OPTIONS, BadDescriptor, 0, |guest| guest.ring.set_desc(0, desc(LOW, 0, 0, 0)));
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        guest.chain(0, &[(LOW, 12), (LOW, 0), (LOW, 60)], 0);
    });
}

#[test]
fn address_outside_or_crossing_a_region() {
    for addr in [0, LOW - 1, HIGH - 30, HIGH - 71, END - 71, END, u64::MAX - 20, u64::MAX] {
        dropped(OPTIONS, BadDescriptor, 0, |guest| guest.ring.set_desc(0, desc(addr, 72, 0, 0)));
        dropped(OPTIONS, BadDescriptor, 0, |guest| guest.chain(0, &[(LOW, 12), (addr, 72)], 0));
    }
}

#[test]
fn frames_larger_than_allowed() {
    dropped(OPTIONS, Oversize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 12 + 1519, 0, 0)));
    dropped(OPTIONS, Oversize, 0, |guest| guest.chain(0, &[(LOW, 712), (LOW, 819)], 0));
    dropped(OPTIONS, Oversize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 0x1_ffff, 0, 0)));
    let largest = DeviceOptions { max_frame: u16::MAX, ..OPTIONS };
    dropped(largest, Oversize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 12 + 65536, 0, 0)));
    dropped(largest, Oversize, 0, |guest| guest.chain(0, &[(LOW, 0x1_0000), (LOW, 0x1_0000)], 0));
}

#[test]
fn more_than_four_gigabytes() {
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        guest.ring.set_desc(0, desc(LOW, u32::MAX, 0, 0));
    });
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        guest.chain(0, &[(LOW, u32::MAX), (LOW, u32::MAX), (LOW, u32::MAX)], 0);
    });
}

#[test]
fn write_only_in_transmit() {
    dropped(OPTIONS, BadDescriptor, 0, |guest| guest.ring.set_desc(0, desc(LOW, 72, WRITE, 0)));
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        guest.ring.set_desc(0, desc(LOW, 12, NEXT, 1));
        guest.ring.set_desc(1, desc(LOW, 60, WRITE, 0));
    });
}

#[test]
fn header_that_asks_for_what_was_not_negotiated() {
    for header in [[1, 0], [3, 0], [0, 1], [0, 4], [0, 0x80], [0, 0xff]] {
        dropped(OPTIONS, BadHeader, 0, |guest| {
            guest.write(LOW, &header);
            guest.ring.set_desc(0, desc(LOW, 72, 0, 0));
        });
        dropped(OPTIONS, BadHeader, 0, |guest| {
            guest.write(LOW, &header);
            guest.chain(0, &[(LOW, 12), (HIGH, 60)], 0);
        });
    }
}

#[test]
fn indirect_that_was_not_negotiated() {
    dropped(OPTIONS, BadDescriptor, 0, |guest| {
        guest.table(HIGH, &[desc(LOW, 72, 0, 0)]);
        guest.ring.set_desc(0, desc(HIGH, 16, INDIRECT, 0));
    });
}

#[test]
fn indirect_tables_that_break_the_rules() {
    let good = desc(LOW, 72, 0, 0);
    for (table, head) in [
        (good, desc(HIGH, 0, INDIRECT, 0)),
        (good, desc(HIGH, 17, INDIRECT, 0)),
        (good, desc(HIGH, 15, INDIRECT, 0)),
        (good, desc(END - 8, 16, INDIRECT, 0)),
        (good, desc(HIGH - 16, 32, INDIRECT, 0)),
        (good, desc(END, 16, INDIRECT, 0)),
        (good, desc(HIGH, 16, INDIRECT | NEXT, 1)),
        (good, desc(HIGH, 16 * 1025, INDIRECT, 0)),
        (good, desc(HIGH, u32::MAX - 15, INDIRECT, 0)),
        (desc(HIGH, 16, INDIRECT, 0), desc(HIGH, 16, INDIRECT, 0)),
        (desc(LOW, 12, NEXT, 1), desc(HIGH, 16, INDIRECT, 0)),
        (desc(LOW, 12, NEXT, 0), desc(HIGH, 16, INDIRECT, 0)),
        (desc(LOW, 12, NEXT, 0xffff), desc(HIGH, 16, INDIRECT, 0)),
        (desc(LOW, 72, WRITE, 0), desc(HIGH, 16, INDIRECT, 0)),
    ] {
        dropped(indirect(), BadDescriptor, 0, |guest| {
            guest.table(HIGH, &[table]);
            guest.ring.set_desc(0, head);
        });
    }
    // A loop inside a table of the largest size ends.
    dropped(indirect(), BadDescriptor, 0, |guest| {
        guest.table(HIGH, &[desc(LOW, 1, NEXT, 1), desc(LOW, 1, NEXT, 0)]);
        guest.ring.set_desc(0, desc(HIGH, 16 * 1024, INDIRECT, 0));
    });
}

#[test]
fn every_length_in_one_descriptor() {
    for len in (14..300).chain([1000, 1513, 1517, 1518]) {
        accepted(OPTIONS, len, |guest| {
            guest.write(HIGH + 12, &frame(9, len));
            guest.chain(0, &[(HIGH, 12 + u32::try_from(len).unwrap())], 0);
        });
    }
}

#[test]
fn header_apart_from_the_frame() {
    accepted(OPTIONS, 60, |guest| {
        guest.write(HIGH, &frame(9, 60));
        guest.chain(0, &[(LOW + 3, 12), (HIGH, 60)], 0);
    });
}

#[test]
fn header_byte_by_byte_over_twelve_descriptors() {
    accepted(OPTIONS, 60, |guest| {
        guest.write(HIGH, &frame(9, 60));
        let mut pieces: Vec<(u64, u32)> = (0..12).map(|at| (LOW + 100 * at, 1)).collect();
        pieces.push((HIGH, 60));
        guest.chain(0, &pieces, 0);
    });
}

#[test]
fn header_and_frame_cut_anywhere() {
    for cut in 1..71 {
        accepted(OPTIONS, 60, |guest| {
            guest.write(HIGH + 12, &frame(9, 60));
            guest.chain(0, &[(HIGH, cut), (HIGH + u64::from(cut), 72 - cut)], 0);
        });
    }
}

#[test]
fn flags_that_are_to_be_ignored() {
    accepted(OPTIONS, 60, |guest| {
        guest.write(HIGH, &[2, 0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        guest.write(HIGH + 12, &frame(9, 60));
        // `next` without NEXT, and a reserved descriptor flag.
        guest.ring.set_desc(0, desc(HIGH, 72, 0x100, 0xffff));
    });
}

#[test]
fn indirect_tables() {
    accepted(indirect(), 60, |guest| {
        guest.write(LOW + 500, &frame(9, 60));
        // At an odd address, out of order, with a descriptor that is not used.
        guest.table(
            HIGH + 1,
            &[
                desc(LOW, 12, NEXT, 2),
                desc(0, 0, 0, 0),
                desc(LOW + 500, 20, NEXT, 3),
                desc(LOW + 520, 40, 0, 0),
            ],
        );
        guest.ring.set_desc(0, desc(HIGH + 1, 64, INDIRECT | WRITE, 0));
    });
    accepted(indirect(), 60, |guest| {
        guest.write(LOW + 500, &frame(9, 60));
        guest.table(HIGH, &[desc(LOW + 500, 60, 0, 0)]);
        guest.ring.set_desc(0, desc(LOW, 12, NEXT, 7));
        guest.ring.set_desc(7, desc(HIGH, 16, INDIRECT, 0));
    });
}

#[test]
fn a_frame_larger_than_a_buffer_becomes_a_chain() {
    let jumbo = DeviceOptions { max_frame: 9014, ..OPTIONS };
    for len in [2048, 2049, 4096, 4097, 9014] {
        accepted(jumbo, len, |guest| {
            guest.write(HIGH + 12, &frame(9, len));
            guest.chain(0, &[(HIGH, 12 + u32::try_from(len).unwrap())], 0);
        });
    }
    dropped(jumbo, Oversize, 0, |guest| guest.ring.set_desc(0, desc(LOW, 12 + 9015, 0, 0)));
}

#[test]
fn a_pool_that_runs_out_leaves_frames_in_the_ring() {
    let (mut guest, pool) = (Guest::new(16), pool(5));
    let mut device = guest.device(OPTIONS);
    for head in 0..8 {
        guest.send(head, &frame(head.to_le_bytes()[0], 80));
    }
    let first = guest.receive(&mut device, &pool);
    assert_eq!((first.len(), guest.receive(&mut device, &pool).len()), (5, 0));
    drop(first);
    let rest = guest.receive(&mut device, &pool);
    assert_eq!(rest.len(), 3);
    assert_eq!(rest[0].bytes(), frame(5, 80));
    assert_eq!(guest.all_drops(), 0);
}

#[test]
fn avail_index_more_than_the_ring_ahead_breaks_the_ring_once() {
    for ahead in [17, 0x8000, 0xffff] {
        let (mut guest, pool) = (Guest::new(16), pool(64));
        let mut device = guest.device(OPTIONS);
        guest.send(0, &frame(1, 60));
        guest.ring.store_avail_index(ahead);
        for _ in 0..3 {
            assert_eq!(guest.receive(&mut device, &pool).len(), 0);
        }
        assert!(device.is_broken());
        assert_eq!((guest.drops(RingBroken), guest.all_drops()), (1, 1));
        // It stays broken though the index is right again, until the ring is started anew.
        guest.ring.store_avail_index(1);
        assert_eq!(guest.receive(&mut device, &pool).len(), 0);
        assert!(!device.should_notify());
        let mut device = SplitDevice::new(guest.ring, device.indexes(), OPTIONS);
        assert_eq!(guest.receive(&mut device, &pool)[0].bytes(), frame(1, 60));
    }
}

#[test]
fn indexes_wrap_and_a_new_value_goes_on_where_the_old_one_stood() {
    let (mut guest, pool) = (Guest::starting_at(8, 0xfff0), pool(64));
    let mut device = guest.device(OPTIONS);
    for round in 0..100u8 {
        for head in 0..u16::from(round % 8) + 1 {
            guest.send(head, &frame(round, 64));
        }
        let packets = guest.receive(&mut device, &pool);
        assert_eq!(packets.len(), usize::from(round % 8) + 1);
        assert!(packets.iter().all(|packet| packet.bytes() == frame(round, 64)));
        for head in 0..u32::from(round % 8) + 1 {
            assert_eq!(guest.used().map(|elem| elem.id), Some(head));
        }
        let at = device.indexes();
        assert_eq!(at, Indexes { avail: at.used, used: at.avail });
        device = SplitDevice::new(guest.ring, at, OPTIONS);
    }
}
