//! Addresses that a platform translates (an IOMMU's): which ranges of them are mapped here now, and what is missing.
//!
//! A peer of such a platform tells of each range when it is asked for it, so an address that is not found may only be
//! unknown yet. A device half that meets one leaves the chain where it is; its owner asks for the range, and either
//! goes on with a map that has it or says that there is none ([`MemoryMap::refuse`]): then the chain is broken like any
//! other.
//!
//! Many ranges are as small as a page, and neighbours of device addresses need not be neighbours here: what lies over
//! several of them is taken in pieces.
//!
//! [`MemoryMap::refuse`]: super::MemoryMap::refuse

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ptr::NonNull;

use super::{MemoryMapError, Region, check, check_overlap};

/// Ranges that one buffer is looked for in at most, when one of them is found to be missing: more than a frame of 64 KiB
/// touches.
const MOST_RANGES: usize = 32;

/// What a device may do with a range (virtio 1.2, 2.7.4 and 2.8.5: descriptors are read or written, never both).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

/// An address that no range has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The first one that is missing.
    pub address: u64,
    /// What for.
    pub access: Access,
}

/// Mapped ranges by device address, which all may be used for the same.
#[derive(Clone, Debug)]
pub struct Ranges(
    /// Sorted by `device`, disjoint, none empty.
    Arc<[Region]>,
);

impl Ranges {
    /// These ranges, in any order and as many as one likes.
    ///
    /// # Errors
    /// See [`MemoryMapError`].
    ///
    /// # Safety
    /// As for [`MemoryMap::new`](super::MemoryMap::new), for as long as any map of these ranges is used.
    pub unsafe fn new(mut ranges: Vec<Region>) -> Result<Self, MemoryMapError> {
        ranges.iter().try_for_each(check)?;
        ranges.sort_unstable_by_key(|range| range.device);
        check_overlap(&ranges)?;
        Ok(Self(ranges.into()))
    }

    /// The range that has an address.
    pub(super) fn find(&self, address: u64) -> Option<&Region> {
        let behind = self.0.partition_point(|range| range.device <= address);
        let range = self.0.get(behind.checked_sub(1)?)?;
        (address - range.device < range.len).then_some(range)
    }

    /// The first of the `len` bytes from `address` on that no range has. (Behind the most ranges of a map nobody looks.)
    pub fn first_missing(&self, address: u64, len: u64) -> Option<u64> {
        let mut at = address;
        for _ in 0..MOST_RANGES {
            let Some(range) = self.find(at) else { return Some(at) };
            let held = range.len - (at - range.device);
            let done = at - address;
            if held >= len - done {
                return None;
            }
            at = at.checked_add(held)?;
        }
        None
    }

    /// Where the `len` bytes from `address` on lie, if one range has all of them.
    pub fn translate(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        self.find(address)?.translate(address, len)
    }
}

/// The ranges of one ring, and what was not found in them.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    /// For the ring's buffers.
    buffers: Ranges,
    access: Access,
    /// For tables of descriptors, which are read on any ring.
    tables: Ranges,
    miss: Cell<Option<Miss>>,
    /// The address of a miss that cannot be helped.
    refused: Cell<Option<u64>>,
}

impl Translation {
    pub(super) fn new(buffers: Ranges, access: Access, tables: Ranges) -> Self {
        Self { buffers, access, tables, miss: Cell::new(None), refused: Cell::new(None) }
    }

    /// The range that has a buffer, or at least its first byte.
    pub(super) fn find(&self, address: u64) -> Option<&Region> {
        self.buffers.find(address)
    }

    /// A table of descriptors.
    pub(super) fn table(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        let table = self.tables.translate(address, len);
        if table.is_none() {
            self.note(&self.tables, Access::Read, address, len);
        }
        table
    }

    /// The range that has all of a buffer.
    pub(super) fn buffer(&self, address: u64, len: u64) -> Option<&Region> {
        let range = self.find(address).filter(|range| range.translate(address, len).is_some());
        if range.is_none() {
            self.note(&self.buffers, self.access, address, len);
        }
        range
    }

    fn note(&self, ranges: &Ranges, access: Access, address: u64, len: u64) {
        let missing = ranges.first_missing(address, len);
        self.miss.set(missing.map(|address| Miss { address, access }));
    }

    /// See [`MemoryMap::stalls`](super::MemoryMap::stalls).
    pub(super) fn stalls(&self) -> bool {
        let Some(miss) = self.miss.get() else { return false };
        let refused = self.refused.get() == Some(miss.address);
        if refused {
            self.miss.set(None);
            self.refused.set(None);
        }
        !refused
    }

    pub(super) fn miss(&self) -> Option<Miss> {
        self.miss.get()
    }

