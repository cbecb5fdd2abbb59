//! A search goal: how much loss, how sure, how close; and the coarser targets on the way to it.
//!
//! Names and meanings are those of draft-ietf-bmwg-mlrsearch-15, "Search Goal Terms".

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::options::check_duration;

/// A search goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Goal {
    /// The goal's name in reports.
    pub name: String,
    /// The share of frames that a good trial may lose; at least 0 and below 1.
    pub loss_ratio: f64,
    /// The share of all trials' time that bad trials may have at a rate that meets the goal; at least 0, below 1.
    /// With 0.5, a rate meets the goal if its median trial does.
    pub exceed_ratio: f64,
    /// How far apart the bounds may be in the end, as a share of the upper one; above 0 and below 1.
    pub goal_width: f64,
    /// How long the first trials are.
    #[serde(rename = "initial_trial_s", serialize_with = "as_seconds")]
    pub initial_trial: Duration,
    /// How long the last ones are: only trials as long as this are full-length trials.
    #[serde(rename = "final_trial_s", serialize_with = "as_seconds")]
    pub final_trial: Duration,
    /// How long all full-length trials at one rate are together, before the rate counts as decided, unless it is clear
    /// sooner.
    #[serde(rename = "duration_sum_s", serialize_with = "as_seconds")]
    pub duration_sum: Duration,
    /// How many coarser targets, with wider goals and shorter trials, come before the goal.
    pub preceding_targets: u32,
}

/// Reports have seconds everywhere.
fn as_seconds<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_secs_f64())
}

/// A goal, or a coarser one on the way to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) loss_ratio: f64,
    pub(super) exceed_ratio: f64,
    /// The goal width as a difference of natural logarithms: widths then add up.
    pub(super) width: f64,
    /// Seconds of a full-length trial.
    pub(super) trial_s: f64,
    /// Seconds of all of them.
    pub(super) sum_s: f64,
}

impl Goal {
    /// The goal `name` with a loss ratio and FD.io CSIT's other choices, but for the durations: trials of 1 s, then
    /// 4.5 s, then 10 s, of which two decide.
    pub fn new(name: impl Into<String>, loss_ratio: f64) -> Self {
        Self {
            name: name.into(),
            loss_ratio,
            exceed_ratio: 0.5,
            goal_width: 0.005,
            initial_trial: Duration::from_secs(1),
            final_trial: Duration::from_secs(10),
            duration_sum: Duration::from_secs(20),
            preceding_targets: 2,
        }
    }

    /// The non-drop rate: nothing lost.
    pub fn ndr() -> Self {
        Self::new("ndr", 0.0)
    }

    /// The partial drop rate: half a percent lost.
    pub fn pdr() -> Self {
        Self::new("pdr", 0.005)
    }

    /// What RFC 2544 asks for: nothing lost in one trial of 60 s, no exception.
    pub fn rfc2544() -> Self {
        Self {
            exceed_ratio: 0.0,
            final_trial: Duration::from_secs(60),
            duration_sum: Duration::from_secs(60),
            ..Self::new("rfc2544", 0.0)
        }
    }

    /// Why this is no goal; what would be accepted.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        for (what, share) in [("loss ratio", self.loss_ratio), ("exceed ratio", self.exceed_ratio)]
        {
            if !(0.0..1.0).contains(&share) {
                return Err(format!("goal {name}: {what} {share}; accepted: at least 0, below 1"));
            }
        }
        if !(self.goal_width >= 1e-6 && self.goal_width < 1.0) {
            let width = self.goal_width;
            return Err(format!(
                "goal {name}: width {width}; accepted: at least 0.000001, below 1"
            ));
        }
        check_duration(&format!("goal {name}: an initial trial"), self.initial_trial)?;
        check_duration(&format!("goal {name}: a duration sum"), self.duration_sum)?;
        if self.final_trial < self.initial_trial || self.duration_sum < self.final_trial {
            return Err(format!(
                "goal {name}: trials of {:?}, then {:?}, {:?} together; accepted: none shorter than the one before",
                self.initial_trial, self.final_trial, self.duration_sum
            ));
        }
        if self.preceding_targets > 10 {
            let count = self.preceding_targets;
            return Err(format!("goal {name}: {count} preceding targets; accepted: at most 10"));
        }
        Ok(())
    }

    /// The targets, from the coarsest to the goal itself: each halves the width of the one before, and durations
    /// grow by a constant factor from the initial trial to the duration sum.
    pub(super) fn targets(&self) -> Vec<Target> {
        let (first, sum) = (self.initial_trial.as_secs_f64(), self.duration_sum.as_secs_f64());
        let goal_width = -(1.0 - self.goal_width).ln();
        let steps = self.preceding_targets;
        let targets = (0..=steps).rev().map(|coarseness| {
            let progress = f64::from(coarseness) / f64::from(steps.max(1));
            let sum_s = sum * (first / sum).powf(progress);
            Target {
                loss_ratio: self.loss_ratio,
                exceed_ratio: self.exceed_ratio,
                width: goal_width * 2f64.powi(coarseness.cast_signed()),
                trial_s: sum_s.min(self.final_trial.as_secs_f64()),
                sum_s,
            }
        });
        targets.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_grow_finer_and_longer() {
        let targets = Goal::ndr().targets();
        let trials: Vec<_> = targets.iter().map(|t| (t.trial_s * 100.0).round() / 100.0).collect();
        assert_eq!(trials, [1.0, 4.47, 10.0]);
        let sums: Vec<_> = targets.iter().map(|t| (t.sum_s * 100.0).round() / 100.0).collect();
        assert_eq!(sums, [1.0, 4.47, 20.0]);
        assert!(targets.windows(2).all(|pair| pair[0].width == 2.0 * pair[1].width));
        let alone = Goal { preceding_targets: 0, ..Goal::ndr() }.targets();
        assert_eq!((alone.len(), alone[0].trial_s), (1, 10.0));
    }

    #[test]
    fn senseless_goals_are_refused_in_words() {
        let second = Duration::from_secs(1);
        for (bad, word) in [
            (Goal::new("x", -0.1), "loss ratio"),
            (Goal::new("x", 1.0), "loss ratio"),
            (Goal::new("x", f64::NAN), "loss ratio"),
            (Goal { exceed_ratio: 1.0, ..Goal::ndr() }, "exceed ratio"),
            (Goal { goal_width: 0.0, ..Goal::ndr() }, "width"),
            (Goal { final_trial: second / 2, ..Goal::ndr() }, "shorter"),
            (Goal { duration_sum: second, ..Goal::ndr() }, "shorter"),
            (Goal { initial_trial: Duration::ZERO, ..Goal::ndr() }, "initial trial"),
            (Goal { preceding_targets: 11, ..Goal::ndr() }, "preceding"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(word) && error.contains("accepted"), "{error}");
        }
        for good in [Goal::ndr(), Goal::pdr(), Goal::rfc2544()] {
            assert_eq!(good.check(), Ok(()));
        }
    }
}
