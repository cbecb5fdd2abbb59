//! One HDR histogram of nanoseconds: its bounds, its percentiles, and what did not fit.
//!
//! The crate `hdrhistogram` does the work; this file fixes the choice of range and precision, so that all figures of
//! a report are alike, and makes recording a call that cannot fail.

use hdrhistogram::Histogram as Hdr;

use super::report::{Distribution, Percentile};

/// The highest latency that is told apart, in nanoseconds: one minute. What is longer counts as this.
pub const HIGHEST: u64 = 60_000_000_000;

/// Decimal digits that a recorded value keeps.
const DIGITS: u8 = 3;

/// The percentiles of every report.
pub const PERCENTILES: [f64; 10] = [1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 99.999];

/// Counts of nanoseconds with three significant digits: some 230 KB, however many are recorded.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Hdr<u64>,
    sum: u128,
    above: u64,
}

impl Histogram {
    /// An empty histogram.
    ///
    /// # Panics
    /// Never: the bounds are constants that are in order.
    pub fn new() -> Self {
        let counts = Hdr::new_with_bounds(1, HIGHEST, DIGITS).expect("constants in order");
        Self { counts, sum: 0, above: 0 }
    }

    /// Counts one latency of `nanos`.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.record_times(nanos, 1);
    }

    /// Counts `times` latencies of `nanos`.
    #[inline]
    pub fn record_times(&mut self, nanos: u64, times: u64) {
        self.above += if nanos > HIGHEST { times } else { 0 };
        self.sum += u128::from(nanos) * u128::from(times);
        self.counts.saturating_record_n(nanos.min(HIGHEST), times);
    }

    /// How many were counted.
    pub fn len(&self) -> u64 {
        self.counts.len()
    }

    /// Whether none was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The lowest value counted; 0 where there is none.
    pub fn min(&self) -> u64 {
        if self.is_empty() { 0 } else { self.counts.min() }
    }

    /// The highest value counted, to three digits and upwards; 0 where there is none.
    pub fn max(&self) -> u64 {
        self.counts.max()
    }

    /// The value that `percentile` (0 to 100) of the latencies do not exceed, to three digits and upwards.
    ///
    /// With N values it is that of rank `ceil(percentile / 100 * N)`. The rank is found here: rounding in the crate's
    /// own product can be one too high (99.9 % of 20 000 values).
    pub fn percentile(&self, percentile: f64) -> u64 {
        let [value] = self.percentiles([percentile]);
        value
    }

    /// As [`percentile`](Self::percentile), for several in rising order, with one look at the counts.
    pub fn percentiles<const N: usize>(&self, percentiles: [f64; N]) -> [u64; N] {
        let all = self.len() as f64;
        let quantile = |percentile: f64| {
            let rank = (percentile / 100.0 * all * (1.0 - 1e-12)).ceil().clamp(1.0, all.max(1.0));
            (rank - 0.5) / all.max(1.0)
        };
        let mut values = self.counts.value_at_quantiles(percentiles.map(quantile));
        percentiles.map(|_| values.next().unwrap_or_default())
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts).expect("the same bounds");
        self.sum += other.sum;
        self.above += other.above;
    }

    /// The figures that a report shows.
    pub fn distribution(&self) -> Distribution {
        self.distribution_above(0)
    }

    /// The figures of `value - floor`, of each value: how far latencies are above the lowest.
    pub fn distribution_above(&self, floor: u64) -> Distribution {
        let over = |value: u64| value.saturating_sub(floor);
        let values = PERCENTILES.into_iter().zip(self.percentiles(PERCENTILES));
        let percentiles = values.map(|(percentile, ns)| Percentile { percentile, ns: over(ns) });
        Distribution {
            count: self.len(),
            min_ns: over(self.min()),
            mean_ns: if self.is_empty() { 0.0 } else { self.mean() - floor as f64 },
            standard_deviation_ns: if self.is_empty() { 0.0 } else { self.counts.stdev() },
            max_ns: over(self.max()),
            percentiles: percentiles.collect(),
            above_range: self.above,
        }
    }

    /// The plain average of what was recorded, not of what the counts stand for.
    fn mean(&self) -> f64 {
        self.sum as f64 / self.len() as f64
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_a_sorted_list_to_three_digits(
            mut values in prop::collection::vec(0u64..2 * HIGHEST, 1..500),
            percentile in 0.0f64..100.0,
        ) {
            let mut histogram = Histogram::new();
            values.iter().for_each(|&value| histogram.record(value));
            values.sort_unstable();
            // The first value that so many percent do not exceed.
            let share = |rank: usize| 100.0 * rank as f64 / values.len() as f64 + 1e-9;
            let rank = (1..values.len()).find(|&rank| share(rank) >= percentile).unwrap_or(values.len());
            let exact = values[rank - 1].min(HIGHEST);
            let found = histogram.percentile(percentile);
            prop_assert!(found >= exact && found <= exact + exact / 1000 + 1, "{} for {}", found, exact);
            prop_assert_eq!(histogram.len(), values.len() as u64);
            prop_assert_eq!(histogram.distribution().above_range, values.iter().filter(|&&v| v > HIGHEST).count() as u64);
        }
    }

    #[test]
    fn ranks_are_exact() {
        let mut histogram = Histogram::new();
        // Each value in a bucket of its own: rank and value are the same.
        (1..=2_000).for_each(|value| histogram.record_times(value, 10));
        assert_eq!(
            [50.0, 99.0, 99.9, 99.99, 100.0].map(|p| histogram.percentile(p)),
            [1000, 1980, 1998, 2000, 2000]
        );
        assert_eq!([0.0, 0.049, 0.05, 0.051].map(|p| histogram.percentile(p)), [1, 1, 1, 2]);
    }

    #[test]
    fn nothing_recorded_is_all_zero() {
        let d = Histogram::new().distribution();
        assert_eq!((d.count, d.min_ns, d.max_ns, d.mean_ns), (0, 0, 0, 0.0));
        assert!(d.percentiles.iter().all(|p| p.ns == 0));
    }

    #[test]
    fn merged_counts_are_those_of_one_histogram() {
        let (mut a, mut b, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for value in 1..2000u64 {
            if value % 3 == 0 {
                a.record(value * 977)
            } else {
                b.record(value * 977)
            }
            both.record(value * 977);
        }
        a.merge(&b);
        assert_eq!(a.distribution(), both.distribution());
    }
}
