//! The loopback and the wrappers, beyond what conformance asks: what they show and what they count is exact.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{FaultPlan, FaultReport, Faults};
use netdev::tap::Sighting;
use netdev::trace::BurstLog;
use netdev::{
    Burst, Config, Device, Direction, DropCause, Port, call_counter, fault, loopback, tap, trace,
};

fn pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

fn start(device: Box<dyn Device>, ring: u16) -> Port {
    let config = Config {
        port: 5,
        rx_ring: Some(ring),
        tx_ring: Some(ring),
        max_frame: Some(1518),
        ..Config::default()
    };
    device.start(&config, &pool(2048)).unwrap()
}

/// The number again and again: a flipped bit does not make another number's frame.
fn numbered(number: u32) -> Vec<u8> {
    let mut frame = vec![0xff; 14];
    frame.extend(number.to_le_bytes().repeat(13).into_iter().take(50));
    frame
}

fn number(frame: &[u8]) -> u32 {
    u32::from_le_bytes(frame[14..18].try_into().unwrap())
}

#[test]
fn a_device_hears_itself_on_every_queue() {
    let config = Config { rx_queues: 3, tx_queues: 3, rx_ring: Some(8), ..Config::default() };
    let pool = pool(64);
    let mut port = loopback::device().start(&config, &pool).unwrap();
    for queue in 0..3u8 {
        let packet = pool.copy_from(&[queue; 60]).unwrap();
        port.tx[usize::from(queue)].tx_burst(&mut Burst::from_iter([packet]));
    }
    for queue in 0..3u8 {
        let mut burst = Burst::new();
        assert_eq!(port.rx[usize::from(queue)].rx_burst(&mut burst), 1);
        assert_eq!(burst[0].bytes(), [queue; 60]);
    }
    drop(port.stop());
    assert_eq!(pool.available(), 64);
}

#[test]
fn a_pair_that_is_half_started_has_no_link() {
    let (one, two) = loopback::pair();
    let mut one = start(one, 64);
    assert!(!one.control.link().up);
    let source = pool(64);
    let mut burst = Burst::from_iter([source.copy_from(&numbered(0)).unwrap()]);
    assert_eq!(one.tx[0].tx_burst(&mut burst), 1);
    assert_eq!(one.tx[0].stats().drops[DropCause::LinkDown], 1);
    let two = start(two, 64);
    assert!(one.control.link().up);
    drop(two.stop());
    assert!(!one.control.link().up);
}

#[test]
fn a_chain_is_gathered_where_that_was_asked_for_and_refused_where_not() {
    for chains in [false, true] {
        let offloads = if chains { netdev::Offloads::TX_CHAINS } else { netdev::Offloads::empty() };
        let (pool, config) = (pool(512), Config { offloads, ..Config::default() });
        let mut port = loopback::device().start(&config, &pool).unwrap();
        let mut packet = pool.copy_from(&[1; 100]).unwrap();
        packet.chain(pool.copy_from(&[2; 50]).unwrap());
        assert_eq!(port.tx[0].tx_burst(&mut Burst::from_iter([packet])), 1);
        let mut burst = Burst::new();
        assert_eq!(port.rx[0].rx_burst(&mut burst), usize::from(chains));
        assert_eq!(port.tx[0].stats().drops[DropCause::Unsupported], u64::from(!chains));
        if chains {
            assert_eq!(burst[0].bytes(), [[1; 50], [1; 50], [2; 50]].concat());
        }
    }
}

