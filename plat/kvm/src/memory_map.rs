//! The memory map (e820): what is RAM, checked before anything believes it.
//!
//! Pure: built from decoded entries, so that overlapping, overflowing and empty maps are tested on the host. It
//! hands out nothing (`free_memory.rs` does) and merges nothing: the entries are the monitor's own.

use crate::error::BootError;
use core::ops::Range;

/// The most entries that are accepted (Linux' boot protocol has 128; monitors give fewer than ten).
pub(crate) const MAX_ENTRIES: usize = 64;
/// Everything above is ignored: one top-level page table entry maps 512 GiB.
pub(crate) const ADDRESS_LIMIT: u64 = 512 << 30;
const RAM: u32 = 1;

/// A validated memory map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryMap {
    entries: [(u64, u64, u32); MAX_ENTRIES],
    count: usize,
}

impl MemoryMap {
    /// Takes (start, length, type) triples. RAM may overlap nothing; reserved ranges may overlap each other.
    pub(crate) fn new(
        entries: impl IntoIterator<Item = (u64, u64, u32)>,
    ) -> Result<Self, BootError> {
        let mut map = Self { entries: [(0, 0, 0); MAX_ENTRIES], count: 0 };
        let mut seen = 0u32;
        for (start, length, kind) in entries {
            seen += 1;
            let end = start.checked_add(length).ok_or(BootError::MemoryMapOverflow(start))?;
            if length == 0 {
                continue;
            }
            for &(other_start, other_end, other_kind) in map.all() {
                let overlap = start < other_end && other_start < end;
                if overlap && (kind == RAM || other_kind == RAM) {
                    return Err(BootError::MemoryMapOverlap(start));
                }
            }
            let slot = map.entries.get_mut(map.count).ok_or(BootError::MemoryMapEntries(seen))?;
            *slot = (start, end, kind);
            map.count += 1;
        }
        Ok(map)
    }

    fn all(&self) -> &[(u64, u64, u32)] {
        &self.entries[..self.count]
    }

    /// The ranges of usable memory below [`ADDRESS_LIMIT`].
    pub(crate) fn ram(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.all()
            .iter()
            .filter(|entry| entry.2 == RAM && entry.0 < ADDRESS_LIMIT)
            .map(|entry| entry.0..entry.1.min(ADDRESS_LIMIT))
    }

    /// Every range the monitor named, of whatever type: no device may be placed there.
    pub(crate) fn named(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.all().iter().map(|entry| entry.0..entry.1)
    }

    /// Whether any byte of `range` is RAM.
    pub(crate) fn has_ram(&self, range: &Range<u64>) -> bool {
        self.ram().any(|ram| ram.start < range.end && range.start < ram.end)
    }

    /// Whether every byte of `range` lies in one RAM entry.
    pub(crate) fn is_ram(&self, range: &Range<u64>) -> bool {
        self.ram().any(|ram| ram.start <= range.start && range.end <= ram.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    #[test]
    fn qemu_like_map() {
        let map = MemoryMap::new([
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xf_0000, 0x1_0000, 2),
            (0x10_0000, 0x7ed_f000, 1),
            (0x7fe_0000, 0x2_0000, 2),
            (0xb000_0000, 0x1000_0000, 2),
        ])
        .unwrap();
        let ram: Vec<_> = map.ram().collect();
        assert_eq!(ram, [0..0x9_fc00, 0x10_0000..0x7fd_f000]);
        assert!(map.has_ram(&(0x9_0000..0xa_0000)));
        assert!(!map.is_ram(&(0x9_0000..0xa_0000)));
        assert!(map.is_ram(&(0x10_0000..0x20_0000)));
        assert!(!map.has_ram(&(0xb000_0000..0xb000_1000)));
        assert_eq!(map.named().count(), 6);
    }

    #[test]
    fn overlap_with_ram_is_refused_in_either_order() {
        let ram = (0x10_0000, 0x100_0000, 1);
        for other in [(0x10_0000, 1, 2), (0x10f_ffff, 0x1000, 2), (0, 0x1000_0000, 1)] {
            assert_eq!(
                MemoryMap::new([ram, other]).unwrap_err(),
                BootError::MemoryMapOverlap(other.0)
            );
            assert!(MemoryMap::new([other, ram]).is_err());
        }
        assert!(MemoryMap::new([ram, (0x110_0000, 0x1000, 2)]).is_ok(), "touching is not overlap");
        assert!(MemoryMap::new([(0, 9, 2), (5, 9, 2)]).is_ok(), "reserved may overlap reserved");
    }

    #[test]
    fn overflow_and_too_many_are_refused() {
        assert_eq!(
            MemoryMap::new([(u64::MAX, 2, 2)]).unwrap_err(),
            BootError::MemoryMapOverflow(u64::MAX)
        );
        let entry = |i: u64| (i * 0x1000, 0x1000, 1);
        assert!(MemoryMap::new((0..64).map(entry)).is_ok());
        assert_eq!(
            MemoryMap::new((0..65).map(entry)).unwrap_err(),
            BootError::MemoryMapEntries(65)
        );
    }

    #[test]
    fn empty_entries_vanish_and_far_memory_is_cut() {
        let map = MemoryMap::new([(0x5000, 0, 1), (511 << 30, 2 << 30, 1), (600 << 30, 1, 1)]);
        let map = map.unwrap();
        assert!(map.ram().eq(core::iter::once(511 << 30..512 << 30)));
    }
}
