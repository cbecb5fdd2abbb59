//! Whole runs over the loopback device: without faults, with known faults, and with the captures of real traffic.
//!
//! Nothing here looks at the time that a run took; rates are high so that it is short.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{self, FaultCounts, FaultPlan, FaultReport, Faults};
use netdev::{Device, loopback};
use pktgen::{Capture, Direction, Error, FrameSize, Options, Phase, Rate, Replay, Report, Runner};
use plat_linux::StopFlag;

type Devices = Vec<(String, Box<dyn Device>)>;

fn pool(room: u16) -> Pool {
    let config = PoolConfig { buffers: 8192, room, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

fn pair() -> Devices {
    let (a, b) = loopback::pair();
    vec![("a".into(), a), ("b".into(), b)]
}

/// Loopback's A as it is, B behind a fault injector that maltreats what it receives.
fn faulty_pair(rx: Faults, seed: u64) -> (Devices, FaultReport) {
    let (a, b) = loopback::pair();
    let plan = FaultPlan { seed, rx, ..FaultPlan::default() };
    let (b, report) = fault::wrap(b, plan.check().unwrap(), None);
    (vec![("a".into(), a), ("b".into(), b)], report)
}

fn options() -> Options {
    Options {
        rate: Rate::Packets(5_000_000),
        count: Some(50_000),
        warm_up: Duration::from_secs(20),
        ..Options::default()
    }
}

fn run(devices: Devices, room: u16, options: Options) -> Report {
    let mut runner = Runner::with_devices(devices, pool(room), options).unwrap();
    runner.run(&mut |_| ControlFlow::Continue(())).unwrap()
}

#[test]
fn both_directions_come_back_clean_at_every_size() {
    for size in [60, 61, 63, 64, 65, 128, 1514, 1518, 2048] {
        for macs_may_change in [true, false] {
            let size = FrameSize::new(size).unwrap();
            let options = Options { size, macs_may_change, count: Some(5_000), ..options() };
            let report = run(pair(), 2048, options);
            assert!(report.is_clean(), "{report}");
            let names: Vec<_> = report.directions.iter().map(|d| d.direction).collect();
            assert_eq!(names, ["forward", "backward"]);
            assert!(
                report.directions.iter().all(|d| (d.sent, d.received) == (5_000, 5_000)),
                "{report}"
            );
        }
    }
}

#[test]
fn one_direction_and_one_port() {
    let report = run(pair(), 2048, Options { direction: Direction::Backward, ..options() });
    assert_eq!((report.directions.len(), report.directions[0].from.as_str()), (1, "b"));
    assert!(report.is_clean());
    let report = run(vec![("one".into(), loopback::device())], 2048, options());
    assert_eq!(
        (report.directions[0].direction, report.directions[0].received),
        ("reflected", 50_000)
    );
}

#[test]
fn as_fast_as_possible() {
    let report = run(pair(), 2048, Options { rate: Rate::Max, count: Some(200_000), ..options() });
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.directions[0].offered_mpps, None);
}

#[test]
fn a_runner_runs_again_and_forgets_the_first_time() {
    let mut runner = Runner::with_devices(pair(), pool(2048), options()).unwrap();
    for count in [50_000, 1] {
        runner.set_options(Options { count: Some(count), ..options() }).unwrap();
        let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_clean() && report.directions[0].sent == count, "{report}");
    }
}

fn faulty_run(rx: Faults, seed: u64) -> (pktgen::DirectionReport, FaultCounts, u64) {
    let (devices, faults) = faulty_pair(rx, seed);
    let report = run(devices, 2048, Options { direction: Direction::Forward, ..options() });
    println!("{report}{:?}", faults.rx());
    let foreign = report.ports.iter().map(|p| p.foreign).sum();
    (report.directions[0].clone(), faults.rx(), foreign)
}

/// What was injected, counted: the probe of the warm-up was maltreated too at worst, and that is checked by the
/// number of packets.
#[test]
fn the_report_counts_exactly_what_was_injected() {
    for seed in 1..=5 {
        let rx = Faults { loss: 5_000, duplication: 4_000, corruption: 3_000, ..Faults::default() };
        let (direction, faults, foreign) = faulty_run(rx, seed);
        let probes = faults.packets - direction.sent;
        assert!(probes < 10, "seed {seed}: a few probes, then frames");
        assert!(faults.lost > 100 && faults.duplicated > 100 && faults.corrupted > 50);
        // With the seeds used, no probe but the first came, and it was not maltreated.
        assert_eq!(probes, 1, "seed {seed}");
        assert_eq!(direction.lost, faults.lost, "seed {seed}");
        assert_eq!(direction.duplicated, faults.duplicated, "seed {seed}");
        assert_eq!(direction.corrupted, faults.corrupted, "seed {seed}");
        assert_eq!(
            (direction.reordered, direction.misdirected, direction.late, foreign),
            (0, 0, 0, 0)
        );
        assert_eq!(
            direction.sent,
            direction.received - direction.duplicated + direction.lost + direction.corrupted
        );
    }
}

#[test]
fn reordering_is_counted_exactly() {
    for (seed, reorder_distance) in [(1, 1), (2, 3), (3, 100)] {
        let rx = Faults { reordering: 10_000, reorder_distance, ..Faults::default() };
        let (direction, faults, _) = faulty_run(rx, seed);
        assert!(faults.reordered > 100);
        assert_eq!(direction.reordered, faults.reordered, "seed {seed}");
        assert_eq!((direction.lost, direction.duplicated, direction.corrupted), (0, 0, 0));
    }
}

