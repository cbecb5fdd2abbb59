//! The generator by itself: pktgen's loop beside testpmd's senders, each on the same core in turns, each into a port that
//! throws frames away at once.
//!
//! pktgen's port is its own `discard`, testpmd's is DPDK's `net_null`. What pktgen makes is seen in a twin run, frame by
//! frame.

use std::cell::RefCell;
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use barewire::ports::PortMemory;
use clap::ValueEnum;
use netbuf::{Pool, PoolConfig};
use netdev::tap::{self, Sighting};
use pktgen::{Options, Rate, Report, Runner, StreamSpec, discard};
use plat_linux::Region;
use serde::Serialize;

use super::disturbance::Load;
use super::job::Work;
use super::pair::Timing;
use super::plan::display_by_name;
use super::side::{Side, SideError};
use super::testpmd::{Launch, Testpmd};
use super::traffic::looks_right;
use super::trial::Turn;
use crate::generator::four_fields_stream;

/// Frames that are looked at in a twin run.
const LOOKED_AT: u64 = 20_000;

/// What pktgen sends, and what it is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One frame over and over, as testpmd's `txonly`.
    Unchanging,
    /// Four varying fields, a sequence number and a checksum of the contents, beside testpmd's `flowgen`, which varies one
    /// field.
    FourFields,
}

display_by_name!(Kind);

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Unchanging, Self::FourFields];

    /// testpmd's mode.
    pub const fn dpdk(self) -> &'static str {
        match self {
            Self::Unchanging => "txonly",
            Self::FourFields => "flowgen",
        }
    }

    const fn work(self) -> Work {
        match self {
            Self::Unchanging => Work::Send,
            Self::FourFields => Work::Generate,
        }
    }

    fn stream(self, size: u16) -> Result<StreamSpec, String> {
        let stream = match self {
            Self::Unchanging => StreamSpec { stamp: false, ..StreamSpec::default() },
            Self::FourFields => four_fields_stream(),
        };
        Ok(StreamSpec { size: size.to_string().parse()?, ..stream })
    }
}

/// What the thread of our generator is to do.
enum Job {
    Run { kind: Kind, size: u16, duration: Duration },
    Verify { kind: Kind, size: u16 },
}

/// What came of it: million packets per second, and cycles for each; or frames that were looked at.
type Outcome = Result<(f64, Option<f64>), String>;

/// Both generators, on one core.
pub struct Generators {
    jobs: Sender<Job>,
    outcomes: Receiver<Outcome>,
    testpmd: Testpmd,
}

impl Generators {
    /// Starts both on `core`.
    ///
    /// # Errors
    /// testpmd cannot be started, or the core or the memory not be had.
    pub fn start(core: usize, huge_pages: bool) -> Result<Self, SideError> {
        let (jobs, received) = channel();
        let (answers, outcomes) = channel();
        std::thread::spawn(move || serve(core, huge_pages, &received, &answers));
        let launch = Launch {
            core,
            huge_pages,
            prefix: format!("bw{}-generator", std::process::id()),
            devices: vec!["net_null0,no-rx=1".into()],
            environment: Vec::new(),
            options: vec!["--record-core-cycles".into()],
        };
        let testpmd = Testpmd::launch("DPDK's generator", &launch)?;
        Ok(Self { jobs, outcomes, testpmd })
    }

    /// testpmd's process.
    pub fn id(&self) -> u32 {
        self.testpmd.id()
    }

    /// Looks at frames of ours; how many.
    ///
    /// # Errors
    /// One is not what was asked for.
    pub fn verify(&self, kind: Kind, size: u16) -> Result<u64, SideError> {
        self.ask(Job::Verify { kind, size }).map(|_| LOOKED_AT)
    }

    /// One turn of ours.
    ///
    /// # Errors
    /// It ended.
    pub fn ours(&self, kind: Kind, size: u16, timing: Timing) -> Result<Turn, SideError> {
        self.ask(Job::Run { kind, size, duration: timing.settle })?;
        let load = Load::now(&[self.id()]);
        let (mpps, cycles) = self.ask(Job::Run { kind, size, duration: timing.window })?;
        let disturbance = Load::now(&[self.id()]).since(&load);
        Ok(Turn { mpps, cycles, disturbance })
    }

