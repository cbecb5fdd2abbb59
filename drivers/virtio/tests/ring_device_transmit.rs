//! The device half's transmit against drivers that break the rules, and into every layout that is allowed.

mod ring_support;

use netbuf::{Burst, Checksum, Gso, GsoKind, Pool};
use netdev::DropCause::{self, BadDescriptor, Oversize, RingBroken, Undersize, Unsupported};
use ring_support::{END, Guest, HIGH, LOW, OPTIONS, frame, pool};
use virtio::ring::RingOptions;
use virtio::ring::split::{Desc, DeviceOptions, SplitDevice, flags};

const NEXT: u16 = flags::DESC_NEXT;
const WRITE: u16 = flags::DESC_WRITE;
const INDIRECT: u16 = flags::DESC_INDIRECT;
const HEADER: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

fn desc(addr: u64, len: u32, flags: u16, next: u16) -> Desc {
    Desc { addr, len, flags, next }
}

fn burst(pool: &Pool, frames: &[Vec<u8>]) -> Burst {
    frames.iter().map(|frame| pool.copy_from(frame).unwrap()).collect()
}

fn transmit(guest: &Guest, device: &mut SplitDevice, packets: &mut Burst) -> usize {
    device.transmit(&guest.map, packets, &guest.counters)
}

/// Posts a good buffer at `address` in entry `head`.
fn post(guest: &mut Guest, head: u16, address: u64, len: u32) {
    guest.ring.set_desc(head, desc(address, len, WRITE, 0xffff));
    guest.publish(head);
}

/// `spoil` writes descriptors behind `head`, between two good buffers, and three packets are sent.
fn dropped(options: DeviceOptions, head: u16, spoil: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(16), pool(64));
    let mut device = guest.device(options);
    post(&mut guest, 14, HIGH, 1600);
    guest.publish(head);
    spoil(&guest);
    post(&mut guest, 15, HIGH + 0x800, 1600);
    let mut packets = burst(&pool, &[frame(1, 60), frame(2, 60), frame(3, 60)]);
    assert_eq!(transmit(&guest, &mut device, &mut packets), 3);
    assert_eq!((guest.drops(BadDescriptor), guest.all_drops()), (1, 1));
    assert_eq!(guest.used().map(|elem| (elem.id, elem.len)), Some((14, 72)));
    if head < 16 {
        assert_eq!(guest.used().map(|elem| (elem.id, elem.len)), Some((head.into(), 0)));
    }
    assert_eq!(guest.used().map(|elem| (elem.id, elem.len)), Some((15, 72)));
    assert_eq!(guest.used(), None);
    assert_eq!(guest.read(HIGH + 12, 60), frame(1, 60));
    assert_eq!(guest.read(HIGH + 0x800 + 12, 60), frame(3, 60));
    for round in 0..40 {
        post(&mut guest, 3, LOW, 100);
        let mut packets = burst(&pool, &[frame(round, 88)]);
        assert_eq!(transmit(&guest, &mut device, &mut packets), 1);
        assert_eq!(guest.used().map(|elem| elem.len), Some(100));
        assert_eq!(guest.read(LOW + 12, 88), frame(round, 88));
    }
    assert_eq!(pool.available(), 64);
}

/// `lay` posts pieces of room behind head 0 (as descriptors, or as a table); header and frame must fill them.
fn scattered(options: DeviceOptions, packet: &[u8], pieces: &[(u64, u32)], lay: impl Fn(&Guest)) {
    let (mut guest, pool) = (Guest::new(64), pool(64));
    let mut device = guest.device(options);
    lay(&guest);
    guest.publish(0);
    let mut packets = burst(&pool, &[packet.to_vec()]);
    assert_eq!(transmit(&guest, &mut device, &mut packets), 1);
    assert_eq!(guest.all_drops(), 0, "{:?}", guest.counters);
    let total = 12 + packet.len();
    let elem = guest.used().unwrap();
    assert_eq!((elem.id, elem.len as usize), (0, total));
    let mut bytes = Vec::new();
    for &(address, len) in pieces {
        bytes.extend(guest.read(address, len as usize));
    }
    assert_eq!(bytes[..total], [&HEADER[..], packet].concat());
    let stats = guest.counters.snapshot();
    assert_eq!((stats.packets, stats.bytes, stats.bursts), (1, packet.len() as u64, 1));
    assert_eq!(pool.available(), 64);
}

