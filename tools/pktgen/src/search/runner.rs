//! Ports as the device under test: each trial is a run.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::ceiling::{Ceiling, measure_ceiling};
use super::{DeviceUnderTest, RecoveryTimes, TrialResult, overload};
use crate::latency::Sampling;
use crate::{DirectionReport, Error, Options, Phase, PortReport, Rate, Report, Runner, Tick};

/// How long the generator's ceiling is measured.
const CEILING: Duration = Duration::from_millis(500);

/// Called once per second of a trial; may stop it, and with it the search.
type EachTick<'a> = Box<dyn FnMut(&Tick) -> ControlFlow<()> + 'a>;

/// The ports of a [`Runner`] as the device under test.
///
/// A signal's flag that was given to [`Runner::stop_on`] ends the search too, with a partial result.
pub struct RunnerDevice<'a> {
    runner: &'a mut Runner,
    options: Options,
    ports: usize,
    each: EachTick<'a>,
    /// What is asked for next may take so long.
    left: Option<Duration>,
    /// Whether a frame has come through: then a warm-up is part of a trial, and not a wait for the device.
    is_there: bool,
    /// The ports, as the last trial left them.
    found: Vec<PortReport>,
}

impl<'a> RunnerDevice<'a> {
    /// Trials on `ports` (1 or 2) ports as in `options`, but for rate, count and duration.
    pub fn new(runner: &'a mut Runner, ports: usize, options: Options) -> Self {
        let each = Box::new(|_: &Tick| ControlFlow::Continue(()));
        Self { runner, options, ports, each, left: None, is_there: false, found: Vec::new() }
    }

    /// Calls `each` once per second of a trial; what it breaks ends the search.
    #[must_use]
    pub fn on_tick(self, each: impl FnMut(&Tick) -> ControlFlow<()> + 'a) -> Self {
        Self { each: Box::new(each), ..self }
    }

    /// What the ports were and counted in the last trial; none before the first.
    pub fn ports(&self) -> &[PortReport] {
        &self.found
    }

    fn trial(&mut self, options: Options) -> Result<TrialResult, Error> {
        if let Some(stream) = options.streams.iter().find(|stream| stream.rate.is_some()) {
            return Err(Error::Usage(format!(
                "stream {} has a rate of its own, and a search sets the rate; accepted: a weight",
                stream.name
            )));
        }
        let start = Instant::now();
        self.runner.set_options(options)?;
        let mut watch = Watch::new(self.left, self.is_there);
        let report = self.runner.run(&mut |tick| watch.look(tick, &mut *self.each));
        let report = report.map_err(|error| watch.reason(error))?;
        if report.interrupted {
            return Err(watch.reason(Error::Interrupted));
        }
        let took_s = self.took_s(start.elapsed(), report.warm_up_s);
        let result = TrialResult { took_s, ..result(&report) };
        self.found = report.ports;
        Ok(result)
    }

    /// The first warm-up lasts until the device is there: that is no time of trials.
    fn took_s(&mut self, elapsed: Duration, warm_up_s: f64) -> f64 {
        let waited_s = if self.is_there { 0.0 } else { warm_up_s };
        self.is_there = true;
        (elapsed.as_secs_f64() - waited_s).max(0.0)
    }
}

/// Ends a trial that takes longer than it may.
struct Watch {
    left: Option<Duration>,
    since: Instant,
    is_there: bool,
    is_late: bool,
}

impl Watch {
    fn new(left: Option<Duration>, is_there: bool) -> Self {
        Self { left, since: Instant::now(), is_there, is_late: false }
    }

    /// A second of the trial has passed. What is only waiting for stragglers has been made and is let be.
    fn look(
        &mut self,
        tick: &Tick,
        each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if !self.is_there && tick.phase == Phase::WarmUp {
            self.since = Instant::now();
        }
        let late = self.left.is_some_and(|left| self.since.elapsed() > left);
        self.is_late |= late && tick.phase != Phase::Draining;
        let wish = each(tick);
        if self.is_late { ControlFlow::Break(()) } else { wish }
    }

    /// Why a trial ended that ended with `error`.
    fn reason(&self, error: Error) -> Error {
        match error {
            Error::Interrupted if self.is_late => Error::OutOfTime,
            other => other,
        }
    }
}

impl DeviceUnderTest for RunnerDevice<'_> {
    fn measure(&mut self, rate: u64, duration: Duration) -> Result<TrialResult, Error> {
        let options = Options {
            rate: Rate::Packets(rate),
            count: None,
            duration: Some(duration),
            ..self.options.clone()
        };
        self.trial(options)
    }

    fn burst(&mut self, rate: u64, frames: u64) -> Result<TrialResult, Error> {
        let options = Options {
            rate: Rate::Packets(rate),
            count: Some(frames),
            duration: None,
            ..self.options.clone()
        };
        self.trial(options)
    }

    fn recover(
        &mut self,
        overload: u64,
        reduced: u64,
        duration: Duration,
    ) -> Result<RecoveryTimes, Error> {
        let (start, rates) = (Instant::now(), (overload, reduced));
        let mut watch = Watch::new(self.left, self.is_there);
        let mut each = |tick: &Tick| watch.look(tick, &mut *self.each);
        let found = overload::recover(self.runner, &self.options, rates, duration, &mut each);
        let (times, report) = found.map_err(|error| watch.reason(error))?;
        self.found = report.ports;
        Ok(RecoveryTimes { took_s: self.took_s(start.elapsed(), report.warm_up_s), ..times })
    }

    fn end_within(&mut self, left: Option<Duration>) {
        self.left = left;
    }

    fn want_latency(&mut self) {
        self.options.latency.get_or_insert(Sampling::ALL);
    }

    fn ceiling(&mut self) -> Result<Option<Ceiling>, Error> {
        measure_ceiling(&self.options, self.ports, CEILING).map(Some)
    }
}

/// A report as a trial's result.
fn result(report: &Report) -> TrialResult {
    let directions = &report.directions;
    let sum = |count: fn(&DirectionReport) -> u64| directions.iter().map(count).sum();
    let worst = |a: f64, b: f64| if a.abs() >= b.abs() { a } else { b };
    TrialResult {
        // What was due and not given up was sent, but for the last burst: that a trial ends is nobody's loss.
        offered: sum(|d| d.sent + d.skipped),
        sent: sum(|d| d.sent),
        // A corrupted frame did not come back intact; a duplicated one came back once.
        received: sum(|d| d.received - d.duplicated),
        lost: sum(|d| d.lost + d.corrupted),
        rate_error: directions.iter().filter_map(|d| d.rate_error).fold(0.0, worst),
        ring_full: directions.iter().map(ring_full_share).fold(0.0, f64::max),
        took_s: 0.0,
        latency: report.latency.clone(),
    }
}

/// The share of the time during which frames waited because the port was full, 0 to 1.
pub(super) fn ring_full_share(direction: &DirectionReport) -> f64 {
    if direction.duration_s > 0.0 {
        (direction.ring_full_s / direction.duration_s).clamp(0.0, 1.0)
    } else {
        f64::from(u8::from(direction.ring_full > 0))
    }
}
