//! Searches and latency on real ports: loopbacks, as they are, with known loss, and with a stall.
//!
//! Nothing here depends on how fast the machine is: rates are low, and the rate error is not judged.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{self, FaultPlan, Faults};
use netdev::{Burst, Config, Device, Info, Port, QueueCounters, StartError, TxQueue, loopback};
use pktgen::latency::{Clocks, Sampling};
use pktgen::search::{
    Completion, DeviceUnderTest, Findings, Goal, GoalStatus, LatencyAt, LossRatios, Recovery,
    RunnerDevice, Search, SearchOptions, SearchOutcome,
};
use pktgen::{Direction, Options, Rate, Runner, StreamSpec};
use plat_linux::StopFlag;

type Devices = Vec<(String, Box<dyn Device>)>;

fn pool() -> Pool {
    let config = PoolConfig { buffers: 8192, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

/// A loopback's two ends; what B receives loses so many packets per million.
fn pair(loss: u32) -> Devices {
    let (a, b) = loopback::pair();
    let rx = Faults { loss, ..Faults::default() };
    let plan = FaultPlan { seed: 1, rx, ..FaultPlan::default() };
    let (b, _) = fault::wrap(b, plan.check().unwrap(), None);
    vec![("a".into(), a), ("b".into(), b)]
}

fn options() -> Options {
    Options {
        direction: Direction::Forward,
        warm_up: Duration::from_secs(20),
        drain: Duration::from_millis(5),
        ..Options::default()
    }
}

/// No trial is thrown away, however disturbed the machine is.
fn limits() -> SearchOptions {
    SearchOptions {
        min_rate: 20_000,
        max_rate: 100_000,
        rate_error: 0.99,
        ring_full: 0.99,
        ..SearchOptions::default()
    }
}

fn search(search: &Search, devices: Devices) -> SearchOutcome {
    let options = options();
    let mut runner = Runner::with_devices(devices, pool(), options.clone()).unwrap();
    let mut device = RunnerDevice::new(&mut runner, 2, options);
    search.run(&mut device, &limits(), &mut |_| ControlFlow::Continue(())).unwrap()
}

fn goal(loss_ratio: f64) -> Goal {
    Goal {
        initial_trial: Duration::from_millis(50),
        final_trial: Duration::from_millis(100),
        duration_sum: Duration::from_millis(200),
        ..Goal::new(loss_ratio.to_string(), loss_ratio)
    }
}

/// Two in a hundred are lost at any rate: no rate meets one goal, every rate meets the other.
#[test]
fn a_search_tells_goals_that_can_be_met_from_those_that_cannot() {
    let goals = vec![goal(0.001), goal(0.2)];
    let outcome = search(&Search::LossRatios(LossRatios { goals }), pair(20_000));
    println!("{outcome}");
    assert_eq!(outcome.completion, Completion::Complete);
    let (strict, lax) = (outcome.goal("0.001").unwrap(), outcome.goal("0.2").unwrap());
    assert_eq!((strict.status, strict.upper), (GoalStatus::NoLowerBound, Some(20_000)));
    assert_eq!((lax.status, lax.lower), (GoalStatus::NoUpperBound, Some(100_000)));
    for trial in &outcome.trials {
        assert_eq!(trial.result.sent, trial.result.received + trial.result.lost, "{trial:?}");
        assert!(trial.result.lost > 0 && trial.result.took_s > 0.0);
    }
    assert!(outcome.ceiling.unwrap().rate > 0.0);
}

#[test]
fn a_latency_search_measures_latency() {
    let latency = LatencyAt {
        trial: Duration::from_millis(50),
        repeats: 2,
        ..LatencyAt::new([20_000, 50_000])
    };
    let outcome = search(&Search::Latency(latency), pair(0));
    let Findings::Latency(points) = &outcome.findings else { panic!("{outcome}") };
    assert_eq!(points.len(), 4);
    for point in points {
        let latency = point.latency.as_ref().expect("measured");
        assert_eq!(
            (latency.streams.len(), latency.clocks, latency.passed_over),
            (1, Clocks::One, 0)
        );
        let stream = &latency.streams[0];
        assert!(stream.uncorrected.count > 0 && stream.backwards == 0);
        assert_eq!(stream.corrected.count, stream.uncorrected.count + stream.omitted);
        assert!(stream.corrected.max_ns >= stream.uncorrected.max_ns);
    }
    assert!(outcome.to_string().contains("clock skew: none"), "{outcome}");
}

#[test]
fn recovery_is_measured_on_ports() {
    let recovery =
        Recovery { duration: Duration::from_millis(200), repeats: 1, ..Recovery::new(50_000) };
    for (loss, lossy) in [(0, false), (50_000, true)] {
        let outcome = search(&Search::Recovery(recovery.clone()), pair(loss));
        let Findings::Recovery(found) = &outcome.findings else { panic!("{outcome}") };
        assert_eq!(outcome.completion, Completion::Complete);
        let run = found.runs[0];
        println!("{run:?}");
        assert_eq!((run.lost_overloaded > 0, run.lost_after > 0), (lossy, lossy));
        // Loss that never ends lasts until the last frames.
        assert_eq!(run.last_loss_s > 0.05, lossy, "{run:?}");
    }
}

#[test]
fn streams_share_the_rate_of_a_search_and_have_none_of_their_own() {
    let stream = |rate| StreamSpec { name: "voice".into(), rate, ..StreamSpec::default() };
    for (rate, words) in [(None, None), (Some(Rate::Packets(5)), Some("stream voice has a rate"))] {
        let options = Options { streams: vec![stream(None), stream(rate)], ..options() };
        let mut runner = Runner::with_devices(pair(0), pool(), options.clone()).unwrap();
        let mut device = RunnerDevice::new(&mut runner, 2, options);
        let result = device.measure(20_000, Duration::from_millis(50));
        match words {
            None => assert_eq!(result.unwrap().lost, 0),
            Some(words) => assert!(result.unwrap_err().to_string().contains(words)),
        }
    }
}

#[test]
fn a_signal_ends_a_search_with_what_it_has() {
    let options = options();
    let mut runner = Runner::with_devices(pair(0), pool(), options.clone()).unwrap();
    let stop = StopFlag::manual();
    runner.stop_on(stop.clone());
    let mut device = RunnerDevice::new(&mut runner, 2, options);
    let goals = vec![goal(0.0)];
    let outcome =
        Search::LossRatios(LossRatios { goals }).run(&mut device, &limits(), &mut |now| {
            if now.trials == 1 {
                stop.set();
            }
            ControlFlow::Continue(())
        });
    let outcome = outcome.unwrap();
    assert_eq!((outcome.completion, outcome.trials.len()), (Completion::Stopped, 1));
}

/// A device that swallows every frame once it has taken some.
struct Swallowing(Box<dyn Device>);

struct SwallowingTx {
    inner: Box<dyn TxQueue>,
    taken: usize,
}

impl Device for Swallowing {
    fn info(&self) -> Info {
        self.0.info()
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let mut port = self.0.start(config, pool)?;
        let swallowing = |inner| -> Box<dyn TxQueue> { Box::new(SwallowingTx { inner, taken: 0 }) };
        port.tx = port.tx.into_iter().map(swallowing).collect();
        Ok(port)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

impl TxQueue for SwallowingTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        if self.taken < BEFORE {
            let taken = self.inner.tx_burst(packets);
            self.taken += taken;
            return taken;
        }
        let taken = packets.len();
        packets.clear();
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        self.inner.counters()
    }
}

/// The device dies in the first trial: no frame of the second one's warm-up comes back, and the search does not wait for
/// it longer than it may take.
#[test]
fn a_trial_that_never_begins_ends_with_the_searchs_time() {
    let (a, b) = loopback::pair();
    let devices: Devices = vec![("a".into(), Box::new(Swallowing(a))), ("b".into(), b)];
    let options = Options { warm_up: Duration::from_secs(1000), ..options() };
    let mut runner = Runner::with_devices(devices, pool(), options.clone()).unwrap();
    let mut device = RunnerDevice::new(&mut runner, 2, options);
    let limits = SearchOptions { max_time: Some(Duration::from_secs(4)), ..limits() };
    let search = Search::LossRatios(LossRatios { goals: vec![goal(0.0)] });
    let outcome = search.run(&mut device, &limits, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(outcome.completion, Completion::OutOfTime, "{outcome}");
    assert_eq!(outcome.trials.len(), 1, "{outcome}");
}

const STALL: Duration = Duration::from_millis(100);
/// Frames that pass before the stall.
const BEFORE: usize = 1_000;

/// A device that takes no frame for 100 ms, once.
struct Stalling(Box<dyn Device>);

struct StallingTx {
    inner: Box<dyn TxQueue>,
    taken: usize,
    since: Option<Instant>,
}

impl Device for Stalling {
    fn info(&self) -> Info {
        self.0.info()
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let mut port = self.0.start(config, pool)?;
        let stalling =
            |inner| -> Box<dyn TxQueue> { Box::new(StallingTx { inner, taken: 0, since: None }) };
        port.tx = port.tx.into_iter().map(stalling).collect();
        Ok(port)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

impl TxQueue for StallingTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        if self.taken >= BEFORE && self.since.get_or_insert_with(Instant::now).elapsed() < STALL {
            return 0;
        }
        let taken = self.inner.tx_burst(packets);
        self.taken += taken;
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        self.inner.counters()
    }
}

/// The device refuses frames for 100 ms, after 1000 of 5000 frames at 20 kpps: of the 7000 frames that are due in that
/// time, the 2000 of the stall never leave, but for the last ones.
#[test]
fn a_stall_of_a_port_shows_in_the_corrected_latency_only() {
    let (a, b) = loopback::pair();
    let devices: Devices = vec![("a".into(), Box::new(Stalling(a))), ("b".into(), b)];
    let options = Options {
        rate: Rate::Packets(20_000),
        count: Some(5_000),
        latency: Some(Sampling::ALL),
        ..options()
    };
    let mut runner = Runner::with_devices(devices, pool(), options).unwrap();
    let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
    let latency = report.latency.as_ref().expect("measured");
    println!("{report}{latency}");
    let stream = &latency.streams[0];
    assert_eq!(stream.uncorrected.count, 5_000);
    assert!(stream.omitted > 1_000, "most of what was due in the stall was given up: {latency}");
    // The frame that was due when the stall began waited for all of it.
    assert!(stream.corrected.max_ns >= 99_000_000, "{latency}");
    // The stall is a quarter of what was due, and no more than a burst of what left; other disturbances do not matter.
    let (corrected, uncorrected) = (&stream.corrected, &stream.uncorrected);
    assert!(corrected.at(99.0).unwrap() > 20_000_000, "{latency}");
    assert!(uncorrected.at(99.0).unwrap() < corrected.at(99.0).unwrap() / 2, "{latency}");
}
