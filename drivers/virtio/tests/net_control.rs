//! Several pairs of queues and the control queue: what the device is told, what it may answer, and what it may say of
//! itself (catalogue A). Whatever it does, frames flow afterwards and every buffer comes home.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use net_fake::{Answer, BUFFERS, Bench, Fake, USUAL, pool};
use netdev::{
    Config, Device, DropCause, MacAddress, Offloads, Rss, RxMode, StartFailure, Unsupported,
};
use virtio::features::Features;
use virtio::transport::DeviceStatus;

/// A device of four pairs, and the control queue behind them.
fn able(answer: Answer) -> Fake {
    with_control(Features::MQ | Features::RSS, 8, answer)
}

fn with_control(more: Features, queue: usize, answer: Answer) -> Fake {
    Fake::with(|registers| {
        let control = Features::CTRL_VQ
            | Features::CTRL_RX
            | Features::CTRL_VLAN
            | Features::CTRL_RX_EXTRA
            | Features::CTRL_GUEST_OFFLOADS
            | Features::CTRL_MAC_ADDR
            | Features::GUEST_ANNOUNCE;
        registers.features = (USUAL | control | more).bits();
        registers.queue_sizes = vec![8; queue];
        registers.queue_sizes.push(64);
        registers.config[8..10].copy_from_slice(&4u16.to_le_bytes());
        registers.config[17] = 40;
        registers.config[20] = 0x3f;
        registers.config[18..20].copy_from_slice(&128u16.to_le_bytes());
        registers.control = Some((queue, answer));
    })
}

/// One pair: then the control queue is the third, however many pairs there are (virtio 1.2, 5.1.2).
fn one_pair(answer: Answer) -> Fake {
    with_control(Features::MQ, 2, answer)
}

fn queues(rx_queues: u16, tx_queues: u16) -> Config {
    Config { rx_queues, tx_queues, ..Config::default() }
}

fn commands(fake: &Fake) -> Vec<Vec<u8>> {
    std::mem::take(&mut fake.0.borrow_mut().commands)
}

#[test]
fn four_pairs_are_set_up_filled_and_switched_on() {
    let fake = able(Answer::Does);
    let mut bench = Bench::with(fake.clone(), &queues(4, 4));
    assert_eq!((bench.port.rx.len(), bench.port.tx.len()), (4, 4));
    assert_eq!((bench.port.info.rx_queues, bench.port.info.tx_queues), (4, 4));
    assert_eq!(commands(&fake), [[4, 0, 4, 0]]);
    assert_eq!(bench.pool.available(), BUFFERS - 4 * 8, "every receive ring is full");
    let accepted = Features::from_bits_retain(fake.0.borrow().accepted);
    assert!(
        accepted.contains(Features::MQ | Features::CTRL_VQ) && !accepted.contains(Features::RSS)
    );
    // Each queue moves its own frames.
    for (pair, ring) in (0..4u8).map(|pair| (pair, fake.ring(2 * usize::from(pair) + 1))) {
        let mut burst = netdev::Burst::new();
        burst.push(bench.pool.copy_from(&[pair; 60]).unwrap());
        assert_eq!(bench.port.tx[usize::from(pair)].tx_burst(&mut burst), 1);
        let desc = ring.desc(ring.avail(0));
        // SAFETY: the driver gave the packet to the device.
        assert_eq!(unsafe { (desc.addr as *const u8).add(12).read() }, pair);
    }
    bench.assert_stops();
}

