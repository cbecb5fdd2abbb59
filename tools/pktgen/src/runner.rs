//! The public face: ports in, report out.

use std::ops::ControlFlow;

use netdev::{Burst, Device, MacAddress, Pool};
use plat_linux::{Clock, CpuTimes, StopFlag};

use crate::endpoint::Endpoint;
use crate::flow::Flow;
use crate::pacer::{Pacer, Unit};
use crate::replay::Compared;
use crate::session::Session;
use crate::sink::{Counted, Sink, Stamped};
use crate::source::{Generated, Replayed, Source};
use crate::stamp::DATA_MAGIC;
use crate::template::{Coverage, Template, TemplateConfig};
use crate::warm_up::{Path, warm_up};
use crate::{
    Direction, Environment, Error, Options, PortSpec, REPORT_VERSION, Rate, Replay, Report, Tick,
    ports,
};

/// The least that a port is started for, in bytes: a full frame with a VLAN tag.
const LEAST_MAX_FRAME: u32 = 1518;

/// Started ports and what to do with them. Runs as often as asked.
pub struct Runner {
    ports: Vec<Endpoint>,
    options: Options,
    clock: Clock,
    stop: StopFlag,
    runs: u16,
}

impl Runner {
    /// Opens and starts one or two ports. A socket that listens exists when this returns: start its peer now. With
    /// one port, frames go out and are expected back on it.
    ///
    /// # Errors
    /// A port cannot be opened or started, memory is short, or [`Error::Usage`].
    pub fn open(ports: &[PortSpec], options: Options) -> Result<Self, Error> {
        check_number(ports.len())?;
        let (devices, pool) = ports::open(ports, &options)?;
        Self::with_devices(devices, pool, options)
    }

