//! Ranges of memory that nobody owns yet, and how a piece is cut from them.
//!
//! A fixed list, because it exists before the heap does. Pieces are never given back: what is taken here (the heap,
//! packet pools, page tables) lives as long as the machine.

use core::ops::Range;

const MAX_RANGES: usize = 72;
const PAGE: u64 = 4096;

/// Disjoint page-aligned ranges.
#[derive(Debug)]
pub(crate) struct FreeMemory {
    ranges: [(u64, u64); MAX_RANGES],
    count: usize,
}

impl FreeMemory {
    /// No memory at all.
    pub(crate) const fn new() -> Self {
        Self { ranges: [(0, 0); MAX_RANGES], count: 0 }
    }

    /// Adds the whole pages of `range`; what does not fit the list any more is forgotten, not misused.
    pub(crate) fn add(&mut self, range: &Range<u64>) {
        let start = range.start.div_ceil(PAGE) * PAGE;
        let end = range.end / PAGE * PAGE;
        if start < end && self.count < MAX_RANGES {
            self.ranges[self.count] = (start, end);
            self.count += 1;
        }
    }

    /// Cuts `length` bytes (rounded up to whole pages), aligned to `align` (a power of two), from the top of the
    /// smallest range that holds them: large ranges stay large.
    pub(crate) fn take(&mut self, length: u64, align: u64) -> Option<u64> {
        let length = length.checked_next_multiple_of(PAGE)?;
        if length == 0 || !align.is_power_of_two() {
            return None;
        }
        let align = align.max(PAGE);
        let place = |&(start, end): &(u64, u64)| {
            let at = end.checked_sub(length)? & !(align - 1);
            (at >= start).then_some(at)
        };
        let (index, at) = self.ranges[..self.count]
            .iter()
            .enumerate()
            .filter_map(|(index, range)| Some((index, place(range)?)))
            .min_by_key(|&(index, _)| self.ranges[index].1 - self.ranges[index].0)?;
        let (_, end) = self.ranges[index];
        self.ranges[index].1 = at;
        self.add(&(at + length..end));
        Some(at)
    }

    /// Bytes in all ranges together.
    pub(crate) fn total(&self) -> u64 {
        self.ranges[..self.count].iter().map(|range| range.1 - range.0).sum()
    }

    /// Bytes of the largest piece that one `take` with page alignment can give.
    pub(crate) fn largest(&self) -> u64 {
        self.ranges[..self.count].iter().map(|range| range.1 - range.0).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_count() {
        let mut free = FreeMemory::new();
        free.add(&(0x1001..0x3fff));
        free.add(&(0x5000..0x5fff));
        assert_eq!((free.total(), free.largest()), (0x1000, 0x1000));
        assert_eq!(free.take(1, 1), Some(0x2000));
        assert_eq!(free.take(1, 1), None);
    }

    #[test]
    fn pieces_are_aligned_disjoint_and_leave_the_rest() {
        let mut free = FreeMemory::new();
        free.add(&(0x10_0000..0x80_1000));
        free.add(&(0x100_0000..0x110_0000));
        let mut taken = [(0, 0); 6];
        for (slot, (length, align)) in taken.iter_mut().zip([
            (0x20_0000, 0x20_0000),
            (0x1000, 0x1000),
            (5, 64),
            (0x10_0000, 0x10_0000),
            (0x1000, 0x8000),
            (0x40_0000, 0x1000),
        ]) {
            let at = free.take(length, align).unwrap();
            assert_eq!(at % align, 0);
            *slot = (at, at + length);
        }
        for (i, a) in taken.iter().enumerate() {
            assert!(a.0 >= 0x10_0000 && (a.1 <= 0x80_1000 || a.0 >= 0x100_0000));
            for b in &taken[i + 1..] {
                assert!(a.1 <= b.0 || b.1 <= a.0, "{a:x?} overlaps {b:x?}");
            }
        }
        assert_eq!(free.total(), 0x70_1000 + 0x10_0000 - 0x20_0000 - 0x50_0000 - 0x3000);
    }

    #[test]
    fn impossible_requests_change_nothing() {
        let mut free = FreeMemory::new();
        free.add(&(0x1000..0x9000));
        for (length, align) in [(0, 1), (u64::MAX, 1), (0x9000, 1), (0x1000, 3), (0x1000, 0x10000)]
        {
            assert_eq!(free.take(length, align), None);
        }
        assert_eq!(free.total(), 0x8000);
    }
}
