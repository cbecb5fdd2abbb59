//! Known faults, counted exactly: per stream and per flow, in both directions at once.
//!
//! A fault injector stands between two taps, so that the test has every frame as it went in and as it came out. From
//! these the test counts by itself, by the documented rules and with none of the generator's code, and the report must
//! say the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{self, FaultPlan, FaultReport, Faults};
use netdev::tap::{self, FrameSink, Sighting};
use netdev::{Device, loopback};
use pktgen::latency::{Arrival, Omission, Sampling};
use pktgen::{LatencySink, Options, Rate, Report, Runner, StreamReport, StreamSpec};

/// Numbers behind the highest from which on a frame is late.
const WINDOW: usize = 1 << 16;

/// Frames that a port received, in order.
#[derive(Default)]
struct Seen(Vec<Vec<u8>>);

impl FrameSink for Seen {
    fn frame(&mut self, sighting: &Sighting, bytes: &[u8]) {
        if sighting.direction == tap::Direction::Received {
            self.0.push(bytes.to_vec());
        }
    }
}

/// One end of the loopback: what came, and what the injector made of it.
struct End {
    before: Rc<RefCell<Seen>>,
    after: Rc<RefCell<Seen>>,
    faults: FaultReport,
}

/// Puts an injector between two taps. Its time is the number of frames that came.
fn wrap(device: Box<dyn Device>, rx: Faults, seed: u64) -> (Box<dyn Device>, End) {
    let (before, after) = (Rc::<RefCell<Seen>>::default(), Rc::<RefCell<Seen>>::default());
    let device = tap::wrap(device, before.clone(), Rc::new(|| 0));
    let plan = FaultPlan { seed, rx, ..FaultPlan::default() }.check().unwrap();
    let frames = before.clone();
    let time = Rc::new(move || frames.borrow().0.len() as u64);
    let (device, faults) = fault::wrap(device, plan, Some(time));
    (tap::wrap(device, after.clone(), Rc::new(|| 0)), End { before, after, faults })
}

/// What became of a stream, by the rules.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    sent: u64,
    unique: u64,
    duplicated: u64,
    reordered: u64,
    extent_max: u64,
    extent_sum: u64,
    corrupted: u64,
    late: u64,
}

impl Truth {
    /// `before`: the stream's frames in the order of their numbers; `after`: what came out of the injector.
    fn of(before: &[Vec<u8>], after: &[Vec<u8>]) -> Self {
        let numbers: HashMap<&[u8], usize> =
            before.iter().enumerate().map(|(number, frame)| (&frame[..], number)).collect();
        assert_eq!(numbers.len(), before.len(), "no two frames of a stream are alike");
        let mut truth = Self { sent: before.len() as u64, ..Self::default() };
        let mut seen = HashSet::new();
        // For each frame that came for the first time, the highest number until then, itself included.
        let mut highest: Vec<usize> = Vec::new();
        for frame in after {
            let Some(&number) = numbers.get(&frame[..]) else {
                truth.corrupted += 1;
                continue;
            };
            let top = highest.last().copied().unwrap_or(0);
            if number + WINDOW <= top {
                truth.late += 1;
            } else if !seen.insert(number) {
                truth.duplicated += 1;
            } else {
                truth.unique += 1;
                if number < top {
                    // RFC 4737, section 4.2.1: from the first that overtook it.
                    let first = highest.partition_point(|&top| top < number);
                    let extent = (highest.len() - first) as u64;
                    truth.reordered += 1;
                    truth.extent_sum += extent;
                    truth.extent_max = truth.extent_max.max(extent);
                }
                highest.push(top.max(number));
            }
        }
        truth
    }

    fn compare(&self, report: &StreamReport) {
        let name = format!("{} {}: {self:?}", report.name, report.direction);
        assert_eq!(report.sent, self.sent, "{name}");
        assert_eq!(report.received, self.unique + self.duplicated, "{name}");
        assert_eq!(report.duplicated, self.duplicated, "{name}");
        assert_eq!(report.reordered, self.reordered, "{name}");
        assert_eq!(report.reordering_extent_max, self.extent_max, "{name}");
        let mean = self.extent_sum as f64 / self.reordered.max(1) as f64;
        assert!((report.reordering_extent_mean - mean).abs() < 1e-9, "{name}");
        assert_eq!(report.corrupted, self.corrupted, "{name}");
        assert_eq!(report.late, self.late, "{name}");
        assert_eq!(report.lost, self.sent - self.unique - self.corrupted, "{name}");
        assert_eq!(report.misdirected, 0, "{name}");
    }
}

/// The frames of the size that a stream has; probes have another.
fn of_size(frames: &Rc<RefCell<Seen>>, size: usize) -> Vec<Vec<u8>> {
    frames.borrow().0.iter().filter(|frame| frame.len() == size).cloned().collect()
}

