//! What is shown: a second of a run, or a step of a search.

use pktgen::Tick;
use pktgen::search::{GoalBounds, Progress, TrialRecord};

/// What is shown.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A second of a run.
    Tick(Tick),
    /// A step of a search.
    Trial(Box<TrialState>),
}

/// A [`Progress`] that can be kept.
#[derive(Clone, Debug)]
pub(crate) struct TrialState {
    pub(crate) trials: u64,
    pub(crate) invalid: u64,
    pub(crate) next: Option<(u64, f64)>,
    pub(crate) purpose: String,
    pub(crate) last: Option<TrialRecord>,
    pub(crate) spent_s: f64,
    pub(crate) remaining_s: f64,
    pub(crate) bounds: Vec<GoalBounds>,
}

impl From<&Progress<'_>> for TrialState {
    fn from(progress: &Progress<'_>) -> Self {
        Self {
            trials: progress.trials,
            invalid: progress.invalid,
            next: progress.next,
            purpose: progress.purpose.to_owned(),
            last: progress.last.cloned(),
            spent_s: progress.spent_s,
            remaining_s: progress.remaining_s,
            bounds: progress.bounds.clone(),
        }
    }
}
