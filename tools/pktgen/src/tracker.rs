//! The tracker: what became of a stream's frames, in bounded memory.
//!
//! The rules, exactly:
//!
//! - A frame is **reordered** if a frame with a higher number came before it (RFC 4737, section 3: "Type-P-Reordered").
//!   Its **extent** is how many frames (duplicates not counted) came since the first of those, itself included (RFC 4737,
//!   section 4.2.1): a buffer of that many frames would have put it in order.
//! - A frame is **duplicated** if its number has been seen; only the second and later arrivals count.
//! - A frame more than [`WINDOW`] numbers behind the highest is **late**: whether it was
//!   seen is forgotten. It counts neither as received nor as duplicated; if it was the first arrival, its loss stands.
//! - A **corrupted** frame has no number that could be believed. It counts as corrupted, not as lost and not as
//!   received.
//! - What was sent and is none of these is **lost**.
//!
//! With several threads, a stream's frames may come back through the queues of any of them. Whether a number has been
//! seen is then asked of a window that the threads share ([`SharedWindow`]), so duplicates and losses are as exact as
//! with one thread; **late** is a frame at least [`SHARED_WINDOW`](crate::shared_window::SHARED_WINDOW) `- 31` behind one
//! that came. Between queues there is no order: there a frame is **reordered** if one with a higher number came before
//! it *through the same queues*, those of one thread, and its extent counts the frames of these queues.

use std::sync::Arc;

use crate::shared_window::SharedWindow;
use crate::window::{Place, WINDOW, Window};

/// What became of a stream's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Numbers that arrived intact, each counted once.
    pub unique: u64,
    /// Intact arrivals of a number that had arrived.
    pub duplicated: u64,
    /// Of the unique ones, those that were overtaken.
    pub reordered: u64,
    /// The largest extent of a reordered frame, in frames.
    pub extent_max: u64,
    /// The sum of the extents of the reordered frames.
    pub extent_sum: u64,
    /// Arrivals whose contents had changed.
    pub corrupted: u64,
    /// Intact arrivals at the wrong port.
    pub misdirected: u64,
    /// Intact arrivals too far behind to be judged.
    pub late: u64,
    /// One more than the highest number that arrived.
    pub next: u64,
    /// When the last frame arrived at the right port, in cycles of the clock; 0: none has.
    pub last_arrival: u64,
}

impl Counts {
    /// How many figures there are.
    pub(crate) const FIELDS: usize = 10;

    /// The figures, for another thread to read.
    pub(crate) fn fields(&self) -> [u64; Self::FIELDS] {
        let Self { unique, duplicated, reordered, extent_max, extent_sum, .. } = *self;
        let Self { corrupted, misdirected, late, next, last_arrival, .. } = *self;
        [
            unique,
            duplicated,
            reordered,
            extent_max,
            extent_sum,
            corrupted,
            misdirected,
            late,
            next,
            last_arrival,
        ]
    }

    /// From what [`fields`](Self::fields) gave.
    pub(crate) fn from_fields(fields: [u64; Self::FIELDS]) -> Self {
        let [unique, duplicated, reordered, extent_max, extent_sum, rest @ ..] = fields;
        let [corrupted, misdirected, late, next, last_arrival] = rest;
        Self {
            unique,
            duplicated,
            reordered,
            extent_max,
            extent_sum,
            corrupted,
            misdirected,
            late,
            next,
            last_arrival,
        }
    }

    /// Intact arrivals, duplicates included.
    pub fn received(&self) -> u64 {
        self.unique + self.duplicated
    }

