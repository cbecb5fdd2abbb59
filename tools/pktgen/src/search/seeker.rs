//! A seeker: one goal's way through its targets, and the rate that it would have tried next.
//!
//! From coarse to fine, each target first asks whether the bounds of the target before still hold; if not, it walks on
//! from there, each step twice the last; once it has bounds on both sides, it halves the space between them. Distances
//! are logarithms of rates, so that a width is the same share of a rate everywhere.

use super::Goal;
use super::bounds::{Bounds, Trials};
use super::goal::Target;
use super::lab::to_rate;

/// A rate that a seeker would like to be tried, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) rate: u64,
    pub(super) duration_s: f64,
}

/// The rates that may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    /// The bounds as far as they matter here: one above the range was found before the generator failed there, and
    /// what lies between cannot be tried any more.
    fn of(self, bounds: Bounds) -> Bounds {
        Bounds { upper: bounds.upper.filter(|&upper| upper <= self.max), ..bounds }
    }
}

/// One goal's way.
#[derive(Debug)]
pub(super) struct Seeker<'g> {
    pub(super) goal: &'g Goal,
    targets: Vec<Target>,
    /// The target that is sought.
    at: usize,
    /// The bounds of the target before, or a first guess.
    hint: Bounds,
    /// Steps that were taken outwards for this target.
    steps: i32,
    /// The rate of the last such step.
    stepped_to: Option<u64>,
}

impl<'g> Seeker<'g> {
    pub(super) fn new(goal: &'g Goal, guess: Bounds) -> Self {
        let targets = goal.targets();
        Self { goal, targets, at: 0, hint: guess, steps: 0, stepped_to: None }
    }

    /// The goal's own target.
    pub(super) fn last_target(&self) -> &Target {
        &self.targets[self.targets.len() - 1]
    }

    /// Whether the goal is reached, and stays so with all that is known now.
    pub(super) fn is_done(&self, trials: &Trials, range: Range) -> bool {
        self.at + 1 == self.targets.len()
            && is_reached(range.of(trials.bounds(self.last_target())), self.last_target(), range)
    }

    /// Whether `bounds` are as close as the goal wants them.
    pub(super) fn is_close(&self, bounds: Bounds) -> bool {
        let Bounds { lower: Some(lower), upper: Some(upper) } = bounds else { return false };
        are_close(lower, upper, self.last_target())
    }

    /// What is known: of the finest target that knows anything.
    pub(super) fn bounds(&self, trials: &Trials) -> Bounds {
        let known =
            |target: &Target| Some(trials.bounds(target)).filter(|&b| b != Bounds::default());
        self.targets.iter().rev().find_map(known).unwrap_or_default()
    }

    /// What to try next; `None`: the goal is reached.
    pub(super) fn nominate(&mut self, trials: &Trials, range: Range) -> Option<Candidate> {
        loop {
            let target = self.targets[self.at];
            let bounds = range.of(trials.bounds(&target));
            if !is_reached(bounds, &target, range) {
                let rate = self.next_rate(bounds, &target, range);
                return Some(Candidate { rate, duration_s: target.trial_s });
            }
            if self.at + 1 == self.targets.len() {
                return None;
            }
            (self.hint, self.at, self.steps, self.stepped_to) = (bounds, self.at + 1, 0, None);
        }
    }

    fn next_rate(&mut self, bounds: Bounds, target: &Target, range: Range) -> u64 {
        let Bounds { lower, upper } = bounds;
        let inside = |rate: &u64| {
            (range.min..=range.max).contains(rate)
                && lower.is_none_or(|lower| *rate > lower)
                && upper.is_none_or(|upper| *rate < upper)
        };
        // Old bounds first, the lower one before: the cautious answer is wanted sooner.
        if let Some(rate) = [self.hint.lower, self.hint.upper].into_iter().flatten().find(inside) {
            return rate;
        }
        match (lower, upper) {
            (Some(lower), Some(upper)) => middle(lower, upper),
            (Some(lower), None) => self.step(lower, target, range, 1.0),
            (None, Some(upper)) => self.step(upper, target, range, -1.0),
            (None, None) => range.max,
        }
    }

