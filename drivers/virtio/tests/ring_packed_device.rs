//! The packed device half against drivers that break the rules, against every layout that is allowed, and while
//! a second thread rewrites the ring.

mod ring_support;

use std::sync::atomic::{AtomicBool, Ordering};

use netbuf::Burst;
use netdev::Armed;
use netdev::DropCause::{self, BadDescriptor, BadHeader, Oversize, RingBroken, Undersize};
use ring_support::packed::Guest;
use ring_support::{
    END, HIGH, Headers, LOW, OPTIONS, any_packet, frame, is_sound, mutated_options, pool,
};
use virtio::ring::RingOptions;
use virtio::ring::packed::{Desc, Event, PackedDevice, PackedRing, flags};
use virtio::ring::split::{DeviceOptions, Indexes};

const NEXT: u16 = flags::DESC_NEXT;
const WRITE: u16 = flags::DESC_WRITE;
const INDIRECT: u16 = flags::DESC_INDIRECT;

type Pieces<'a> = &'a [(u64, u32, u16)];

/// A chain that breaks a rule, in the middle of good traffic: lost, counted, handed back; the rest flows.
fn dropped(options: DeviceOptions, cause: DropCause, pieces: Pieces<'_>, spoil: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(16), pool(64));
    let mut device = guest.device(options);
    let descs = u16::try_from(pieces.len()).unwrap();
    guest.send(900, &frame(1, 60));
    guest.publish(0xfffe, pieces);
    spoil(&guest);
    guest.send(901, &frame(2, 60));
    let packets = guest.receive(&mut device, &pool);
    let frames: Vec<&[u8]> = packets.iter().map(|packet| packet.bytes()).collect();
    assert_eq!(frames, [frame(1, 60), frame(2, 60)], "{cause:?} {pieces:x?}");
    assert_eq!(guest.drops(cause), (1, 1), "{pieces:x?}");
    assert_eq!(guest.used(1), Some((900, 0)));
    assert_eq!(guest.used(descs), Some((0xfffe, 0)));
    assert_eq!((guest.used(1), guest.used(1)), (Some((901, 0)), None));
    drop(packets);
    for round in 0..40 {
        guest.send(3, &frame(round, 100));
        assert_eq!(guest.receive(&mut device, &pool)[0].bytes(), frame(round, 100));
    }
    assert_eq!(pool.available(), 64);
}

/// The same for a driver's buffer; three packets are sent, of which the middle one is lost with it.
fn refused(options: DeviceOptions, pieces: Pieces<'_>, spoil: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(16), pool(64));
    let mut device = guest.device(options);
    let descs = u16::try_from(pieces.len()).unwrap();
    guest.publish(900, &[(HIGH, 1600, WRITE)]);
    guest.publish(0xfffe, pieces);
    spoil(&guest);
    guest.publish(901, &[(HIGH + 0x800, 1600, WRITE)]);
    let mut packets: Burst = (1..4).map(|n| pool.copy_from(&frame(n, 60)).unwrap()).collect();
    assert_eq!(guest.transmit(&mut device, &mut packets), 3);
    assert_eq!(guest.drops(BadDescriptor), (1, 1), "{pieces:x?}");
    assert_eq!(guest.used(1), Some((900, 72)));
    assert_eq!(guest.used(descs), Some((0xfffe, 0)));
    assert_eq!((guest.used(1), guest.used(1)), (Some((901, 72)), None));
    assert_eq!(guest.memory.read(HIGH + 12, 60), frame(1, 60));
    assert_eq!(guest.memory.read(HIGH + 0x800 + 12, 60), frame(3, 60));
    for round in 0..40 {
        guest.publish(7, &[(LOW, 1600, WRITE)]);
        packets.extend(pool.copy_from(&frame(round, 88)));
        assert_eq!(guest.transmit(&mut device, &mut packets), 1);
        assert_eq!(guest.used(1), Some((7, 100)));
        assert_eq!(guest.memory.read(LOW + 12, 88), frame(round, 88));
    }
    assert_eq!(pool.available(), 64);
}

fn nothing(_: &Guest) {}

fn indirect() -> DeviceOptions {
    DeviceOptions { ring: RingOptions::INDIRECT, ..OPTIONS }
}

/// A table of packed descriptors: address, length, id, flags.
fn table(guest: &Guest, address: u64, descs: &[(u64, u32, u16)]) {
    for (at, &(addr, len, flags)) in (address..).step_by(16).zip(descs) {
        guest.memory.write(at, &addr.to_le_bytes());
        guest.memory.write(at + 8, &len.to_le_bytes());
        guest.memory.write(at + 12, &[0xaa, 0xaa]);
        guest.memory.write(at + 14, &flags.to_le_bytes());
    }
}

