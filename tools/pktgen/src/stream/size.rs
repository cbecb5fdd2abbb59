//! The sizes of a stream's frames. All are in bytes, L2 header included, FCS excluded.

use std::fmt;
use std::str::FromStr;

use super::engine::{mixed, scaled};
use super::value::number;
use crate::FrameSize;

/// The sizes of a stream's frames.
///
/// | text | sizes |
/// | --- | --- |
/// | `64` | one |
/// | `64,594,1514` or `64x7,594x4,1514` | a list, with how often each occurs; mixed evenly |
/// | `sweep:64-1514[/STEP]` | upward, and again from the smallest |
/// | `uniform:64-1514[@SEED]` | random |
/// | `imix-csit` | FD.io CSIT's IMIX_v4_1: 28 x 64, 16 x 570 and 4 x 1518 bytes, which are 60, 566 and 1514 without FCS |
/// | `imix-trex` | TRex's `stl/imix.py`: 28 x 60, 16 x 590 and 4 x 1514 bytes without FCS |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeSpec {
    /// One size.
    Fixed(u16),
    /// Sizes, each with how often it occurs; spread evenly.
    Mix(Vec<(u16, u16)>),
    /// From the first upward to the second, by the third, and again.
    Sweep(u16, u16, u16),
    /// Each from the first to the second as often; the third is the seed.
    Uniform(u16, u16, u64),
}

/// FD.io CSIT's IMIX_v4_1.
const IMIX_CSIT: [(u16, u16); 3] = [(60, 28), (566, 16), (1514, 4)];
/// TRex's `stl/imix.py`.
const IMIX_TREX: [(u16, u16); 3] = [(60, 28), (590, 16), (1514, 4)];
/// The most bytes of all different sizes together.
const MOST_BYTES: u64 = 64 << 20;
/// The longest cycle of a mix, in frames.
const LONGEST_MIX: u64 = 10_000;

impl SizeSpec {
    /// The different sizes, the smallest first.
    pub fn distinct(&self) -> Vec<u16> {
        let mut sizes: Vec<u16> = match self {
            Self::Fixed(size) => vec![*size],
            Self::Mix(mix) => mix.iter().map(|(size, _)| *size).collect(),
            Self::Sweep(from, to, step) => (*from..=*to).step_by(usize::from(*step)).collect(),
            Self::Uniform(from, to, _) => (*from..=*to).collect(),
        };
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// The mean size.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(size) => f64::from(*size),
            Self::Mix(mix) => {
                let bytes: f64 = mix.iter().map(|&(s, n)| f64::from(s) * f64::from(n)).sum();
                bytes / mix.iter().map(|&(_, n)| f64::from(n)).sum::<f64>()
            }
            Self::Sweep(from, _, step) => {
                let steps = u32::try_from(self.distinct().len() - 1).unwrap_or(u32::MAX);
                f64::from(*from) + f64::from(*step) * f64::from(steps) / 2.0
            }
            Self::Uniform(from, to, _) => f64::midpoint(f64::from(*from), f64::from(*to)),
        }
    }
}

impl Default for SizeSpec {
    fn default() -> Self {
        Self::Fixed(FrameSize::default().bytes())
    }
}

impl From<FrameSize> for SizeSpec {
    fn from(size: FrameSize) -> Self {
        Self::Fixed(size.bytes())
    }
}

impl fmt::Display for SizeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Mix(mix) if mix[..] == IMIX_CSIT => f.write_str("imix-csit"),
            Self::Mix(mix) if mix[..] == IMIX_TREX => f.write_str("imix-trex"),
            Self::Mix(mix) => {
                let words: Vec<_> = mix.iter().map(|(s, n)| format!("{s}x{n}")).collect();
                f.write_str(&words.join(","))
            }
            Self::Sweep(from, to, step) => write!(f, "sweep:{from}-{to}/{step}"),
            Self::Uniform(from, to, seed) => write!(f, "uniform:{from}-{to}@{seed}"),
        }
    }
}

