//! What a search found: one value for people and machines.

use serde::Serialize;

use super::{
    BackToBackOutcome, Ceiling, Goal, LatencyPoint, LossPoint, RecoveryOutcome, SearchOptions,
    SoakOutcome, ThroughputOutcome, TrialRecord,
};

/// The version of the outcome's fields. Goes up when one changes its meaning or goes away.
pub const SEARCH_VERSION: u32 = 1;

/// What a search found. Rates are frames per second in each direction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SearchOutcome {
    /// [`SEARCH_VERSION`].
    pub version: u32,
    /// The search's name.
    pub search: &'static str,
    /// Whether it came to its end; if not, the findings are those of the part that ran.
    #[serde(flatten)]
    pub completion: Completion,
    /// What was found.
    pub findings: Findings,
    /// The lowest rate that was to be tried.
    pub min_rate: u64,
    /// The highest rate that was to be tried.
    pub max_rate: u64,
    /// The rate error up to which a trial counts.
    pub rate_error: f64,
    /// The lowest rate that the generator could not keep in any repetition; nothing above it was tried again. The
    /// findings may be the generator's and not the device's.
    pub generator_limit: Option<u64>,
    /// What the generator can do by itself, where it was measured.
    pub ceiling: Option<Ceiling>,
    /// Trials that did not count, because the generator did not keep its rate.
    pub invalid_trials: u64,
    /// Seconds that the search took, the first wait for the device aside.
    pub spent_s: f64,
    /// All trials, in order; of a soak the first thousand.
    pub trials: Vec<TrialRecord>,
}

/// Whether a search came to its end.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "completion", content = "reason", rename_all = "snake_case")]
pub enum Completion {
    /// It did.
    Complete,
    /// Somebody stopped it.
    Stopped,
    /// Its time was over.
    OutOfTime,
    /// It had made as many trials as it may.
    OutOfTrials,
    /// The generator cannot keep even the lowest rate.
    GeneratorTooSlow,
    /// A trial could not be made, in words.
    Failed(String),
}

impl Completion {
    /// Whether the findings are those of a part only.
    pub fn is_partial(&self) -> bool {
        !matches!(self, Self::Complete)
    }
}

/// What was found, by search.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", content = "found", rename_all = "snake_case")]
pub enum Findings {
    /// One entry per goal, in the order given.
    LossRatios(Vec<GoalOutcome>),
    /// RFC 2544 throughput.
    Throughput(ThroughputOutcome),
    /// One entry per rate and repetition.
    Latency(Vec<LatencyPoint>),
    /// One entry per rate, from the highest.
    FrameLoss(Vec<LossPoint>),
    /// Bursts.
    BackToBack(BackToBackOutcome),
    /// System recovery.
    Recovery(RecoveryOutcome),
    /// A soak.
    Soak(SoakOutcome),
}

/// What is known of a goal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalBounds {
    /// The goal's name.
    pub name: String,
    /// The relevant lower bound.
    pub lower: Option<u64>,
    /// The relevant upper bound.
    pub upper: Option<u64>,
}

/// A goal's result (draft-ietf-bmwg-mlrsearch-15, "Goal Result").
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GoalOutcome {
    /// The goal.
    #[serde(flatten)]
    pub goal: Goal,
    /// Whether the result is regular, and if not, why.
    pub status: GoalStatus,
    /// The relevant lower bound: the highest rate, below the upper bound, that is certain to meet the goal. Where
    /// there is no upper bound, the highest rate that meets the goal.
    pub lower: Option<u64>,
    /// The relevant upper bound: the lowest rate that is certain to miss the goal.
    pub upper: Option<u64>,
    /// `(upper - lower) / upper`.
    pub width: Option<f64>,
    /// The rate of frames that come back at the lower bound, as typically seen there: the figure to compare.
    pub conditional_throughput: Option<f64>,
}

/// Whether a goal's result is regular.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GoalStatus {
    /// Both bounds, no further apart than the goal's width.
    Regular,
    /// The highest rate meets the goal: the device can do more than was offered.
    NoUpperBound,
    /// The highest rate that the generator can keep meets the goal: the device may be able to do more.
    GeneratorLimited,
    /// The lowest rate misses the goal.
    NoLowerBound,
    /// The search ended before the goal was reached. The bounds, if any, stand on fewer or shorter trials.
    Unfinished,
}

impl SearchOutcome {
    /// The outcome of the goal called `name`, if this was a search for loss ratios.
    pub fn goal(&self, name: &str) -> Option<&GoalOutcome> {
        let Findings::LossRatios(goals) = &self.findings else { return None };
        goals.iter().find(|goal| goal.goal.name == name)
    }

    /// The outcome's frame: everything but what the trials said.
    pub(super) fn new(
        search: &'static str,
        options: &SearchOptions,
        findings: Findings,
        completion: Completion,
    ) -> Self {
        Self {
            version: SEARCH_VERSION,
            search,
            completion,
            findings,
            min_rate: options.min_rate,
            max_rate: options.max_rate,
            rate_error: options.rate_error,
            generator_limit: None,
            ceiling: None,
            invalid_trials: 0,
            spent_s: 0.0,
            trials: Vec::new(),
        }
    }
}