    /// The rate one step away from `rate`, upwards or downwards; the next step will be twice as long, once this
    /// one's rate has become a bound.
    fn step(&mut self, rate: u64, target: &Target, range: Range, sign: f64) -> u64 {
        if self.stepped_to == Some(rate) {
            self.steps = (self.steps + 1).min(60);
        }
        let distance = target.width * 2f64.powi(self.steps);
        let reach = |distance: f64| to_rate((rate as f64 * (sign * distance).exp()).min(1e15));
        let end = if sign > 0.0 { range.max } else { range.min };
        // What would leave less than a goal width to the end may as well go there.
        let beyond = reach(distance + target.width);
        let next = if sign > 0.0 {
            if beyond >= end { end } else { reach(distance).clamp(rate + 1, end) }
        } else if beyond <= end {
            end
        } else {
            reach(distance).clamp(end, rate - 1)
        };
        self.stepped_to = Some(next);
        next
    }

    /// About how many seconds of trials it takes until the goal is reached.
    pub(super) fn remaining_s(&self, trials: &Trials, range: Range) -> f64 {
        if self.is_done(trials, range) {
            return 0.0;
        }
        let now = &self.targets[self.at];
        let rates = match range.of(trials.bounds(now)) {
            Bounds { lower: Some(lower), upper: Some(upper) } => {
                (distance(lower, upper) / now.width).log2().ceil().max(0.0)
            }
            _ => 5.0,
        };
        // A finer target asks for both bounds again, and once in between.
        let later: f64 = self.targets[self.at + 1..].iter().map(|target| 3.0 * target.sum_s).sum();
        rates * now.sum_s + later
    }
}

/// Whether `target` is reached: its bounds are close, or an end of the range leaves nothing to find.
fn is_reached(bounds: Bounds, target: &Target, range: Range) -> bool {
    match (bounds.lower, bounds.upper) {
        (Some(lower), Some(upper)) => are_close(lower, upper, target),
        (Some(lower), None) => lower >= range.max,
        (None, Some(upper)) => upper <= range.min,
        (None, None) => false,
    }
}

fn are_close(lower: u64, upper: u64, target: &Target) -> bool {
    upper - lower <= 1 || distance(lower, upper) <= target.width * (1.0 + 1e-9)
}

/// How far apart two rates are, in logarithms.
fn distance(lower: u64, upper: u64) -> f64 {
    (upper as f64 / lower.max(1) as f64).ln()
}

/// A rate strictly between two that are at least 2 apart, as far from one as from the other.
fn middle(lower: u64, upper: u64) -> u64 {
    to_rate((lower as f64 * upper as f64).sqrt()).clamp(lower + 1, upper - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steps_double_and_end_at_the_ends() {
        let goal = Goal { goal_width: 0.1, preceding_targets: 0, ..Goal::ndr() };
        let mut seeker = Seeker::new(&goal, Bounds::default());
        let (target, range) = (*seeker.last_target(), Range { min: 10, max: 10_000 });
        let mut rates = vec![100];
        while *rates.last().unwrap() < 10_000 {
            let next = seeker.step(*rates.last().unwrap(), &target, range, 1.0);
            rates.push(next);
        }
        assert_eq!(rates[..4], [100, 111, 137, 208]);
        assert!(rates.len() < 10, "{rates:?}");
        let mut seeker = Seeker::new(&goal, Bounds::default());
        assert_eq!(seeker.step(100, &target, range, -1.0), 90);
        assert_eq!(seeker.step(90, &target, range, -1.0), 72);
        assert_eq!(seeker.step(11, &target, range, -1.0), 10);
    }

    proptest! {
        #[test]
        fn the_middle_is_in_between(lower in 1u64..1_000_000_000, gap in 2u64..1_000_000_000) {
            let rate = middle(lower, lower + gap);
            prop_assert!(lower < rate && rate < lower + gap);
        }
    }
}
