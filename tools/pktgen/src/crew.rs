//! The crew: a thread on each of several cores, each with one queue of every port, and the one that leads them.
//!
//! A thread builds everything that it uses on its own core: a pool, its lanes of the ports, streams, trackers,
//! histograms. What the threads share while packets move is the [`Board`]. The leader sends no packet: it hands out
//! work over channels, sums up what they tell once per second, and puts their reports together.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::Device;
use plat_linux::{Clock, StopFlag, pin_to_core};

use crate::board::{Board, Seat};
use crate::latency::{Clocks, Skew, measure_skew};
use crate::merge::{self, Ticks};
use crate::worker::{Part, Worker};
use crate::{Error, Options, Profile, Report, SharedLatencySink, Tick};

/// How often the leader looks whether it was stopped.
const GLANCE: Duration = Duration::from_millis(10);

/// Devices of one queue pair each, with the names of the ports that they are part of.
type Lanes = Vec<(String, Box<dyn Device + Send>)>;

/// Threads that are ready to run.
pub(crate) struct Crew {
    members: Vec<Member>,
    answers: Receiver<(usize, Answer)>,
    options: Options,
    stop: StopFlag,
    clocks: Option<Clocks>,
    /// Who would observe each frame; a run is refused then.
    pub(crate) observer: Option<SharedLatencySink>,
}

struct Member {
    /// Dropped to end the thread.
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    Options(Box<Options>),
    Run(Seat, StopFlag, Clocks),
}

enum Answer {
    Ready,
    Tick(Box<Tick>),
    Found(Box<Part>),
    Failed(Error),
}

impl Crew {
    /// Takes `devices` apart, and starts their lanes on the cores of `options`. `memory` is for each core's pool.
    pub(crate) fn start(
        devices: Vec<(String, Box<dyn Device>)>,
        (memory, config): (Vec<DeviceMemory>, PoolConfig),
        options: Options,
    ) -> Result<Self, Error> {
        check(&options)?;
        let lanes = lanes(devices, options.cores.len())?;
        let (tell, answers) = channel();
        let mut members = Vec::with_capacity(lanes.len());
        for (number, (lanes, memory)) in lanes.into_iter().zip(memory).enumerate() {
            let outfit = Outfit { lanes, memory, config, core: options.cores[number] };
            members.push(Member::spawn(number, outfit, options.clone(), tell.clone())?);
        }
        let crew = Self {
            members,
            answers,
            options,
            stop: StopFlag::manual(),
            clocks: None,
            observer: None,
        };
        crew.all_ready()?;
        Ok(crew)
    }

    pub(crate) fn stop_on(&mut self, stop: StopFlag) {
        self.stop = stop;
    }

    pub(crate) fn set_options(&mut self, options: Options) -> Result<(), Error> {
        check(&options)?;
        if options.cores != self.options.cores {
            return Err(Error::Usage("the cores were chosen when the ports were opened".into()));
        }
        self.command(|_| Command::Options(Box::new(options.clone())));
        self.all_ready()?;
        self.options = options;
        Ok(())
    }

