//! RFC 2544 system recovery: how long loss goes on after an overload has ended (section 26.5).

use std::time::Duration;

use serde::Serialize;

use super::device::RecoveryTimes;
use super::lab::{Lab, Plan};
use super::options::{check_duration, check_rate};
use super::{Completion, Findings, SearchOptions};

/// A recovery test.
#[derive(Clone, Debug, PartialEq)]
pub struct Recovery {
    /// The device's throughput, in frames per second and direction. Overload is 110 % of it, or the highest rate if
    /// that is less; afterwards 50 % of the overload.
    pub throughput: u64,
    /// How long the overload lasts, and what follows; the standard wants at least 60 s.
    pub duration: Duration,
    /// How often it is measured.
    pub repeats: u32,
}

impl Recovery {
    /// What the standard wants, after a search that found `throughput`.
    pub fn new(throughput: u64) -> Self {
        Self { throughput, duration: Duration::from_secs(60), repeats: 1 }
    }

    pub(super) fn check(&self, options: &SearchOptions) -> Result<(), String> {
        check_duration("an overload", self.duration)?;
        if !(1..=10_000).contains(&self.repeats) {
            return Err("no repetition; accepted: from 1 to 10000".into());
        }
        check_rate("a throughput", self.throughput, options)
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        let more = self.throughput.saturating_add(self.throughput / 10);
        let overload = more.min(lab.highest());
        let reduced = (overload / 2).max(1);
        let mut found = RecoveryOutcome { overload, reduced, average_s: None, runs: Vec::new() };
        let mut completion = Completion::Complete;
        for left in (0..self.repeats).rev() {
            let seconds = 2.0 * self.duration.as_secs_f64();
            let plan = Plan::new(overload, seconds, "recovery", f64::from(left) * seconds);
            let made = lab.other(
                &plan,
                |device| device.recover(overload, reduced, self.duration),
                |times| times.took_s,
            );
            match made {
                Ok(times) => found.runs.push(times),
                Err(reason) => {
                    completion = reason;
                    break;
                }
            }
        }
        found.summarize();
        (Findings::Recovery(found), completion)
    }
}

/// How a device recovers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecoveryOutcome {
    /// The rate of the overload, in frames per second and direction.
    pub overload: u64,
    /// The rate after it.
    pub reduced: u64,
    /// The average of `last_loss_s` over the runs in which the generator kept its rates; `None`: there is none.
    pub average_s: Option<f64>,
    /// Each run.
    pub runs: Vec<RecoveryTimes>,
}

impl RecoveryOutcome {
    fn summarize(&mut self) {
        let good: Vec<_> =
            self.runs.iter().filter(|run| run.rates_kept).map(|run| run.last_loss_s).collect();
        self.average_s = (!good.is_empty()).then(|| good.iter().sum::<f64>() / good.len() as f64);
    }
}
