//! One thread of a run: it owns its queues of every port, sends its share, and judges what comes back through them.

mod traffic;

use std::ops::ControlFlow;

use netdev::{Burst, Device, MacAddress, Pool};
use plat_linux::{Clock, CpuTimes, StopFlag};

use crate::board::Seat;
use crate::endpoint::Endpoint;
use crate::latency::{Clocks, Recorder};
use crate::session::{Gauge, Session};
use crate::stream_ticks::StreamTicks;
use crate::warm_up::{Path, warm_up};
use crate::{
    Direction, Environment, Error, Options, REPORT_VERSION, Rate, Report, SharedLatencySink,
    StreamSpec, Tick,
};

/// The least that a port is started for, in bytes: a full frame with a VLAN tag.
const LEAST_MAX_FRAME: u32 = 1518;

/// Started ports and what to do with them. Runs as often as asked.
pub(crate) struct Worker {
    ports: Vec<Endpoint>,
    options: Options,
    clock: Clock,
    stop: StopFlag,
    runs: u16,
    observer: Option<SharedLatencySink>,
    /// Whose clocks take the times of departure and arrival.
    pub(crate) clocks: Clocks,
}

/// What one thread found: its report, but for latencies, which are still to be put together.
pub(crate) struct Part {
    pub(crate) report: Report,
    pub(crate) recorder: Option<Recorder>,
}

impl Worker {
    /// Starts one or two devices, with their names. They share `pool`.
    pub(crate) fn with_devices(
        devices: Vec<(String, Box<dyn Device>)>,
        pool: Pool,
        options: Options,
    ) -> Result<Self, Error> {
        let wanted = largest_frame(&options).max(LEAST_MAX_FRAME);
        let ports = devices
            .into_iter()
            .zip(0..)
            .map(|((name, device), number)| {
                Endpoint::start(name, device, number, pool, wanted, options.queues)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let worker = Self {
            ports,
            options,
            clock: Clock::new(),
            stop: StopFlag::manual(),
            runs: 0,
            observer: None,
            clocks: Clocks::One,
        };
        worker.check()?;
        Ok(worker)
    }

    /// Lets `stop` end a run: a signal's flag, or one that another thread sets.
    pub(crate) fn stop_on(&mut self, stop: StopFlag) {
        self.stop = stop;
    }

    /// Lets `sink` hear of every frame that [`Options::latency`] samples, or nobody; who did before.
    pub(crate) fn swap_observer(
        &mut self,
        sink: Option<SharedLatencySink>,
    ) -> Option<SharedLatencySink> {
        std::mem::replace(&mut self.observer, sink)
    }

    /// What the next run does.
    pub(crate) fn set_options(&mut self, options: Options) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.options, options);
        self.check().inspect_err(|_| self.options = before)
    }

    /// Runs as the thread on `seat`: warm-up, traffic, drain.
    pub(crate) fn run(
        &mut self,
        seat: &Seat,
        each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
    ) -> Result<Part, Error> {
        let pairs = self.pairs();
        let paths = pairs.iter().filter(|pair| !pair.one_way).map(|pair| self.path(pair.path));
        let paths: Vec<Path> = paths.collect();
        let (clock, patience) = (self.clock, self.options.warm_up);
        let warm = warm_up(&mut self.ports, &paths, seat, &clock, patience, &self.stop, each)?;
        self.runs = self.runs.wrapping_add(1);
        let traffic = self.traffic(&pairs, seat)?;
        let before = CpuTimes::read();
        if !seat.board.meet(1) {
            return Err(Error::Interrupted);
        }
        let mut session = Session {
            ports: &mut self.ports,
            flows: traffic.flows,
            sink: traffic.sink,
            clock: self.clock,
            seat: seat.clone(),
            stop: self.stop.clone(),
            each,
            last: Vec::new(),
            start: 0,
            end: 0,
            exact: traffic.recorder.is_some() || self.observer.is_some(),
            busy: 0,
            gauge: Gauge::default(),
            latency: traffic.recorder.clone(),
            stream_ticks: StreamTicks::new(&traffic.names),
        };
        let interrupted = session.run(self.options.duration, self.options.drain);
        let directions = (0..pairs.len())
            .map(|number| session.report(number, traffic.offered[number]))
            .collect();
        let streams = session.streams(&traffic.names);
        let cycles_per_packet = session.cycles_per_packet();
        let sink = session.sink;
        let ports =
            self.ports.iter().enumerate().map(|(n, port)| port.report(sink.foreign(n))).collect();
        let report = Report {
            version: REPORT_VERSION,
            interrupted,
            rate: self.options.rate.to_string(),
            size: traffic.size,
            warm_up_s: warm.as_secs_f64(),
            directions,
            ports,
            streams,
            latency: None,
            cycles_per_packet,
            environment: Environment::read(&self.clock, before),
        };
        Ok(Part { report, recorder: traffic.recorder.map(|recorder| recorder.borrow().clone()) })
    }

