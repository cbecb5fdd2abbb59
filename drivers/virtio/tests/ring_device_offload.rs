//! Offload headers in the device half, both formats: what a driver's header asks for becomes metadata, or the frame is
//! lost and counted; and what a packet of ours asks for becomes a header, or is done here, or the packet is lost.

mod ring_support;

use netbuf::{Burst, Checksum, Gso, GsoKind, Netbuf, Pool};
use netdev::DropCause::{BadHeader, Oversize, Unsupported};
use netdev::{Offloads, RingFormat};
use ring_support::either::{Either, FORMATS};
use ring_support::{HIGH, LOW, OPTIONS, frame, pool};
use virtio::ring::RingOptions;
use virtio::ring::split::DeviceOptions;

const ALL: Offloads = Offloads::all();

const PARTIAL: Checksum = Checksum::Partial { start: 34, offset: 16 };

fn options(offloads: Offloads) -> DeviceOptions {
    DeviceOptions { ring: RingOptions { offloads, ..RingOptions::NONE }, ..OPTIONS }
}

fn each(offloads: Offloads, case: impl Fn(Either, Pool)) {
    for format in FORMATS {
        case(Either::new(format, 64, options(offloads)), pool(128));
    }
}

/// A header: flags, gso_type; hdr_len, gso_size, csum_start, csum_offset.
fn header(flags: u8, gso_type: u8, numbers: [u16; 4]) -> [u8; 12] {
    let mut header = [flags, gso_type, 0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0x12];
    for (at, number) in numbers.into_iter().enumerate() {
        header[2 + 2 * at..][..2].copy_from_slice(&number.to_le_bytes());
    }
    header
}

/// Sends frame `number` behind `header`, cut behind `cut` bytes into another descriptor where that is not zero.
fn send(guest: &mut Either, number: u8, header: &[u8; 12], len: usize, cut: u32) {
    let (id, at) = (2 * u16::from(number), LOW + 4096 * u64::from(number % 16));
    guest.write(at, header);
    guest.write(at + 12, &frame(number, len));
    let total = 12 + u32::try_from(len).unwrap();
    let pieces = [(at, if cut > 0 { cut } else { total }), (at + u64::from(cut), total - cut)];
    guest.publish(id, if cut > 0 { &pieces } else { &pieces[..1] }, false);
}

fn post(guest: &mut Either, id: u16) {
    guest.publish(id, &[(HIGH + 2048 * u64::from(id), 2048)], true);
}

fn read_sent(guest: &Either, id: u16, len: usize) -> ([u8; 12], Vec<u8>) {
    let bytes = guest.read(HIGH + 2048 * u64::from(id), 12 + len);
    (bytes[..12].try_into().unwrap(), bytes[12..].to_vec())
}

#[test]
fn what_a_header_asks_for_becomes_metadata_in_every_layout() {
    for cut in [0, 1, 7, 11, 12, 13, 40] {
        for lengths in [[60; 32], [100; 32], [300; 32]] {
            each(ALL, |mut guest, pool| {
                let headers = [
                    header(1, 0, [0, 0, 34, 16]),
                    header(0, 0, [9, 9, 9, 9]),
                    header(1, 1, [54, 20, 34, 16]),
                    header(3, 4, [60, 1, 34, 16]),
                    header(2, 0, [0, 0, u16::MAX, u16::MAX]),
                    header(0, 1, [0, 1448, 0, 0]),
                ];
                let gso = |kind, size, header_len| Some(Gso { kind, size, header_len });
                let expected = [
                    (PARTIAL, None),
                    (Checksum::Unknown, None),
                    (PARTIAL, gso(GsoKind::Tcp4, 20, 54)),
                    (PARTIAL, gso(GsoKind::Tcp6, 1, 60)),
                    (Checksum::Unknown, None),
                    (Checksum::Unknown, gso(GsoKind::Tcp4, 1448, 0)),
                ];
                // (A ring of 64: two descriptors each.)
                for number in 0..16u8 {
                    let at = usize::from(number) % 6;
                    send(&mut guest, number, &headers[at], lengths[usize::from(number)], cut);
                }
                let packets = guest.receive(&pool);
                assert_eq!((packets.len(), guest.drops(BadHeader)), (16, (0, 0)), "cut {cut}");
                for (number, packet) in (0..).zip(&packets) {
                    assert_eq!(packet.bytes(), frame(number, lengths[usize::from(number)]));
                    let said = (packet.checksum(), packet.gso());
                    assert_eq!(said, expected[usize::from(number) % 6], "{number}");
                    assert_eq!(packet.port(), 7);
                }
                drop(packets);
                assert_eq!(pool.available(), 128);
                // A buffer that carried metadata carries none afterwards.
                let fresh = pool.alloc().unwrap();
                assert_eq!((fresh.checksum(), fresh.gso()), (Checksum::Unknown, None));
            });
        }
    }
}

