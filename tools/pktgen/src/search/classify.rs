//! What the trials at one rate say about a target: certain to meet it, certain to miss it, or neither yet.
//!
//! These are the rules of draft-ietf-bmwg-mlrsearch-15, "Load Classification Code" and "Conditional Throughput Code",
//! in our own words: a rate is decided once the trials that are still missing from the duration sum cannot change the
//! answer, whatever their results.

use super::goal::Target;

/// One trial at a rate: its duration in seconds and the share of frames it lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) duration_s: f64,
    pub(super) loss: f64,
}

/// What a rate is to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Certain to meet it.
    Lower,
    /// Certain to miss it.
    Upper,
    /// More trials are needed.
    Undecided,
}

impl Target {
    /// Whether a trial is a full-length one. (A duration that was computed twice may differ in its last digit.)
    fn is_full(&self, sample: &Sample) -> bool {
        sample.duration_s >= self.trial_s * (1.0 - 1e-9)
    }

    /// What the rate of `samples` is to this target.
    pub(super) fn classify(&self, samples: &[Sample]) -> Class {
        let sum = |full: bool, good: bool| -> f64 {
            let wanted =
                |s: &&Sample| self.is_full(s) == full && (s.loss <= self.loss_ratio) == good;
            samples.iter().filter(wanted).map(|s| s.duration_s).sum()
        };
        // Bad short trials count, as far as good short trials do not make up for them.
        let made_up = sum(false, true) * self.exceed_ratio / (1.0 - self.exceed_ratio);
        let bad = sum(true, false) + (sum(false, false) - made_up).max(0.0);
        let good = sum(true, true);
        let whole = (good + bad).max(self.sum_s);
        let allowed = whole * self.exceed_ratio + 1e-9 * whole;
        let at_best = bad <= allowed;
        let at_worst = whole - good <= allowed;
        match (at_best, at_worst) {
            (true, true) => Class::Lower,
            (false, _) => Class::Upper,
            (true, false) => Class::Undecided,
        }
    }

    /// The loss that a share of `1 - exceed ratio` of the time does not exceed, by the full-length trials, each second
    /// that is missing from the duration sum counting as lost altogether.
    pub(super) fn typical_loss(&self, samples: &[Sample]) -> f64 {
        let mut full: Vec<Sample> = samples.iter().filter(|s| self.is_full(s)).copied().collect();
        full.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let all: f64 = full.iter().map(|s| s.duration_s).sum();
        let mut needed = all.max(self.sum_s) * (1.0 - self.exceed_ratio) * (1.0 - 1e-9);
        for sample in &full {
            needed -= sample.duration_s;
            if needed <= 0.0 {
                return sample.loss;
            }
        }
        1.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::search::Goal;

    fn target(exceed_ratio: f64, trial_s: f64, sum_s: f64) -> Target {
        let last = *Goal::ndr().targets().last().unwrap();
        Target { exceed_ratio, trial_s, sum_s, loss_ratio: 0.01, ..last }
    }

    fn trials(list: &[(f64, f64)]) -> Vec<Sample> {
        list.iter().map(|&(duration_s, loss)| Sample { duration_s, loss }).collect()
    }

    #[test]
    fn a_rate_is_decided_as_soon_as_it_is_certain_and_no_sooner() {
        let half = target(0.5, 1.0, 4.0);
        let (good, bad) = ((1.0, 0.0), (1.0, 0.5));
        for (list, expected) in [
            (vec![], Class::Undecided),
            (vec![good], Class::Undecided),
            (vec![good, good], Class::Lower),
            (vec![bad, bad], Class::Undecided),
            (vec![bad, bad, bad], Class::Upper),
            (vec![bad, bad, good, good], Class::Lower),
            (vec![bad, bad, good, good, bad], Class::Upper),
        ] {
            assert_eq!(half.classify(&trials(&list)), expected, "{list:?}");
        }
        let never = target(0.0, 1.0, 2.0);
        assert_eq!(never.classify(&trials(&[good])), Class::Undecided);
        assert_eq!(never.classify(&trials(&[good, good])), Class::Lower);
        assert_eq!(never.classify(&trials(&[good, good, good, bad])), Class::Upper);
    }

    #[test]
    fn short_trials_can_condemn_a_rate_and_never_save_it() {
        let half = target(0.5, 1.0, 2.0);
        let (good, bad) = ((0.4, 0.0), (0.4, 0.5));
        assert_eq!(half.classify(&trials(&[good; 100])), Class::Undecided);
        assert_eq!(half.classify(&trials(&[bad; 3])), Class::Upper);
        assert_eq!(half.classify(&trials(&[bad, bad, bad, good])), Class::Undecided);
    }

    #[test]
    fn the_typical_loss_is_the_median_and_missing_time_is_lost() {
        let half = target(0.5, 1.0, 4.0);
        assert_eq!(half.typical_loss(&trials(&[(1.0, 0.002), (1.0, 0.001)])), 0.002);
        assert_eq!(half.typical_loss(&trials(&[(1.0, 0.002)])), 1.0);
        assert_eq!(
            half.typical_loss(&trials(&[(1.0, 0.1), (1.0, 0.2), (1.0, 0.3), (1.0, 0.4)])),
            0.2
        );
        assert_eq!(
            half.typical_loss(&trials(&[(0.5, 0.0); 100])),
            1.0,
            "short trials are not typical"
        );
    }

    proptest! {
        /// The definition itself: with every missing second good, and with every one bad.
        #[test]
        fn decided_is_what_no_further_result_can_change(
            results in prop::collection::vec(any::<bool>(), 0..20),
            exceed in 0u32..9,
            sum in 1u32..20,
        ) {
            let exceed_ratio = f64::from(exceed) / 10.0;
            let target = target(exceed_ratio, 1.0, f64::from(sum));
            let list: Vec<_> = results.iter().map(|&good| (1.0, if good { 0.0 } else { 1.0 })).collect();
            let missing = (sum as usize).saturating_sub(list.len());
            let meets = |filler: f64| {
                let all: Vec<_> = list.iter().copied().chain(std::iter::repeat_n((1.0, filler), missing)).collect();
                let bad = all.iter().filter(|t| t.1 > target.loss_ratio).count() as f64;
                bad <= all.len() as f64 * exceed_ratio + 1e-6
            };
            let expected = match (meets(0.0), meets(1.0)) {
                (true, true) => Class::Lower,
                (false, false) => Class::Upper,
                _ => Class::Undecided,
            };
            prop_assert_eq!(target.classify(&trials(&list)), expected);
            if expected == Class::Lower && !list.is_empty() {
                prop_assert!(target.typical_loss(&trials(&list)) <= target.loss_ratio);
            }
        }
    }
}