#[test]
fn lengths_that_are_no_frame() {
    dropped(OPTIONS, Undersize, &[(LOW, 12, 0)], nothing);
    dropped(OPTIONS, Undersize, &[(LOW, 25, 0)], nothing);
    dropped(OPTIONS, Undersize, &[(LOW, 5, 0), (LOW + 5, 7, 0)], nothing);
    dropped(OPTIONS, BadHeader, &[(LOW, 11, 0)], nothing);
    dropped(OPTIONS, BadDescriptor, &[(LOW, 0, 0)], nothing);
    dropped(OPTIONS, BadDescriptor, &[(LOW, 12, 0), (LOW, 0, 0), (LOW, 60, 0)], nothing);
    dropped(OPTIONS, Oversize, &[(LOW, 12 + 1519, 0)], nothing);
    dropped(OPTIONS, Oversize, &[(LOW, 712, 0), (LOW, 819, 0), (LOW, 8, 0)], nothing);
    dropped(OPTIONS, Oversize, &[(LOW, 0x1_ffff, 0)], nothing);
    dropped(OPTIONS, BadDescriptor, &[(LOW, u32::MAX, 0)], nothing);
    dropped(OPTIONS, BadDescriptor, &[(LOW, u32::MAX, 0), (LOW, u32::MAX, 0)], nothing);
}

#[test]
fn addresses_outside_or_crossing_a_region() {
    for addr in [0, LOW - 1, HIGH - 30, HIGH - 71, END - 71, END, u64::MAX - 20, u64::MAX] {
        dropped(OPTIONS, BadDescriptor, &[(addr, 72, 0)], nothing);
        dropped(OPTIONS, BadDescriptor, &[(LOW, 12, 0), (addr, 72, 0), (LOW, 9, 0)], nothing);
        refused(OPTIONS, &[(addr, 72, WRITE)], nothing);
        refused(OPTIONS, &[(LOW, 12, WRITE), (addr, 72, WRITE), (LOW, 9, WRITE)], nothing);
    }
}

#[test]
fn write_only_in_transmit_and_read_only_in_receive() {
    dropped(OPTIONS, BadDescriptor, &[(LOW, 72, WRITE)], nothing);
    dropped(OPTIONS, BadDescriptor, &[(LOW, 12, 0), (LOW, 60, WRITE)], nothing);
    refused(OPTIONS, &[(LOW, 1600, 0)], nothing);
    refused(OPTIONS, &[(LOW, 12, WRITE), (LOW, 1600, 0)], nothing);
}

#[test]
fn header_that_asks_for_what_was_not_negotiated() {
    for header in [[1, 0], [3, 0], [0, 1], [0, 0xff]] {
        let spoil = |guest: &Guest| guest.memory.write(HIGH, &header);
        dropped(OPTIONS, BadHeader, &[(HIGH, 72, 0)], spoil);
        dropped(OPTIONS, BadHeader, &[(HIGH, 12, 0), (HIGH + 100, 60, 0)], spoil);
    }
}

#[test]
fn indirect_tables_that_break_the_rules() {
    let good = (LOW, 72, 0);
    let spoil = |entry| move |guest: &Guest| table(guest, HIGH, &[entry]);
    dropped(OPTIONS, BadDescriptor, &[(HIGH, 16, INDIRECT)], spoil(good));
    for head in [(HIGH, 0), (HIGH, 17), (END - 8, 16), (END, 16), (HIGH, 16 * 1025)] {
        dropped(indirect(), BadDescriptor, &[(head.0, head.1, INDIRECT)], spoil(good));
    }
    dropped(indirect(), BadDescriptor, &[(HIGH, 16, INDIRECT), (LOW, 60, 0)], spoil(good));
    let nested = (HIGH, 16, INDIRECT);
    dropped(indirect(), BadDescriptor, &[(HIGH, 16, INDIRECT)], spoil(nested));
    dropped(indirect(), BadDescriptor, &[(HIGH, 16, INDIRECT)], spoil((LOW, 72, WRITE)));
    refused(indirect(), &[(HIGH + 0x4000, 16, INDIRECT)], |guest| {
        table(guest, HIGH + 0x4000, &[(LOW, 1600, 0)]);
    });
}

#[test]
fn a_chain_without_an_end_breaks_the_ring_once() {
    for transmit in [false, true] {
        let (guest, pool) = (Guest::new(4), pool(8));
        let mut device = guest.device(OPTIONS);
        for index in 0..4 {
            let flags = flags::AVAIL | NEXT | if transmit { WRITE } else { 0 };
            guest.ring.set_desc(index, Desc { addr: LOW, len: 13, id: 0, flags });
        }
        for _ in 0..3 {
            assert_eq!(guest.receive(&mut device, &pool).len(), 0);
            let mut packets: Burst = pool.copy_from(&frame(1, 60)).into_iter().collect();
            let taken = guest.transmit(&mut device, &mut packets);
            assert!(taken <= 1);
        }
        assert!(device.is_broken() && !device.should_notify());
        assert_eq!(guest.drops(RingBroken).0, 1);
        assert_eq!(pool.available(), 8);
    }
}