    /// As [`open`](Self::open), for one or two devices with their names. They share `pool`.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_devices(
        devices: Vec<(String, Box<dyn Device>)>,
        pool: Pool,
        options: Options,
    ) -> Result<Self, Error> {
        check_number(devices.len())?;
        let wanted = largest_frame(&options).max(LEAST_MAX_FRAME);
        let ports = devices
            .into_iter()
            .zip(0..)
            .map(|((name, device), number)| Endpoint::start(name, device, number, pool, wanted))
            .collect::<Result<Vec<_>, _>>()?;
        let runner =
            Self { ports, options, clock: Clock::new(), stop: StopFlag::manual(), runs: 0 };
        runner.check_size()?;
        Ok(runner)
    }

    /// Lets `stop` end a run: a signal's flag, or one that another thread sets.
    pub fn stop_on(&mut self, stop: StopFlag) {
        self.stop = stop;
    }

    /// What the next run does. The ports stay as they were started: frames larger than the options that
    /// [`open`](Self::open) was given may not fit.
    ///
    /// # Errors
    /// [`Error::Usage`]: the frames do not fit a port.
    pub fn set_options(&mut self, options: Options) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.options, options);
        self.check_size().inspect_err(|_| self.options = before)
    }

    /// Runs: warm-up, traffic, drain. `each` is called once per second (in the warm-up too, and once after the
    /// drain) and may end the run, as may the flag of [`stop_on`](Self::stop_on); the report is then marked
    /// `interrupted`.
    ///
    /// # Errors
    /// The links stayed down, nothing came through, or the run was stopped before anything did.
    pub fn run(&mut self, each: &mut dyn FnMut(&Tick) -> ControlFlow<()>) -> Result<Report, Error> {
        let pairs = self.pairs();
        let paths = pairs.iter().map(|&(_, path)| self.path(path)).collect();
        let warm =
            warm_up(&mut self.ports, paths, &self.clock, self.options.warm_up, &self.stop, each)?;
        self.runs = self.runs.wrapping_add(1);
        let sink = self.sink(&pairs);
        let flows =
            pairs.iter().enumerate().map(|(number, pair)| self.flow(number, *pair)).collect();
        let before = CpuTimes::read();
        let mut session = Session {
            ports: &mut self.ports,
            flows,
            sink,
            clock: self.clock,
            stop: self.stop.clone(),
            each,
            last: Vec::new(),
            start: 0,
            end: 0,
        };
        let interrupted = session.run(self.options.duration, self.options.drain);
        let size = self.options.replay.is_none().then(|| self.options.size.bytes());
        let rate = self.options.rate;
        let directions =
            (0..pairs.len()).map(|number| session.report(number, rate, size)).collect();
        let sink = session.sink;
        let ports =
            self.ports.iter().enumerate().map(|(n, port)| port.report(sink.foreign(n))).collect();
        Ok(Report {
            version: REPORT_VERSION,
            interrupted,
            rate: rate.to_string(),
            size,
            warm_up_s: warm.as_secs_f64(),
            directions,
            ports,
            environment: Environment::read(&self.clock, before),
        })
    }

    /// The directions: name, and ports from and to.
    fn pairs(&self) -> Vec<(&'static str, (usize, usize))> {
        let (forward, backward) = (("forward", (0, 1)), ("backward", (1, 0)));
        match (self.ports.len(), self.options.direction) {
            (1, _) => vec![("reflected", (0, 0))],
            (_, Direction::Both) => vec![forward, backward],
            (_, Direction::Forward) => vec![forward],
            (_, Direction::Backward) => vec![backward],
        }
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

    fn coverage(&self) -> Coverage {
        if self.options.macs_may_change { Coverage::WithoutMacs } else { Coverage::Whole }
    }

    fn template(&self, number: usize, path: (usize, usize)) -> Template {
        let (source, destination) = self.macs(path);
        Template::new(TemplateConfig {
            size: self.options.size,
            coverage: self.coverage(),
            source,
            destination,
            magic: DATA_MAGIC,
            stream: u16::try_from(number).unwrap_or(u16::MAX),
            run: run_number(self.runs),
        })
    }

    fn flow(&self, number: usize, (name, path): (&'static str, (usize, usize))) -> Flow {
        let Options { rate, count, .. } = self.options;
        let by_bytes = matches!(rate, Rate::Bits(_)) && self.options.replay.is_some();
        let (source, unit): (Box<dyn Source>, _) = match &self.options.replay {
            Some(replay) => {
                let once = (count.is_none() && self.options.duration.is_none())
                    .then(|| replay.capture.frames().len() as u64);
                let capture = replay.capture.clone();
                let source = Replayed::new(capture, count.or(once), self.max_frame(), by_bytes);
                (Box::new(source), if by_bytes { Unit::Byte } else { Unit::Frame(0) })
            }
            None => {
                let source = Generated::new(self.template(number, path), count);
                (Box::new(source), Unit::Frame(self.options.size.bytes()))
            }
        };
        Flow::new(name, path, source, Pacer::new(rate, unit, self.clock.hz()))
    }

    fn sink(&self, pairs: &[(&'static str, (usize, usize))]) -> Box<dyn Sink> {
        let into = |port| pairs.iter().position(|&(_, (_, to))| to == port);
        let flow_into = (0..self.ports.len()).map(into).collect();
        match &self.options.replay {
            Some(Replay { capture, compare: true }) => {
                let skip = self.coverage().start();
                Box::new(Compared::new(capture, flow_into, self.max_frame(), skip))
            }
            Some(_) => Box::new(Counted::new(flow_into)),
            None => {
                let streams = pairs
                    .iter()
                    .enumerate()
                    .map(|(n, &(_, path))| (self.template(n, path), path.1));
                Box::new(Stamped::new(streams, self.ports.len()))
            }
        }
    }

    /// The largest frame that every port takes.
    fn max_frame(&self) -> usize {
        self.ports.iter().map(Endpoint::max_frame).min().unwrap_or_default()
    }

    /// Whether generated frames fit. (Of a capture, those that do not are passed over and counted.)
    fn check_size(&self) -> Result<(), Error> {
        let size = usize::from(self.options.size.bytes());
        let narrow = self.ports.iter().find(|port| port.max_frame() < size);
        match narrow {
            Some(port) if self.options.replay.is_none() => Err(Error::Usage(format!(
                "frames of {size} bytes do not fit port {}, which takes at most {}",
                port.name,
                port.max_frame()
            ))),
            _ => Ok(()),
        }
    }
}

impl Drop for Runner {
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

/// Bytes of the largest frame that the options name, L2 header included, FCS excluded.
pub(crate) fn largest_frame(options: &Options) -> u32 {
    match &options.replay {
        Some(replay) => u32::try_from(replay.capture.longest()).unwrap_or(u32::MAX),
        None => u32::from(options.size.bytes()),
    }
}

fn check_number(ports: usize) -> Result<(), Error> {
    if (1..=2).contains(&ports) {
        return Ok(());
    }
    Err(Error::Usage(format!("{ports} ports were given; one or two can be used")))
}

/// Tells this run's frames from those of earlier runs and processes, as far as 16 bits can.
fn run_number(runs: u16) -> u16 {
    let [low, high, ..] = std::process::id().to_le_bytes();
    u16::from_le_bytes([low, high]).wrapping_mul(31).wrapping_add(runs)
}
