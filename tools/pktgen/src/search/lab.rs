//! The lab: makes the trials of any search, repeats those that do not count, and knows when to end.

use std::ops::ControlFlow;
use std::time::Duration;

use super::trial::judge;
use super::{
    Ceiling, Completion, DeviceUnderTest, Findings, GoalBounds, Progress, SearchOptions,
    SearchOutcome, TrialRecord, TrialResult, Verdict,
};
use crate::Error;

/// Trials that are kept one by one, whatever their number may be.
const KEPT: usize = 10_000;

/// What is tried next, and what a caller may know about the rest.
pub(super) struct Plan<'p> {
    pub(super) rate: u64,
    pub(super) duration_s: f64,
    pub(super) purpose: &'p str,
    /// Seconds of trials that follow this one, at most, as far as it can be foreseen.
    pub(super) then_s: f64,
    pub(super) bounds: Vec<GoalBounds>,
}

impl<'p> Plan<'p> {
    pub(super) fn new(rate: u64, duration_s: f64, purpose: &'p str, then_s: f64) -> Self {
        Self { rate, duration_s, purpose, then_s, bounds: Vec::new() }
    }
}

/// A trial that counts, or none at this rate.
pub(super) enum Measured {
    /// It counts.
    Valid(TrialRecord),
    /// The generator did not keep its rate in any repetition; this is the last.
    NotKept(TrialRecord),
}

/// Where trials are made.
pub(super) struct Lab<'a> {
    device: &'a mut dyn DeviceUnderTest,
    pub(super) options: &'a SearchOptions,
    progress: &'a mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    /// The highest rate that the generator is believed to keep.
    highest: u64,
    limit: Option<u64>,
    ceiling: Option<Ceiling>,
    kept: usize,
    trials: Vec<TrialRecord>,
    last: Option<TrialRecord>,
    made: u64,
    invalid: u64,
    /// Seconds of all that was done.
    spent_s: f64,
    /// Of them, those of trials; and what these were to take.
    trials_s: f64,
    asked_s: f64,
    /// The most seconds that a trial took longer than it was to.
    most_added_s: f64,
}

impl<'a> Lab<'a> {
    pub(super) fn new(
        device: &'a mut dyn DeviceUnderTest,
        options: &'a SearchOptions,
        progress: &'a mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Self {
        let highest = options.max_rate;
        Self {
            device,
            options,
            progress,
            highest,
            limit: None,
            ceiling: None,
            kept: KEPT,
            trials: Vec::new(),
            last: None,
            made: 0,
            invalid: 0,
            spent_s: 0.0,
            trials_s: 0.0,
            asked_s: 0.0,
            most_added_s: 0.0,
        }
    }

    /// The highest rate that makes sense to try: the options', or what the generator can keep.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the generator, not the options, bounds the rate.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Keeps only the first `kept` trials one by one.
    pub(super) fn keep(&mut self, kept: usize) {
        self.kept = kept;
    }

    /// Asks what the generator can do by itself. That it cannot be told ends no search.
    pub(super) fn find_ceiling(&mut self) {
        self.ceiling = self.device.ceiling().ok().flatten();
        self.spent_s += self.ceiling.map_or(0.0, |ceiling| ceiling.took_s);
    }

    /// The trials that follow shall measure latency.
    pub(super) fn want_latency(&mut self) {
        self.device.want_latency();
    }

    /// One trial that counts, or the news that there is none.
    pub(super) fn measure(&mut self, plan: &Plan<'_>) -> Result<Measured, Completion> {
        let duration = Duration::from_secs_f64(plan.duration_s);
        self.trial(plan, &mut |device| device.measure(plan.rate, duration))
    }

    /// As [`measure`](Self::measure), for a number of frames.
    pub(super) fn burst(&mut self, plan: &Plan<'_>, frames: u64) -> Result<Measured, Completion> {
        self.trial(plan, &mut |device| device.burst(plan.rate, frames))
    }

    fn trial(
        &mut self,
        plan: &Plan<'_>,
        make: &mut dyn FnMut(&mut dyn DeviceUnderTest) -> Result<TrialResult, Error>,
    ) -> Result<Measured, Completion> {
        let mut best: f64 = 0.0;
        for repeat in 0..=self.options.repeats {
            self.announce(plan)?;
            self.device.end_within(self.left());
            let result = make(self.device).map_err(completion_of)?;
            let record = self.record(plan, result);
            if record.verdict != Verdict::RateNotKept {
                return Ok(Measured::Valid(record));
            }
            best = best.max(plan.rate as f64 * (1.0 + record.result.rate_error));
            if repeat == self.options.repeats {
                self.lower_limit(plan.rate, best);
                return Ok(Measured::NotKept(record));
            }
        }
        unreachable!("the last repetition returns")
    }