#[test]
fn the_tap_shows_what_moved_and_only_that() {
    let seen = Rc::new(RefCell::new(Vec::<(Sighting, Vec<u8>)>::new()));
    let sink = seen.clone();
    let record = move |at: &Sighting, bytes: &[u8]| sink.borrow_mut().push((*at, bytes.to_vec()));
    let device = tap::wrap(loopback::device(), Rc::new(RefCell::new(record)), call_counter());
    let (mut port, source) = (start(device, 8), pool(64));
    // Twelve into a ring of eight, one of them too large to be sent.
    let mut burst: Burst = (0..12).map(|n| source.copy_from(&numbered(n)).unwrap()).collect();
    burst[3] = source.copy_from(&[7; 1600]).unwrap();
    assert_eq!(port.tx[0].tx_burst(&mut burst), 9);
    assert_eq!(port.tx[0].tx_burst(&mut burst), 0);
    let sent = [0, 1, 2, 4, 5, 6, 7, 8];
    let shown = seen.take();
    assert_eq!(shown.iter().map(|s| number(&s.1)).collect::<Vec<_>>(), sent);
    assert!(shown.iter().all(|s| s.0.direction == Direction::Sent && s.0.timestamp == 0));
    assert_eq!(port.rx[0].rx_burst(&mut Burst::new()), 8);
    let shown = seen.take();
    assert_eq!(shown.iter().map(|s| s.1.clone()).collect::<Vec<_>>(), sent.map(numbered));
    let expected = Sighting { direction: Direction::Received, port: 5, queue: 0, timestamp: 1 };
    assert!(shown.iter().all(|s| s.0 == expected));
}

#[test]
fn the_trace_keeps_the_newest_bursts() {
    let log = BurstLog::new(3);
    let device = trace::wrap(loopback::device(), log.clone(), call_counter());
    let (mut port, source) = (start(device, 4), pool(64));
    for round in 1..=3 {
        let mut burst: Burst =
            (0..2 * round).map(|n| source.copy_from(&numbered(n)).unwrap()).collect();
        port.tx[0].tx_burst(&mut burst);
        port.rx[0].rx_burst(&mut Burst::new());
        port.rx[0].rx_burst(&mut Burst::new());
    }
    let log = log.borrow();
    assert_eq!(log.total(), 6);
    let kept: Vec<_> =
        log.iter().map(|e| (e.timestamp, e.direction, e.offered, e.packets, e.bytes)).collect();
    assert_eq!(
        kept,
        [
            (3, Direction::Received, 32, 4, 256),
            (4, Direction::Sent, 6, 4, 256),
            (5, Direction::Received, 32, 4, 256)
        ]
    );
}

/// Sends `count` numbered frames through a loopback with faults; what came out, and the report.
fn run(plan: FaultPlan, count: u32) -> (Vec<Vec<u8>>, FaultReport, Port) {
    let (device, report) = fault::wrap(loopback::device(), plan.check().unwrap(), None);
    let (mut port, source) = (start(device, 256), pool(4096));
    let (mut next, mut out) = (0, Vec::new());
    // The polls after the last frame bring out what is held back.
    for _ in 0..count / 8 + 5000 {
        let mut burst = Burst::new();
        while next < count && !burst.is_full() {
            burst.push(source.copy_from(&numbered(next)).unwrap());
            next += 1;
        }
        let taken = port.tx[0].tx_burst(&mut burst);
        assert!(burst.is_empty() || taken == 0);
        next -= u32::try_from(burst.len()).unwrap();
        drop(burst);
        let mut burst = Burst::new();
        port.rx[0].rx_burst(&mut burst);
        out.extend(burst.iter().map(|packet| packet.bytes().to_vec()));
    }
    assert_eq!(next, count);
    (out, report, port)
}

/// What a receiver finds, computed from nothing but the frames: lost, duplicated, reordered, corrupted.
fn judge(frames: &[Vec<u8>], count: u32) -> [u64; 4] {
    let (mut seen, mut newest) = (HashSet::new(), None);
    let [mut duplicated, mut reordered, mut corrupted] = [0; 3];
    for frame in frames {
        let n = number(frame);
        if n >= count || *frame != numbered(n) {
            corrupted += 1;
        } else if !seen.insert(n) {
            duplicated += 1;
        } else if newest > Some(n) {
            reordered += 1;
        } else {
            newest = Some(n);
        }
    }
    [u64::from(count) - seen.len() as u64 - corrupted, duplicated, reordered, corrupted]
}

const EVERYTHING: Faults = Faults {
    loss: 30_000,
    duplication: 40_000,
    reordering: 50_000,
    reorder_distance: 3,
    corruption: 60_000,
    corrupt_from: 14,
    delay: 10_000,
    delay_ticks: 4,
    reorder_patience: 50,
    stall: 20_000,
    stall_calls: 5,
};

