//! RFC 2544 throughput: the highest rate at which nothing is lost, by halving (section 26.1).
//!
//! One trial decides a rate, as the standard says. A device that loses a frame now and then gives another result each
//! time: the search for loss ratios was made for that.

use std::time::Duration;

use serde::Serialize;

use super::lab::{Lab, Measured, Plan};
use super::options::check_duration;
use super::{Completion, Findings};

/// A search for the throughput.
#[derive(Clone, Debug, PartialEq)]
pub struct Throughput {
    /// How long a trial is; the standard wants at least 60 s (section 24).
    pub trial: Duration,
    /// How far the answer may be from the rate that loses, as a share of that.
    pub resolution: f64,
    /// The share of frames that may be lost; the standard wants 0.
    pub tolerance: f64,
}

impl Default for Throughput {
    fn default() -> Self {
        Self { trial: Duration::from_secs(60), resolution: 0.001, tolerance: 0.0 }
    }
}

/// The throughput, as an interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ThroughputOutcome {
    /// The highest rate, below `losing`, at which nothing was lost: the throughput. `None`: there is none.
    pub throughput: Option<u64>,
    /// The lowest rate at which something was lost; `None`: the highest rate lost nothing.
    pub losing: Option<u64>,
    /// Seconds of each trial.
    pub trial_s: f64,
}

impl Throughput {
    pub(super) fn check(&self) -> Result<(), String> {
        check_duration("a trial", self.trial)?;
        if !(self.resolution >= 1e-6 && self.resolution < 1.0) {
            let resolution = self.resolution;
            return Err(format!(
                "a resolution of {resolution}; accepted: at least 0.000001, below 1"
            ));
        }
        if !(0.0..1.0).contains(&self.tolerance) {
            return Err(format!(
                "a tolerance of {}; accepted: at least 0, below 1",
                self.tolerance
            ));
        }
        Ok(())
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        let mut found =
            ThroughputOutcome { trial_s: self.trial.as_secs_f64(), ..ThroughputOutcome::default() };
        let completion = match self.halve(lab, &mut found) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        (Findings::Throughput(found), completion)
    }

    fn halve(&self, lab: &mut Lab<'_>, found: &mut ThroughputOutcome) -> Result<(), Completion> {
        let mut rate = lab.highest();
        loop {
            let (lower, upper) = (found.throughput.unwrap_or(0), found.losing.unwrap_or(rate));
            let open = (upper - lower) as f64 / (self.resolution * upper as f64);
            let then_s = found.trial_s * open.log2().ceil().max(0.0);
            match lab.measure(&Plan::new(rate, found.trial_s, "throughput", then_s))? {
                Measured::Valid(record) if record.loss_ratio <= self.tolerance => {
                    found.throughput = Some(rate);
                }
                Measured::Valid(_) => found.losing = Some(rate),
                Measured::NotKept(_) => {}
            }
            match self.next(lab, found)? {
                Some(next) => rate = next,
                None => return Ok(()),
            }
        }
    }

    /// The rate to try next; `None`: the interval is narrow, or an end is reached.
    fn next(&self, lab: &Lab<'_>, found: &ThroughputOutcome) -> Result<Option<u64>, Completion> {
        let (min, max) = (lab.options.min_rate, lab.highest());
        if max < min {
            return Err(Completion::GeneratorTooSlow);
        }
        Ok(match (found.throughput, found.losing.filter(|&losing| losing <= max)) {
            (None, None) => Some(max),
            (Some(good), None) => Some(max).filter(|&max| max > good),
            (None, Some(bad)) => Some(min + (bad - min) / 2).filter(|&middle| middle < bad),
            (Some(good), Some(bad)) => {
                let middle = good + (bad - good) / 2;
                let wide = (bad - good) as f64 > self.resolution * bad as f64;
                Some(middle).filter(|_| wide && middle > good)
            }
        })
    }
}