#[test]
fn more_receive_than_transmit_queues_and_what_cannot_be() {
    let (fake, pool) = (able(Answer::Does), pool(BUFFERS));
    let port = Box::new(fake.open().unwrap()).start(&queues(3, 1), &pool).unwrap();
    assert_eq!((port.rx.len(), port.tx.len()), (3, 1));
    assert_eq!(commands(&fake), [[4, 0, 3, 0]]);
    let error = port.stop().start(&queues(1, 2), &pool).unwrap_err();
    assert_eq!(error.reason, StartFailure::QueuePairs { rx: 1, tx: 2 });
    let error = error.device.start(&queues(5, 5), &pool).unwrap_err();
    assert_eq!(error.reason, StartFailure::Queues { asked: 5, max: 4 });
    let small = net_fake::pool(31);
    let error = error.device.start(&queues(4, 4), &small).unwrap_err();
    assert_eq!(error.reason, StartFailure::PoolTooSmall { needed: 32, available: 31 });
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn max_virtqueue_pairs_0_or_0x8001() {
    for pairs in [0u16, 0x8001, 0xffff] {
        let fake = able(Answer::Does);
        fake.0.borrow_mut().config[8..10].copy_from_slice(&pairs.to_le_bytes());
        let Some(StartFailure::Device(text)) = fake.open().err() else { panic!("{pairs}") };
        assert!(text.contains("pairs"), "{text}");
        // Not offered (or without the control queue that it needs): the field means nothing.
        for missing in [Features::MQ | Features::RSS, Features::CTRL_VQ] {
            fake.0.borrow_mut().features =
                (Features::all() - missing - Features::RING_PACKED).bits();
            assert_eq!(fake.open().unwrap().info().rx_queues, 1);
        }
    }
    let fake = able(Answer::Does);
    fake.0.borrow_mut().config[8..10].copy_from_slice(&0x8000u16.to_le_bytes());
    let device = Box::new(fake.open().unwrap());
    assert_eq!(device.info().rx_queues, 0x8000);
    let pool = pool(BUFFERS);
    // The control queue would have a number that there is not.
    let error = device.start(&queues(2, 2), &pool).unwrap_err();
    assert!(matches!(error.reason, StartFailure::Device(_)), "{}", error.reason);
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn a_queue_of_a_later_pair_is_missing_or_smaller() {
    for (queue, size) in [(2, 0), (3, 4), (7, 0), (8, 0), (8, 2)] {
        let fake = able(Answer::Does);
        fake.0.borrow_mut().queue_sizes[queue] = size;
        let pool = pool(BUFFERS);
        let error = Box::new(fake.open().unwrap()).start(&queues(4, 4), &pool).unwrap_err();
        assert!(matches!(error.reason, StartFailure::Device(text) if text.contains("missing")));
        assert_eq!(pool.available(), BUFFERS);
        assert!(fake.0.borrow().status.is_empty());
    }
}

#[test]
fn pairs_that_are_not_switched_on_end_the_start_and_no_buffer_is_lost() {
    for answer in [Answer::Refuses, Answer::SaysNothing, Answer::Sleeps, Answer::Lies] {
        let (fake, pool) = (able(answer), pool(BUFFERS));
        let error = Box::new(fake.open().unwrap()).start(&queues(2, 2), &pool).unwrap_err();
        assert!(matches!(error.reason, StartFailure::Device(text) if text.contains("switch")));
        assert_eq!(pool.available(), BUFFERS, "{answer:?}");
        // It thinks better of it.
        fake.0.borrow_mut().control = Some((8, Answer::Does));
        let port = error.device.start(&queues(2, 2), &pool).unwrap();
        drop(port.stop());
        assert_eq!(pool.available(), BUFFERS);
    }
}

#[test]
fn commands_say_what_the_specification_says() {
    let fake = one_pair(Answer::Does);
    let config = Config { offloads: Offloads::RX_VLAN_FILTER, ..Config::default() };
    let mut bench = Bench::with(fake.clone(), &config);
    assert_eq!(commands(&fake).len(), 0, "one pair is the beginning");
    let control = &mut bench.port.control;
    let mac = MacAddress([2, 1, 2, 3, 4, 5]);
    control.set_mac(mac).unwrap();
    assert_eq!(control.mac(), mac);
    control.set_promiscuous(true).unwrap();
    control.set_promiscuous(false).unwrap();
    control.set_all_multicast(true).unwrap();
    control.set_vlan(0x123, true).unwrap();
    control.set_vlan(0x123, false).unwrap();
    control.announced().unwrap();
    control.set_rx_mode(RxMode::AllUnicast, true).unwrap();
    control.set_rx_mode(RxMode::NoMulticast, false).unwrap();
    control.set_rx_mode(RxMode::NoUnicast, true).unwrap();
    control.set_rx_mode(RxMode::NoBroadcast, true).unwrap();
    let group = MacAddress([1, 0, 0x5e, 0, 0, 1]);
    control.set_mac_filter(&[mac], &[group, MacAddress::BROADCAST]).unwrap();
    let filter =
        [[1, 0, 1, 0, 0, 0].as_slice(), &mac.0, &[2, 0, 0, 0], &group.0, &[0xff; 6]].concat();
    let expected: [&[u8]; 12] = [
        &[1, 1, 2, 1, 2, 3, 4, 5],
        &[0, 0, 1],
        &[0, 0, 0],
        &[0, 1, 1],
        &[2, 0, 0x23, 1],
        &[2, 1, 0x23, 1],
        &[3, 0],
        &[0, 2, 1],
        &[0, 3, 0],
        &[0, 4, 1],
        &[0, 5, 1],
        &filter,
    ];
    assert_eq!(commands(&fake), expected);
    // What cannot be meant is not said.
    assert!(control.set_mac(MacAddress::BROADCAST).is_err());
    assert!(control.set_mac_filter(&[mac; 65], &[]).is_err());
    assert!(control.set_vlan(4096, true).is_err());
    assert_eq!((commands(&fake).len(), control.mac()), (0, mac));
    control.set_mac_filter(&[mac; 64], &[]).unwrap();
    assert_eq!(commands(&fake)[0].len(), 2 + 4 + 64 * 6 + 4);
    // So many that the ring and its index go round.
    for _ in 0..70_000 {
        control.set_promiscuous(true).unwrap();
    }
    assert_eq!(commands(&fake).len(), 70_000);
    bench.assert_flows();
    bench.assert_stops();
}

#[test]
fn spreading_by_a_hash() {
    let fake = able(Answer::Does);
    let config = Config { offloads: Offloads::RX_RSS, ..queues(4, 4) };
    let mut bench = Bench::with(fake.clone(), &config);
    commands(&fake);
    let (key, table) = ([7u8; 40], [0, 1, 2, 3, 3, 2, 1, 0]);
    let rss = Rss { hash_types: 0x3f, key: &key, table: &table, unclassified: 2 };
    bench.port.control.set_rss(&rss).unwrap();
    let mut expected = vec![4, 1, 0x3f, 0, 0, 0, 7, 0, 2, 0];
    expected.extend(table.iter().flat_map(|queue: &u16| queue.to_le_bytes()));
    expected.extend([4, 0, 40]);
    expected.extend(key);
    assert_eq!(commands(&fake), [expected]);
    let full = Rss { table: &[1; 128], ..rss };
    bench.port.control.set_rss(&full).unwrap();
    commands(&fake);
    let long = [1; 41];
    for wrong in [
        Rss { key: &long, ..rss },
        Rss { table: &[], ..rss },
        Rss { hash_types: 0x40, ..rss },
        Rss { table: &[0; 3], ..rss },
        Rss { table: &[0; 256], ..rss },
        Rss { table: &[4], ..rss },
        Rss { unclassified: 4, ..rss },
    ] {
        bench.port.control.set_rss(&wrong).unwrap_err();
    }
    assert_eq!(commands(&fake).len(), 0);
    bench.assert_stops();
    // Not asked for, not had.
    let mut bench = Bench::with(able(Answer::Does), &queues(4, 4));
    bench.port.control.set_rss(&rss).unwrap_err();
    bench.assert_stops();
}

#[test]
fn receive_offloads_are_switched_by_the_bits_of_their_features() {
    let lro = Features::GUEST_CSUM | Features::GUEST_TSO4 | Features::GUEST_TSO6;
    let uso = Features::GUEST_USO4 | Features::GUEST_USO6;
    let more = Features::MQ | Features::MRG_RXBUF | lro | uso;
    let (none, checksum) = (Offloads::empty(), Offloads::RX_CHECKSUM);
    let merging = Offloads::RX_LRO | checksum;
    for (asked, switched) in [
        (none, &[(none, 0u64)][..]),
        (checksum, &[(none, 0), (checksum, 2)]),
        (
            Offloads::RX_LRO,
            &[(none, 0), (checksum, 2), (Offloads::RX_LRO, 0x182), (merging, 0x182)],
        ),
        (Offloads::RX_USO, &[(none, 0), (checksum, 2), (Offloads::RX_USO, 0xc0_0000_0000_0002)]),
    ] {
        let fake = with_control(more, 2, Answer::Does);
        let mut bench = Bench::with(fake.clone(), &Config { offloads: asked, ..Config::default() });
        for &(offloads, bits) in switched {
            bench.port.control.set_rx_offloads(offloads).unwrap();
            assert_eq!(commands(&fake), [[&[5, 0], &bits.to_le_bytes()[..]].concat()]);
        }
        // What is not in force, and what no header says.
        for offloads in [merging, Offloads::TX_CHECKSUM, Offloads::RX_CHAINS] {
            if !switched.iter().any(|(possible, _)| *possible == offloads) {
                bench.port.control.set_rx_offloads(offloads).unwrap_err();
            }
        }
        assert_eq!(commands(&fake).len(), 0);
        bench.assert_stops();
    }
}

#[test]
fn a_device_that_refuses_or_does_not_answer_a_command() {
    for answer in [Answer::Refuses, Answer::SaysNothing, Answer::Sleeps, Answer::Lies] {
        let fake = one_pair(answer);
        let mut bench = Bench::new(fake.clone());
        let before = bench.port.control.mac();
        assert!(bench.port.control.set_mac(MacAddress::local(9)).is_err());
        assert_eq!(bench.port.control.mac(), before, "nothing was changed");
        fake.0.borrow_mut().control = Some((2, Answer::Does));
        // Who has not answered is not asked again before the next start.
        let answers = matches!(answer, Answer::Refuses | Answer::SaysNothing);
        assert_eq!(bench.port.control.set_promiscuous(true).is_ok(), answers, "{answer:?}");
        bench.assert_flows();
        let pool = bench.pool;
        let device = bench.assert_stops();
        let mut port = device.start(&Config::default(), &pool).unwrap();
        port.control.set_promiscuous(true).unwrap();
        drop(port.stop());
    }
}

#[test]
fn a_device_without_a_control_queue_says_what_it_cannot() {
    let mut bench = Bench::new(Fake::new());
    let control = &mut bench.port.control;
    let results: [Result<(), Unsupported>; 8] = [
        control.set_mac(MacAddress::local(9)),
        control.set_promiscuous(true),
        control.set_all_multicast(true),
        control.set_mac_filter(&[], &[]),
        control.set_vlan(1, true),
        control.announced(),
        control.set_rx_mode(RxMode::NoBroadcast, true),
        control.set_rx_offloads(Offloads::empty()),
    ];
    assert!(results.iter().all(Result::is_err));
    bench.assert_flows();
    bench.assert_stops();
    // Filters of VLANs hold back what nobody asked to see: only on request.
    let mut bench = Bench::new(one_pair(Answer::Does));
    bench.port.control.set_vlan(1, true).unwrap_err();
    bench.assert_stops();
}

#[test]
fn link_changes_and_a_wish_for_an_announcement() {
    let fake = one_pair(Answer::Does);
    let mut bench = Bench::new(fake.clone());
    for (status, up, announce) in
        [(1, true, false), (0, false, false), (3, true, true), (2, false, true), (1, true, false)]
    {
        fake.0.borrow_mut().config[6] = status;
        let link = bench.port.control.link();
        assert_eq!((link.up, link.announce), (up, announce));
    }
    bench.assert_stops();
    // Who has not been told of announcements does not read their bit.
    let fake = Fake::new();
    let mut bench = Bench::new(fake.clone());
    fake.0.borrow_mut().config[6] = 3;
    assert!(!bench.port.control.link().announce);
    bench.assert_stops();
}

#[test]
fn needs_reset_during_traffic_and_recovery() {
    let fake = able(Answer::Does);
    let config = queues(2, 2);
    let mut bench = Bench::with(fake.clone(), &config);
    for trouble in
        [DeviceStatus::DEVICE_NEEDS_RESET | DeviceStatus::DRIVER_OK, DeviceStatus::empty()]
    {
        bench.deliver(&[1; 60]);
        bench.send_frame(&[2; 60]);
        assert!(!bench.port.control.needs_reset());
        fake.0.borrow_mut().status = trouble;
        assert!(bench.port.control.needs_reset() && !bench.port.control.link().up);
        let Bench { port, pool, fake, .. } = bench;
        let port = port.restart(&config, &pool).unwrap();
        assert_eq!(pool.available(), BUFFERS - 2 * 8, "nothing but what the rings hold");
        bench = Bench { fake, pool, port, taken: [0; 2], done: [0; 2], held: Default::default() };
        assert!(bench.port.control.link().up);
        bench.assert_flows();
    }
    bench.assert_stops();
}

#[test]
fn features_that_need_a_control_queue_do_not_go_without() {
    let fake = able(Answer::Does);
    fake.0.borrow_mut().features =
        (Features::all() - Features::CTRL_VQ - Features::RING_PACKED).bits();
    let device = Box::new(fake.open().unwrap());
    assert_eq!(device.info().rx_queues, 1);
    assert!(!device.info().offloads.intersects(Offloads::RX_VLAN_FILTER | Offloads::RX_RSS));
    let config = Config { offloads: Offloads::RX_RSS, ..Config::default() };
    let pool = pool(BUFFERS);
    let error = device.start(&config, &pool).unwrap_err();
    assert_eq!(error.reason, StartFailure::Offloads(Offloads::RX_RSS));
    let port = error.device.start(&Config::default(), &pool).unwrap();
    let accepted = Features::from_bits_retain(fake.0.borrow().accepted);
    assert_eq!(accepted.consistent(), accepted);
    drop(port.stop());
    assert_eq!(pool.available(), BUFFERS);
}

#[test]
fn hashes_are_put_on_packets_and_their_bytes_taken_off() {
    let fake = with_control(Features::HASH_REPORT | Features::GUEST_CSUM, 2, Answer::Does);
    let offloads = Offloads::RSS_HASH | Offloads::RX_CHECKSUM;
    let mut bench = Bench::with(fake.clone(), &Config { offloads, ..Config::default() });
    assert_eq!((bench.port.info.headroom, bench.port.info.offloads), (20, offloads));
    let rss = Rss { hash_types: 0x3f, key: &[7; 40], table: &[], unclassified: 0 };
    bench.port.control.set_rss(&rss).unwrap();
    let mut expected = vec![4, 2, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40];
    expected.extend([7; 40]);
    assert_eq!(commands(&fake), [expected]);
    // (The ring's frame is hash and frame.)
    let whole = |hash: [u8; 8], frame: &[u8]| [&hash, frame].concat();
    let plain = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let partial = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 1, 0];
    for (header, frame, hash) in [
        (plain, whole([1, 2, 3, 4, 2, 0, 0, 0], &[5; 60]), Some(Some(0x0403_0201))),
        (plain, whole([1, 2, 3, 4, 0, 0, 0, 0], &[6; 60]), Some(None)),
        (plain, whole([0, 0, 0, 0, 1, 0, 0, 0], &[7; 14]), Some(Some(0))),
        // A checksum at the frame's very end, and beyond it.
        (partial, whole([9, 0, 0, 0, 3, 0, 0, 0], &[8; 52]), Some(Some(9))),
        (partial, whole([9, 0, 0, 0, 3, 0, 0, 0], &[9; 51]), None),
        // Too short for a frame, though not for a ring's.
        (plain, whole([1; 8], &[1; 13]), None),
        (plain, whole([1; 8], &[1; 6]), None),
    ] {
        let head = bench.buffer().unwrap();
        bench.fill_with(head, header, &frame);
        bench.claim(0, head.into(), 12 + frame.len() as u32);
        let mut burst = netdev::Burst::new();
        burst.push(bench.pool.copy_from(&[0xee; 8]).unwrap());
        let got = bench.port.rx[0].rx_burst(&mut burst);
        assert_eq!((got, burst.len(), burst[0].len()), (hash.map_or(0, |_| 1), 1 + got, 8));
        if let Some(hash) = hash {
            assert_eq!((burst[1].bytes(), burst[1].rss_hash()), (&frame[8..], hash));
        }
    }
    let stats = bench.port.rx[0].stats();
    assert_eq!((stats.packets, stats.bytes), (4, 60 + 60 + 14 + 52));
    assert_eq!((stats.drops[DropCause::Undersize], stats.drops[DropCause::BadHeader]), (2, 1));
    // Sent: eight bytes of nothing between the header and the frame.
    assert_eq!(bench.send_frame(&[3; 60]), 1);
    let (head, sent) = bench.accept().unwrap();
    assert_eq!(sent, whole([0; 8], &[3; 60]));
    bench.claim(1, head.into(), 0);
    assert_eq!(bench.send_frame(&[3; 13]), 1);
    let stats = bench.port.tx[0].stats();
    assert_eq!((stats.packets, stats.bytes, stats.drops[DropCause::Undersize]), (1, 60, 1));
    // What finds no room stays as it was.
    let mut sent = 1;
    loop {
        let mut burst = netdev::Burst::new();
        burst.push(bench.pool.copy_from(&[4; 60]).unwrap());
        if bench.port.tx[0].tx_burst(&mut burst) == 0 {
            assert_eq!(burst[0].bytes(), [4; 60]);
            break;
        }
        sent += 1;
    }
    assert_eq!(bench.port.tx[0].stats().packets, sent);
    bench.assert_stops();
}
