//! The field engine: the values of a stream's varying fields, frame after frame.
//!
//! Each value is a function of the frame's number alone, so that a run can be repeated and checked; it is computed from
//! the one before, in a few operations and without a division.

use netdev::BURST;

/// What one field does, in numbers that fit a frame: `base` to `base + span - 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    /// Upward by `step` (below `span`) from `base`.
    Up { base: u64, span: u64, step: u64 },
    /// Downward by `step` (below `span`) from `base + span - 1`.
    Down { base: u64, span: u64, step: u64 },
    /// Anywhere.
    Random { base: u64, span: u64, seed: u64 },
    /// One after the other.
    List(Box<[u64]>),
}

/// The fields of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    fields: Vec<Field>,
    /// The values of the frames asked for last: a row for each frame, at most [`BURST`].
    values: Vec<u64>,
    /// Frames until everything begins again.
    flows: u64,
    left: u64,
}

#[derive(Clone, Debug)]
struct Field {
    motion: Motion,
    /// `Up`, `Down`: how far from the start; else the number of the next frame.
    at: u64,
}

impl Engine {
    /// The engine before frame 0. After `flows` frames it begins again.
    pub(crate) fn new(motions: Vec<Motion>, flows: Option<u64>) -> Self {
        let values = vec![0; motions.len() * BURST];
        let fields = motions.into_iter().map(|motion| Field { motion, at: 0 }).collect();
        let flows = flows.unwrap_or(u64::MAX).max(1);
        Self { fields, values, flows, left: flows }
    }

    /// The values of the next frame, in the order of the fields.
    #[inline]
    pub(crate) fn next(&mut self) -> &[u64] {
        self.rows(1).0
    }

    /// The values of the next `frames` (at most [`BURST`]) frames, row by row, and how many a row has.
    #[inline]
    pub(crate) fn rows(&mut self, frames: usize) -> (&[u64], usize) {
        let width = self.fields.len();
        let mut done = 0;
        while width > 0 && done < frames {
            if self.left == 0 {
                self.restart();
            }
            let count = (frames - done).min(usize::try_from(self.left).unwrap_or(usize::MAX));
            let rows = &mut self.values[done * width..(done + count) * width];
            for (place, field) in self.fields.iter_mut().enumerate() {
                field.fill(rows.iter_mut().skip(place).step_by(width));
            }
            self.left -= count as u64;
            done += count;
        }
        (&self.values[..frames * width], width)
    }

    #[cold]
    fn restart(&mut self) {
        self.left = self.flows;
        self.fields.iter_mut().for_each(|field| field.at = 0);
    }
}

impl Field {
    /// The next values, as many as there are places. What kind of field it is, is asked once for all of them.
    #[inline]
    fn fill<'a>(&mut self, places: impl Iterator<Item = &'a mut u64>) {
        let mut at = self.at;
        match &self.motion {
            Motion::Up { base, span, step } => {
                for place in places {
                    *place = base + at;
                    at = advanced(at, *step, *span);
                }
            }
            Motion::Down { base, span, step } => {
                for place in places {
                    *place = base + (span - 1) - at;
                    at = advanced(at, *step, *span);
                }
            }
            Motion::Random { base, span, seed } => {
                for place in places {
                    *place = base + scaled(mixed(*seed, at), *span);
                    at = at.wrapping_add(1);
                }
            }
            Motion::List(list) => {
                for place in places {
                    let index = usize::try_from(at).unwrap_or_default();
                    *place = list[index];
                    at = if index + 1 == list.len() { 0 } else { at + 1 };
                }
            }
        }
        self.at = at;
    }
}

#[inline]
fn advanced(at: u64, step: u64, span: u64) -> u64 {
    let next = at + step;
    if next >= span { next - span } else { next }
}

/// Random bits that are a function of `seed` and `k` (the finaliser of SplitMix64 over a Weyl sequence).
#[inline]
pub(crate) fn mixed(seed: u64, k: u64) -> u64 {
    let mut z = seed.wrapping_add(k.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `random` brought to 0..`span`: the upper half of a product.
#[inline]
pub(crate) fn scaled(random: u64, span: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(span)) >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The table in `field.rs`, word for word.
    fn oracle(motion: &Motion, k: u64) -> u64 {
        let product = |step: u64, span: u64| {
            u64::try_from(u128::from(k) * u128::from(step) % u128::from(span)).unwrap()
        };
        match motion {
            Motion::Up { base, span, step } => base + product(*step, *span),
            Motion::Down { base, span, step } => base + span - 1 - product(*step, *span),
            Motion::Random { base, span, seed } => base + scaled(mixed(*seed, k), *span),
            Motion::List(list) => list[usize::try_from(k % list.len() as u64).unwrap()],
        }
    }

    fn motion() -> impl Strategy<Value = Motion> {
        let numbers = (0u64..1 << 40, 1u64..1 << 40, any::<u64>());
        prop_oneof![
            numbers.clone().prop_map(|(base, span, n)| Motion::Up { base, span, step: n % span }),
            numbers.clone().prop_map(|(base, span, n)| Motion::Down { base, span, step: n % span }),
            (0u64..9, 1u64..9, any::<u64>()).prop_map(|(base, span, n)| Motion::Up {
                base,
                span,
                step: n % span
            }),
            numbers.clone().prop_map(|(base, span, seed)| Motion::Random { base, span, seed }),
            prop::collection::vec(any::<u64>(), 1..9).prop_map(|list| Motion::List(list.into())),
        ]
    }

    proptest! {
        #[test]
        fn values_are_those_of_the_table(motions in prop::collection::vec(motion(), 0..5),
                                         flows in prop::option::of(1u64..50)) {
            let mut engine = Engine::new(motions.clone(), flows);
            for frame in 0..120 {
                let k = flows.map_or(frame, |flows| frame % flows);
                let expected: Vec<u64> = motions.iter().map(|motion| oracle(motion, k)).collect();
                prop_assert_eq!(engine.next(), &expected[..], "frame {}", frame);
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_values_of_frame_after_frame(motions in prop::collection::vec(motion(), 0..5),
                                                    flows in prop::option::of(1u64..50),
                                                    bursts in prop::collection::vec(0usize..=BURST, 1..9)) {
            let mut one_by_one = Engine::new(motions.clone(), flows);
            let mut engine = Engine::new(motions, flows);
            for frames in bursts {
                let expected: Vec<u64> = (0..frames).flat_map(|_| one_by_one.next().to_vec()).collect();
                prop_assert_eq!(engine.rows(frames).0, &expected[..]);
            }
        }
    }

    #[test]
    fn random_values_are_uniform_and_differ_by_seed() {
        let draw = |seed| {
            let mut engine = Engine::new(vec![Motion::Random { base: 5, span: 10, seed }], None);
            (0..100_000).map(|_| engine.next()[0]).collect::<Vec<_>>()
        };
        let first = draw(1);
        for value in 5..15 {
            let count = first.iter().filter(|&&v| v == value).count();
            // Ten thousand expected, with a standard deviation of 95.
            assert!(count.abs_diff(10_000) < 500, "{value}: {count}");
        }
        assert!(first == draw(1) && first != draw(2));
    }
}