/// `lay` publishes `frame(9, len)` in some allowed way, in `descs` descriptors.
fn accepted(options: DeviceOptions, len: usize, descs: u16, lay: impl Fn(&mut Guest)) {
    let (mut guest, pool) = (Guest::new(64), pool(64));
    let mut device = guest.device(options);
    lay(&mut guest);
    guest.send(60, &frame(2, 60));
    let packets = guest.receive(&mut device, &pool);
    assert_eq!(guest.drops(BadDescriptor), (0, 0));
    let mut bytes = vec![0; len];
    assert_eq!(packets[0].len(), len);
    packets[0].copy_to(&mut bytes);
    assert_eq!(bytes, frame(9, len));
    assert_eq!((packets[0].port(), packets[1].bytes()), (7, &frame(2, 60)[..]));
    assert!(guest.used(descs).is_some());
    assert_eq!(guest.used(1), Some((60, 0)));
    drop(packets);
    assert_eq!(pool.available(), 64);
}

#[test]
fn every_length_and_every_cut() {
    for len in (14..300).chain([1000, 1518]) {
        accepted(OPTIONS, len, 1, |guest| {
            guest.memory.write(HIGH + 12, &frame(9, len));
            guest.publish(3, &[(HIGH, 12 + u32::try_from(len).unwrap(), 0)]);
        });
    }
    for cut in 1..71 {
        accepted(OPTIONS, 60, 2, |guest| {
            guest.memory.write(HIGH + 12, &frame(9, 60));
            guest.publish(3, &[(HIGH, cut, 0), (HIGH + u64::from(cut), 72 - cut, 0)]);
        });
    }
    accepted(OPTIONS, 60, 13, |guest| {
        guest.memory.write(HIGH, &frame(9, 60));
        let mut pieces: Vec<_> = (0..12).map(|at| (LOW + 100 * at, 1, 0)).collect();
        pieces.push((HIGH, 60, 0));
        guest.publish(3, &pieces);
    });
    accepted(indirect(), 60, 1, |guest| {
        guest.memory.write(LOW + 500, &frame(9, 60));
        let entries = [(LOW, 12, 0), (LOW + 500, 20, NEXT), (LOW + 520, 40, 0)];
        table(guest, HIGH + 1, &entries);
        guest.publish(3, &[(HIGH + 1, 48, INDIRECT | WRITE)]);
    });
    let jumbo = DeviceOptions { max_frame: 9014, ..OPTIONS };
    accepted(jumbo, 9014, 1, |guest| {
        guest.memory.write(HIGH + 12, &frame(9, 9014));
        guest.publish(3, &[(HIGH, 9026, 0)]);
    });
}

