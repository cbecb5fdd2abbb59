//! Ports as the device under test: each trial is a run.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::ceiling::{Ceiling, measure_ceiling};
use super::{DeviceUnderTest, RecoveryTimes, TrialResult, overload};
use crate::latency::Sampling;
use crate::{DirectionReport, Error, Options, Rate, Report, Runner, Tick};

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
}

impl<'a> RunnerDevice<'a> {
    /// Trials on `ports` (1 or 2) ports as in `options`, but for rate, count and duration.
    pub fn new(runner: &'a mut Runner, ports: usize, options: Options) -> Self {
        Self { runner, options, ports, each: Box::new(|_| ControlFlow::Continue(())) }
    }

    /// Calls `each` once per second of a trial; what it breaks ends the search.
    #[must_use]
    pub fn on_tick(self, each: impl FnMut(&Tick) -> ControlFlow<()> + 'a) -> Self {
        Self { each: Box::new(each), ..self }
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
        let report = self.runner.run(&mut *self.each)?;
        if report.interrupted {
            return Err(Error::Interrupted);
        }
        // The first warm-up lasts until the device is there: that is no time of trials.
        let took_s = (start.elapsed().as_secs_f64() - report.warm_up_s).max(0.0);
        Ok(TrialResult { took_s, ..result(&report) })
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
        let rates = (overload, reduced);
        overload::recover(self.runner, &self.options, rates, duration, &mut *self.each)
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
