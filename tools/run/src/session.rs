//! One run: start the traffic, then QEMU; wait for whichever comes first of its end, the time's and the user's; end all.

use crate::checks;
use crate::console::{self, Told, say};
use crate::end::End;
use crate::failure::Failure;
use crate::plan::Plan;
use crate::qemu::{self, Qemu};
use crate::scratch::Scratch;
use crate::traffic::Traffic;
use pktgen::Report;
use plat_linux::StopFlag;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How long an image may take to its first poll before a run of limited duration is given up.
const BOOT: Duration = Duration::from_secs(30);

/// How often the user's wish to stop is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// What a run found.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// From QEMU's start to the image's first poll.
    pub boot: Option<Duration>,
    /// How the image ended; `None` where the launcher ended it.
    pub end: Option<End>,
    /// Whether the user ended the run.
    pub interrupted: bool,
    /// What pktgen found.
    pub report: Option<Report>,
    /// What went wrong besides.
    pub failure: Option<Failure>,
}

enum Event {
    Console(Told),
    Traffic(Box<Result<Report, Failure>>),
}

/// Runs the plan; `interrupt` is set when the user wants an end.
pub(crate) fn run(plan: &Plan, interrupt: &StopFlag) -> Result<Outcome, Failure> {
    qemu::find().map_err(Failure::failed)?;
    let _scratch = match &plan.offer {
        Some(_) => Some(Scratch::create().map_err(|error| {
            Failure::failed(format!("cannot create {}: {error}", Scratch::path().display()))
        })?),
        None => None,
    };
    for remark in checks::ports(&plan.guest.ports)?.iter().filter(|_| plan.offer.is_none()) {
        say(format_args!("run: {remark}"));
    }
    let (events, arriving) = mpsc::channel();
    let traffic = match &plan.offer {
        None => None,
        Some(offer) => {
            let events = events.clone();
            let done = move |outcome| drop(events.send(Event::Traffic(Box::new(outcome))));
            Some(Traffic::start(offer, plan.guest.gdb, done)?)
        }
    };

    let started = Instant::now();
    let (mut qemu, console, messages) = Qemu::start(&plan.guest.command(), plan.offer.is_some())
        .map_err(|error| Failure::failed(format!("cannot start QEMU: {error}")))?;
    let image = std::thread::spawn(move || {
        console::follow_image(console, |told| drop(events.send(Event::Console(told))));
    });
    let messages = std::thread::spawn(move || console::follow_qemu(messages));

    let mut run =
        Run { plan, interrupt, traffic, started, deadline: None, outcome: Outcome::new() };
    if plan.duration.is_some() && plan.offer.is_none() && !plan.guest.gdb {
        run.deadline = Some(started + BOOT);
    }
    run.watch(&arriving);
    run.finish(&mut qemu, &arriving)?;
    // Both have reached their end of file: QEMU is gone.
    let _ = (image.join(), messages.join());
    Ok(run.outcome)
}

impl Outcome {
    fn new() -> Self {
        Self { boot: None, end: None, interrupted: false, report: None, failure: None }
    }
}

struct Run<'a> {
    plan: &'a Plan,
    interrupt: &'a StopFlag,
    traffic: Option<Traffic>,
    started: Instant,
    deadline: Option<Instant>,
    outcome: Outcome,
}

impl Run<'_> {
    /// Returns when the run should end or the console has closed.
    fn watch(&mut self, arriving: &Receiver<Event>) {
        loop {
            if self.interrupt.is_set() {
                self.outcome.interrupted = true;
                return;
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                if self.outcome.boot.is_none() {
                    self.outcome.failure = Some(Failure::failed(format!(
                        "the image did not begin to poll within {} s",
                        BOOT.as_secs()
                    )));
                }
                return;
            }
            match arriving.recv_timeout(GLANCE) {
                Ok(Event::Console(Told::Polling(at))) => self.polling(at),
                Ok(Event::Console(Told::Closed)) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Event::Traffic(outcome)) => {
                    self.traffic_done(*outcome);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn polling(&mut self, at: Instant) {
        if self.outcome.boot.is_some() {
            return;
        }
        let boot = at - self.started;
        self.outcome.boot = Some(boot);
        say(format_args!("run: first poll {:.1} ms after QEMU's start", boot.as_secs_f64() * 1e3));
        if let Some(hint) = &self.plan.hint {
            say(format_args!("run: {hint}"));
        }
        if self.plan.offer.is_none() {
            self.deadline = self.plan.duration.map(|duration| at + duration);
        }
    }

    fn traffic_done(&mut self, outcome: Result<Report, Failure>) {
        match outcome {
            Ok(report) => self.outcome.report = Some(report),
            Err(failure) => self.outcome.failure = Some(failure),
        }
    }

    /// Ends traffic first, then QEMU, then closes the sockets between them; learns how the image ended.
    fn finish(&mut self, qemu: &mut Qemu, arriving: &Receiver<Event>) -> Result<(), Failure> {
        let ended_itself = qemu.ends_within(Duration::from_millis(20));
        if let Some(traffic) = &self.traffic {
            traffic.stop();
            self.await_traffic(arriving);
            // It would wait for answers of peers that have stopped listening.
            qemu.kill();
        } else if !ended_itself {
            qemu.ask_to_end();
        }
        let status = qemu.wait();
        if let Some(traffic) = self.traffic.take() {
            traffic.close();
        }
        let status =
            status.map_err(|error| Failure::failed(format!("lost track of QEMU: {error}")))?;
        if ended_itself {
            self.outcome.end = Some(End::of(status));
        }
        Ok(())
    }

    /// Until pktgen, which was told to stop, has its figures.
    fn await_traffic(&mut self, arriving: &Receiver<Event>) {
        while self.outcome.report.is_none() && self.outcome.failure.is_none() {
            match arriving.recv() {
                Ok(Event::Traffic(outcome)) => self.traffic_done(*outcome),
                Ok(Event::Console(Told::Polling(at))) => self.polling(at),
                Ok(Event::Console(Told::Closed)) => {}
                Err(_) => return,
            }
        }
    }
}