    pub(crate) fn run(
        &mut self,
        each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
    ) -> Result<Report, Error> {
        if self.observer.is_some() {
            return Err(Error::Usage(
                "what looks at each frame by itself needs one thread; accepted: one core".into(),
            ));
        }
        let (clocks, members) = (self.clocks()?, self.members.len());
        let (board, stop) = (Arc::new(Board::new(members)), StopFlag::manual());
        self.command(|member| {
            Command::Run(Seat { member, members, board: board.clone() }, stop.clone(), clocks)
        });
        let mut ticks = Ticks::new(members);
        let (mut parts, mut failed, mut pending) = (Vec::new(), None, members);
        while pending > 0 {
            match self.answers.recv_timeout(GLANCE) {
                Ok((number, Answer::Tick(tick))) => {
                    let sum = ticks.add(number, *tick);
                    if sum.is_some_and(|sum| each(&sum).is_break()) {
                        stop.set();
                    }
                }
                Ok((number, Answer::Found(part))) => {
                    parts.push((number, *part));
                    pending -= 1;
                }
                Ok((_, Answer::Failed(error))) => {
                    worse(&mut failed, error);
                    pending -= 1;
                }
                Ok((_, Answer::Ready)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
            }
            if self.stop.is_set() {
                stop.set();
            }
        }
        parts.sort_by_key(|(number, _)| *number);
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        failed.map_or_else(|| merge::parts(parts).ok_or_else(gone), Err)
    }

    fn command(&self, what: impl Fn(usize) -> Command) {
        for (number, member) in self.members.iter().enumerate() {
            // One that has ended has said why.
            let _ = member.commands.as_ref().map(|commands| commands.send(what(number)));
        }
    }

    /// Waits until every thread has said that it is ready, or that it cannot be.
    fn all_ready(&self) -> Result<(), Error> {
        let mut failed = None;
        for _ in &self.members {
            match self.answers.recv() {
                Ok((_, Answer::Failed(error))) => worse(&mut failed, error),
                Ok(_) => {}
                Err(_) => return Err(gone()),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// How far the cores' clocks are apart, measured the first time that it matters, while the threads rest.
    fn clocks(&mut self) -> Result<Clocks, Error> {
        if self.options.latency.is_none() {
            return Ok(Clocks::One);
        }
        if let Some(clocks) = self.clocks {
            return Ok(clocks);
        }
        let clock = Clock::new();
        let (first, others) = (self.options.cores[0], &self.options.cores[1..]);
        let skews = others.iter().map(|&other| measure_skew(&clock, first, other));
        let skews = skews.collect::<Result<Vec<Skew>, _>>();
        let skews = skews.map_err(|error| Error::Usage(error.to_string()))?;
        let worst = skews.into_iter().max_by(|a, b| a.ahead_ns.abs().total_cmp(&b.ahead_ns.abs()));
        let clocks = worst.map_or(Clocks::One, Clocks::Two);
        self.clocks = Some(clocks);
        Ok(clocks)
    }
}

impl Drop for Crew {
    /// Ends the threads, which stop their ports.
    fn drop(&mut self) {
        self.members.iter_mut().for_each(|member| member.commands = None);
        for thread in self.members.iter_mut().filter_map(|member| member.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// What a thread is given to start with.
struct Outfit {
    lanes: Lanes,
    memory: DeviceMemory,
    config: PoolConfig,
    core: usize,
}

impl Outfit {
    /// On the thread's own core.
    fn start(self, options: Options) -> Result<Worker, Error> {
        pin_to_core(self.core).map_err(|error| Error::Usage(error.to_string()))?;
        let pool = Pool::new(self.memory, self.config);
        let pool = pool.map_err(|error| Error::Memory(error.to_string()))?;
        let whole =
            |(name, lane): (String, Box<dyn Device + Send>)| (name, lane as Box<dyn Device>);
        let devices = self.lanes.into_iter().map(whole).collect();
        Worker::with_devices(devices, pool, Options { queues: 1, ..options })
    }
}

impl Member {
    fn spawn(
        number: usize,
        outfit: Outfit,
        options: Options,
        tell: Sender<(usize, Answer)>,
    ) -> Result<Self, Error> {
        let (commands, orders) = channel();
        let work = move || {
            let tell = move |answer| drop(tell.send((number, answer)));
            match outfit.start(options) {
                Ok(worker) => {
                    tell(Answer::Ready);
                    obey(worker, &orders, &tell);
                }
                Err(error) => tell(Answer::Failed(error)),
            }
        };
        let thread = std::thread::Builder::new().name(format!("core {number}")).spawn(work);
        let thread = thread.map_err(|error| Error::Memory(format!("no thread: {error}")))?;
        Ok(Self { commands: Some(commands), thread: Some(thread) })
    }
}

/// Does what it is told until there is nobody left to tell it.
fn obey(mut worker: Worker, orders: &Receiver<Command>, tell: &dyn Fn(Answer)) {
    while let Ok(command) = orders.recv() {
        match command {
            Command::Options(options) => {
                let options = Options { queues: 1, ..*options };
                tell(worker.set_options(options).map_or_else(Answer::Failed, |()| Answer::Ready));
            }
            Command::Run(seat, stop, clocks) => {
                worker.clocks = clocks;
                worker.stop_on(stop);
                let mut each = |tick: &Tick| {
                    tell(Answer::Tick(Box::new(tick.clone())));
                    ControlFlow::Continue(())
                };
                let found = catch_unwind(AssertUnwindSafe(|| worker.run(&seat, &mut each)));
                let found =
                    found.unwrap_or_else(|_| Err(Error::Output("a thread panicked".into())));
                if found.is_err() {
                    seat.board.fail();
                }
                tell(found.map_or_else(Answer::Failed, |part| Answer::Found(Box::new(part))));
            }
        }
    }
}

/// For each core, a lane of each device.
fn lanes(devices: Vec<(String, Box<dyn Device>)>, cores: usize) -> Result<Vec<Lanes>, Error> {
    let pairs = u16::try_from(cores).unwrap_or(u16::MAX);
    let mut all: Vec<Lanes> = (0..cores).map(|_| Vec::with_capacity(devices.len())).collect();
    for (name, device) in devices {
        let lanes = device.split(pairs).map_err(|error| Error::Port {
            name: name.clone(),
            reason: format!("it cannot be driven from {cores} cores: {error}"),
        })?;
        all.iter_mut().zip(lanes).for_each(|(core, lane)| core.push((name.clone(), lane)));
    }
    Ok(all)
}

/// Refuses what cannot be shared out among threads.
fn check(options: &Options) -> Result<(), Error> {
    let refuse = |what: &str| {
        let what = format!("{what} needs one thread; accepted: one core");
        Err(Error::Usage(what))
    };
    if options.cores.len() < 2 {
        return Err(Error::Usage("a crew needs at least two cores".into()));
    }
    if options.replay.is_some() {
        return refuse("a replay");
    }
    for stream in &options.streams {
        if stream.per_flow {
            return refuse("a stream with figures per flow");
        }
        if matches!(stream.profile, Profile::Burst { .. } | Profile::Ramp { .. }) {
            return refuse("a stream in bursts or with a ramp");
        }
    }
    Ok(())
}

/// Keeps the error that says most: that a thread was interrupted follows from another's.
fn worse(kept: &mut Option<Error>, error: Error) {
    if matches!(kept, None | Some(Error::Interrupted)) {
        *kept = Some(error);
    }
}

fn gone() -> Error {
    Error::Output("a thread ended before its work was done".into())
}
