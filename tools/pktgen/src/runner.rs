//! The public face: ports in, report out. One thread does everything, or a [`Crew`] of them does.

use std::ops::ControlFlow;

use netdev::{Device, Pool};
use plat_linux::StopFlag;

use crate::board::Seat;
use crate::crew::Crew;
use crate::worker::Worker;
use crate::{AnyPort, Error, Options, PortSpec, Report, SharedLatencySink, Tick, merge, ports};

/// Started ports and what to do with them. Runs as often as asked.
pub struct Runner {
    threads: Threads,
    /// Of the ports that the runner opened itself.
    peers: ports::Peers,
}

enum Threads {
    /// The caller's.
    One(Box<Worker>),
    /// One on each of several cores.
    Several(Box<Crew>),
}

use Threads::{One, Several};

impl Runner {
    /// Opens and starts one or two ports. A socket that listens exists when this returns: start its peer now. With
    /// one port, frames go out and are expected back on it.
    ///
    /// # Errors
    /// A port cannot be opened or started, memory is short, or [`Error::Usage`].
    pub fn open(ports: &[PortSpec], options: Options) -> Result<Self, Error> {
        Self::open_wrapped(ports, options, |device| device)
    }

    /// As [`open`](Self::open), with a layer around each port: a [`Recorder`](crate::capture::Recorder)'s tap, or a
    /// fault injector. A layer keeps a port on one core.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_wrapped<P: Clone + Into<AnyPort>>(
        ports: &[P],
        options: Options,
        mut layer: impl FnMut(Box<dyn Device>) -> Box<dyn Device>,
    ) -> Result<Self, Error> {
        check_number(ports.len())?;
        let ports: Vec<AnyPort> = ports.iter().cloned().map(Into::into).collect();
        let mut layered = |devices: ports::Devices| -> ports::Devices {
            devices.into_iter().map(|(name, device)| (name, layer(device))).collect()
        };
        if options.cores.len() > 1 {
            let (opened, memory) = ports::open_for(&ports, &options, options.cores.len())?;
            let crew = Crew::start(layered(opened.devices), memory, options)?;
            return Ok(Self { threads: Several(Box::new(crew)), peers: opened.peers });
        }
        let (opened, pool) = ports::open(&ports, &options)?;
        let runner = Self::with_devices(layered(opened.devices), pool, options)?;
        Ok(Self { peers: opened.peers, ..runner })
    }

    /// As [`open`](Self::open), for one or two devices with their names, which share `pool`. They are driven by the
    /// caller's thread: for several [`Options::cores`], see [`with_lanes`](Self::with_lanes).
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_devices(
        devices: Vec<(String, Box<dyn Device>)>,
        pool: Pool,
        options: Options,
    ) -> Result<Self, Error> {
        check_number(devices.len())?;
        if options.cores.len() > 1 {
            return Err(Error::Usage(
                "devices that share a pool stay on one core; accepted: fewer than two cores".into(),
            ));
        }
        let worker = Worker::with_devices(devices, pool, options)?;
        Ok(Self { threads: One(Box::new(worker)), peers: Vec::new() })
    }

    /// As [`open`](Self::open), for one or two devices with their names, taken apart for the several
    /// [`Options::cores`]. Each thread makes a pool of its own, in memory that no peer maps.
    ///
    /// # Errors
    /// As [`open`](Self::open); and a device that cannot be taken apart.
    pub fn with_lanes(
        devices: Vec<(String, Box<dyn Device>)>,
        options: Options,
    ) -> Result<Self, Error> {
        check_number(devices.len())?;
        let memory = ports::memory_for(&options, options.cores.len())?;
        let crew = Crew::start(devices, memory, options)?;
        Ok(Self { threads: Several(Box::new(crew)), peers: Vec::new() })
    }

    /// Lets `stop` end a run: a signal's flag, or one that another thread sets.
    pub fn stop_on(&mut self, stop: StopFlag) {
        match &mut self.threads {
            One(worker) => worker.stop_on(stop),
            Several(crew) => crew.stop_on(stop),
        }
    }

    /// Lets `sink` hear of every frame that [`Options::latency`] samples, besides the run's own figures. With several
    /// cores there is no one thread that could tell it: then a run is refused.
    pub fn observe(&mut self, sink: SharedLatencySink) {
        self.swap_observer(Some(sink));
    }

    /// As [`observe`](Self::observe), or nobody; who did before.
    pub(crate) fn swap_observer(
        &mut self,
        sink: Option<SharedLatencySink>,
    ) -> Option<SharedLatencySink> {
        match &mut self.threads {
            One(worker) => worker.swap_observer(sink),
            Several(crew) => std::mem::replace(&mut crew.observer, sink),
        }
    }

    /// What the next run does. The ports stay as they were started: frames larger than the options that
    /// [`open`](Self::open) was given may not fit, and the cores stay the same.
    ///
    /// # Errors
    /// [`Error::Usage`]: the frames do not fit a port.
    pub fn set_options(&mut self, options: Options) -> Result<(), Error> {
        match &mut self.threads {
            One(worker) => worker.set_options(options),
            Several(crew) => crew.set_options(options),
        }
    }

    /// Runs: warm-up, traffic, drain. `each` is called once per second (in the warm-up too, and once after the
    /// drain) and may end the run, as may the flag of [`stop_on`](Self::stop_on); the report is then marked
    /// `interrupted`.
    ///
    /// # Errors
    /// The links stayed down, nothing came through, or the run was stopped before anything did.
    pub fn run(&mut self, each: &mut dyn FnMut(&Tick) -> ControlFlow<()>) -> Result<Report, Error> {
        let before = self.refused();
        let result = match &mut self.threads {
            One(worker) => worker.run(&Seat::alone(), each).map(merge::single),
            Several(crew) => crew.run(each),
        };
        result.map_err(|error| error.with_refused(&self.refused_since(&before)))
    }

    /// How many peers each port has refused.
    fn refused(&self) -> Vec<u64> {
        self.peers.iter().map(|(_, peers)| peers.violations()).collect()
    }

    /// Each port that has refused peers since then, and why.
    fn refused_since(&self, before: &[u64]) -> Vec<String> {
        let now = self.peers.iter().zip(before).filter(|((_, peers), b)| peers.violations() > **b);
        now.filter_map(|((name, peers), _)| {
            let why = peers.last_violation()?;
            Some(format!("port {name} refused a peer: {why}"))
        })
        .collect()
    }
}

fn check_number(ports: usize) -> Result<(), Error> {
    if (1..=2).contains(&ports) {
        return Ok(());
    }
    Err(Error::Usage(format!("{ports} ports were given; one or two can be used")))
}
