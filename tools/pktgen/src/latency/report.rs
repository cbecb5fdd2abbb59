//! What the recorder found, for people and machines.

use std::fmt;

use serde::Serialize;

use super::skew::Skew;

/// The latencies of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatencyReport {
    /// One frame in so many was measured; 1: each.
    pub sampled_one_in: u64,
    /// Whose clocks took the times.
    pub clocks: Clocks,
    /// One entry per measured stream.
    pub streams: Vec<StreamLatency>,
    /// Sampled frames of streams that there was no room for.
    pub passed_over: u64,
}

/// Whose clocks took the times of departure and arrival.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Clocks {
    /// One thread's: there is no skew, by construction.
    One,
    /// Several cores': the skew, as measured, of the two that are furthest apart of those measured, the first and each
    /// other. It is not subtracted.
    Two(Skew),
}

/// One stream's latencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamLatency {
    /// The stream's number.
    pub stream: usize,
    /// From the intended departure; omitted frames included.
    pub corrected: Distribution,
    /// From the actual departure.
    pub uncorrected: Distribution,
    /// How latencies vary.
    pub jitter: JitterReport,
    /// Frames that were due and given up: in the corrected figures only.
    pub omitted: u64,
    /// Frames that came back before they left: the clocks disagree. They count as 0.
    pub backwards: u64,
}

/// A histogram's figures, in nanoseconds to three significant digits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many values there are.
    pub count: u64,
    /// The lowest.
    pub min_ns: u64,
    /// The average.
    pub mean_ns: f64,
    /// The standard deviation.
    pub standard_deviation_ns: f64,
    /// The highest.
    pub max_ns: u64,
    /// In rising order, up to 99.999. With fewer than 100 000 values the last ones equal the highest.
    pub percentiles: Vec<Percentile>,
    /// Values above the histogram's range, which count as its highest.
    pub above_range: u64,
}

/// One percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentile {
    /// From 0 to 100.
    pub percentile: f64,
    /// The value that so many percent do not exceed.
    pub ns: u64,
}

/// How latencies vary, under the names of those who defined it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JitterReport {
    /// RFC 3550, section 6.4.1, at the end of the run.
    pub rfc3550_interarrival_ns: f64,
    /// The lowest change from one frame to the next, negative where the next was faster.
    pub rfc3393_ipdv_lowest_ns: i64,
    /// The highest.
    pub rfc3393_ipdv_highest_ns: i64,
    /// The size of the change.
    pub rfc3393_ipdv_size: Distribution,
    /// How far latencies are above the lowest (RFC 5481, section 4.2).
    pub rfc5481_pdv: Distribution,
}

impl Distribution {
    /// The value at one of [`PERCENTILES`](super::PERCENTILES); `None` for any other.
    pub fn at(&self, percentile: f64) -> Option<u64> {
        self.percentiles.iter().find(|p| p.percentile == percentile).map(|p| p.ns)
    }
}

impl fmt::Display for Distribution {
    /// In microseconds: lowest, average, highest, and the percentiles from the median.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = |ns: u64| ns as f64 / 1e3;
        write!(f, "min {:.1} avg {:.1}", micros(self.min_ns), self.mean_ns / 1e3)?;
        for p in self.percentiles.iter().filter(|p| p.percentile >= 50.0) {
            write!(f, " p{} {:.1}", p.percentile, micros(p.ns))?;
        }
        write!(f, " max {:.1} us", micros(self.max_ns))
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stream in &self.streams {
            writeln!(f, "stream {} corrected   {}", stream.stream, stream.corrected)?;
            writeln!(f, "stream {} uncorrected {}", stream.stream, stream.uncorrected)?;
        }
        match self.clocks {
            Clocks::One => writeln!(f, "clock skew: none, one thread sends and receives"),
            Clocks::Two(skew) => writeln!(f, "clock skew: {skew}"),
        }
    }
}