    pub(super) fn replace(&mut self, buffers: Ranges, tables: Ranges) {
        (self.buffers, self.tables) = (buffers, tables);
        self.miss.set(None);
    }

    pub(super) fn refuse(&self, address: u64) {
        self.miss.set(None);
        self.refused.set(Some(address));
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryMap;
    use super::*;

    fn region((device, len, host): (u64, u64, usize)) -> Region {
        Region { device, len, host: NonNull::without_provenance(host.try_into().unwrap()) }
    }

    fn ranges(all: &[(u64, u64, usize)]) -> Ranges {
        // SAFETY: these tests never use an address from the ranges.
        unsafe { Ranges::new(all.iter().copied().map(region).collect()) }.unwrap()
    }

    /// Of a set of bytes as small as possible, every question has the answer that looking at each byte gives.
    #[test]
    fn what_is_missing_is_the_first_byte_that_no_range_has() {
        for mapped in 0..1u64 << 8 {
            let held = |at: u64| at < 8 && mapped >> at & 1 == 1;
            let all: Vec<_> = (0..8).filter(|&at| held(at)).map(|at| (at, 1, 0x1000)).collect();
            let ranges = ranges(&all);
            for at in 0..9 {
                for len in 1..6 {
                    let missing = (at..at + len).find(|&at| !held(at));
                    assert_eq!(ranges.first_missing(at, len), missing, "{mapped:08b} {at} {len}");
                }
                assert_eq!(ranges.translate(at, 1).is_some(), held(at));
            }
        }
    }

    #[test]
    fn the_ends_of_the_address_space_do_not_overflow() {
        let top = ranges(&[(u64::MAX - 0x1000, 0x1000, 0x1000)]);
        assert_eq!(top.first_missing(u64::MAX - 1, 1), None);
        assert_eq!(top.first_missing(u64::MAX - 1, 2), Some(u64::MAX));
        assert_eq!(top.first_missing(u64::MAX, u64::MAX), Some(u64::MAX));
        assert_eq!(top.first_missing(0, u64::MAX), Some(0));
        assert_eq!(ranges(&[]).first_missing(5, 1), Some(5));
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        let all = vec![region((0, 0x1000, 0x1000)), region((0xfff, 1, 0x5000))];
        // SAFETY: as above.
        let refused = unsafe { Ranges::new(all.clone()) }.unwrap_err();
        assert_eq!(refused, MemoryMapError::Overlap(all[0], all[1]));
    }

    /// Reads of tables and writes of buffers on one ring, each with its own ranges.
    #[test]
    fn a_map_asks_for_what_it_lacks_until_that_comes_or_is_refused() {
        let (readable, writable) =
            (ranges(&[(0x1000, 0x1000, 0x10_0000)]), ranges(&[(0x5000, 0x1000, 0x50_0000)]));
        let mut map = MemoryMap::translated(writable.clone(), Access::Write, readable.clone());
        assert!(map.translate(0x5000, 0x1000).is_some() && map.miss().is_none());
        assert!(map.translate_table(0x1000, 16).is_some() && map.miss().is_none());
        // What may be read may not be written for that.
        assert!(map.translate(0x1000, 16).is_none());
        assert_eq!(map.miss(), Some(Miss { address: 0x1000, access: Access::Write }));
        assert!(map.stalls() && map.stalls());
        assert!(map.translate_table(0x1ff8, 16).is_none());
        assert_eq!(map.miss(), Some(Miss { address: 0x2000, access: Access::Read }));
        map.refuse(0x2000);
        assert!(!map.stalls(), "nothing was asked for since");
        assert!(map.translate_table(0x1ff8, 16).is_none());
        assert!(!map.stalls(), "refused");
        assert!(map.translate_table(0x1ff8, 16).is_none());
        assert!(map.stalls(), "a refusal is for one chain");
        let more = ranges(&[(0x1000, 0x1000, 0x10_0000), (0x2000, 0x1000, 0x90_0000)]);
        map.retranslate(writable, more.clone());
        assert!(!map.stalls());
        assert!(map.translate_table(0x1ff8, 16).is_none(), "not side by side here");
        assert!(!map.stalls(), "nothing is missing");
        // The range that was hit last is of the old ranges.
        map.retranslate(more, readable);
        assert!(map.translate(0x5000, 1).is_none());
        let front = |at, len| map.translate_front(at, len).map(|(at, len)| (at.addr().get(), len));
        assert_eq!(front(0x1ff8, 16), Some((0x10_0ff8, 8)));
        assert_eq!(front(0x2000, 8), Some((0x90_0000, 8)));
        assert_eq!(front(0x3000, 8), None);
        assert_eq!(map.miss(), Some(Miss { address: 0x3000, access: Access::Write }));
    }
}