fn pool() -> Pool {
    let config = PoolConfig { buffers: 8192, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// Streams with sizes of their own.
fn streams() -> Vec<StreamSpec> {
    let frames = [("ethernet/ipv4/udp", 101, 3), ("ethernet/vlan/ipv6/tcp", 130, 1)];
    let spec = |(frame, size, weight): (&str, u16, u32)| StreamSpec {
        name: format!("of {size}"),
        frame: frame.parse().unwrap(),
        size: size.to_string().parse().unwrap(),
        weight,
        ..StreamSpec::default()
    };
    frames.map(spec).into()
}

/// A run in both directions with faults in both; the report, and each end by its name.
fn run(faults: Faults, seed: u64, options: Options) -> (Report, BTreeMap<&'static str, End>) {
    let (a, b) = loopback::pair();
    let ((a, at_a), (b, at_b)) = (wrap(a, faults, seed), wrap(b, faults, seed + 1000));
    let devices = vec![("a".into(), a), ("b".into(), b)];
    let mut runner = Runner::with_devices(devices, pool(), options).unwrap();
    let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
    (report, BTreeMap::from([("forward", at_b), ("backward", at_a)]))
}

fn options(count: u64) -> Options {
    Options {
        rate: Rate::Max,
        count: Some(count),
        streams: streams(),
        macs_may_change: false,
        ..Options::default()
    }
}

/// Compares each stream with the truth; the truth by direction and size.
fn compare(report: &Report, ends: &BTreeMap<&str, End>) -> Vec<Truth> {
    let size = |stream: &StreamReport| stream.name.strip_prefix("of ").unwrap().parse().unwrap();
    let truth = |stream: &StreamReport| {
        let end = &ends[stream.direction];
        let truth =
            Truth::of(&of_size(&end.before, size(stream)), &of_size(&end.after, size(stream)));
        truth.compare(stream);
        truth
    };
    let truths = report.streams.iter().map(truth).collect();
    for direction in &report.directions {
        let sum = |which: fn(&StreamReport) -> u64| -> u64 {
            report.streams.iter().filter(|s| s.direction == direction.direction).map(which).sum()
        };
        assert_eq!(direction.lost, sum(|s| s.lost));
        assert_eq!(direction.received, sum(|s| s.received));
        assert_eq!(direction.duplicated, sum(|s| s.duplicated));
        assert_eq!(direction.reordered, sum(|s| s.reordered));
        assert_eq!(direction.corrupted, sum(|s| s.corrupted));
        assert_eq!(direction.late, sum(|s| s.late));
    }
    assert_eq!(report.ports.iter().map(|port| port.foreign).sum::<u64>(), 0);
    truths
}

#[test]
fn every_fault_at_once_is_counted_exactly_per_stream() {
    let faults = Faults {
        loss: 7_000,
        duplication: 6_000,
        reordering: 5_000,
        reorder_distance: 9,
        corruption: 4_000,
        delay: 3_000,
        delay_ticks: 200,
        ..Faults::default()
    };
    for seed in 1..=4 {
        let (report, ends) = run(faults, seed, options(20_000));
        for truth in compare(&report, &ends) {
            println!("seed {seed}: {truth:?}");
            let Truth { unique, duplicated, reordered, corrupted, .. } = truth;
            assert!(unique > 4_000 && duplicated.min(reordered).min(corrupted) > 5, "{truth:?}");
        }
        for end in ends.values() {
            let counts = end.faults.rx();
            assert!(counts.lost > 50 && counts.delayed > 20, "{counts:?}");
        }
        // The truth is that of the injector too; a probe of the warm-up may have been among its packets.
        for direction in &report.directions {
            let counts = ends[direction.direction].faults.rx();
            let probes = counts.packets - direction.sent;
            let near = |a: u64, b: u64| a <= b && b - a <= probes;
            assert!(near(direction.lost, counts.lost + counts.abandoned), "{counts:?} {report}");
            assert!(near(direction.duplicated, counts.duplicated), "{counts:?} {report}");
            assert!(near(direction.corrupted, counts.corrupted), "{counts:?} {report}");
        }
    }
}

#[test]
fn frames_delayed_beyond_the_window_are_late() {
    let faults = Faults { delay: 200, delay_ticks: 150_000, ..Faults::default() };
    let (report, ends) = run(faults, 7, options(250_000));
    let truths = compare(&report, &ends);
    println!("{truths:?}");
    // The stream with three quarters of the frames has more than a window's worth in front of a delayed one; the
    // other has not, and its delayed frames are merely reordered.
    for (truth, stream) in truths.iter().zip(&report.streams) {
        if stream.name == "of 101" {
            assert!(truth.late > 0 && truth.reordered == 0, "{truth:?}");
        } else {
            assert!(truth.late == 0 && truth.reordered > 0, "{truth:?}");
        }
    }
}

#[test]
fn faults_are_counted_exactly_per_flow() {
    const FLOWS: usize = 37;
    let faults = Faults {
        loss: 2_000,
        duplication: 1_500,
        reordering: 1_000,
        // Far enough that a frame is overtaken by others of its flow, in the stream with fewer frames too.
        reorder_distance: 5 * 37,
        ..Faults::default()
    };
    let per_flow = |spec| StreamSpec { flows: Some(FLOWS as u64), per_flow: true, ..spec };
    let streams = streams().into_iter().map(per_flow).collect();
    let (report, ends) = run(faults, 3, Options { streams, ..options(30_000) });
    compare(&report, &ends);
    for stream in &report.streams {
        let size = stream.name.strip_prefix("of ").unwrap().parse().unwrap();
        let end = &ends[stream.direction];
        let (before, after) = (of_size(&end.before, size), of_size(&end.after, size));
        let flow_of: HashMap<&[u8], usize> =
            before.iter().enumerate().map(|(n, frame)| (&frame[..], n % FLOWS)).collect();
        let flow = |frames: &[Vec<u8>], flow| -> Vec<Vec<u8>> {
            frames.iter().filter(|f| flow_of.get(&f[..]) == Some(&flow)).cloned().collect()
        };
        let truths: Vec<Truth> =
            (0..FLOWS).map(|n| Truth::of(&flow(&before, n), &flow(&after, n))).collect();
        let found = stream.flows.as_ref().unwrap();
        let with = |which: fn(&Truth) -> bool| truths.iter().filter(|t| which(t)).count() as u64;
        assert_eq!(found.flows, FLOWS as u64);
        assert_eq!(found.with_loss, with(|t| t.unique < t.sent));
        assert_eq!(found.with_duplicates, with(|t| t.duplicated > 0));
        assert_eq!(found.with_reordering, with(|t| t.reordered > 0));
        assert!(found.with_loss > 0 && found.with_reordering > 0, "{found:?}");
        for worst in &found.worst {
            let truth = &truths[usize::try_from(worst.flow).unwrap()];
            assert_eq!((worst.sent, worst.received), (truth.sent, truth.unique));
            assert_eq!(worst.lost, truth.sent - truth.unique);
            assert_eq!((worst.duplicated, worst.reordered), (truth.duplicated, truth.reordered));
        }
    }
}

/// Latencies of one stream by number.
#[derive(Default)]
struct Latencies {
    of: HashMap<u64, u64>,
    /// The numbers as they came.
    order: Vec<u64>,
}

impl LatencySink for Latencies {
    fn arrived(&mut self, arrival: &Arrival) {
        let latency = arrival.arrived - arrival.departed;
        self.of.insert(arrival.sequence, latency);
        self.order.push(arrival.sequence);
    }

    fn omitted(&mut self, _: &Omission) {}
}

/// The frames that an injector delays by a time are those whose latency has it.
#[test]
fn an_injected_delay_is_in_the_latency_of_the_delayed_frames() {
    const DELAY: Duration = Duration::from_millis(20);
    let (a, b) = loopback::pair();
    let clock = plat_linux::Clock::new();
    let delay_ticks = clock.from_duration(DELAY);
    let rx = Faults { delay: 2_000, delay_ticks, ..Faults::default() };
    let plan = FaultPlan { seed: 5, rx, ..FaultPlan::default() }.check().unwrap();
    let (b, faults) = fault::wrap(b, plan, Some(Rc::new(move || clock.now())));
    let options = Options {
        rate: Rate::Packets(50_000),
        direction: pktgen::Direction::Forward,
        streams: streams()[..1].to_vec(),
        latency: Some(Sampling::ALL),
        macs_may_change: false,
        ..options(10_000)
    };
    let mut runner =
        Runner::with_devices(vec![("a".into(), a), ("b".into(), b)], pool(), options).unwrap();
    let latencies = Rc::<RefCell<Latencies>>::default();
    runner.observe(latencies.clone());
    let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let delayed = faults.rx().delayed;
    assert!(delayed > 5 && report.lost() == 0, "{delayed} {report}");
    // On a machine that stands still for so long, a delayed frame may be overtaken by none.
    let stream = &report.streams[0];
    assert!(stream.reordered > 0 && stream.reordered <= delayed, "{report}");
    let latencies = &latencies.borrow();
    assert_eq!(latencies.of.len(), 10_000, "every frame was measured");
    let nanos = u64::try_from(DELAY.as_nanos()).unwrap();
    let long = latencies.of.values().filter(|&&latency| latency >= nanos).count() as u64;
    assert!(long >= delayed, "{long} of {delayed}");
    // Only what was delayed is overtaken, and nothing else is delayed on purpose.
    let mut highest = 0;
    for number in &latencies.order {
        if *number < highest {
            assert!(latencies.of[number] >= nanos, "{number}");
        }
        highest = highest.max(*number);
    }
    let corrected = &report.latency.as_ref().unwrap().streams[0].corrected;
    assert!(corrected.max_ns >= nanos, "{corrected}");
}