#[test]
fn room_cut_anywhere() {
    for cut in 1..72 {
        let (mut guest, pool) = (Guest::new(8), pool(8));
        let mut device = guest.device(OPTIONS);
        guest.publish(5, &[(LOW, cut, WRITE), (HIGH, 72 - cut, WRITE), (LOW + 200, 90, WRITE)]);
        let mut packets: Burst = pool.copy_from(&frame(9, 60)).into_iter().collect();
        assert_eq!(guest.transmit(&mut device, &mut packets), 1);
        assert_eq!(guest.used(3), Some((5, 72)));
        let mut bytes = guest.memory.read(LOW, cut as usize);
        bytes.extend(guest.memory.read(HIGH, 72 - cut as usize));
        assert_eq!(bytes[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        assert_eq!(bytes[12..], frame(9, 60));
    }
}

#[test]
fn indexes_wrap_and_a_new_value_goes_on_where_the_old_one_stood() {
    let (mut guest, pool) = (Guest::new(8), pool(64));
    let mut device = guest.device(OPTIONS);
    for round in 0..100u8 {
        for id in 0..u16::from(round % 8) + 1 {
            guest.send(id, &frame(round, 64));
        }
        let packets = guest.receive(&mut device, &pool);
        assert_eq!(packets.len(), usize::from(round % 8) + 1);
        for id in 0..u16::from(round % 8) + 1 {
            assert_eq!(guest.used(1), Some((id, 0)));
        }
        let at = device.indexes();
        let expected = guest.avail | if guest.avail_wrap { 1 << 15 } else { 0 };
        assert_eq!(at, Indexes { avail: expected, used: expected });
        device = PackedDevice::new(guest.ring, at, OPTIONS);
    }
}

#[test]
fn notifications_by_flag_and_by_descriptor() {
    let (mut guest, pool) = (Guest::new(4), pool(8));
    let mut device = guest.device(DeviceOptions { ring: RingOptions::EVENT_IDX, ..OPTIONS });
    let disabled = Event { off_wrap: 0, flags: flags::EVENT_DISABLE };
    assert_eq!(guest.ring.device_event(), disabled);
    for (event, wanted) in [
        (Event { off_wrap: 0, flags: flags::EVENT_ENABLE }, true),
        (disabled, false),
        (Event { off_wrap: 1 << 15 | 2, flags: flags::EVENT_DESC }, true),
        (Event { off_wrap: 3, flags: flags::EVENT_DESC }, false),
        (Event { off_wrap: 0, flags: flags::EVENT_DESC }, true),
        (Event { off_wrap: 7, flags: 3 }, true),
    ] {
        guest.ring.set_driver_event(event);
        guest.send(0, &frame(1, 60));
        guest.receive(&mut device, &pool);
        assert_eq!(device.should_notify(), wanted, "{event:?}");
        assert!(!device.should_notify(), "nothing was published since");
    }
    assert_eq!(device.arm(), Armed::Armed);
    let event = guest.ring.device_event();
    assert_eq!(event, Event { off_wrap: 2, flags: flags::EVENT_DESC });
    guest.send(0, &frame(1, 60));
    assert_eq!(device.arm(), Armed::PacketsPending);
    assert_eq!(guest.ring.device_event(), disabled);
}

fn enough(guest: &Guest) -> bool {
    let stats = guest.counters.snapshot();
    stats.packets > 1000 && stats.drops.total() > 1000
}

struct Mutated(PackedRing);

// SAFETY: a view of memory that is never given back; both sides use volatile words and atomics only.
unsafe impl Send for Mutated {}

impl Mutated {
    fn run(self, headers: &Headers, stop: &AtomicBool, direction: u16) {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut below = |limit: u16| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            headers.flip(random);
            u16::try_from(random % u64::from(limit)).unwrap_or(0)
        };
        while !stop.load(Ordering::Relaxed) {
            let turn = [flags::AVAIL, flags::USED][usize::from(below(2))];
            let good = Desc { addr: LOW, len: 72, id: below(40), flags: turn | direction };
            let bad = Desc {
                addr: [LOW, HIGH - 40, HIGH, END - 100, u64::MAX][usize::from(below(5))],
                len: [0, 12, 26, 72, 1530, 4096, u32::MAX][usize::from(below(7))],
                flags: [good.flags, good.flags | NEXT, below(u16::MAX)][usize::from(below(3))],
                ..good
            };
            self.0.set_desc(below(32), if below(8) < 3 { bad } else { good });
            if below(64) == 0 {
                // On one core the device half works only while this one rests.
                std::thread::yield_now();
            }
        }
    }
}

/// Headers, descriptors and flags change while they are processed (the family of CVE-2020-14374).
#[test]
fn a_second_thread_flips_descriptors_both_ways() {
    for (direction, options) in
        [0, WRITE].into_iter().flat_map(|way| mutated_options().map(|options| (way, options)))
    {
        let (mut guest, pool) = (Guest::new(32), pool(128));
        let mut device = guest.device(options);
        let stop = AtomicBool::new(false);
        let (mutated, headers) = (Mutated(guest.ring), Headers::new(&guest.memory.map));
        std::thread::scope(|scope| {
            scope.spawn({
                let stop = &stop;
                move || mutated.run(&headers, stop, direction)
            });
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
            for round in 0u32.. {
                if round > 60_000 && (enough(&guest) || std::time::Instant::now() > deadline) {
                    break;
                }
                let before = guest.counters.snapshot();
                if direction == 0 {
                    let out = guest.receive(&mut device, &pool);
                    for packet in &out {
                        assert!(is_sound(packet, &options), "{packet:?}");
                    }
                } else {
                    let mut packets: Burst =
                        (0..8).map(|at| any_packet(&pool, round + at)).collect();
                    let taken = guest.transmit(&mut device, &mut packets);
                    assert_eq!(packets.len(), 8 - taken);
                }
                let after = guest.counters.snapshot();
                let handled =
                    after.packets + after.drops.total() - before.packets - before.drops.total();
                assert!(handled <= 33, "{handled}");
                if handled == 0 {
                    // On one core the other thread writes only while this one rests.
                    std::thread::yield_now();
                }
                if device.is_broken() {
                    // A chain that did not end: the ring is started anew, where it stands.
                    device = PackedDevice::new(guest.ring, device.indexes(), options);
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(enough(&guest), "{:?}", guest.counters.snapshot());
        assert_eq!(pool.available(), 128);
        // A fresh start carries good traffic.
        for index in 0..32 {
            guest.ring.set_desc(index, Desc::default());
        }
        let mut device = guest.device(options);
        guest.send(1, &frame(5, 60));
        assert_eq!(guest.receive(&mut device, &pool)[0].bytes(), frame(5, 60));
    }
}