    /// Of `sent` frames, those that did not arrive.
    pub fn lost(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.unique + self.corrupted)
    }

    /// These and `other`, as figures of one direction.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            unique: self.unique + other.unique,
            duplicated: self.duplicated + other.duplicated,
            reordered: self.reordered + other.reordered,
            extent_max: self.extent_max.max(other.extent_max),
            extent_sum: self.extent_sum + other.extent_sum,
            corrupted: self.corrupted + other.corrupted,
            misdirected: self.misdirected + other.misdirected,
            late: self.late + other.late,
            next: self.next + other.next,
            last_arrival: self.last_arrival.max(other.last_arrival),
        }
    }

    /// These and `other`, of the same stream at another thread.
    pub(crate) fn beside(&self, other: &Self) -> Self {
        Self { next: self.next.max(other.next), ..self.and(other) }
    }

    /// Frames that were overtaken and have not come.
    pub fn missing(&self) -> u64 {
        self.next.saturating_sub(self.unique + self.corrupted)
    }
}

/// Which numbers were seen.
#[derive(Clone, Debug)]
enum Seen {
    /// By this thread, and there is no other.
    Here(Window),
    /// By any thread; one more than the highest number seen here.
    Anywhere(Arc<SharedWindow>, u64),
}

impl Default for Seen {
    fn default() -> Self {
        Self::Here(Window::default())
    }
}

impl Seen {
    /// One more than the highest number seen here.
    #[inline]
    fn next(&self) -> u64 {
        match self {
            Self::Here(window) => window.next(),
            Self::Anywhere(_, next) => *next,
        }
    }

    /// The number that is expected, as far as is known.
    #[inline]
    fn expected(&self) -> u64 {
        match self {
            Self::Here(window) => window.next(),
            Self::Anywhere(window, next) => window.near().max(*next),
        }
    }

    #[inline]
    fn insert(&mut self, sequence: u64) -> Place {
        match self {
            Self::Here(window) => window.insert(sequence),
            Self::Anywhere(window, next) => match window.insert(sequence) {
                None => Place::Below,
                Some(false) => Place::Seen,
                Some(true) if sequence < *next => Place::Behind,
                Some(true) => {
                    *next = sequence + 1;
                    window.tell(*next);
                    Place::Ahead
                }
            },
        }
    }
}

/// Judges arrivals by their sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    window: Seen,
    /// For each missing number of the window, how many frames had come when it was overtaken. Empty until then.
    overtaken: Vec<u64>,
    /// The figures so far.
    pub counts: Counts,
}

impl Tracker {
    /// One of several threads' trackers of the same stream.
    pub fn shared(window: Arc<SharedWindow>) -> Self {
        Self { window: Seen::Anywhere(window, 0), ..Self::default() }
    }

    /// The number whose lower 32 bits arrived: the one next to what is expected.
    #[inline]
    pub fn extend(&self, low: u32) -> u64 {
        let expected = self.window.expected();
        let [_, _, _, _, a, b, c, d] = expected.to_be_bytes();
        let distance = low.wrapping_sub(u32::from_be_bytes([a, b, c, d])).cast_signed();
        expected.checked_add_signed(i64::from(distance)).unwrap_or(u64::from(low))
    }

    /// An intact frame arrived at the right port; where it stood.
    #[inline]
    pub fn arrived(&mut self, sequence: u64) -> Place {
        let expected = self.window.next();
        let place = self.window.insert(sequence);
        match place {
            Place::Ahead => {
                if sequence > expected {
                    self.overtake(expected, sequence);
                }
                self.counts.unique += 1;
            }
            Place::Behind => {
                self.counts.unique += 1;
                self.reordered(sequence);
            }
            Place::Seen => self.counts.duplicated += 1,
            Place::Below => self.counts.late += 1,
        }
        self.counts.next = self.window.next();
        place
    }

    /// Numbers `first` to `sequence - 1` were overtaken by `sequence`.
    #[cold]
    fn overtake(&mut self, first: u64, sequence: u64) {
        if self.overtaken.is_empty() {
            self.overtaken.resize(usize::try_from(WINDOW).unwrap_or_default(), 0);
        }
        for number in first.max(sequence.saturating_sub(WINDOW))..sequence {
            self.overtaken[slot(number)] = self.counts.unique;
        }
    }

