//! RFC 2544 frame loss rate: the loss at rates from the highest downwards, in steps (section 26.3).

use std::time::Duration;

use serde::Serialize;

use super::lab::{Lab, Measured, Plan};
use super::options::check_duration;
use super::{Completion, Findings, Verdict};

/// A frame loss curve.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameLoss {
    /// How long a trial is; the standard wants at least 60 s (section 24).
    pub trial: Duration,
    /// Steps from the highest rate to 0; the standard wants at least 10.
    pub steps: u32,
    /// Whether to end once two rates in a row lost nothing, as the standard says; else the curve is complete.
    pub stop_when_clean: bool,
}

impl Default for FrameLoss {
    fn default() -> Self {
        Self { trial: Duration::from_secs(60), steps: 10, stop_when_clean: true }
    }
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LossPoint {
    /// The share of the highest rate.
    pub share: f64,
    /// Frames per second that were offered in each direction.
    pub rate: u64,
    /// The share of frames that was lost.
    pub loss_ratio: f64,
    /// Whether the trial counts. Where it does not, the generator could not keep the rate, and `loss_ratio` is what was
    /// seen at the rate that it did keep.
    pub verdict: Verdict,
}

impl FrameLoss {
    pub(super) fn check(&self) -> Result<(), String> {
        check_duration("a trial", self.trial)?;
        if (1..=1000).contains(&self.steps) {
            return Ok(());
        }
        Err(format!("{} steps; accepted: from 1 to 1000 (RFC 2544 wants at least 10)", self.steps))
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        let mut points = Vec::new();
        let completion = match self.descend(lab, &mut points) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        (Findings::FrameLoss(points), completion)
    }

    fn descend(&self, lab: &mut Lab<'_>, points: &mut Vec<LossPoint>) -> Result<(), Completion> {
        let trial_s = self.trial.as_secs_f64();
        for step in (1..=self.steps).rev() {
            let rate = lab.options.max_rate / u64::from(self.steps) * u64::from(step)
                + lab.options.max_rate % u64::from(self.steps) * u64::from(step)
                    / u64::from(self.steps);
            if rate < lab.options.min_rate {
                return Ok(());
            }
            let then_s = trial_s * f64::from(step - 1);
            let (Measured::Valid(record) | Measured::NotKept(record)) =
                lab.measure(&Plan::new(rate, trial_s, "frame loss", then_s))?;
            points.push(LossPoint {
                share: f64::from(step) / f64::from(self.steps),
                rate,
                loss_ratio: record.loss_ratio,
                verdict: record.verdict,
            });
            let clean = |point: &LossPoint| {
                point.loss_ratio == 0.0 && point.verdict != Verdict::RateNotKept
            };
            if self.stop_when_clean && points.len() >= 2 && points.iter().rev().take(2).all(clean) {
                return Ok(());
            }
        }
        Ok(())
    }
}