    /// The directions that have something to send.
    fn pairs(&self) -> Vec<Pair> {
        let pair = |name, forward, (from, to): (usize, usize)| {
            let one_way = self.ports[from].discards() || self.ports[to].discards();
            let name = if one_way && from == to { "discarded" } else { name };
            Pair { name, forward, path: (from, to), one_way }
        };
        if self.ports.len() == 1 {
            return vec![pair("reflected", None, (0, 0))];
        }
        let forward = pair("forward", Some(true), (0, 1));
        let backward = pair("backward", Some(false), (1, 0));
        let mut pairs = match self.options.direction {
            Direction::Both => vec![forward, backward],
            Direction::Forward => vec![forward],
            Direction::Backward => vec![backward],
        };
        if self.options.replay.is_none() {
            pairs.retain(|pair| traffic::specs(&self.options).iter().any(|spec| pair.has(spec)));
        }
        pairs
    }

    fn macs(&self, (from, to): (usize, usize)) -> (MacAddress, MacAddress) {
        let source = self.ports[from].port.control.mac();
        // A single port's frames come back to it: to an address that is not its own, or a bridge would keep them.
        let destination =
            if from == to { MacAddress::local(0xffff) } else { self.ports[to].port.control.mac() };
        (source, destination)
    }

    fn path(&self, path: (usize, usize)) -> Path {
        Path { from: path.0, to: path.1, macs: self.macs(path) }
    }

    /// The largest frame that every port takes.
    fn max_frame(&self) -> usize {
        self.ports.iter().map(Endpoint::max_frame).min().unwrap_or_default()
    }

    /// Whether generated frames can be made, and fit. (Of a capture, those that do not are passed over and counted.)
    fn check(&self) -> Result<(), Error> {
        if self.options.replay.is_some() {
            return match self.options.rate {
                Rate::Line(_) => Err(Error::Usage(
                    "a capture is not played at a rate of the line; accepted: pps, bit/s, max"
                        .into(),
                )),
                _ => Ok(()),
            };
        }
        let pairs = self.pairs();
        if pairs.is_empty() {
            return Err(Error::Usage("no stream goes in the direction of the run".into()));
        }
        let size = largest_frame(&self.options);
        let narrow = self
            .ports
            .iter()
            .find(|port| port.max_frame() < usize::try_from(size).unwrap_or(usize::MAX));
        if let Some(port) = narrow {
            return Err(Error::Usage(format!(
                "frames of {size} bytes do not fit port {}, which takes at most {}",
                port.name,
                port.max_frame()
            )));
        }
        self.traffic(&pairs, &Seat::alone()).map(drop)
    }
}

impl Drop for Worker {
    /// Stops the ports.
    fn drop(&mut self) {
        for endpoint in self.ports.drain(..) {
            let Endpoint { mut port, .. } = endpoint;
            for queue in &mut port.tx {
                queue.tx_burst(&mut Burst::new());
            }
            drop(port.stop());
        }
    }
}

/// A direction: its name, and the ports from and to.
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    /// From A to B; `None` with one port.
    forward: Option<bool>,
    pub(crate) path: (usize, usize),
    /// Nothing is expected back.
    pub(crate) one_way: bool,
}

impl Pair {
    /// Whether a stream goes this way.
    pub(crate) fn has(&self, spec: &StreamSpec) -> bool {
        match (spec.direction, self.forward) {
            (None | Some(Direction::Both), _) | (_, None) => true,
            (Some(Direction::Forward), Some(forward)) => forward,
            (Some(Direction::Backward), Some(forward)) => !forward,
        }
    }
}

/// Bytes of the largest frame that the options name, L2 header included, FCS excluded.
pub(crate) fn largest_frame(options: &Options) -> u32 {
    match &options.replay {
        Some(replay) => u32::try_from(replay.capture.longest()).unwrap_or(u32::MAX),
        None => {
            let specs = traffic::specs(options);
            let largest = specs.iter().filter_map(|spec| spec.sizes().last().copied()).max();
            u32::from(largest.unwrap_or(options.size.bytes()))
        }
    }
}

/// Tells this run's frames from those of earlier runs and processes, as far as 16 bits can.
fn run_number(runs: u16) -> u16 {
    let [low, high, ..] = std::process::id().to_le_bytes();
    u16::from_le_bytes([low, high]).wrapping_mul(31).wrapping_add(runs)
}
