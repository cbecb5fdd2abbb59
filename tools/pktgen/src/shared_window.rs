//! A window over the sequence numbers seen last, for several threads at once.
//!
//! As [`Window`](crate::window::Window) it has a bit for each of the last numbers, but arrivals may come through the
//! queues of different threads. Each word holds the bits of 32 numbers and the turn that they belong to (how often the
//! window has gone round), so that one compare-and-swap both marks a number and says whether it was marked: no lock,
//! nobody waits, and of two threads that hear of the same number exactly one is the first.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sequence numbers that a shared window remembers, give or take the 32 of a word.
pub const SHARED_WINDOW: u64 = 1 << 18;

/// Numbers of one word.
const BITS: u64 = 32;
/// How far a thread's numbers go before it tells the others: far below the 2^31 that they could be mistaken by.
const TELL_EVERY: u64 = 1 << 20;

/// Which of the last [`SHARED_WINDOW`] sequence numbers were seen, by any thread.
#[derive(Debug)]
pub struct SharedWindow {
    /// The turn in the upper half (0: never used), one bit per number in the lower.
    words: Box<[AtomicU64]>,
    /// A number that was seen, near the highest.
    near: AtomicU64,
}

impl Default for SharedWindow {
    fn default() -> Self {
        let words = (0..SHARED_WINDOW / BITS).map(|_| AtomicU64::new(0)).collect();
        Self { words, near: AtomicU64::new(0) }
    }
}

impl SharedWindow {
    /// Marks `sequence` as seen: `Some(true)` if nobody had, `Some(false)` if somebody had; `None` if its place has
    /// been taken by a number at least [`SHARED_WINDOW`] `- 31` higher.
    #[inline]
    pub fn insert(&self, sequence: u64) -> Option<bool> {
        let turn = (sequence / SHARED_WINDOW + 1) & u64::from(u32::MAX);
        let bit = 1 << (sequence % BITS);
        let place = usize::try_from(sequence % SHARED_WINDOW / BITS).unwrap_or_default();
        let word = &self.words[place];
        // (Relaxed: the word is all that is shared.)
        let mut old = word.load(Ordering::Relaxed);
        loop {
            let bits = match old >> 32 {
                newer if newer > turn => return None,
                same if same == turn => old & u64::from(u32::MAX),
                _ => 0,
            };
            if bits & bit != 0 {
                return Some(false);
            }
            let new = turn << 32 | bits | bit;
            match word.compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(true),
                Err(now) => old = now,
            }
        }
    }

    /// A number near the highest that was seen by anybody who [told](Self::tell).
    #[inline]
    pub fn near(&self) -> u64 {
        self.near.load(Ordering::Relaxed)
    }

    /// Tells the others of the number `next` that is expected here, now and then.
    #[inline]
    pub fn tell(&self, next: u64) {
        if next >= self.near() + TELL_EVERY {
            self.near.fetch_max(next, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn one_thread_sees_what_a_set_remembers(steps in prop::collection::vec((0u64..3, 0u64..SHARED_WINDOW - 32), 1..400)) {
            let (window, mut seen, mut highest) = (SharedWindow::default(), HashSet::new(), 0u64);
            for (jump, behind) in steps {
                highest += jump * SHARED_WINDOW / 5;
                // Never so far behind that it might be forgotten.
                let sequence = highest.saturating_sub(behind % (SHARED_WINDOW / 2)) ;
                highest = highest.max(sequence);
                prop_assert_eq!(window.insert(sequence), Some(seen.insert(sequence)), "{}", sequence);
            }
        }
    }

    #[test]
    fn a_number_too_far_behind_is_unknown() {
        let window = SharedWindow::default();
        assert_eq!(window.insert(5), Some(true));
        assert_eq!(window.insert(5 + SHARED_WINDOW), Some(true));
        assert_eq!(window.insert(5), None);
        assert_eq!(window.insert(64), Some(true), "another word");
        assert_eq!(window.insert(5 + SHARED_WINDOW), Some(false));
    }

    #[test]
    fn of_several_threads_exactly_one_is_first() {
        const THREADS: u64 = 4;
        const NUMBERS: u64 = 3 * SHARED_WINDOW / 2;
        let window = SharedWindow::default();
        // All of them insert every number, beginning at different places of a stretch.
        let firsts: u64 = thread::scope(|scope| {
            let count = |thread: u64| {
                let window = &window;
                scope.spawn(move || {
                    let stretch =
                        |base: u64| (0..1024).map(move |n| base + (n + thread * 256) % 1024);
                    let numbers = (0..NUMBERS / 1024).flat_map(|n| stretch(n * 1024));
                    numbers.filter(|&n| window.insert(n) == Some(true)).count() as u64
                })
            };
            let threads: Vec<_> = (0..THREADS).map(count).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(firsts, NUMBERS);
    }
}