    /// One turn of testpmd.
    ///
    /// # Errors
    /// It ended or does not answer.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub fn dpdk(&mut self, kind: Kind, size: u16, timing: Timing) -> Result<Turn, SideError> {
        let processes = [self.id()];
        self.testpmd.start(kind.work(), size)?;
        std::thread::sleep(timing.settle);
        let load = Load::now(&processes);
        let before = self.testpmd.account()?;
        std::thread::sleep(timing.window);
        let after = self.testpmd.account()?;
        let disturbance = Load::now(&processes).since(&load);
        self.testpmd.stop()?;
        let nanos = after.nanos.saturating_sub(before.nanos);
        let (cycles, packets) = (after.cycles - before.cycles, after.packets - before.packets);
        let sent = after.sent.saturating_sub(before.sent);
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let mpps = ratio(sent, nanos).map(|per_nano| per_nano * 1e3);
        let mpps = mpps.ok_or_else(|| SideError("no time has passed".into()))?;
        Ok(Turn { mpps, cycles: ratio(cycles, packets), disturbance })
    }

    fn ask(&self, job: Job) -> Result<(f64, Option<f64>), SideError> {
        let ended = "our generator's thread ended";
        self.jobs.send(job).map_err(|_| SideError(ended.into()))?;
        self.outcomes.recv().map_err(|_| SideError(ended.into()))?.map_err(SideError)
    }
}

/// The thread of our generator: its packets stay with it.
fn serve(core: usize, huge_pages: bool, jobs: &Receiver<Job>, outcomes: &Sender<Outcome>) {
    let pool = new_pool(core, huge_pages);
    while let Ok(job) = jobs.recv() {
        let outcome = pool.clone().and_then(|pool| match job {
            Job::Run { kind, size, duration } => run(pool, kind, size, duration),
            Job::Verify { kind, size } => verify(pool, kind, size).map(|()| (0.0, None)),
        });
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}

fn new_pool(core: usize, huge_pages: bool) -> Result<Pool, String> {
    plat_linux::pin_to_core(core).map_err(|error| error.to_string())?;
    let shape = PoolConfig::default();
    let make = if huge_pages { Region::with_huge_pages } else { Region::with_ordinary_pages };
    let region = make(shape.device_bytes()).map_err(|error| error.to_string())?;
    let packets = PortMemory::new(region).take(shape.device_bytes());
    Pool::new(packets.map_err(|error| error.to_string())?, shape).map_err(|error| error.to_string())
}

fn options(kind: Kind, size: u16) -> Result<Options, String> {
    Ok(Options {
        rate: Rate::Max,
        drain: Duration::from_millis(1),
        streams: vec![kind.stream(size)?],
        ..Options::default()
    })
}

fn run(pool: Pool, kind: Kind, size: u16, duration: Duration) -> Outcome {
    let options = Options { duration: Some(duration), ..options(kind, size)? };
    let report = generate(pool, vec![("discard".into(), discard::device())], options)?;
    Ok((report.directions[0].achieved_mpps, report.cycles_per_packet))
}

/// Has every frame of a run looked at on its way into the port.
fn verify(pool: Pool, kind: Kind, size: u16) -> Result<(), String> {
    let seen = Rc::new(RefCell::new((0u64, Vec::new(), 0u64)));
    let sink = {
        let seen = Rc::clone(&seen);
        move |_: &Sighting, frame: &[u8]| {
            let (count, last, wrong) = &mut *seen.borrow_mut();
            let changes = *count > 0 && last[..] != *frame;
            let right =
                looks_right(frame, size) && (*count == 0 || changes == (kind == Kind::FourFields));
            (*count, *wrong) = (*count + 1, *wrong + u64::from(!right));
            *last = frame.to_vec();
        }
    };
    let device = tap::wrap(discard::device(), Rc::new(RefCell::new(sink)), netdev::call_counter());
    let options = Options { count: Some(LOOKED_AT), ..options(kind, size)? };
    generate(pool, vec![("discard".into(), device)], options)?;
    let (count, _, wrong) = *seen.borrow();
    if (count, wrong) == (LOOKED_AT, 0) {
        return Ok(());
    }
    Err(format!(
        "pktgen, {kind}, {size} B: of {LOOKED_AT} frames {count} were sent and {wrong} were not as they should be"
    ))
}

fn generate(
    pool: Pool,
    ports: Vec<(String, Box<dyn netdev::Device>)>,
    options: Options,
) -> Result<Report, String> {
    let runner = Runner::with_devices(ports, pool, options);
    let mut runner = runner.map_err(|error| error.to_string())?;
    runner.run(&mut |_| ControlFlow::Continue(())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::new_pool;

    #[test]
    fn our_frames_are_what_they_should_be_and_are_sent() {
        let pool = new_pool(4096);
        for kind in Kind::ALL {
            for size in [64, 1518] {
                verify(pool, kind, size).unwrap();
                let (mpps, _) = run(pool, kind, size, Duration::from_millis(20)).unwrap();
                assert!(mpps > 0.0);
            }
        }
        // One frame over and over is not four varying fields.
        let options = Options { count: Some(100), ..options(Kind::Unchanging, 64).unwrap() };
        let report = generate(pool, vec![("discard".into(), discard::device())], options).unwrap();
        assert_eq!(report.directions[0].sent, 100);
    }
}