    /// Runs something that is no trial, between two announcements.
    pub(super) fn other<T>(
        &mut self,
        plan: &Plan<'_>,
        make: impl FnOnce(&mut dyn DeviceUnderTest) -> Result<T, Error>,
        took_s: impl FnOnce(&T) -> f64,
    ) -> Result<T, Completion> {
        self.announce(plan)?;
        self.device.end_within(self.left());
        let value = make(self.device).map_err(completion_of)?;
        self.count(plan, took_s(&value));
        Ok(value)
    }

    /// Tells the caller what comes, and ends the search where it is time to.
    fn announce(&mut self, plan: &Plan<'_>) -> Result<(), Completion> {
        if self.left().is_some_and(|left| left.as_secs_f64() < self.would_take(plan)) {
            return Err(Completion::OutOfTime);
        }
        if self.made >= self.options.max_trials {
            return Err(Completion::OutOfTrials);
        }
        let slowness =
            if self.asked_s > 0.0 { (self.trials_s / self.asked_s).max(1.0) } else { 1.0 };
        let remaining_s = (plan.duration_s + plan.then_s) * slowness;
        let left = self.left().map(|left| left.as_secs_f64());
        let now = Progress {
            trials: self.made,
            invalid: self.invalid,
            next: Some((plan.rate, plan.duration_s)),
            purpose: plan.purpose,
            last: self.last.as_ref(),
            spent_s: self.spent_s,
            remaining_s: left.map_or(remaining_s, |left| remaining_s.min(left)),
            bounds: plan.bounds.clone(),
        };
        if (self.progress)(&now).is_break() { Err(Completion::Stopped) } else { Ok(()) }
    }

    /// What is left of the search's time.
    fn left(&self) -> Option<Duration> {
        let spent = Duration::try_from_secs_f64(self.spent_s).unwrap_or(Duration::MAX);
        self.options.max_time.map(|most| most.saturating_sub(spent))
    }

    /// Seconds that the trial takes if as much is added to it as to the worst before: warm-up, stragglers, a busy
    /// machine.
    fn would_take(&self, plan: &Plan<'_>) -> f64 {
        plan.duration_s + self.most_added_s
    }

    /// Counts a trial that took so long.
    fn count(&mut self, plan: &Plan<'_>, took_s: f64) {
        self.made += 1;
        self.spent_s += took_s.max(0.0);
        self.trials_s += took_s.max(0.0);
        self.asked_s += plan.duration_s;
        self.most_added_s = self.most_added_s.max(took_s - plan.duration_s);
    }

    fn record(&mut self, plan: &Plan<'_>, result: TrialResult) -> TrialRecord {
        let (verdict, loss_ratio) = judge(&result, self.options);
        let record = TrialRecord {
            number: self.made + 1,
            start_s: self.spent_s,
            purpose: plan.purpose.to_owned(),
            rate: plan.rate,
            duration_s: plan.duration_s,
            loss_ratio,
            verdict,
            result,
        };
        self.invalid += u64::from(verdict == Verdict::RateNotKept);
        self.count(plan, record.result.took_s);
        if self.trials.len() < self.kept {
            self.trials.push(record.clone());
        }
        self.last = Some(record.clone());
        record
    }

    /// `rate` is more than the generator keeps; it sent `best` at most.
    fn lower_limit(&mut self, rate: u64, best: f64) {
        self.limit = Some(self.limit.map_or(rate, |limit| limit.min(rate)));
        // A little below: what was reached once may not be reached again.
        let sure = to_rate(best.min(rate as f64) * (1.0 - 2.0 * self.options.rate_error));
        self.highest = self.highest.min(sure.min(rate - 1));
    }

    /// Ends the search.
    pub(super) fn finish(
        self,
        name: &'static str,
        findings: Findings,
        completion: Completion,
    ) -> SearchOutcome {
        let bounds = match &findings {
            Findings::LossRatios(goals) => goals
                .iter()
                .map(|g| GoalBounds { name: g.goal.name.clone(), lower: g.lower, upper: g.upper })
                .collect(),
            _ => Vec::new(),
        };
        let end = Progress {
            trials: self.made,
            invalid: self.invalid,
            next: None,
            purpose: "end",
            last: self.last.as_ref(),
            spent_s: self.spent_s,
            remaining_s: 0.0,
            bounds,
        };
        let _ = (self.progress)(&end);
        SearchOutcome {
            generator_limit: self.limit,
            ceiling: self.ceiling,
            invalid_trials: self.invalid,
            spent_s: self.spent_s,
            trials: self.trials,
            ..SearchOutcome::new(name, self.options, findings, completion)
        }
    }
}

fn completion_of(error: Error) -> Completion {
    match error {
        Error::Interrupted => Completion::Stopped,
        Error::OutOfTime => Completion::OutOfTime,
        other => Completion::Failed(other.to_string()),
    }
}

/// The whole rate below `rate`; 0 for what is no rate.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and NaN becomes 0")]
pub(super) fn to_rate(rate: f64) -> u64 {
    rate.max(0.0).floor() as u64
}
