//! The front end's memory: its regions mapped here, found by guest address and by the front end's address.
//!
//! Descriptors hold guest addresses, ring parts are named by user addresses; both ranges are checked for
//! overflow and overlap when the table comes. A table is never changed: another one takes its place, which may share
//! mappings with it; whoever still runs on the old one holds it, and a mapping ends when the last of them lets go.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use virtio::memory::{MemoryMap, Region};

use crate::mapping::Mapping;
use crate::message::{MAX_FDS, MemRegion, Request};
use crate::violation::Violation;

/// Most regions of a table: as many as come in one message.
pub(crate) const SLOTS: usize = MAX_FDS;

/// What `SET_MEM_TABLE` brought, or `ADD_MEM_REG` one by one.
#[derive(Default)]
pub(crate) struct MemoryTable {
    regions: Vec<(MemRegion, Arc<Mapping>)>,
}

impl MemoryTable {
    /// Maps each region from the descriptor of the same place.
    ///
    /// # Errors
    /// The shape of a region, or its descriptor; nothing stays mapped.
    pub(crate) fn new(regions: &[MemRegion], fds: &[OwnedFd]) -> Result<Self, Violation> {
        if fds.len() != regions.len() {
            let request = Request::SetMemTable;
            return Err(Violation::Descriptors { request, count: fds.len() });
        }
        check(regions, |region| region.guest_address)?;
        check(regions, |region| region.user_address)?;
        let regions = regions
            .iter()
            .zip(fds)
            .map(|(region, fd)| {
                let mapping = Mapping::new(fd.as_fd(), region.mmap_offset, region.size)?;
                Ok((*region, Arc::new(mapping)))
            })
            .collect::<Result<Vec<_>, Violation>>()?;
        let table = Self { regions };
        table.map()?;
        Ok(table)
    }

    /// This table and one region more; the same table where it has this very region: QEMU 7.2 tells of a region
    /// once per pair of queues.
    ///
    /// # Errors
    /// As for [`new`](Self::new); or there are as many already as there can be.
    pub(crate) fn with(&self, region: MemRegion, fd: &OwnedFd) -> Result<Self, Violation> {
        let mut regions: Vec<_> = self.regions.iter().map(|(region, _)| *region).collect();
        if regions.contains(&region) {
            return Ok(Self { regions: self.regions.clone() });
        }
        if regions.len() >= SLOTS {
            return Err(Violation::Value(Request::AddMemReg));
        }
        regions.push(region);
        check(&regions, |region| region.guest_address)?;
        check(&regions, |region| region.user_address)?;
        let mapping = Mapping::new(fd.as_fd(), region.mmap_offset, region.size)?;
        let mut regions = self.regions.clone();
        regions.push((region, Arc::new(mapping)));
        let table = Self { regions };
        table.map()?;
        Ok(table)
    }

    /// This table without a region, which is named by its addresses and size; the same table where it has nothing
    /// there: see [`with`](Self::with).
    ///
    /// # Errors
    /// The region is none of the table's, but overlaps one.
    pub(crate) fn without(&self, region: MemRegion) -> Result<Self, Violation> {
        let same =
            |other: &MemRegion| MemRegion { mmap_offset: region.mmap_offset, ..*other } == region;
        let mut regions = self.regions.clone();
        regions.retain(|(other, _)| !same(other));
        if regions.len() == self.regions.len() {
            let all: Vec<_> = regions.iter().map(|(other, _)| *other).chain([region]).collect();
            let apart = check(&all, |region| region.guest_address);
            apart.map_err(|_| Violation::Value(Request::RemMemReg))?;
        }
        Ok(Self { regions })
    }

    /// The regions by guest address, for descriptors. To be used no longer than the table lives.
    ///
    /// # Errors
    /// None for a table that there is: [`new`](Self::new) has seen to it.
    pub(crate) fn map(&self) -> Result<MemoryMap, Violation> {
        let mapped: Vec<_> = self
            .regions
            .iter()
            .map(|(region, mapping)| Region {
                device: region.guest_address,
                len: region.size,
                host: mapping.host(),
            })
            .collect();
        // SAFETY: each mapping covers its region's size and lives as long as this table, which those who ask for a map
        // hold beside it. References to the memory are formed nowhere in this crate.
        unsafe { MemoryMap::new(&mapped) }.map_err(|_| Violation::RegionShape)
    }