#[test]
fn frames_that_go_back_where_they_came_from_are_misdirected() {
    // Two reflecting ports: the probes never arrive at the other one.
    let devices = vec![("a".into(), loopback::device()), ("b".into(), loopback::device())];
    let options = Options { warm_up: Duration::from_millis(50), ..options() };
    let mut runner = Runner::with_devices(devices, pool(2048), options).unwrap();
    let error = runner.run(&mut |_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.to_string(), "no forwarding between a and b within 0.05 s");
}

#[test]
fn a_stop_gives_a_partial_report() {
    let options = Options { count: None, duration: None, ..options() };
    let mut runner = Runner::with_devices(pair(), pool(2048), options.clone()).unwrap();
    let report = runner
        .run(&mut |tick| {
            assert!(tick.phase != Phase::Running || tick.directions.len() == 2);
            ControlFlow::Break(())
        })
        .unwrap();
    assert!(report.interrupted && report.is_clean(), "{report}");

    let stop = StopFlag::manual();
    stop.set();
    runner.stop_on(stop);
    match runner.run(&mut |_| ControlFlow::Continue(())) {
        Err(Error::Interrupted) => {}
        Ok(report) => assert!(report.interrupted),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn frames_that_no_port_takes_are_refused_beforehand() {
    let options = Options { size: FrameSize::new(2049).unwrap(), ..options() };
    let error = Runner::with_devices(pair(), pool(2048), options).err().expect("too large");
    assert!(error.is_usage() && error.to_string().contains("at most 2048"), "{error}");
    let error =
        Runner::with_devices(Vec::new(), pool(2048), Options::default()).err().expect("no port");
    assert!(error.to_string().contains("one or two"), "{error}");
}

#[test]
fn the_report_is_json_with_the_promised_fields() {
    let json = serde_json::to_value(run(pair(), 2048, options())).unwrap();
    for direction in json["directions"].as_array().unwrap() {
        for field in "sent received lost duplicated reordered corrupted mpps duration_s".split(' ')
        {
            assert!(direction[field].is_number(), "{field}: {direction}");
        }
    }
    for fact in "cpu cores tsc_hz kernel load_1m pktgen".split(' ') {
        assert!(json["environment"].get(fact).is_some(), "{fact}");
    }
    assert_eq!((&json["version"], &json["interrupted"]), (&1.into(), &false.into()));
}

fn replay(capture: &Capture) -> Options {
    let replay = Replay { capture: capture.clone(), compare: true };
    Options { rate: Rate::Packets(1_000_000), count: None, replay: Some(replay), ..options() }
}

#[test]
fn captures_of_real_traffic_come_back_unchanged() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    let Ok(entries) = std::fs::read_dir(&directory) else {
        println!("skipped: there is no directory of captures at {}", directory.display());
        return;
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let captures: Vec<_> = paths.filter(|p| p.extension().is_some_and(|e| e == "pcap")).collect();
    assert!(!captures.is_empty(), "a directory of captures without one");
    for path in captures {
        let capture = Capture::open(&path).unwrap();
        let frames = capture.frames().len() as u64;
        let room = 9216;
        let report = run(pair(), room, replay(&capture));
        assert!(report.is_clean(), "{}: {report}", path.display());
        assert!(
            report.directions.iter().all(|d| d.received == frames && d.not_sent.is_empty()),
            "{report}"
        );

        // With small buffers, what does not fit is named, and the rest still comes back.
        let large = capture.frames().iter().filter(|frame| frame.len() > 1518).count() as u64;
        let report = run(pair(), 1518, replay(&capture));
        let expected = frames - large;
        println!("{}: {expected} of {frames} frames fit 1518 bytes", path.display());
        for d in &report.directions {
            assert_eq!(
                (d.received, d.lost, d.corrupted, d.reordered),
                (expected, 0, 0, 0),
                "{report}"
            );
            assert_eq!(d.not_sent.get("oversize").copied().unwrap_or(0), large);
        }
    }
}

#[test]
fn a_replay_loops_for_as_long_as_it_is_told() {
    let capture = Capture::from_frames((0..7u8).map(|n| vec![n; 100])).unwrap();
    let report = run(pair(), 2048, Options { count: Some(1000), ..replay(&capture) });
    assert!(report.is_clean() && report.directions[0].received == 1000, "{report}");
    let counted = Replay { capture, compare: false };
    let report = run(pair(), 2048, Options { replay: Some(counted), rate: Rate::Max, ..options() });
    assert!(report.is_clean() && report.directions[1].received == 50_000, "{report}");
}

#[test]
fn a_replay_through_faults_counts_them() {
    let capture = Capture::from_frames((0..2000u16).map(|n| {
        let mut frame = vec![0xaa; 60 + usize::from(n % 1400)];
        frame[20..22].copy_from_slice(&n.to_be_bytes());
        frame
    }))
    .unwrap();
    // With seed 3 it is the probe that is duplicated: counted by the injector, and rightly not by us.
    for seed in [1, 2, 4] {
        let rx =
            Faults { loss: 20_000, duplication: 20_000, corruption: 20_000, ..Faults::default() };
        let (devices, faults) = faulty_pair(rx, seed);
        let report =
            run(devices, 2048, Options { direction: Direction::Forward, ..replay(&capture) });
        let (d, faults) = (&report.directions[0], faults.rx());
        println!("{report}{faults:?}");
        assert_eq!(faults.packets - d.sent, 1, "one probe");
        assert_eq!(
            (d.lost, d.duplicated, d.corrupted),
            (faults.lost, faults.duplicated, faults.corrupted)
        );
        assert_eq!((d.reordered, report.ports[1].foreign), (0, 0));
    }
}
