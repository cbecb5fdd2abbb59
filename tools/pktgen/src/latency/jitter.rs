//! Jitter, under the names of those who defined it.
//!
//! - **Interarrival jitter**: RFC 3550, section 6.4.1: a running average of how the transit time changes from one
//!   frame to the next, each change weighing a sixteenth.
//! - **IPDV** (inter-packet delay variation): RFC 3393 and RFC 5481, section 4.1: the change itself; here the
//!   distribution of its size, and its extremes with their sign.
//! - **PDV** (packet delay variation): RFC 5481, section 4.2: how far each latency is above the lowest. It comes from
//!   the histogram of latencies and costs nothing here.
//!
//! All are of the uncorrected latency: what the device does to the distance between frames. "The next frame" is the
//! next that arrives and is sampled, of the same stream.

use super::histogram::Histogram;
use super::report::JitterReport;

/// How transit times change from one frame to the next.
#[derive(Clone, Debug, Default)]
pub struct Jitter {
    last: Option<u64>,
    /// Sixteen times the running average, in nanoseconds, as RFC 3550 keeps it (appendix A.8).
    scaled: u64,
    sizes: Histogram,
    lowest: i64,
    highest: i64,
}

impl Jitter {
    /// A frame took `transit` nanoseconds.
    #[inline]
    pub fn record(&mut self, transit: u64) {
        if let Some(last) = self.last.replace(transit) {
            let size = transit.abs_diff(last);
            self.scaled = self.scaled + size - ((self.scaled + 8) >> 4);
            self.sizes.record(size);
            let change = i64::try_from(size).unwrap_or(i64::MAX);
            let change = if transit < last { -change } else { change };
            (self.lowest, self.highest) = (self.lowest.min(change), self.highest.max(change));
        }
    }

    /// Adds what another thread saw. Of the two running averages the larger remains.
    pub fn merge(&mut self, other: &Self) {
        self.scaled = self.scaled.max(other.scaled);
        self.sizes.merge(&other.sizes);
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }

    /// The running average of RFC 3550, in nanoseconds.
    pub fn interarrival(&self) -> f64 {
        self.scaled as f64 / 16.0
    }

    /// The figures, with the histogram of the latencies that they belong to.
    pub fn report(&self, latencies: &Histogram) -> JitterReport {
        JitterReport {
            rfc3550_interarrival_ns: self.interarrival(),
            rfc3393_ipdv_lowest_ns: self.lowest,
            rfc3393_ipdv_highest_ns: self.highest,
            rfc3393_ipdv_size: self.sizes.distribution(),
            rfc5481_pdv: latencies.distribution_above(latencies.min()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(transits: impl IntoIterator<Item = u64>) -> Jitter {
        let mut jitter = Jitter::default();
        transits.into_iter().for_each(|transit| jitter.record(transit));
        jitter
    }

    #[test]
    fn a_constant_latency_has_none() {
        let report = of([5_000; 100]).report(&Histogram::new());
        assert_eq!((report.rfc3550_interarrival_ns, report.rfc3393_ipdv_size.max_ns), (0.0, 0));
    }

    #[test]
    fn the_running_average_approaches_a_constant_change() {
        let jitter = of((0..1000).map(|n| 10_000 + 1600 * (n % 2)));
        assert!((jitter.interarrival() - 1600.0).abs() < 2.0, "{}", jitter.interarrival());
        let one = of([0, 1600]);
        assert_eq!(one.interarrival(), 100.0, "the first change weighs a sixteenth");
    }

    #[test]
    fn changes_keep_their_sign_and_variation_counts_from_the_lowest() {
        let transits = [7_000, 5_000, 9_000];
        let mut latencies = Histogram::new();
        transits.iter().for_each(|&t| latencies.record(t));
        let report = of(transits).report(&latencies);
        assert_eq!(
            (report.rfc3393_ipdv_lowest_ns, report.rfc3393_ipdv_highest_ns),
            (-2_000, 4_000)
        );
        assert_eq!(report.rfc3393_ipdv_size.count, 2);
        let pdv = report.rfc5481_pdv;
        assert!(pdv.min_ns == 0 && pdv.max_ns.abs_diff(4_000) <= 8, "{pdv:?}");
        assert!((pdv.mean_ns - 2_000.0).abs() < 8.0, "{}", pdv.mean_ns);
    }
}
