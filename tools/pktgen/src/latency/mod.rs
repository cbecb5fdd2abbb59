//! Latency: how long frames took, told twice.
//!
//! A frame has three times: when it was to leave ([`intended`](Arrival::intended)), when a port took it
//! ([`departed`](Arrival::departed)) and when it came back ([`arrived`](Arrival::arrived)).
//!
//! - The **corrected** latency runs from the intended departure. When the device or the generator stalls, the frames
//!   that had to wait are charged for it, and so are those that were given up meanwhile: what a user who sends at
//!   that rate would have felt. It is free of coordinated omission.
//! - The **uncorrected** latency runs from the actual departure: the time in the device. A stall that kept frames from
//!   leaving does not show in it. Most generators report only this one.
//!
//! Jitter is told three ways, by name ([`Jitter`]). Percentiles come from HDR histograms of three significant digits,
//! whose size does not depend on how long a run is ([`Histogram`]). [`Recorder`] does this per stream, for each
//! stamped frame or one in so many; [`measure_skew`] says how far the clocks of two cores are apart.
//!
//! Deliberately absent: reading stamps (that is the sink's business) and any clock: times are arguments, so that a
//! test can make a stall of 100 ms without waiting for it.
//!
//! ```
//! use pktgen::latency::{Arrival, Clocks, Recorder, Sampling};
//!
//! let mut recorder = Recorder::new(1, Sampling::ALL, Clocks::One);
//! // Due at 0, held up for 100 ms, then 5 µs on its way.
//! let frame = Arrival { stream: 0, sequence: 0, intended: 0, departed: 100_000_000, arrived: 100_005_000 };
//! recorder.observe(&frame);
//! let report = recorder.report();
//! assert!(report.streams[0].corrected.max_ns >= 100_000_000);
//! assert!(report.streams[0].uncorrected.max_ns < 6_000);
//! ```

mod histogram;
mod jitter;
mod recorder;
mod report;
mod skew;
mod stream;

pub use histogram::{HIGHEST, Histogram, PERCENTILES};
pub use jitter::Jitter;
pub use recorder::{MAX_STREAMS, Omission, Recorder, Sampling};
pub use report::{Clocks, Distribution, JitterReport, LatencyReport, Percentile, StreamLatency};
pub use skew::{Skew, SkewError, measure_skew};
pub use stream::StreamRecorder;

/// The times of a stamped frame that came back, in nanoseconds of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The stream that the frame belongs to.
    pub stream: usize,
    /// The frame's number in its stream.
    pub sequence: u64,
    /// When the frame was to leave.
    pub intended: u64,
    /// When a port took it.
    pub departed: u64,
    /// When it came back.
    pub arrived: u64,
}

impl Arrival {
    /// Nanoseconds since the intended departure; 0 where the clocks disagree.
    pub fn corrected(&self) -> u64 {
        self.arrived.saturating_sub(self.intended)
    }

    /// Nanoseconds since the actual departure; 0 where the clocks disagree.
    pub fn uncorrected(&self) -> u64 {
        self.arrived.saturating_sub(self.departed)
    }
}
