//! Searches: what a device can do, by trials at rates that the search picks.
//!
//! A [`Search`] asks a [`DeviceUnderTest`] for trials and gives a [`SearchOutcome`]; it knows no port and no clock, so
//! a device with a known loss curve ([`simulated`]) tests it, and [`RunnerDevice`] is a pair of ports.
//!
//! | search | source |
//! | --- | --- |
//! | [`Search::LossRatios`] | draft-ietf-bmwg-mlrsearch-15: several loss ratios (NDR, PDR) at once, results as intervals |
//! | [`Search::Throughput`] | RFC 2544, section 26.1 |
//! | [`Search::Latency`] | RFC 2544, section 26.2, with percentiles |
//! | [`Search::FrameLoss`] | RFC 2544, section 26.3 |
//! | [`Search::BackToBack`] | RFC 2544, section 26.4, as RFC 9004 updates it |
//! | [`Search::Recovery`] | RFC 2544, section 26.5 |
//! | [`Search::Soak`] | one rate, for long |
//!
//! A trial counts only if the generator kept its rate ([`Verdict`]); one that does not is repeated, and the rates that
//! the generator cannot keep bound the search, and the result says so. A search that is stopped gives what it has, and
//! says so too ([`Completion`]).
//!
//! Deliberately absent: the reset test (RFC 2544, section 26.6: it resets hardware), and PLRsearch: a soak reports
//! what it saw and fits no curve.
//!
//! ```
//! use std::ops::ControlFlow;
//! use pktgen::search::{Search, SearchOptions, simulated::Simulated};
//!
//! let mut device = Simulated::step(1_234_567.0); // forwards so many frames per second and no more
//! let options = SearchOptions { max_rate: 10_000_000, ..SearchOptions::default() };
//! let outcome = Search::ndr_pdr().run(&mut device, &options, &mut |_| ControlFlow::Continue(()))?;
//! let ndr = outcome.goal("ndr").unwrap();
//! assert!(ndr.lower.unwrap() <= 1_234_567 && 1_234_567 <= ndr.upper.unwrap());
//! # Ok::<(), pktgen::Error>(())
//! ```

mod back_to_back;
mod bounds;
mod ceiling;
mod classify;
mod device;
mod display;
mod frame_loss;
mod gaps;
mod goal;
mod lab;
mod latency_at;
mod loss_ratios;
mod options;
mod outcome;
mod overload;
mod progress;
mod recovery;
mod runner;
mod seeker;
pub mod simulated;
mod soak;
mod throughput;
mod trial;

use std::ops::ControlFlow;

use crate::Error;

pub use back_to_back::{BackToBack, BackToBackOutcome};
pub use ceiling::{Ceiling, measure_ceiling};
pub use device::{DeviceUnderTest, RecoveryTimes};
pub use frame_loss::{FrameLoss, LossPoint};
pub use goal::Goal;
pub use latency_at::{LatencyAt, LatencyPoint};
pub use loss_ratios::LossRatios;
pub use options::SearchOptions;
pub use outcome::{
    Completion, Findings, GoalBounds, GoalOutcome, GoalStatus, SEARCH_VERSION, SearchOutcome,
};
pub use progress::Progress;
pub use recovery::{Recovery, RecoveryOutcome};
pub use runner::RunnerDevice;
pub use soak::{Soak, SoakOutcome};
pub use throughput::{Throughput, ThroughputOutcome};
pub use trial::{TrialRecord, TrialResult, Verdict};

use lab::Lab;

/// What to search for.
#[derive(Clone, Debug)]
pub enum Search {
    /// The rates at which the loss reaches given ratios, by the MLRsearch method.
    LossRatios(LossRatios),
    /// The highest rate without loss, by halving.
    Throughput(Throughput),
    /// The latency at given rates.
    Latency(LatencyAt),
    /// The loss at rates from the highest downwards, in steps.
    FrameLoss(FrameLoss),
    /// The longest burst without loss.
    BackToBack(BackToBack),
    /// How long loss goes on after an overload has ended.
    Recovery(Recovery),
    /// One rate, for long.
    Soak(Soak),
}

impl Search {
    /// The non-drop rate and the partial drop rate (0 and 0.5 % lost) with the goals' defaults.
    pub fn ndr_pdr() -> Self {
        Self::LossRatios(LossRatios { goals: vec![Goal::ndr(), Goal::pdr()] })
    }

    /// The name in reports and on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LossRatios(_) => "loss-ratios",
            Self::Throughput(_) => "throughput",
            Self::Latency(_) => "latency",
            Self::FrameLoss(_) => "frame-loss",
            Self::BackToBack(_) => "back-to-back",
            Self::Recovery(_) => "recovery",
            Self::Soak(_) => "soak",
        }
    }

    /// Searches. `progress` is called before each trial and once at the end; it may stop the search. Trouble on the
    /// way does not throw away what is known: see [`SearchOutcome::completion`].
    ///
    /// # Errors
    /// [`Error::Usage`]: the search or its options make no sense, in words that say what would.
    pub fn run(
        &self,
        device: &mut dyn DeviceUnderTest,
        options: &SearchOptions,
        progress: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
    ) -> Result<SearchOutcome, Error> {
        self.check_with(options)?;
        let mut lab = Lab::new(device, options, progress);
        let (findings, completion) = match self {
            Self::LossRatios(search) => search.run(&mut lab),
            Self::Throughput(search) => search.run(&mut lab),
            Self::Latency(search) => search.run(&mut lab),
            Self::FrameLoss(search) => search.run(&mut lab),
            Self::BackToBack(search) => search.run(&mut lab),
            Self::Recovery(search) => search.run(&mut lab),
            Self::Soak(search) => search.run(&mut lab),
        };
        Ok(lab.finish(self.name(), findings, completion))
    }

    /// Whether the search and its options make sense: what [`run`](Self::run) looks at first.
    ///
    /// # Errors
    /// [`Error::Usage`]: they do not, in words that say what would.
    pub fn check_with(&self, options: &SearchOptions) -> Result<(), Error> {
        let checked = options.check().and_then(|()| self.check(options));
        checked.and_then(|()| self.check_time(options)).map_err(Error::Usage)
    }

    /// Whether the first trial ends before the search's time is over.
    fn check_time(&self, options: &SearchOptions) -> Result<(), String> {
        let first = match self {
            Self::LossRatios(search) => search.goals.iter().map(|goal| goal.initial_trial).min(),
            Self::Throughput(search) => Some(search.trial),
            Self::Latency(search) => Some(search.trial),
            Self::FrameLoss(search) => Some(search.trial),
            Self::BackToBack(search) => Some(search.longest),
            Self::Recovery(search) => Some(2 * search.duration),
            Self::Soak(search) => Some(search.trial.min(search.total)),
        };
        match (first, options.max_time) {
            (Some(first), Some(most)) if most < first => Err(format!(
                "a search of at most {} s whose first trial takes {} s; accepted: more time, or shorter trials",
                most.as_secs_f64(),
                first.as_secs_f64()
            )),
            _ => Ok(()),
        }
    }

    fn check(&self, options: &SearchOptions) -> Result<(), String> {
        match self {
            Self::LossRatios(search) => search.check(),
            Self::Throughput(search) => search.check(),
            Self::Latency(search) => search.check(options),
            Self::FrameLoss(search) => search.check(),
            Self::BackToBack(search) => search.check(),
            Self::Recovery(search) => search.check(options),
            Self::Soak(search) => search.check(options),
        }
    }
}
