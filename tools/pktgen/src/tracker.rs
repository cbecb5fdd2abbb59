//! The tracker: what became of a stream's frames, in bounded memory.
//!
//! The rules, exactly:
//!
//! - A frame is **reordered** if a frame with a higher number came before it (RFC 4737, section 3: "Type-P-Reordered").
//! - A frame is **duplicated** if its number has been seen; only the second and later arrivals count.
//! - A frame more than [`WINDOW`](crate::window::WINDOW) numbers behind the highest is **late**: whether it was
//!   seen is forgotten. It counts neither as received nor as duplicated; if it was the first arrival, its loss stands.
//! - A **corrupted** frame has no number that could be believed. It counts as corrupted, not as lost and not as
//!   received.
//! - What was sent and is none of these is **lost**.

use crate::window::{Place, Window};

/// What became of a stream's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Numbers that arrived intact, each counted once.
    pub unique: u64,
    /// Intact arrivals of a number that had arrived.
    pub duplicated: u64,
    /// Of the unique ones, those that were overtaken.
    pub reordered: u64,
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
    /// Intact arrivals, duplicates included.
    pub fn received(&self) -> u64 {
        self.unique + self.duplicated
    }

    /// Of `sent` frames, those that did not arrive.
    pub fn lost(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.unique + self.corrupted)
    }

    /// Frames that were overtaken and have not come.
    pub fn missing(&self) -> u64 {
        self.next.saturating_sub(self.unique + self.corrupted)
    }
}

/// Judges arrivals by their sequence numbers.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    window: Window,
    /// The figures so far.
    pub counts: Counts,
}

impl Tracker {
    /// An intact frame arrived at the right port.
    #[inline]
    pub fn arrived(&mut self, sequence: u64) {
        match self.window.insert(sequence) {
            Place::Ahead => self.counts.unique += 1,
            Place::Behind => {
                self.counts.unique += 1;
                self.counts.reordered += 1;
            }
            Place::Seen => self.counts.duplicated += 1,
            Place::Below => self.counts.late += 1,
        }
        self.counts.next = self.window.next();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::window::WINDOW;

    /// The rules, word for word, with a memory without bounds.
    #[derive(Default)]
    struct Oracle {
        seen: HashSet<u64>,
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
                counts.reordered += u64::from(highest.is_some_and(|h| h > sequence));
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
        [0, 1, 3].into_iter().for_each(|sequence| tracker.arrived(sequence));
        tracker.counts.corrupted += 1;
        assert_eq!((tracker.counts.missing(), tracker.counts.lost(10)), (0, 6));
    }
}
