//! A trial: what came of it, and whether it counts.

use serde::Serialize;

use super::SearchOptions;
use crate::latency::LatencyReport;

/// What a device made of a trial, summed over its directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrialResult {
    /// Frames that were to be sent.
    pub offered: u64,
    /// Frames that the device took.
    pub sent: u64,
    /// Frames that came back intact, each once.
    pub received: u64,
    /// Frames that were sent and did not come back intact.
    pub lost: u64,
    /// The rate that was sent over the rate that was to be sent, less 1; of the direction where it is worst.
    pub rate_error: f64,
    /// The share of the time, 0 to 1, during which frames waited because the port was full; of the direction where it
    /// is worst.
    pub ring_full: f64,
    /// Seconds that the trial took, with all that belongs to it.
    pub took_s: f64,
    /// The latencies, where they were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencyReport>,
}

impl TrialResult {
    /// The share of frames that was lost of those that were sent; 1 where none was.
    fn lost_share(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { self.lost as f64 / self.sent as f64 }
    }

    /// As above, but those that were to be sent and were not are lost too, and so is the time that the others took
    /// longer than they should have.
    fn missing_share(&self) -> f64 {
        let unsent = self.offered.saturating_sub(self.sent);
        let all = self.sent + unsent;
        let missing = if all == 0 { 1.0 } else { (self.lost + unsent) as f64 / all as f64 };
        missing.max(-self.rate_error).min(1.0)
    }
}

/// Whether a trial counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The generator kept its rate.
    Valid,
    /// The device did not take the frames: the port was full. It counts, and what could not be sent counts as lost
    /// (draft-ietf-bmwg-mlrsearch-15, "Measurer", recommends so).
    BackPressure,
    /// The generator did not keep its rate, and the port had room: the trial says nothing about the device.
    RateNotKept,
}

/// A trial, as a report tells it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialRecord {
    /// Its number, from 1, repetitions included.
    pub number: u64,
    /// Seconds from the start of the search to its start, as trials count them.
    pub start_s: f64,
    /// What it was made for: a goal's name, or a step of the search.
    pub purpose: String,
    /// Frames per second that were to be offered in each direction.
    pub rate: u64,
    /// Seconds for which they were to be.
    pub duration_s: f64,
    /// The share of frames that was lost, by the verdict's rule; 1 where nothing could be sent.
    pub loss_ratio: f64,
    /// Whether it counts.
    pub verdict: Verdict,
    /// What came of it.
    #[serde(flatten)]
    pub result: TrialResult,
}

/// Judges `result`: the verdict and the share of frames that was lost.
pub(super) fn judge(result: &TrialResult, options: &SearchOptions) -> (Verdict, f64) {
    // A rate error that is no number is no valid rate either.
    let kept = result.rate_error.abs() <= options.rate_error;
    let short = result.sent < result.offered || result.rate_error < -options.rate_error;
    if short && result.ring_full >= options.ring_full {
        return (Verdict::BackPressure, result.missing_share());
    }
    let valid = kept && result.sent > 0;
    (if valid { Verdict::Valid } else { Verdict::RateNotKept }, result.lost_share())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(sent: u64, lost: u64, rate_error: f64, ring_full: f64) -> TrialResult {
        TrialResult { offered: 1000, sent, lost, rate_error, ring_full, ..TrialResult::default() }
    }

    #[test]
    fn a_trial_counts_if_the_rate_was_kept_or_the_device_refused() {
        let options = SearchOptions::default();
        for (result, expected) in [
            (result(1000, 10, 0.0, 0.0), (Verdict::Valid, 0.01)),
            (result(998, 0, -0.002, 0.0), (Verdict::Valid, 0.0)),
            (result(900, 0, -0.1, 0.0), (Verdict::RateNotKept, 0.0)),
            (result(1100, 0, 0.1, 0.0), (Verdict::RateNotKept, 0.0)),
            (result(900, 0, -0.1, 0.9), (Verdict::BackPressure, 0.1)),
            (result(998, 0, -0.002, 0.9), (Verdict::BackPressure, 0.002)),
            (result(1000, 0, -0.3, 0.9), (Verdict::BackPressure, 0.3)),
            (result(1000, 0, -0.3, 0.0), (Verdict::RateNotKept, 0.0)),
            (result(1000, 0, 0.0, 0.9), (Verdict::Valid, 0.0)),
            (result(0, 0, f64::NAN, 0.0), (Verdict::RateNotKept, 1.0)),
            (result(0, 0, -1.0, 1.0), (Verdict::BackPressure, 1.0)),
        ] {
            let (verdict, loss) = judge(&result, &options);
            assert_eq!(verdict, expected.0, "{result:?}");
            assert!((loss - expected.1).abs() < 1e-9, "{result:?}: {loss}");
        }
    }
}
