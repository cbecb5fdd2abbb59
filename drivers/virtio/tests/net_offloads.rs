//! What a configuration can ask a device for, over a whole port: offload requests and claims in headers, frames over
//! several buffers, chained packets, features of the rings; refusals that say what is missing; restarts with another
//! configuration. After every lie valid traffic flows, and after every stop each buffer is home.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use std::cell::Cell;

use net_fake::{BUFFERS, Bench, Fake, HEADER, pool};
use netbuf::{Burst, Checksum, DeviceMemory, Gso, GsoKind, Netbuf};
use netdev::{Config, Device, DropCause, Offloads, RingFeatures, StartFailure};
use virtio::features::Features;
use virtio::net::{RingMemory, VirtioNet};

/// What needs a control queue, or cannot be had at all.
const WITHOUT: Offloads =
    Offloads::RSS_HASH.union(Offloads::RX_VLAN_FILTER).union(Offloads::RX_RSS);

/// A device that can do all that the driver can ask for, but for a control queue.
fn able() -> Fake {
    Fake::with(|registers| {
        let controls = Features::CTRL_VQ | Features::MQ | Features::RSS;
        registers.features = (Features::all() - Features::RING_PACKED - controls).bits();
        registers.config[10..12].copy_from_slice(&9000u16.to_le_bytes());
        registers.queue_sizes = vec![32; 2];
    })
}

fn with(offloads: Offloads) -> Bench {
    Bench::with(able(), &Config { offloads, ..Config::default() })
}

/// The frame split over buffers as the device likes, the first with `header`; how many buffers.
fn deliver_pieces(bench: &mut Bench, header: [u8; HEADER], pieces: &[&[u8]]) {
    for (at, piece) in pieces.iter().enumerate() {
        let head = bench.buffer().expect("a buffer is posted");
        let len = if at == 0 {
            bench.fill_with(head, header, piece);
            HEADER + piece.len()
        } else {
            // A further buffer has no header: the frame goes on where the header would be.
            let (front, rest) = piece.split_at(HEADER);
            bench.fill_with(head, front.try_into().unwrap(), rest);
            piece.len()
        };
        bench.claim(0, head.into(), len as u32);
    }
}

fn buffers(count: u16) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[10..].copy_from_slice(&count.to_le_bytes());
    header
}

fn receive_one(bench: &mut Bench) -> Netbuf {
    let mut burst = Burst::new();
    assert_eq!(bench.port.rx[0].rx_burst(&mut burst), 1);
    burst.pop().unwrap()
}

fn contents(packet: &Netbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}

