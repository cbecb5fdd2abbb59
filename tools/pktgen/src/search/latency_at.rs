//! Latency at given rates: RFC 2544, section 26.2, with percentiles where the standard has one frame's latency.

use std::time::Duration;

use serde::Serialize;

use super::lab::{Lab, Measured, Plan};
use super::options::{check_duration, check_rate};
use super::{Completion, Findings, SearchOptions, Verdict};
use crate::latency::LatencyReport;

/// The latency at rates that are known: of an earlier search, or of the traffic to come.
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyAt {
    /// The rates, in frames per second and direction. The standard wants the throughput; FD.io CSIT has 10, 50 and
    /// 90 % of the partial drop rate.
    pub rates: Vec<u64>,
    /// How long a trial is; the standard wants at least 120 s.
    pub trial: Duration,
    /// How often each rate is measured; the standard wants at least 20.
    pub repeats: u32,
}

impl LatencyAt {
    /// What the standard wants at `rates`.
    pub fn new(rates: impl Into<Vec<u64>>) -> Self {
        Self { rates: rates.into(), trial: Duration::from_secs(120), repeats: 20 }
    }

    /// FD.io CSIT's shares of `rate`: 10, 50 and 90 %.
    pub fn shares_of(rate: u64) -> Self {
        let share = |percent: u64| (u128::from(rate) * u128::from(percent) / 100).max(1);
        let rates = [10, 50, 90].map(|p| u64::try_from(share(p)).unwrap_or(u64::MAX));
        Self::new(rates)
    }

    pub(super) fn check(&self, options: &SearchOptions) -> Result<(), String> {
        check_duration("a trial", self.trial)?;
        if self.rates.is_empty() || !(1..=10_000).contains(&self.repeats) {
            return Err("no rate or no repetition; accepted: a rate, and from 1 to 10000".into());
        }
        self.rates.iter().try_for_each(|&rate| check_rate("a rate", rate, options))
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        lab.want_latency();
        let mut points = Vec::new();
        let completion = match self.measure(lab, &mut points) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        (Findings::Latency(points), completion)
    }

    fn measure(&self, lab: &mut Lab<'_>, points: &mut Vec<LatencyPoint>) -> Result<(), Completion> {
        let trial_s = self.trial.as_secs_f64();
        let mut left = self.rates.len() as f64 * f64::from(self.repeats);
        for &rate in &self.rates {
            for repeat in 1..=self.repeats {
                left -= 1.0;
                let plan = Plan::new(rate, trial_s, "latency", left * trial_s);
                let (Measured::Valid(record) | Measured::NotKept(record)) = lab.measure(&plan)?;
                points.push(LatencyPoint {
                    rate,
                    repeat,
                    loss_ratio: record.loss_ratio,
                    verdict: record.verdict,
                    latency: record.result.latency,
                });
            }
        }
        Ok(())
    }
}

/// The latency at a rate, once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyPoint {
    /// Frames per second that were offered in each direction.
    pub rate: u64,
    /// Which repetition this is, from 1.
    pub repeat: u32,
    /// The share of frames that was lost: they have no latency.
    pub loss_ratio: f64,
    /// Whether the trial counts.
    pub verdict: Verdict,
    /// The latencies; `None` where the device does not measure them.
    pub latency: Option<LatencyReport>,
}