impl FromStr for SizeSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let spec = match text.split_once(':') {
            _ if text == "imix-csit" => Ok(Self::Mix(IMIX_CSIT.to_vec())),
            _ if text == "imix-trex" => Ok(Self::Mix(IMIX_TREX.to_vec())),
            Some(("sweep", range)) => bounds(range, '/').and_then(|(from, to, step)| {
                let step = number(step.unwrap_or("1"), "step")?;
                if step == 0 {
                    Err("a step of 0 leads nowhere".into())
                } else {
                    Ok(Self::Sweep(from, to, step))
                }
            }),
            Some(("uniform", range)) => bounds(range, '@').and_then(|(from, to, seed)| {
                Ok(Self::Uniform(from, to, number(seed.unwrap_or("1"), "seed")?))
            }),
            None if text.contains([',', 'x']) => mix(text),
            None => size(text).map(Self::Fixed),
            Some(_) => Err(format!("`{text}` is no frame size")),
        };
        spec.and_then(bounded).map_err(|error| {
            format!(
                "{error}; accepted: bytes from {} to {} (L2 header included, FCS excluded), a list (64,594x4,1514), \
                 sweep:FROM-TO[/STEP], uniform:FROM-TO[@SEED], imix-csit, imix-trex",
                FrameSize::MIN,
                FrameSize::MAX
            )
        })
    }
}

/// A template is made for each size beforehand: all of them together stay within [`MOST_BYTES`].
fn bounded(spec: SizeSpec) -> Result<SizeSpec, String> {
    let bytes: u64 = spec.distinct().iter().map(|&size| u64::from(size)).sum();
    if bytes <= MOST_BYTES {
        return Ok(spec);
    }
    Err(format!(
        "`{spec}` has sizes of {bytes} bytes together; accepted: up to {MOST_BYTES}, by a shorter range or a longer step"
    ))
}

fn size(text: &str) -> Result<u16, String> {
    text.parse::<FrameSize>()
        .map(FrameSize::bytes)
        .map_err(|_| format!("`{text}` is no frame size"))
}

fn mix(text: &str) -> Result<SizeSpec, String> {
    let entry = |entry: &str| match entry.split_once('x') {
        Some((bytes, times)) => Ok((size(bytes)?, number(times, "number of times")?)),
        None => Ok((size(entry)?, 1)),
    };
    let mix = text.split(',').map(entry).collect::<Result<Vec<(u16, u16)>, String>>()?;
    let frames: u64 = mix.iter().map(|&(_, times)| u64::from(times)).sum();
    if frames > LONGEST_MIX || mix.iter().any(|&(_, times)| times == 0) {
        return Err(format!("`{text}`: each size must occur, and all at most {LONGEST_MIX} times"));
    }
    Ok(SizeSpec::Mix(mix))
}

fn bounds(text: &str, mark: char) -> Result<(u16, u16, Option<&str>), String> {
    let (range, rest) = text.split_once(mark).map_or((text, None), |(range, n)| (range, Some(n)));
    let Some((from, to)) = range.split_once('-') else {
        return Err(format!("`{range}` is no range of sizes"));
    };
    let (from, to) = (size(from)?, size(to)?);
    if from > to { Err(format!("the range {range} is reversed")) } else { Ok((from, to, rest)) }
}

/// Picks the size of each frame: its place among [`SizeSpec::distinct`].
#[derive(Clone, Debug)]
pub(crate) enum Picker {
    One,
    Cycle { order: Box<[u16]>, at: usize },
    Random { sizes: u64, seed: u64, k: u64 },
}

impl Picker {
    pub(crate) fn new(spec: &SizeSpec) -> Self {
        let sizes = spec.distinct();
        if sizes.len() == 1 {
            return Self::One;
        }
        let count = u16::try_from(sizes.len()).unwrap_or(u16::MAX);
        match spec {
            SizeSpec::Uniform(_, _, seed) => {
                Self::Random { sizes: u64::from(count), seed: *seed, k: 0 }
            }
            SizeSpec::Mix(mix) => Self::Cycle { order: spread(mix, &sizes), at: 0 },
            _ => Self::Cycle { order: (0..count).collect(), at: 0 },
        }
    }

