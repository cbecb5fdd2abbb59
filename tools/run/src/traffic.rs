//! The built-in pktgen: a thread of its own, on a core of its own where there are two, from the sockets' opening to the
//! report.
//!
//! pktgen's warm-up waits for the links and for a first frame, so it starts before QEMU does and serves the vhost-user
//! handshake meanwhile. It keeps the sockets until QEMU is gone: their loss is nothing that QEMU should complain about.

use crate::console::say;
use crate::failure::Failure;
use crate::plan::Offer;
use pktgen::{Capture, Options, Replay, Report, Runner};
use plat_linux::{StopFlag, allowed_cores, pin_to_core};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::Duration;

/// How long the guest may take to start and to let a first frame through.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long to wait for stragglers after the last frame that came back: longer than a busy machine keeps a guest from
/// running. A run without loss does not wait at all.
const DRAIN: Duration = Duration::from_secs(2);
/// The warm-up where somebody steps through the guest with gdb.
const WARM_UP_WITH_GDB: Duration = Duration::from_secs(24 * 60 * 60);

/// Traffic under way.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: StopFlag,
    thread: std::thread::JoinHandle<()>,
    /// Dropped when the sockets may be closed.
    keep: mpsc::Sender<()>,
}

impl Traffic {
    /// Opens the sockets and starts to wait for the guest; `done` is called with the outcome, once.
    pub(crate) fn start(
        offer: &Offer,
        gdb: bool,
        done: impl FnOnce(Result<Report, Failure>) + Send + 'static,
    ) -> Result<Self, Failure> {
        let ports = offer.ports()?;
        let options = options(offer, gdb)?;
        let (opened, opening) = mpsc::channel();
        let stop = StopFlag::manual();
        let theirs = stop.clone();
        let (keep, kept) = mpsc::channel::<()>();
        let work = move || {
            pin();
            match Runner::open(&ports, options) {
                Err(error) => drop(opened.send(Err(failure(&error)))),
                Ok(mut runner) => {
                    runner.stop_on(theirs);
                    let _ = opened.send(Ok(()));
                    done(play(&mut runner));
                    // Ends with an error: the other end is dropped, nothing is ever sent.
                    let _ = kept.recv();
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("pktgen".into())
            .spawn(work)
            .map_err(|error| Failure::failed(format!("no thread for pktgen: {error}")))?;
        match opening.recv() {
            Ok(outcome) => outcome.map(|()| Self { stop, thread, keep }),
            Err(_) => Err(Failure::failed("pktgen ended before it had opened its ports")),
        }
    }

    /// Ends the traffic early; the outcome is of the part that ran.
    pub(crate) fn stop(&self) {
        self.stop.set();
    }

    /// Closes the sockets and waits until the thread has ended; `done` has been called by then.
    pub(crate) fn close(self) {
        drop(self.keep);
        let _ = self.thread.join();
    }
}

fn play(runner: &mut Runner) -> Result<Report, Failure> {
    let outcome = runner.run(&mut |tick| {
        say(format_args!("pktgen| {tick}"));
        ControlFlow::Continue(())
    });
    outcome.map_err(|error| failure(&error))
}

fn options(offer: &Offer, gdb: bool) -> Result<Options, Failure> {
    let replay = match &offer.pcap {
        None => None,
        Some(path) => {
            let capture =
                Capture::open(path).map_err(|error| Failure::failed(error.to_string()))?;
            Some(Replay { capture, compare: true })
        }
    };
    Ok(Options {
        rate: offer.rate,
        size: offer.size,
        duration: offer.duration,
        direction: offer.direction,
        replay,
        warm_up: if gdb { WARM_UP_WITH_GDB } else { WARM_UP },
        drain: DRAIN,
        ..Options::default()
    })
}

fn failure(error: &pktgen::Error) -> Failure {
    let status = if error.is_usage() { 2 } else { 1 };
    Failure { status, text: format!("pktgen: {error}") }
}

/// The core that pktgen polls on, and the others: none is set apart where there is only one.
fn cores() -> (Option<usize>, Vec<usize>) {
    let mut others = allowed_cores().unwrap_or_default();
    let own = if others.len() > 1 { others.pop() } else { None };
    (own, others)
}

fn pin() {
    // Best effort: an unpinned generator works as well, with more jitter.
    if let (Some(core), _) = cores() {
        let _ = pin_to_core(core);
    }
}

/// Keeps this process off pktgen's core; called in QEMU's process before it becomes QEMU.
pub(crate) fn leave_own_core() {
    if let (Some(_), others) = cores() {
        let mut set = CpuSet::new();
        others.into_iter().for_each(|core| set.set(core));
        let _ = sched_setaffinity(None, &set);
    }
}
