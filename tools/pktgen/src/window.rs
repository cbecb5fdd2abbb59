//! A window over the sequence numbers seen last: one bit each.

/// Sequence numbers that a window remembers.
pub const WINDOW: u64 = 1 << 16;

const WORDS: usize = 1 << 10;

/// Where a sequence number stands against a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Higher than any before.
    Ahead,
    /// Within the window, and not seen before.
    Behind,
    /// Within the window, and seen before.
    Seen,
    /// Below the window: nobody knows.
    Below,
}

/// Which of the last [`WINDOW`] sequence numbers were seen.
#[derive(Clone, Debug)]
pub struct Window {
    bits: Box<[u64; WORDS]>,
    /// One more than the highest number seen.
    next: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { bits: Box::new([0; WORDS]), next: 0 }
    }
}

impl Window {
    /// One more than the highest number seen.
    #[inline]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Marks `sequence` as seen; says where it stood before.
    #[inline]
    pub fn insert(&mut self, sequence: u64) -> Place {
        if sequence >= self.next {
            for skipped in self.next.max(sequence.saturating_sub(WINDOW - 1))..sequence {
                let (word, bit) = place(skipped);
                self.bits[word] &= !bit;
            }
            let (word, bit) = place(sequence);
            self.bits[word] |= bit;
            self.next = sequence + 1;
            return Place::Ahead;
        }
        if self.next - sequence > WINDOW {
            return Place::Below;
        }
        let (word, bit) = place(sequence);
        let seen = self.bits[word] & bit != 0;
        self.bits[word] |= bit;
        if seen { Place::Seen } else { Place::Behind }
    }
}

#[inline]
fn place(sequence: u64) -> (usize, u64) {
    let number = usize::try_from(sequence % WINDOW).unwrap_or_default();
    (number / 64, 1 << (number % 64))
}
