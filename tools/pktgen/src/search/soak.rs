//! A soak: one rate, trial after trial, for long; in bounded memory.
//!
//! It reports what was seen and fits no model to it: PLRsearch, which estimates a critical rate by Bayesian means, is
//! deliberately absent.

use std::time::Duration;

use serde::Serialize;

use super::lab::{Lab, Measured, Plan};
use super::options::{check_duration, check_rate};
use super::{Completion, Findings, SearchOptions, TrialRecord};

/// Trials of a soak that are reported one by one.
const KEPT: usize = 1000;

/// A soak.
#[derive(Clone, Debug, PartialEq)]
pub struct Soak {
    /// The rate, in frames per second and direction.
    pub rate: u64,
    /// How long a trial is: the grain of the result.
    pub trial: Duration,
    /// How long all trials are together.
    pub total: Duration,
}

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SoakOutcome {
    /// The rate, in frames per second and direction.
    pub rate: u64,
    /// Trials that count.
    pub trials: u64,
    /// Of them, those that lost something.
    pub trials_with_loss: u64,
    /// Frames that were to be sent in the trials that count.
    pub offered: u64,
    /// Of them, those that were sent.
    pub sent: u64,
    /// Of them, those that were lost.
    pub lost: u64,
    /// The share of frames that was lost, over all trials that count; each trial by its verdict's rule, and weighing
    /// as its offered frames.
    pub loss_ratio: f64,
    /// The trial that lost most.
    pub worst: Option<TrialRecord>,
    /// Seconds from the start to the first trial that lost something.
    pub first_loss_s: Option<f64>,
    /// The most trials in a row without loss.
    pub longest_clean: u64,
}

impl Soak {
    pub(super) fn check(&self, options: &SearchOptions) -> Result<(), String> {
        check_duration("a trial", self.trial)?;
        check_duration("a soak", self.total)?;
        check_rate("a rate", self.rate, options)
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.keep(KEPT);
        lab.find_ceiling();
        let mut found = SoakOutcome { rate: self.rate, ..SoakOutcome::default() };
        let completion = match self.go_on(lab, &mut found) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        (Findings::Soak(found), completion)
    }

    fn go_on(&self, lab: &mut Lab<'_>, found: &mut SoakOutcome) -> Result<(), Completion> {
        let (trial_s, total_s) = (self.trial.as_secs_f64(), self.total.as_secs_f64());
        let (mut done_s, mut clean) = (0.0, 0);
        while done_s < total_s {
            let duration_s = trial_s.min(total_s - done_s);
            let plan = Plan::new(self.rate, duration_s, "soak", total_s - done_s - duration_s);
            done_s += duration_s;
            // A trial that does not count was counted as such; its time is over all the same.
            let Measured::Valid(record) = lab.measure(&plan)? else { continue };
            clean = if record.loss_ratio > 0.0 { 0 } else { clean + 1 };
            found.longest_clean = found.longest_clean.max(clean);
            found.add(record);
        }
        Ok(())
    }
}

impl SoakOutcome {
    fn add(&mut self, record: TrialRecord) {
        let (before, now) = (self.offered as f64, record.result.offered as f64);
        let lost = self.loss_ratio * before + record.loss_ratio * now;
        self.loss_ratio = lost / (before + now).max(1.0);
        self.trials += 1;
        self.offered += record.result.offered;
        self.sent += record.result.sent;
        self.lost += record.result.lost;
        if record.loss_ratio > 0.0 {
            self.trials_with_loss += 1;
            self.first_loss_s.get_or_insert(record.start_s);
            if self.worst.as_ref().is_none_or(|worst| worst.loss_ratio < record.loss_ratio) {
                self.worst = Some(record);
            }
        }
    }
}
