//! What a caller sees between two trials.

use super::{GoalBounds, TrialRecord};

/// The state of a search, before each trial and once at its end.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Trials so far, repetitions included.
    pub trials: u64,
    /// Of them, those that did not count.
    pub invalid: u64,
    /// The rate (frames per second and direction) and duration (s) of the trial that comes now; `None` at the end.
    pub next: Option<(u64, f64)>,
    /// What it is for.
    pub purpose: &'a str,
    /// The last trial.
    pub last: Option<&'a TrialRecord>,
    /// Seconds that the trials took.
    pub spent_s: f64,
    /// About how many seconds remain: what the plan still needs at most, as far as it can be foreseen, slowed by what
    /// trials took beyond their duration so far.
    pub remaining_s: f64,
    /// What is known of each goal of a search for loss ratios; else empty.
    pub bounds: Vec<GoalBounds>,
}
