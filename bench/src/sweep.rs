//! What the page of figures is made of: cycles per packet over burst sizes, frame sizes and queues, for each format.
//!
//! A sweep is measured several times over, in rounds, and a point is the median of its rounds: what disturbs a moment is
//! in one of them.

use crate::cycles::{Load, per_packet};
use crate::figures::{Plot, Series};
use crate::pair::{Halves, JumboPair, PackedJumboPair, PackedPair, Pair};
use crate::statistics::median;

/// Packets at a time.
const BURSTS: [usize; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];
/// Bytes of a frame, L2 header included, FCS excluded.
const SIZES: [usize; 8] = [64, 128, 256, 512, 768, 1024, 1280, 1518];
/// FD.io CSIT's IMIX, without FCS: 7 of 60 bytes, 4 of 566, 1 of 1514.
const IMIX: [usize; 12] = [60, 566, 60, 60, 566, 60, 1514, 60, 566, 60, 60, 566];
/// Over several buffers of 2048.
const JUMBO: usize = 9000;
/// Queue pairs that one core serves in turns.
const QUEUES: [usize; 4] = [1, 2, 3, 4];
/// Packets at a time where frames or queues vary.
const BURST: usize = 32;

/// Formats, as panels are named.
const FORMATS: [&str; 2] = ["split ring", "packed ring"];
/// Halves, in the order of [`Halves`]. The driver is a guest's role, the device a switch's.
const HALVES: [&str; 4] = ["driver sends", "device takes", "device sends", "driver takes"];

/// Which plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Bursts,
    Sizes,
    Queues,
}

/// A point of a plot: what is measured.
#[derive(Clone, Copy, Debug)]
struct Point {
    over: Over,
    packed: bool,
    queues: usize,
    load: Load<'static>,
    /// Frames go over several buffers.
    jumbo: bool,
}

/// The rings of one format, which all points of it share.
struct Rings {
    queues: Vec<Box<dyn Halves>>,
    jumbo: [Box<dyn Halves>; 1],
}

impl Rings {
    fn new(packed: bool) -> Self {
        let most = QUEUES.len();
        if packed {
            let queue = || -> Box<dyn Halves> { Box::new(PackedPair::packed_deep()) };
            let queues = std::iter::repeat_with(queue).take(most).collect();
            Self { queues, jumbo: [Box::new(PackedJumboPair::packed_jumbo())] }
        } else {
            let queue = || -> Box<dyn Halves> { Box::new(Pair::deep()) };
            let queues = std::iter::repeat_with(queue).take(most).collect();
            Self { queues, jumbo: [Box::new(JumboPair::jumbo())] }
        }
    }
}

/// All points, with the figures of each round.
pub struct Sweep {
    points: Vec<(Point, Vec<[f64; 4]>)>,
    /// Split, and packed.
    rings: [Rings; 2],
}

impl Sweep {
    /// Nothing measured yet.
    pub fn new() -> Self {
        let points = [false, true].into_iter().flat_map(points).map(|point| (point, Vec::new()));
        Self { points: points.collect(), rings: [false, true].map(Rings::new) }
    }

    /// Measures every point once more, each over `chunks` chunks of some thousand packets.
    pub fn round(&mut self, chunks: usize) {
        for (point, figures) in &mut self.points {
            let rings = &mut self.rings[usize::from(point.packed)];
            let queues =
                if point.jumbo { &mut rings.jumbo[..] } else { &mut rings.queues[..point.queues] };
            figures.push(per_packet(queues, point.load, chunks));
        }
    }

    /// The three plots, by the name of their file.
    pub fn plots(&self) -> [(&'static str, Plot); 3] {
        let texts = |all: &[usize]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut sizes = texts(&SIZES);
        sizes.extend(["IMIX".into(), JUMBO.to_string()]);
        let plot = |over, caption: &str, label: &str, marks: Vec<String>, joined| Plot {
            caption: caption.into(),
            label: label.into(),
            marks,
            joined,
            logarithmic: over == Over::Sizes,
            panels: self.panels(over),
        };
        let bursts = plot(
            Over::Bursts,
            "Cycles per packet over the burst size, frames of 64 bytes",
            "packets at a time (more than 32: several calls)",
            texts(&BURSTS),
            BURSTS.len(),
        );
        let sizes = plot(
            Over::Sizes,
            "Cycles per packet over the frame size, bursts of 32",
            "bytes per frame",
            sizes,
            SIZES.len(),
        );
        let queues = plot(
            Over::Queues,
            "Cycles per packet over the number of queue pairs that one core serves, bursts of 32 frames of 64 bytes",
            "queue pairs",
            texts(&QUEUES),
            QUEUES.len(),
        );
        [("bursts", bursts), ("sizes", sizes), ("queues", queues)]
    }

    fn panels(&self, over: Over) -> Vec<(String, Vec<Series>)> {
        let panel = |(name, packed): (&str, bool)| {
            let points: Vec<_> =
                self.points.iter().filter(|(p, _)| p.over == over && p.packed == packed).collect();
            let half = |(half, name): (usize, &&str)| Series {
                name: (*name).into(),
                points: points.iter().map(|(_, figures)| of_half(figures, half)).collect(),
            };
            (name.to_owned(), HALVES.iter().enumerate().map(half).collect())
        };
        FORMATS.into_iter().zip([false, true]).map(panel).collect()
    }
}

impl Default for Sweep {
    fn default() -> Self {
        Self::new()
    }
}

fn of_half(figures: &[[f64; 4]], half: usize) -> f64 {
    let all: Vec<f64> = figures.iter().map(|figures| figures[half]).collect();
    median(&all).unwrap_or(f64::NAN)
}

fn points(packed: bool) -> Vec<Point> {
    let load = |burst, sizes| Load { burst, sizes };
    let plain =
        Point { over: Over::Bursts, packed, queues: 1, load: load(BURST, &[64]), jumbo: false };
    let bursts = BURSTS.iter().map(|&burst| Point { load: load(burst, &[64]), ..plain });
    let of_sizes = Point { over: Over::Sizes, ..plain };
    let one =
        |size: &'static usize| Point { load: load(BURST, std::slice::from_ref(size)), ..of_sizes };
    // (Whole rounds of the mix.)
    let imix = Point { load: load(3 * BURST, &IMIX), ..of_sizes };
    let jumbo = Point { jumbo: true, ..one(&JUMBO) };
    let sizes = SIZES.iter().map(one).chain([imix, jumbo]);
    let queues = QUEUES.iter().map(|&queues| Point { over: Over::Queues, queues, ..plain });
    bursts.chain(sizes).chain(queues).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_measures_every_point_of_every_plot() {
        let mut sweep = Sweep::new();
        sweep.round(1);
        let [(_, bursts), (_, sizes), (_, queues)] = sweep.plots();
        for plot in [&bursts, &sizes, &queues] {
            assert_eq!(plot.panels.len(), FORMATS.len());
            for series in plot.panels.iter().flat_map(|(_, series)| series) {
                assert_eq!(
                    series.points.len(),
                    plot.marks.len(),
                    "{}: {}",
                    plot.caption,
                    series.name
                );
                assert!(series.points.iter().all(|figure| figure.is_finite()));
            }
        }
        assert_eq!(sizes.marks.last().map(String::as_str), Some("9000"));
        assert_eq!(queues.marks, ["1", "2", "3", "4"]);
    }

    #[test]
    fn the_mix_is_csits() {
        let count = |size| IMIX.iter().filter(|&&each| each == size).count();
        assert_eq!([60, 566, 1514].map(count), [28 / 4, 16 / 4, 4 / 4]);
    }
}
