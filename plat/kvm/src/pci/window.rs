//! Where devices' registers go when the firmware gave them no address (qboot gives none on q35 and pc).
//!
//! Pure arithmetic: a window of addresses and the ranges in it that are taken. First fit; nothing is ever given back.

use core::ops::Range;

const MAX_TAKEN: usize = 128;

/// Addresses for BARs.
#[derive(Debug)]
pub(crate) struct Window {
    free: Range<u64>,
    taken: [(u64, u64); MAX_TAKEN],
    count: usize,
}

impl Window {
    /// An empty window over `free`.
    pub(crate) const fn new(free: Range<u64>) -> Self {
        Self { free, taken: [(0, 0); MAX_TAKEN], count: 0 }
    }

    /// Marks a range as taken. False if the list is full: nothing may then be assigned any more.
    pub(crate) fn exclude(&mut self, range: Range<u64>) -> bool {
        if range.end <= self.free.start || range.start >= self.free.end {
            return true;
        }
        let Some(slot) = self.taken.get_mut(self.count) else {
            self.free.end = self.free.start;
            return false;
        };
        *slot = (range.start, range.end);
        self.count += 1;
        true
    }

    fn conflict(&self, start: u64, end: u64) -> Option<u64> {
        self.taken[..self.count].iter().find(|taken| taken.0 < end && start < taken.1).map(|t| t.1)
    }

    /// Takes `size` bytes (a power of two, as BARs are), naturally aligned and on pages of their own.
    pub(crate) fn take(&mut self, size: u64) -> Option<u64> {
        if !size.is_power_of_two() {
            return None;
        }
        let size = size.max(4096);
        let mut start = self.free.start.checked_next_multiple_of(size)?;
        loop {
            let end = start.checked_add(size).filter(|end| *end <= self.free.end)?;
            match self.conflict(start, end) {
                Some(behind) => start = behind.checked_next_multiple_of(size)?,
                None => return self.exclude(start..end).then_some(start),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_aligned_and_disjoint_from_all_that_is_taken() {
        let mut window = Window::new(0xc000_0000..0xfe00_0000);
        let excluded =
            [0xc000_1000..0xc000_2000, 0xe000_0000..0xf000_0000, 0xb000_0000..0xc000_0001];
        for range in excluded.clone() {
            assert!(window.exclude(range));
        }
        let mut seen = [(0, 0); 7];
        for (slot, size) in
            seen.iter_mut().zip([16, 0x4000, 0x1000, 0x1000_0000, 0x80_0000, 0x100, 0x800_0000])
        {
            let start = window.take(size).unwrap();
            assert_eq!(start % size.max(0x1000), 0);
            *slot = (start, start + size.max(0x1000));
        }
        for (i, a) in seen.iter().enumerate() {
            assert!(a.0 >= 0xc000_0000 && a.1 <= 0xfe00_0000);
            assert!(excluded.iter().all(|b| a.1 <= b.start || b.end <= a.0), "{a:x?}");
            assert!(seen[i + 1..].iter().all(|b| a.1 <= b.0 || b.1 <= a.0), "{a:x?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut window = Window::new(0xf000_0000..0xf001_0000);
        for size in [0, 3, 0x2_0000, 1 << 63] {
            assert_eq!(window.take(size), None, "{size:#x}");
        }
        assert_eq!(window.take(0x1_0000), Some(0xf000_0000));
        assert_eq!(window.take(1), None);
    }

    #[test]
    fn a_full_list_assigns_nothing_more() {
        let mut window = Window::new(0..1 << 40);
        for i in 0..128 {
            assert!(window.exclude(i * 0x10_0000..i * 0x10_0000 + 1));
        }
        assert!(!window.exclude(0x9000_0000..0x9000_0001));
        assert_eq!(window.take(0x1000), None);
    }
}
