//! One stream's latencies: two histograms, the jitter, and what could not be.

use super::histogram::Histogram;
use super::jitter::Jitter;
use super::report::StreamLatency;
use super::{Arrival, Omission};

/// Groups that a long omission is counted in: their error is below the histogram's own.
const GROUPS: u64 = 1024;

/// The latencies of one stream: some 700 KB, however many are recorded.
#[derive(Clone, Debug, Default)]
pub struct StreamRecorder {
    corrected: Histogram,
    uncorrected: Histogram,
    jitter: Jitter,
    omitted: u64,
    backwards: u64,
}

impl StreamRecorder {
    /// A frame came back.
    #[inline]
    pub fn observe(&mut self, arrival: &Arrival) {
        self.backwards += u64::from(arrival.arrived < arrival.departed);
        self.corrected.record(arrival.corrected());
        self.uncorrected.record(arrival.uncorrected());
        self.jitter.record(arrival.uncorrected());
    }

    /// Frames were due and never left; one in `one_in` is counted, as of those that came back.
    pub fn omit(&mut self, omission: &Omission, one_in: u64) {
        let count = omission.count / one_in.max(1);
        self.omitted += count;
        let interval = omission.interval.saturating_mul(one_in.max(1));
        let groups = count.min(GROUPS);
        for group in 0..groups {
            let (first, next) = (count * group / groups, count * (group + 1) / groups);
            // Each group is charged as its middle frame: the time from when that was due.
            let due = interval.saturating_mul((first + next) / 2).saturating_add(omission.first);
            self.corrected.record_times(omission.resumed.saturating_sub(due), next - first);
        }
    }

    /// Adds what another thread has heard of the same stream. Changes from one frame to the next are those that each
    /// thread saw for itself.
    pub fn merge(&mut self, other: &Self) {
        self.corrected.merge(&other.corrected);
        self.uncorrected.merge(&other.uncorrected);
        self.jitter.merge(&other.jitter);
        self.omitted += other.omitted;
        self.backwards += other.backwards;
    }

    /// The corrected latencies so far.
    pub fn corrected(&self) -> &Histogram {
        &self.corrected
    }

    /// The figures of stream number `stream`.
    pub fn report(&self, stream: usize) -> StreamLatency {
        StreamLatency {
            stream,
            corrected: self.corrected.distribution(),
            uncorrected: self.uncorrected.distribution(),
            jitter: self.jitter.report(&self.uncorrected),
            omitted: self.omitted,
            backwards: self.backwards,
        }
    }
}