#[test]
fn what_a_receiver_finds_is_what_was_counted() {
    for (rx, tx) in [(EVERYTHING, Faults::default()), (Faults::default(), EVERYTHING)] {
        for seed in 0..5 {
            let (out, report, _port) = run(FaultPlan { seed, rx, tx }, 20_000);
            let counts = if rx == EVERYTHING { report.rx() } else { report.tx() };
            let idle = if rx == EVERYTHING { report.tx() } else { report.rx() };
            let found = judge(&out, 20_000);
            assert_eq!(
                found,
                [counts.lost, counts.duplicated, counts.reordered, counts.corrupted],
                "seed {seed}: {counts:?}"
            );
            assert!(found.iter().all(|&n| n > 300), "too few faults to prove anything: {found:?}");
            assert_eq!(counts.packets, 20_000);
            assert!(counts.delayed > 100);
            assert_eq!((idle.lost, idle.duplicated, idle.corrupted), (0, 0, 0));
            assert_eq!(report.tx().refusals > 0, tx == EVERYTHING);
        }
    }
}

#[test]
fn both_directions_add_up_in_the_queue_statistics() {
    let (out, report, port) = run(FaultPlan { seed: 9, rx: EVERYTHING, tx: EVERYTHING }, 20_000);
    let (rx, tx) = (port.rx[0].stats(), port.tx[0].stats());
    assert_eq!(tx.drops[DropCause::Injected], report.tx().lost);
    assert_eq!(rx.drops[DropCause::Injected], report.rx().lost);
    assert_eq!(tx.packets, 20_000 - report.tx().lost + report.tx().duplicated);
    assert_eq!(report.rx().packets, tx.packets);
    assert_eq!(rx.packets, out.len() as u64);
    assert_eq!(rx.packets, tx.packets - report.rx().lost + report.rx().duplicated);
}

#[test]
fn the_seed_decides() {
    let plan = |seed| FaultPlan { seed, rx: EVERYTHING, tx: EVERYTHING };
    let (first, report, _port) = run(plan(1), 2000);
    let (again, same, _port) = run(plan(1), 2000);
    let (other, ..) = run(plan(2), 2000);
    assert_eq!(first, again);
    assert_eq!((report.rx(), report.tx()), (same.rx(), same.tx()));
    assert_ne!(first, other);
}

#[test]
fn a_constant_delay_keeps_the_order() {
    let rx = Faults { delay: 1_000_000, delay_ticks: 10, ..Faults::default() };
    let (out, report, _port) = run(FaultPlan { rx, ..FaultPlan::default() }, 500);
    assert_eq!(out, (0..500).map(numbered).collect::<Vec<_>>());
    assert_eq!((report.rx().delayed, report.rx().reordered), (500, 0));
}

#[test]
fn packets_inside_at_stop_are_abandoned_and_leak_nothing() {
    let rx = Faults { delay: 1_000_000, delay_ticks: 1_000_000, ..Faults::default() };
    let plan = FaultPlan { rx, ..FaultPlan::default() };
    let (device, report) = fault::wrap(loopback::device(), plan.check().unwrap(), None);
    let pool = pool(512);
    let mut port = device.start(&Config::default(), &pool).unwrap();
    let packets = (0..7).map(|n| pool.copy_from(&numbered(n)).unwrap());
    port.tx[0].tx_burst(&mut packets.collect());
    assert_eq!(port.rx[0].rx_burst(&mut Burst::new()), 0);
    assert_eq!(port.rx[0].arm(), netdev::Armed::PacketsPending);
    drop(port.stop());
    assert_eq!(report.rx().abandoned, 7);
    assert_eq!(pool.available(), 512);
}

#[test]
fn an_impossible_plan_is_refused() {
    let tx = Faults { loss: 600_000, corruption: 400_001, ..Faults::default() };
    let error = FaultPlan { tx, ..FaultPlan::default() }.check().unwrap_err();
    assert_eq!(error.per_million, 1_000_001);
}
