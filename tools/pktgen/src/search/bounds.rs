//! All trials by rate, and the bounds that they make for a target.

use std::collections::BTreeMap;

use super::TrialRecord;
use super::classify::{Class, Sample};
use super::goal::Target;

/// The relevant bounds of a target (draft-ietf-bmwg-mlrsearch-15, "Relevant Upper Bound", "Relevant Lower Bound").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The highest lower bound below `upper`.
    pub(super) lower: Option<u64>,
    /// The lowest upper bound.
    pub(super) upper: Option<u64>,
}

/// The trials that count, by rate; shared by all goals.
#[derive(Debug, Default)]
pub(super) struct Trials {
    by_rate: BTreeMap<u64, Vec<Sample>>,
}

impl Trials {
    pub(super) fn add(&mut self, record: &TrialRecord) {
        let sample = Sample { duration_s: record.duration_s, loss: record.loss_ratio };
        self.by_rate.entry(record.rate).or_default().push(sample);
    }

    pub(super) fn at(&self, rate: u64) -> &[Sample] {
        self.by_rate.get(&rate).map_or(&[], Vec::as_slice)
    }

    /// A lower bound above an upper one is the device's inconsistency (loss inversion); the cautious side wins.
    pub(super) fn bounds(&self, target: &Target) -> Bounds {
        let mut bounds = Bounds::default();
        for (&rate, samples) in &self.by_rate {
            match target.classify(samples) {
                Class::Lower => bounds.lower = Some(rate),
                Class::Upper => {
                    bounds.upper = Some(rate);
                    break;
                }
                Class::Undecided => {}
            }
        }
        bounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::Goal;

    #[test]
    fn a_lower_bound_above_an_upper_one_is_not_relevant() {
        let target = Goal::ndr().targets()[0];
        let mut trials = Trials::default();
        for (rate, loss) in [(100, 0.0), (200, 0.0), (300, 0.1), (400, 0.0), (500, 0.2)] {
            let sample = Sample { duration_s: 1.0, loss };
            trials.by_rate.entry(rate).or_default().push(sample);
        }
        let bounds = trials.bounds(&target);
        assert_eq!((bounds.lower, bounds.upper), (Some(200), Some(300)));
        assert_eq!(trials.at(400).len(), 1);
        assert!(trials.at(401).is_empty());
    }
}