fn unsendable(cause: DropCause, spoil: impl Fn(&Pool, &mut Burst)) {
    let (mut guest, pool) = (Guest::new(4), pool(64));
    let mut device = guest.device(OPTIONS);
    post(&mut guest, 0, LOW, 600);
    let mut packets = Burst::new();
    spoil(&pool, &mut packets);
    packets.push(pool.copy_from(&frame(5, 60)).unwrap());
    assert_eq!(transmit(&guest, &mut device, &mut packets), 2);
    assert_eq!((guest.drops(cause), guest.all_drops()), (1, 1), "{:?}", guest.counters);
    // The buffer went to the packet behind.
    assert_eq!(guest.used().map(|elem| (elem.id, elem.len)), Some((0, 72)));
    assert_eq!(guest.read(LOW, 72), [&HEADER[..], &frame(5, 60)].concat());
    assert_eq!(pool.available(), 64);
}

#[test]
fn head_outside_the_table() {
    for head in [16, 0xffff] {
        dropped(OPTIONS, head, |_| ());
    }
}

#[test]
fn read_only_in_receive() {
    dropped(OPTIONS, 0, |guest| guest.ring.set_desc(0, desc(LOW, 1600, 0, 0)));
    dropped(OPTIONS, 0, |guest| {
        guest.ring.set_desc(0, desc(LOW, 12, WRITE | NEXT, 1));
        guest.ring.set_desc(1, desc(LOW, 1600, 0, 0));
    });
}

#[test]
fn loops_and_next_outside_the_table() {
    dropped(OPTIONS, 5, |guest| guest.ring.set_desc(5, desc(LOW, 1, WRITE | NEXT, 5)));
    dropped(OPTIONS, 0, |guest| {
        for at in 0..4 {
            guest.ring.set_desc(at, desc(LOW, 2, WRITE | NEXT, (at + 1) % 4));
        }
    });
    dropped(OPTIONS, 0, |guest| guest.ring.set_desc(0, desc(LOW, 12, WRITE | NEXT, 16)));
}

#[test]
fn zero_length_and_addresses_outside_or_crossing() {
    dropped(OPTIONS, 0, |guest| guest.ring.set_desc(0, desc(LOW, 0, WRITE, 0)));
    for addr in [0, LOW - 1, HIGH - 71, END - 71, END, u64::MAX] {
        dropped(OPTIONS, 0, |guest| guest.ring.set_desc(0, desc(addr, 72, WRITE, 0)));
        dropped(OPTIONS, 0, |guest| {
            guest.ring.set_desc(0, desc(LOW, 12, WRITE | NEXT, 1));
            guest.ring.set_desc(1, desc(addr, 72, WRITE, 0));
        });
    }
    dropped(OPTIONS, 0, |guest| guest.ring.set_desc(0, desc(LOW, u32::MAX, WRITE, 0)));
}

#[test]
fn indirect_that_was_not_negotiated() {
    dropped(OPTIONS, 0, |guest| {
        guest.table(LOW, &[desc(LOW, 1600, WRITE, 0)]);
        guest.ring.set_desc(0, desc(LOW, 16, INDIRECT, 0));
    });
}

#[test]
fn every_length_into_one_descriptor() {
    for len in (14..300).chain([1000, 1518]) {
        let room = 12 + u32::try_from(len).unwrap();
        for room in [room, room + 1, 2048] {
            scattered(OPTIONS, &frame(9, len), &[(LOW + 5, room)], |guest| {
                guest.ring.set_desc(0, desc(LOW + 5, room, WRITE, 0));
            });
        }
    }
}

#[test]
fn room_cut_anywhere() {
    for cut in 1..72 {
        let pieces = [(LOW, cut), (HIGH, 72 - cut), (LOW + 200, 90)];
        scattered(OPTIONS, &frame(9, 60), &pieces, |guest| guest.chain(0, &pieces, WRITE));
    }
    let mut pieces: Vec<(u64, u32)> = (0..12).map(|at| (LOW + 100 * at, 1)).collect();
    pieces.push((HIGH, 60));
    scattered(OPTIONS, &frame(9, 60), &pieces, |guest| guest.chain(0, &pieces, WRITE));
}

#[test]
fn indirect_room() {
    let options = DeviceOptions { ring: RingOptions::INDIRECT, ..OPTIONS };
    let pieces = [(LOW, 12), (HIGH, 1518)];
    scattered(options, &frame(9, 300), &pieces, |guest| {
        guest.table(HIGH + 0x1000, &[desc(LOW, 12, WRITE | NEXT, 1), desc(HIGH, 1518, WRITE, 0)]);
        guest.ring.set_desc(0, desc(HIGH + 0x1000, 32, INDIRECT, 0));
    });
}

#[test]
fn a_packet_of_several_segments() {
    let options = DeviceOptions { max_frame: 9014, ..OPTIONS };
    scattered(options, &frame(9, 9014), &[(LOW, 9026)], |guest| {
        guest.ring.set_desc(0, desc(LOW, 9026, WRITE, 0));
    });
}