/// `bad` in the middle of good frames: lost under BadHeader; the others arrive.
fn refused(offloads: Offloads, bad: [u8; 12]) {
    for (cut, good) in [(0, 0), (12, 0), (5, 1)] {
        each(offloads, |mut guest, pool| {
            let good = good & u8::from(offloads.contains(Offloads::RX_CHECKSUM));
            let plain = header(good, 0, [0, 0, 20, 6]);
            for number in 0..12 {
                let header = if number == 4 { &bad } else { &plain };
                send(&mut guest, number, header, 60, cut);
            }
            let packets = guest.receive(&pool);
            assert_eq!(packets.len(), 11, "{bad:?}");
            assert_eq!(guest.drops(BadHeader), (1, 1), "{bad:?}");
            for (number, packet) in (0..12).filter(|&number| number != 4).zip(&packets) {
                assert_eq!(packet.bytes(), frame(number, 60));
            }
            let descs = if cut > 0 { 2 } else { 1 };
            for number in 0..12 {
                assert_eq!(guest.used(descs), Some((2 * number, 0)));
            }
            drop(packets);
            assert_eq!(pool.available(), 128);
        });
    }
}

#[test]
fn csum_start_past_the_frame() {
    for [start, offset] in
        [[59, 0], [60, 0], [0, 59], [30, 29], [61, 0], [u16::MAX, 0], [0, u16::MAX], [u16::MAX; 2]]
    {
        refused(ALL, header(1, 0, [0, 0, start, offset]));
        refused(ALL, header(1, 1, [40, 20, start, offset]));
    }
}

#[test]
fn gso_unknown_gso_size_zero_and_header_longer_than_the_frame() {
    for gso_type in [2, 3, 6, 0x7f, 0x80, 0x81, 0x85, 0xff] {
        refused(ALL, header(1, gso_type, [40, 20, 20, 6]));
    }
    for gso_type in [1, 4, 5] {
        refused(ALL, header(1, gso_type, [40, 0, 20, 6]));
        refused(ALL, header(1, gso_type, [61, 20, 20, 6]));
        refused(ALL, header(1, gso_type, [u16::MAX, 20, 20, 6]));
    }
}

#[test]
fn an_offload_that_was_not_negotiated() {
    let either = Offloads::RX_CHECKSUM | Offloads::RX_LRO | Offloads::RX_USO;
    let asks = [
        (header(1, 0, [0, 0, 20, 6]), either),
        (header(0, 1, [40, 20, 0, 0]), Offloads::RX_LRO),
        (header(1, 1, [40, 20, 20, 6]), Offloads::RX_LRO),
        (header(0, 4, [40, 20, 0, 0]), Offloads::RX_LRO),
        (header(1, 5, [40, 20, 20, 6]), Offloads::RX_USO),
    ];
    for (header, offload) in asks {
        refused(ALL - offload, header);
        refused(Offloads::empty(), header);
    }
}

/// A frame to be cut may be larger than others, but has an end; it becomes a chain.
#[test]
fn a_segment_of_up_to_64_kib_is_received_and_no_more() {
    each(Offloads::RX_LRO | Offloads::RX_CHAINS, |mut guest, pool| {
        let asks = header(1, 1, [54, 1448, 34, 16]);
        let mut total = 0;
        for (len, good) in [(65_550, true), (65_551, false), (1519, true)] {
            guest.write(LOW, &asks);
            guest.write(LOW + 12, &frame(3, len));
            guest.publish(1, &[(LOW, 12), (LOW + 12, u32::try_from(len).unwrap())], false);
            let packets = guest.receive(&pool);
            assert_eq!(packets.len(), usize::from(good));
            total += u64::from(!good);
            assert_eq!(guest.drops(Oversize), (total, total));
            if let Some(packet) = packets.first() {
                let mut bytes = vec![0; len];
                assert_eq!((packet.len(), packet.copy_to(&mut bytes)), (len, len));
                assert_eq!(bytes, frame(3, len));
                assert_eq!(packet.checksum(), PARTIAL);
                assert_eq!(packet.gso().map(|gso| gso.size), Some(1448));
            }
        }
        // Without a reason to be large, it may not be.
        guest.write(LOW, &header(1, 0, [0, 0, 34, 16]));
        guest.publish(1, &[(LOW, 12 + 1519)], false);
        assert_eq!(guest.receive(&pool).len(), 0);
        assert_eq!(guest.drops(Oversize), (total + 1, total + 1));
        assert_eq!(pool.available(), 128);
    });
}

/// A burst of packets that `change` changes, between plain ones.
fn sent(guest: &mut Either, pool: &Pool, change: impl Fn(&mut Netbuf)) {
    let mut packets = Burst::new();
    for number in 0..9 {
        post(guest, number);
        let mut packet = pool.copy_from(&frame(number.to_le_bytes()[0], 60)).unwrap();
        if number % 4 == 2 {
            change(&mut packet);
        }
        packets.push(packet);
    }
    assert_eq!((guest.transmit(&mut packets), packets.len()), (9, 0));
    assert_eq!(pool.available(), 128);
}