#[test]
fn jumbo_frames_of_9014_bytes_both_ways() {
    let offloads = Offloads::RX_CHAINS | Offloads::TX_CHAINS;
    let mut bench = with(offloads);
    assert_eq!(bench.port.info.max_frame, 9014);
    assert_eq!(bench.port.info.offloads, offloads);
    let features = RingFeatures::MERGEABLE | RingFeatures::INDIRECT;
    assert!(bench.port.info.ring_features.contains(features));
    for round in 0..20u8 {
        let frame: Vec<u8> = (0..9014u32).map(|at| at as u8 ^ round).collect();
        let (first, rest) = frame.split_at(2048);
        let pieces: Vec<&[u8]> = std::iter::once(first).chain(rest.chunks(2060)).collect();
        deliver_pieces(&mut bench, buffers(pieces.len() as u16), &pieces);
        let packet = receive_one(&mut bench);
        assert_eq!(contents(&packet), frame);
        assert_eq!(bench.send(packet), 1);
        let (head, sent) = bench.accept_any().expect("it was sent");
        assert_eq!(sent[..10], [0; 10]);
        assert_eq!(sent[HEADER..], frame);
        bench.claim(1, head.into(), 0);
        bench.port.tx[0].tx_burst(&mut Burst::new());
    }
    assert_eq!(bench.port.rx[0].stats().bytes, 20 * 9014);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn num_buffers_0_and_more_than_outstanding_and_a_frame_that_is_never_complete() {
    let mut bench = with(Offloads::RX_CHAINS);
    for count in [0, 33, 0xffff] {
        deliver_pieces(&mut bench, buffers(count), &[&[7; 60]]);
        assert_eq!(bench.receive().len(), 0);
    }
    assert_eq!(bench.rx_drops(DropCause::BadHeader), 3);
    bench.assert_flows();
    // Larger than was agreed upon.
    deliver_pieces(
        &mut bench,
        buffers(5),
        &[&[1; 2048], &[1; 2060], &[1; 2060], &[1; 2060], &[1; 2060]],
    );
    assert_eq!(bench.receive().len(), 0);
    assert_eq!(bench.rx_drops(DropCause::Oversize), 1);
    // Half a frame: the next buffers belong to it, whatever the device means by them.
    deliver_pieces(&mut bench, buffers(2), &[&[2; 60]]);
    assert_eq!(bench.receive().len(), 0);
    assert!(bench.deliver(&[3; 60]));
    let packet = receive_one(&mut bench);
    assert_eq!(packet.len(), 60 + HEADER + 60);
    drop(packet);
    bench.assert_flows();
    deliver_pieces(&mut bench, buffers(3), &[&[2; 60]]);
    assert_eq!(bench.receive().len(), 0);
    bench.assert_stops();
}

#[test]
fn mergeable_buffers_without_a_wish_for_chains_take_single_ones() {
    let config = Config { ring_features: RingFeatures::MERGEABLE, ..Config::default() };
    let mut bench = Bench::with(able(), &config);
    assert_eq!(bench.port.info.max_frame, 2048);
    deliver_pieces(&mut bench, buffers(2), &[&[1; 2048], &[1; 100]]);
    assert_eq!(bench.receive().len(), 0);
    assert_eq!(bench.rx_drops(DropCause::Oversize), 1);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn checksums_that_a_device_verified_or_left_partial() {
    let mut bench = with(Offloads::RX_CHECKSUM);
    let claim = |flags: u8, start: u8, offset: u8| {
        let mut header = buffers(1);
        (header[0], header[6], header[8]) = (flags, start, offset);
        header
    };
    for (header, expected) in [
        (claim(0, 0, 0), Checksum::Unknown),
        (claim(2, 0, 0), Checksum::Valid),
        (claim(1, 34, 16), Checksum::Partial { start: 34, offset: 16 }),
        (claim(1, 42, 16), Checksum::Partial { start: 42, offset: 16 }),
    ] {
        deliver_pieces(&mut bench, header, &[&[5; 60]]);
        assert_eq!(receive_one(&mut bench).checksum(), expected);
    }
    // csum_start/offset past the packet; a segmentation that was not agreed upon.
    let mut merged = claim(1, 34, 16);
    (merged[1], merged[4]) = (1, 100);
    for header in [claim(1, 43, 16), claim(1, 255, 255), merged] {
        deliver_pieces(&mut bench, header, &[&[5; 60]]);
        assert_eq!(bench.receive().len(), 0);
    }
    assert_eq!(bench.rx_drops(DropCause::BadHeader), 3);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn merged_tcp_arrives_as_a_chain() {
    let mut bench = with(Offloads::RX_LRO);
    let all = Offloads::RX_LRO | Offloads::RX_CHAINS | Offloads::RX_CHECKSUM;
    assert_eq!(bench.port.info.offloads, all);
    // Larger than a frame may be that was not merged.
    let frame = vec![6u8; 20_000];
    let (first, rest) = frame.split_at(2048);
    let pieces: Vec<&[u8]> = std::iter::once(first).chain(rest.chunks(2060)).collect();
    let merged = |kind: u8, size: u16, header_len: u16| {
        let mut header = buffers(pieces.len() as u16);
        (header[0], header[1]) = (1, kind);
        header[2..4].copy_from_slice(&header_len.to_le_bytes());
        header[4..6].copy_from_slice(&size.to_le_bytes());
        (header[6], header[8]) = (34, 16);
        header
    };
    for (kind, expected) in [(1, GsoKind::Tcp4), (4, GsoKind::Tcp6)] {
        deliver_pieces(&mut bench, merged(kind, 1448, 66), &pieces);
        let packet = receive_one(&mut bench);
        assert_eq!(packet.gso(), Some(Gso { kind: expected, size: 1448, header_len: 66 }));
        assert_eq!(contents(&packet), frame);
    }
    // gso unknown, gso_size 0, hdr_len > packet
    for header in [merged(9, 1448, 66), merged(1, 0, 66), merged(1, 1448, 20_001)] {
        deliver_pieces(&mut bench, header, &pieces);
        assert_eq!(bench.receive().len(), 0);
    }
    assert_eq!(bench.rx_drops(DropCause::BadHeader), 3);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn requests_stand_in_the_header_and_others_are_counted() {
    let mut bench = with(Offloads::TX_TSO4 | Offloads::TX_CHAINS);
    let all = Offloads::TX_TSO4 | Offloads::TX_CHAINS | Offloads::TX_CHECKSUM;
    assert_eq!(bench.port.info.offloads, all, "who cuts completes the checksum");
    let ask = |bench: &Bench, kind| {
        let mut packet = bench.pool.copy_from(&[8; 2000]).unwrap();
        for _ in 0..9 {
            packet.chain(bench.pool.copy_from(&[8; 2000]).unwrap());
        }
        packet.set_checksum(Checksum::Partial { start: 34, offset: 16 });
        packet.set_gso(Some(Gso { kind, size: 1448, header_len: 54 }));
        packet
    };
    let packet = ask(&bench, GsoKind::Tcp4);
    assert_eq!(bench.send(packet), 1);
    let (head, sent) = bench.accept_any().unwrap();
    assert_eq!(sent[..10], [1, 1, 54, 0, 168, 5, 34, 0, 16, 0]);
    assert_eq!(sent[HEADER..], [8; 20_000]);
    bench.claim(1, head.into(), 0);
    let packet = ask(&bench, GsoKind::Tcp6);
    assert_eq!(bench.send(packet), 1);
    assert!(bench.accept_any().is_none());
    assert_eq!(bench.tx_drops(DropCause::Unsupported), 1);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn a_request_that_the_device_cannot_meet_is_named() {
    let fake = Fake::new();
    for (offloads, refused) in [
        (Offloads::RX_CHAINS, Offloads::RX_CHAINS),
        (Offloads::TX_TSO4 | Offloads::TX_USO, Offloads::TX_TSO4 | Offloads::TX_USO),
        (Offloads::all(), Offloads::all()),
    ] {
        let config = Config { offloads, ..Config::default() };
        let pool = pool(BUFFERS);
        let error = Box::new(fake.open().unwrap()).start(&config, &pool).unwrap_err();
        assert_eq!(error.reason, StartFailure::Offloads(refused));
        assert_eq!(pool.available(), BUFFERS);
    }
    let config = Config { ring_features: RingFeatures::IN_ORDER, ..Config::default() };
    let error = Box::new(fake.open().unwrap()).start(&config, &pool(BUFFERS)).unwrap_err();
    assert_eq!(error.reason, StartFailure::RingFeatures(RingFeatures::IN_ORDER));
}

#[test]
fn a_device_that_completes_in_order_names_the_last_of_many() {
    let config = Config { ring_features: RingFeatures::IN_ORDER, ..Config::default() };
    let mut bench = Bench::with(able(), &config);
    bench.assert_flows();
    for number in 0..8u8 {
        assert_eq!(bench.send_frame(&[number; 60]), 1);
    }
    let sent: Vec<u16> = std::iter::from_fn(|| bench.accept()).map(|(head, _)| head).collect();
    // One element, and the index skips over the others (virtio 1.2, 2.7.9).
    bench.claim(1, (*sent.last().unwrap()).into(), 0);
    bench.done[1] += 7;
    bench.fake.ring(1).store_used_index(bench.done[1]);
    bench.port.tx[0].tx_burst(&mut Burst::new());
    assert_eq!(bench.pool.available(), BUFFERS - 32);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn doorbells_carry_where_the_next_entry_will_be() {
    let config = Config {
        ring_features: RingFeatures::NOTIFICATION_DATA,
        ring_features_off: RingFeatures::EVENT_IDX,
        ..Config::default()
    };
    let mut bench = Bench::with(able(), &config);
    assert_eq!(bench.fake.0.borrow().data[0], Some(32 << 16), "all buffers were posted");
    bench.send_frame(&[1; 60]);
    assert_eq!(bench.fake.0.borrow().data[1], Some(1 | 1 << 16));
    bench.send_frame(&[2; 60]);
    assert_eq!(bench.fake.0.borrow().data[1], Some(1 | 2 << 16));
    bench.assert_stops();
}

#[test]
fn stopped_and_started_otherwise_again_and_again() {
    let (fake, pool) = (able(), pool(BUFFERS));
    let mut device: Box<dyn Device> = Box::new(fake.open().unwrap());
    let every = [
        Config::default(),
        Config { offloads: Offloads::RX_LRO | Offloads::TX_CHAINS, ..Config::default() },
        Config { offloads: Offloads::TX_CHECKSUM, rx_ring: Some(8), ..Config::default() },
        Config { ring_features: RingFeatures::IN_ORDER, tx_ring: Some(4), ..Config::default() },
        Config { offloads: Offloads::all() - WITHOUT, ..Config::default() },
    ];
    for round in 0..25 {
        let port = device.start(&every[round % every.len()], &pool).unwrap();
        let fake = fake.clone();
        let mut bench =
            Bench { fake, pool, port, taken: [0; 2], done: [0; 2], held: Default::default() };
        bench.assert_flows();
        // Some stay in the rings.
        bench.deliver(&[1; 60]);
        bench.send_frame(&[2; 60]);
        device = bench.assert_stops();
    }
    let mut config = every[0];
    config.rx_queues = 0;
    let error = device.start(&config, &pool).unwrap_err();
    assert_eq!(error.reason, StartFailure::Queues { asked: 0, max: 1 });
    assert_eq!(pool.available(), BUFFERS);
}

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

#[test]
fn memory_for_rings_is_taken_when_it_is_known_how_much() {
    fn source(bytes: usize) -> Option<DeviceMemory> {
        TAKEN.set(TAKEN.get() + 1);
        (bytes < 64 << 10).then(|| DeviceMemory::from_heap(bytes))
    }
    let (fake, pool) = (able(), pool(BUFFERS));
    let device = VirtioNet::new(fake, RingMemory::from_source(source)).unwrap();
    assert_eq!(TAKEN.get(), 0);
    let mut device: Box<dyn Device> = Box::new(device);
    let small = Config { rx_ring: Some(8), tx_ring: Some(8), ..Config::default() };
    let chains = Config { offloads: Offloads::TX_CHAINS, ..small };
    for (config, taken) in [(small, 1), (small, 1), (chains, 2), (small, 2), (chains, 2)] {
        device = device.start(&config, &pool).unwrap().stop();
        assert_eq!((TAKEN.get(), pool.available()), (taken, BUFFERS));
    }
    let large = Config { rx_ring: Some(32), tx_ring: Some(32), ..chains };
    device = device.start(&large, &pool).unwrap().stop();
    assert_eq!(TAKEN.get(), 3);
    drop(device);
}