    /// Where the `len` bytes from the front end's `address` lie, if one region holds all of them. Valid as
    /// long as the table.
    pub(crate) fn user(&self, address: u64, len: usize) -> Option<NonNull<u8>> {
        let len = len as u64;
        self.regions.iter().find_map(|(region, mapping)| {
            let offset = address.checked_sub(region.user_address)?;
            if len > region.size || offset > region.size - len {
                return None;
            }
            // SAFETY: `offset + len <= region.size`, and the mapping covers the region.
            Some(unsafe { mapping.host().add(usize::try_from(offset).ok()?) })
        })
    }

    /// Whether the front end has cut a region's file short while we used it.
    pub(crate) fn is_broken(&self) -> bool {
        self.regions.iter().any(|(_, mapping)| mapping.is_broken())
    }
}

/// Neither sum overflows, no two ranges overlap.
fn check(regions: &[MemRegion], start: impl Fn(&MemRegion) -> u64) -> Result<(), Violation> {
    let mut ranges = Vec::with_capacity(regions.len());
    for region in regions {
        let start = start(region);
        let end = start.checked_add(region.size).filter(|end| *end > start);
        ranges.push((start, end.ok_or(Violation::RegionShape)?));
    }
    ranges.sort_unstable();
    let overlap = ranges.windows(2).any(|pair| pair[1].0 < pair[0].1);
    if overlap { Err(Violation::RegionOverlap) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn file(bytes: u64) -> OwnedFd {
        let file = memfd_create("table", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, bytes).unwrap();
        file
    }

    fn region(guest_address: u64, size: u64, user_address: u64) -> MemRegion {
        MemRegion { guest_address, size, user_address, mmap_offset: 0 }
    }

    #[test]
    fn both_kinds_of_address_are_found_and_never_across_regions() {
        let regions = [region(0, 8192, 0x7000_0000), region(8192, 8192, 0x7000_2000)];
        let table = MemoryTable::new(&regions, &[file(8192), file(8192)]).unwrap();
        assert_eq!(table.user(0x7000_0010, 16), table.map().unwrap().translate(0x10, 16));
        assert_eq!(table.user(0x7000_2000, 8192), table.map().unwrap().translate(8192, 8192));
        assert!(table.user(0x7000_1fff, 2).is_none());
        assert!(table.user(0x6fff_ffff, 1).is_none());
        assert!(table.user(0x7000_0000, usize::MAX).is_none());
        assert!(table.user(u64::MAX, 1).is_none());
        assert!(table.map().unwrap().translate(8191, 2).is_none());
    }

    #[test]
    fn overlaps_and_overflows_are_refused() {
        for (regions, expected) in [
            ([region(0, 8192, 0x10_0000), region(8191, 1, 0x20_0000)], Violation::RegionOverlap),
            ([region(0, 8192, 0x10_0000), region(8192, 1, 0x10_1fff)], Violation::RegionOverlap),
            ([region(0, 1, 0), region(1, 0, 1)], Violation::RegionShape),
            ([region(u64::MAX, 1, 0), region(0, 1, 8192)], Violation::RegionShape),
            ([region(0, 1, u64::MAX), region(1, 1, 0)], Violation::RegionShape),
            ([region(0, 1, 0), region(1, u64::MAX, 1)], Violation::RegionShape),
        ] {
            let refused = MemoryTable::new(&regions, &[file(8192), file(8192)]).err();
            assert_eq!(refused, Some(expected), "{regions:?}");
        }
    }

    #[test]
    fn one_descriptor_per_region() {
        let regions = [region(0, 4096, 0)];
        for count in [0, 2] {
            let fds: Vec<_> = (0..count).map(|_| file(4096)).collect();
            let request = Request::SetMemTable;
            let refused = MemoryTable::new(&regions, &fds).err();
            assert_eq!(refused, Some(Violation::Descriptors { request, count }));
        }
    }
}