#[test]
fn a_header_that_differs_is_corrected() {
    for wrong in 0..12 {
        let (mut guest, pool) = (Guest::new(4), pool(4));
        let mut device = guest.device(OPTIONS);
        let mut header = HEADER;
        header[wrong] ^= 0x55;
        guest.write(LOW, &header);
        post(&mut guest, 0, LOW, 600);
        assert_eq!(transmit(&guest, &mut device, &mut burst(&pool, &[frame(1, 60)])), 1);
        assert_eq!(guest.read(LOW, 12), HEADER);
    }
}

#[test]
fn packets_that_cannot_be_sent_use_no_buffer_up() {
    unsendable(Oversize, |pool, packets| packets.push(pool.copy_from(&frame(1, 1519)).unwrap()));
    unsendable(Oversize, |pool, packets| packets.push(pool.copy_from(&frame(1, 589)).unwrap()));
    unsendable(Oversize, |pool, packets| packets.push(pool.copy_from(&frame(1, 5000)).unwrap()));
    unsendable(Undersize, |pool, packets| packets.push(pool.copy_from(&frame(1, 13)).unwrap()));
    unsendable(Undersize, |pool, packets| packets.push(pool.alloc().unwrap()));
    unsendable(Unsupported, |pool, packets| {
        let mut packet = pool.copy_from(&frame(1, 60)).unwrap();
        packet.set_gso(Some(Gso { kind: GsoKind::Tcp4, size: 20, header_len: 54 }));
        packets.push(packet);
    });
    unsendable(Unsupported, |pool, packets| {
        let mut packet = pool.copy_from(&frame(1, 60)).unwrap();
        packet.set_checksum(Checksum::Partial { start: 14, offset: 45 });
        packets.push(packet);
    });
}

#[test]
fn packets_of_several_pools_and_detached_ones_go_home() {
    let (mut guest, one, two) = (Guest::new(16), pool(8), pool(8));
    let mut device = guest.device(OPTIONS);
    for head in 0..6 {
        post(&mut guest, head, LOW + u64::from(head) * 2048, 2048);
    }
    let mut packets = Burst::new();
    for (number, pool) in [(0, &one), (1, &two), (2, &two), (3, &one)] {
        packets.push(pool.copy_from(&frame(number, 60)).unwrap());
    }
    packets.push(one.copy_from(&frame(4, 60)).unwrap().detach().attach());
    let mut pushed = two.copy_from(&frame(5, 64)).unwrap();
    pushed.trim(4).unwrap();
    packets.push(pushed);
    assert_eq!(transmit(&guest, &mut device, &mut packets), 6);
    for head in 0..5u8 {
        let expected = frame(head, 60);
        assert_eq!(guest.read(LOW + u64::from(head) * 2048 + 12, 60), expected);
    }
    assert_eq!(guest.read(LOW + 5 * 2048 + 12, 60), frame(5, 64)[4..]);
    assert_eq!((one.available(), two.available()), (8, 8));
    // What went home is as good as new.
    let fresh = one.alloc().unwrap();
    assert_eq!((fresh.len(), fresh.headroom(), fresh.port()), (0, 128, 0));
}

#[test]
fn what_finds_no_buffer_stays_in_order() {
    let (mut guest, pool) = (Guest::new(4), pool(64));
    let mut device = guest.device(OPTIONS);
    let mut packets = burst(&pool, &(0..10).map(|number| frame(number, 60)).collect::<Vec<_>>());
    for expected in [0u16, 3, 7] {
        for head in 0..expected.min(4) {
            post(&mut guest, head, LOW + u64::from(head) * 2048, 2048);
        }
        assert_eq!(transmit(&guest, &mut device, &mut packets), usize::from(expected.min(4)));
        while guest.used().is_some() {}
    }
    assert_eq!(packets.len(), 3);
    assert_eq!(packets[0].bytes(), frame(7, 60));
    assert_eq!(guest.all_drops(), 0);
}

#[test]
fn avail_index_more_than_the_ring_ahead_breaks_the_ring_once() {
    let (guest, pool) = (Guest::new(16), pool(64));
    let mut device = guest.device(OPTIONS);
    guest.ring.store_avail_index(17);
    let mut packets = burst(&pool, &[frame(1, 60)]);
    assert_eq!(transmit(&guest, &mut device, &mut packets), 0);
    assert_eq!(transmit(&guest, &mut device, &mut packets), 0);
    assert_eq!((packets.len(), guest.drops(RingBroken), guest.all_drops()), (1, 1, 1));
}