#[test]
fn what_a_packet_asks_for_stands_in_the_header() {
    each(ALL, |mut guest, pool| {
        sent(&mut guest, &pool, |packet| {
            packet.set_checksum(PARTIAL);
            packet.set_gso(Some(Gso { kind: GsoKind::Tcp6, size: 0x1234, header_len: 54 }));
        });
        for id in 0..9 {
            assert_eq!(guest.used(1), Some((id, 72)));
            let expected = if id % 4 == 2 {
                [1, 4, 54, 0, 0x34, 0x12, 34, 0, 16, 0, 1, 0]
            } else {
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]
            };
            let bytes = frame(id.to_le_bytes()[0], 60);
            assert_eq!(read_sent(&guest, id, 60), (expected, bytes), "{:?}", guest.format);
        }
    });
}

#[test]
fn a_verified_checksum_is_said_only_where_the_driver_knows_of_it() {
    for (offloads, flags) in [(ALL, 2), (Offloads::empty(), 0)] {
        each(offloads, |mut guest, pool| {
            sent(&mut guest, &pool, |packet| packet.set_checksum(Checksum::Valid));
            for id in 0..9 {
                let (header, _) = read_sent(&guest, id, 60);
                assert_eq!(header[0], if id % 4 == 2 { flags } else { 0 });
                assert_eq!(header[1..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            }
        });
    }
}

#[test]
fn a_partial_checksum_is_completed_for_a_driver_that_cannot() {
    each(Offloads::empty(), |mut guest, pool| {
        sent(&mut guest, &pool, |packet| packet.set_checksum(PARTIAL));
        for id in 0..9u16 {
            let (header, mut bytes) = read_sent(&guest, id, 60);
            assert_eq!(header, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
            let before = frame(id.to_le_bytes()[0], 60);
            if id % 4 == 2 {
                let sum = before[34..]
                    .chunks(2)
                    .fold(0u32, |sum, word| sum + u32::from(word[0]) * 256 + u32::from(word[1]));
                let sum = !((sum & 0xffff) + (sum >> 16)) & 0xffff;
                assert_eq!(u32::from(bytes[50]) * 256 + u32::from(bytes[51]), sum);
                bytes[50..52].copy_from_slice(&before[50..52]);
            }
            assert_eq!(bytes, before);
        }
    });
}

#[test]
fn a_packet_to_be_cut_is_lost_where_the_driver_cannot() {
    let gso = |kind| Some(Gso { kind, size: 20, header_len: 40 });
    for (kind, offload) in [
        (GsoKind::Tcp4, Offloads::TX_TSO4),
        (GsoKind::Tcp6, Offloads::TX_TSO6),
        (GsoKind::UdpL4, Offloads::TX_USO),
        (GsoKind::Udp, Offloads::empty()),
    ] {
        each(ALL - offload, |mut guest, pool| {
            sent(&mut guest, &pool, |packet| {
                packet.set_checksum(PARTIAL);
                packet.set_gso(gso(kind));
            });
            assert_eq!((guest.drops(Unsupported), guest.packets()), ((2, 2), 7));
            // Their buffers went to the packets behind.
            let frames: Vec<u8> = (0..7).map(|id| read_sent(&guest, id, 1).1[0]).collect();
            assert_eq!(frames, [0, 1, 3, 4, 5, 7, 8]);
        });
    }
}

#[test]
fn metadata_that_contradicts_the_packet_is_not_passed_on() {
    for spoil in [
        (|packet| packet.set_checksum(Checksum::Partial { start: 59, offset: 0 }))
            as fn(&mut Netbuf),
        |packet| packet.set_checksum(Checksum::Partial { start: u16::MAX, offset: u16::MAX }),
        |packet| packet.set_gso(Some(Gso { kind: GsoKind::Tcp4, size: 0, header_len: 54 })),
        |packet| packet.set_gso(Some(Gso { kind: GsoKind::Tcp4, size: 9, header_len: 61 })),
        |packet| packet.set_vlan(Some(5)),
    ] {
        for offloads in [ALL, Offloads::empty()] {
            each(offloads, |mut guest, pool| {
                sent(&mut guest, &pool, spoil);
                assert_eq!(guest.drops(Unsupported), (2, 2));
            });
        }
    }
}

/// What one device half receives another sends on unchanged: metadata goes through.
#[test]
fn metadata_goes_from_one_driver_to_another() {
    for (from, to) in
        [(RingFormat::Split, RingFormat::Packed), (RingFormat::Packed, RingFormat::Split)]
    {
        let (mut one, pool) = (Either::new(from, 64, options(ALL)), pool(64));
        let mut two = Either::new(to, 64, options(ALL));
        let mut asks = header(1, 1, [42, 1000, 34, 6]);
        send(&mut one, 3, &asks, 1500, 0);
        post(&mut two, 0);
        let mut packets = one.receive(&pool);
        assert_eq!(two.transmit(&mut packets), 1);
        asks[10..].copy_from_slice(&[1, 0]);
        assert_eq!(read_sent(&two, 0, 1500), (asks, frame(3, 1500)));
        assert_eq!(pool.available(), 64);
    }
}
