//! Which trials count, and what they say together.

use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::ceiling::Mode;
use crate::statistics::{median, summary};

/// More than this between the highest and the lowest ceiling of a trial: the cores were moved, though the mode's name
/// is the same.
const MOST_SPREAD: f64 = 2.0;

/// Trials by cache mode.
#[derive(Clone, Debug, Default)]
pub struct Tally([Group; 2]);

#[derive(Clone, Debug, Default)]
struct Group {
    counted: Vec<Trial>,
    discarded: usize,
}

/// What is said of a ratio, ours to DPDK's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Of the medians.
    pub median: f64,
    /// The least of a single trial.
    pub min: f64,
    /// The greatest of a single trial.
    pub max: f64,
    /// Trials that count.
    pub n: usize,
    /// Trials that do not: disturbed, or the mode changed.
    pub discarded: usize,
}

/// What the trials of one mode say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// Median of ours, in Mpps.
    pub ours_mpps: f64,
    /// Median of DPDK's, in Mpps.
    pub dpdk_mpps: f64,
    /// How they compare.
    pub ratio: Ratio,
    /// Median of our cycles per packet.
    pub ours_cycles: Option<f64>,
    /// Median of DPDK's cycles per packet.
    pub dpdk_cycles: Option<f64>,
    /// Median of what the cores could have exchanged, in Mpps.
    pub limit_mpps: f64,
}

impl Tally {
    /// Adds a trial to the mode in which it began: it counts if it ended in the same and nobody disturbed it.
    pub fn add(&mut self, trial: &Trial) {
        let mode = trial.looks[0].mode;
        let limits = trial.looks.map(|look| look.limit);
        let (low, high) =
            (limits.into_iter().fold(f64::MAX, f64::min), limits.into_iter().fold(0.0, f64::max));
        let steady = trial.looks.iter().all(|look| look.mode == mode) && high <= low * MOST_SPREAD;
        let quiet = [&trial.ours, &trial.dpdk].iter().all(|turn| !turn.disturbance.is_too_much());
        // Without a packet there is no ratio. (The median of the others says enough.)
        let passed = trial.dpdk.mpps > 0.0;
        let group = &mut self.0[mode as usize];
        if steady && quiet && passed {
            group.counted.push(*trial);
        } else {
            group.discarded += 1;
        }
    }

    /// Trials that count in the one of these modes that has most.
    pub fn most(&self, modes: &[Mode]) -> usize {
        modes.iter().map(|&mode| self.0[mode as usize].counted.len()).max().unwrap_or(0)
    }

    /// Trials of `mode` that do not count.
    pub fn discarded(&self, mode: Mode) -> usize {
        self.0[mode as usize].discarded
    }

    /// What the trials of `mode` say, if any counts.
    pub fn figure(&self, mode: Mode) -> Option<Figure> {
        let Group { counted, discarded } = &self.0[mode as usize];
        let of = |each: &dyn Fn(&Trial) -> f64| counted.iter().map(each).collect::<Vec<f64>>();
        let some = |each: &dyn Fn(&Trial) -> Option<f64>| {
            median(&counted.iter().filter_map(each).collect::<Vec<f64>>())
        };
        let ratios = summary(&of(&|trial| trial.ours.mpps / trial.dpdk.mpps))?;
        let (ours_mpps, dpdk_mpps) =
            (median(&of(&|trial| trial.ours.mpps))?, median(&of(&|trial| trial.dpdk.mpps))?);
        let limits = |trial: &Trial| trial.looks.iter().map(|look| look.limit).sum::<f64>() / 3.0;
        Some(Figure {
            ours_mpps,
            dpdk_mpps,
            ratio: Ratio {
                median: ours_mpps / dpdk_mpps,
                min: ratios.min,
                max: ratios.max,
                n: ratios.n,
                discarded: *discarded,
            },
            ours_cycles: some(&|trial| trial.ours.cycles),
            dpdk_cycles: some(&|trial| trial.dpdk.cycles),
            limit_mpps: median(&of(&limits))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::disturbance::Disturbance;
    use crate::versus::trial::{Look, Turn};

    fn trial(ours: f64, dpdk: f64) -> Trial {
        let turn =
            |mpps| Turn { mpps, cycles: Some(1000.0 / mpps), disturbance: Disturbance::default() };
        let looks = [90.0, 100.0, 110.0].map(|limit| Look { mode: Mode::Shared, limit });
        Trial { looks, ours: turn(ours), dpdk: turn(dpdk) }
    }

    #[test]
    fn the_median_is_of_medians_and_the_extremes_are_of_trials() {
        let mut tally = Tally::default();
        for (ours, dpdk) in [(10.0, 5.0), (20.0, 4.0), (12.0, 8.0)] {
            tally.add(&trial(ours, dpdk));
        }
        let figure = tally.figure(Mode::Shared).unwrap();
        assert_eq!((figure.ours_mpps, figure.dpdk_mpps, figure.limit_mpps), (12.0, 5.0, 100.0));
        let expected = Ratio { median: 2.4, min: 1.5, max: 5.0, n: 3, discarded: 0 };
        assert_eq!(figure.ratio, expected);
        assert_eq!(figure.dpdk_cycles, Some(200.0));
    }

    #[test]
    fn what_is_disturbed_or_changes_mode_is_counted_apart() {
        let mut tally = Tally::default();
        tally.add(&trial(10.0, 5.0));
        let mut stolen = trial(1.0, 5.0);
        stolen.dpdk.disturbance.steal = 0.2;
        let mut used = trial(1.0, 5.0);
        used.ours.disturbance.other = 0.2;
        let mut changed = trial(1.0, 5.0);
        changed.looks[1].mode = Mode::Separate;
        let mut moved = trial(1.0, 5.0);
        moved.looks[2].limit = 181.0;
        let silent = trial(1.0, 0.0);
        for bad in [&stolen, &used, &changed, &moved, &silent] {
            tally.add(bad);
        }
        let figure = tally.figure(Mode::Shared).unwrap();
        assert_eq!((figure.ratio.n, figure.ratio.discarded, figure.ratio.min), (1, 5, 2.0));
        assert_eq!((tally.figure(Mode::Separate), tally.most(&Mode::ALL)), (None, 1));
    }

    #[test]
    fn modes_are_kept_apart() {
        let mut tally = Tally::default();
        let mut slow = trial(3.0, 1.0);
        slow.looks.iter_mut().for_each(|look| look.mode = Mode::Separate);
        tally.add(&slow);
        tally.add(&trial(10.0, 5.0));
        assert_eq!(tally.figure(Mode::Separate).unwrap().ratio.median, 3.0);
        assert_eq!(tally.figure(Mode::Shared).unwrap().ratio.median, 2.0);
    }
}