    #[cold]
    fn reordered(&mut self, sequence: u64) {
        self.counts.reordered += 1;
        let overtaken = self.overtaken.get(slot(sequence)).copied().unwrap_or_default();
        // The counter includes this frame; what overtook it came in place `overtaken`.
        let extent = self.counts.unique - 1 - overtaken;
        self.counts.extent_sum += extent;
        self.counts.extent_max = self.counts.extent_max.max(extent);
    }
}

fn slot(sequence: u64) -> usize {
    usize::try_from(sequence % WINDOW).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    /// The rules, word for word, with a memory without bounds.
    #[derive(Default)]
    struct Oracle {
        seen: HashSet<u64>,
        /// Every first arrival, in order.
        order: Vec<u64>,
        counts: Counts,
    }

    impl Oracle {
        fn arrived(&mut self, sequence: u64) {
            let highest = self.seen.iter().max().copied();
            let counts = &mut self.counts;
            if highest.is_some_and(|h| h + 1 - sequence.min(h + 1) > WINDOW) {
                counts.late += 1;
            } else if !self.seen.insert(sequence) {
                counts.duplicated += 1;
            } else {
                counts.unique += 1;
                self.order.push(sequence);
                let i = self.order.len() - 1;
                if let Some(j) = self.order.iter().position(|&s| s > sequence) {
                    let extent = (i - j) as u64;
                    counts.reordered += 1;
                    counts.extent_sum += extent;
                    counts.extent_max = counts.extent_max.max(extent);
                }
            }
            counts.next = highest.unwrap_or(0).max(sequence) + 1;
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_unbounded_memory(
            steps in prop::collection::vec(
                prop_oneof![5 => -3i64..5, 2 => -70_000i64..70_000, 1 => -65_540i64..-65_530, 1 => 65_530i64..65_540],
                1..150,
            )
        ) {
            let (mut tracker, mut oracle) = (Tracker::default(), Oracle::default());
            let mut at = 0u64;
            for step in steps {
                at = at.saturating_add_signed(step);
                tracker.arrived(at);
                oracle.arrived(at);
                prop_assert_eq!(tracker.counts, oracle.counts, "at {}", at);
            }
        }
    }

    #[test]
    fn in_order_frames_are_received_across_many_windows() {
        let mut tracker = Tracker::default();
        for sequence in 0..3 * WINDOW + 5 {
            tracker.arrived(sequence);
        }
        let expected = Counts { unique: 3 * WINDOW + 5, next: 3 * WINDOW + 5, ..Counts::default() };
        assert_eq!(tracker.counts, expected);
    }

    #[test]
    fn the_last_frames_of_a_run_can_be_lost_too() {
        let mut tracker = Tracker::default();
        for sequence in [0, 1, 3] {
            tracker.arrived(sequence);
        }
        tracker.counts.corrupted += 1;
        assert_eq!((tracker.counts.missing(), tracker.counts.lost(10)), (0, 6));
    }

    #[test]
    fn numbers_are_extended_from_their_lower_half() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.extend(5), 5);
        for sequence in [(1 << 32) - 2, (1 << 32) + 3, (7 << 32) + 9] {
            tracker.arrived(sequence);
            for near in
                [sequence - 40_000, sequence - 3, sequence, sequence + 1, sequence + (1 << 30)]
            {
                assert_eq!(tracker.extend(u32::try_from(near & 0xffff_ffff).unwrap()), near);
            }
        }
    }

    #[test]
    fn three_frames_behind_four_others_have_extents_of_four_to_six() {
        let mut tracker = Tracker::default();
        for sequence in [1, 2, 3, 7, 8, 9, 10, 4, 5, 6] {
            tracker.arrived(sequence);
        }
        let counts = tracker.counts;
        assert_eq!((counts.reordered, counts.extent_max, counts.extent_sum), (3, 6, 4 + 5 + 6));
    }
}