    /// Whether there is one size.
    #[inline]
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, Self::One)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        match self {
            Self::One => 0,
            Self::Cycle { order, at } => {
                let index = order[*at];
                *at = if *at + 1 == order.len() { 0 } else { *at + 1 };
                usize::from(index)
            }
            Self::Random { sizes, seed, k } => {
                let index = scaled(mixed(*seed, *k), *sizes);
                *k += 1;
                usize::try_from(index).unwrap_or_default()
            }
        }
    }
}

/// One cycle of a mix, spread evenly: at each step the size goes that is furthest behind its share (smooth weighted
/// round robin).
fn spread(mix: &[(u16, u16)], sizes: &[u16]) -> Box<[u16]> {
    let total: i64 = mix.iter().map(|&(_, times)| i64::from(times)).sum();
    let mut credit = vec![0i64; mix.len()];
    let mut order = Vec::new();
    for _ in 0..total {
        for (credit, &(_, times)) in credit.iter_mut().zip(mix) {
            *credit += i64::from(times);
        }
        let best = (0..mix.len()).max_by_key(|&n| (credit[n], usize::MAX - n)).unwrap_or_default();
        credit[best] -= total;
        let index = sizes.binary_search(&mix[best].0).unwrap_or_default();
        order.push(u16::try_from(index).unwrap_or_default());
    }
    order.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(text: &str, frames: usize) -> Vec<u16> {
        let spec: SizeSpec = text.parse().unwrap();
        let sizes = spec.distinct();
        let mut picker = Picker::new(&spec);
        (0..frames).map(|_| sizes[picker.next()]).collect()
    }

    fn count(sizes: &[u16], size: u16) -> usize {
        sizes.iter().filter(|&&s| s == size).count()
    }

    #[test]
    fn sizes_in_order() {
        assert_eq!(picked("64", 3), [64, 64, 64]);
        assert_eq!(picked("100,64", 4), [100, 64, 100, 64]);
        assert_eq!(picked("64x3,100", 8), [64, 64, 100, 64, 64, 64, 100, 64]);
        assert_eq!(picked("sweep:60-70/4", 4), [60, 64, 68, 60]);
    }

    #[test]
    fn mixes_keep_their_ratio_exactly_in_each_cycle() {
        for (name, middle) in [("imix-csit", 566), ("imix-trex", 590)] {
            let sizes = picked(name, 480);
            assert_eq!([60, middle, 1514].map(|size| count(&sizes, size)), [280, 160, 40]);
            let longest = sizes.split(|&size| size != 60).map(<[u16]>::len).max();
            assert!(longest <= Some(3), "small frames are not sent in one piece: {longest:?}");
            assert_eq!(name.parse::<SizeSpec>().unwrap().to_string(), name);
        }
        let mean = "imix-csit".parse::<SizeSpec>().unwrap().mean();
        assert!((mean - (60.0 * 28.0 + 566.0 * 16.0 + 1514.0 * 4.0) / 48.0).abs() < 1e-9);
    }

    #[test]
    fn uniform_sizes_are_uniform_and_repeatable() {
        let sizes = picked("uniform:60-69@7", 50_000);
        for size in 60..70 {
            assert!(count(&sizes, size).abs_diff(5000) < 350, "{size}");
        }
        assert_eq!(sizes, picked("uniform:60-69@7", 50_000));
        assert_ne!(sizes, picked("uniform:60-69@8", 50_000));
    }

    #[test]
    fn bad_sizes_say_what_is_accepted() {
        for text in [
            "",
            "0",
            "13",
            "59",
            "65281",
            "65536",
            "64-32",
            "sweep:64-32",
            "sweep:64",
            "sweep:64-128/0",
            "64,",
            "64x0",
            "uniform:64-128@-1",
            "imix",
            "imix:64",
            "NaN",
            "-64",
            "64x20000",
            "1e3",
        ] {
            let error = text.parse::<SizeSpec>().expect_err(text);
            assert!(error.contains("accepted: bytes from 60 to 65280"), "{text}: {error}");
        }
    }
}
