//! The guest memory map: which device addresses the peer may name, and where they lie for us.
//!
//! A device half never forms a pointer from an address that the peer wrote but through this map. A range must
//! lie in one region: one that crosses into a neighbour is refused, because adjacent device addresses need
//! not be adjacent here. The region that was hit last is remembered, so that the usual look-up is one
//! subtraction and two comparisons however many regions there are.
//!
//! On a platform that translates addresses the regions are ranges that come and go, and what is not found may be only
//! unknown yet: the module `translation`. The remembered region serves both kinds of map alike.

mod translation;

use core::cell::Cell;
use core::fmt;
use core::ptr::NonNull;

use arrayvec::ArrayVec;

use self::translation::Translation;
pub use self::translation::{Access, Miss, Ranges};
use crate::raw::prefetch_write;

/// The most regions that a map holds.
pub const MAX_REGIONS: usize = 64;

/// A range of device addresses and where it is mapped here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The first device address.
    pub device: u64,
    /// Bytes.
    pub len: u64,
    /// Where the first byte is mapped.
    pub host: NonNull<u8>,
}

impl Region {
    /// What an empty map remembers: holds no byte.
    const NONE: Self = Self { device: 0, len: 0, host: NonNull::dangling() };

    #[inline]
    fn translate(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        let offset = address.wrapping_sub(self.device);
        if len > self.len || offset > self.len - len {
            return None;
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: `offset + len <= self.len`, and `MemoryMap::new`'s caller vouches for `self.len` mapped bytes
        // from `host`: the sum stays inside them or one past their end. (In `NONE` it is zero.)
        Some(unsafe { self.host.add(offset) })
    }

    /// Below this offset, a range of up to 65,535 bytes is inside.
    const fn clear(&self) -> u64 {
        self.len.saturating_sub(u16::MAX as u64)
    }

    fn end(&self) -> u64 {
        self.device + self.len
    }
}

/// Why a map could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryMapError {
    /// More than [`MAX_REGIONS`]: how many.
    TooMany(usize),
    /// A region of no bytes.
    Empty(Region),
    /// The end of the region's device or host addresses is not a number of 64 bits, or the region is larger
    /// than any object can be.
    Overflow(Region),
    /// Two regions share a device address.
    Overlap(Region, Region),
}

impl fmt::Display for MemoryMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(count) => {
                write!(f, "{count} memory regions; at most {MAX_REGIONS} are supported")
            }
            Self::Empty(region) => write!(f, "the memory region at {:#x} is empty", region.device),
            Self::Overflow(region) => write!(
                f,
                "the memory region of {:#x} bytes at {:#x} ends beyond the address space",
                region.len, region.device
            ),
            Self::Overlap(first, second) => write!(
                f,
                "the memory regions at {:#x} ({:#x} bytes) and {:#x} overlap",
                first.device, first.len, second.device
            ),
        }
    }
}

impl core::error::Error for MemoryMapError {}

/// The regions that a peer shares with us, by device address.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    /// Sorted by `device`, disjoint, none empty. Where there is a translation, none.
    regions: ArrayVec<Region, MAX_REGIONS>,
    translation: Option<Translation>,
    /// A copy of the region or range that was hit last (or [`Region::NONE`]).
    last: Cell<Region>,
    /// `clear()` of `last`.
    last_clear: Cell<u64>,
}

impl MemoryMap {
    /// A map of `regions`, in any order. No region at all is a map that refuses every address.
    ///
    /// # Errors
    /// See [`MemoryMapError`].
    ///
    /// # Safety
    /// `host` of each region must be valid for reads and writes of its `len` bytes as long as the map, a clone
    /// of it or an address taken from it is used. The peer may write them at any time, so no reference to them
    /// may exist.
    pub unsafe fn new(regions: &[Region]) -> Result<Self, MemoryMapError> {
        let mut sorted = ArrayVec::new();
        sorted
            .try_extend_from_slice(regions)
            .map_err(|_| MemoryMapError::TooMany(regions.len()))?;
        for region in &sorted {
            check(region)?;
        }
        sorted.sort_unstable_by_key(|region| region.device);
        check_overlap(&sorted)?;
        let last = sorted.first().copied().unwrap_or(Region::NONE);
        let last_clear = Cell::new(last.clear());
        Ok(Self { regions: sorted, translation: None, last: Cell::new(last), last_clear })
    }

    /// A map of what a platform translates: `buffers` may be used for `access`, and `tables` be read. An address that
    /// they do not have is noted, for [`miss`](Self::miss).
    pub fn translated(buffers: Ranges, access: Access, tables: Ranges) -> Self {
        let translation = Some(Translation::new(buffers, access, tables));
        let (last, last_clear) = (Cell::new(Region::NONE), Cell::new(Region::NONE.clear()));
        Self { regions: ArrayVec::new(), translation, last, last_clear }
    }

    /// Where the `len` bytes from device address `address` lie, if one region holds all of them.
    ///
    /// The bytes are the peer's: read and write them through raw pointers only.
    #[inline]
    pub fn translate(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        match self.last.get().translate(address, len) {
            Some(host) => Some(host),
            None => self.search(address, len),
        }
    }

    /// As [`translate`](Self::translate), for a range of the size of a frame: one comparison, unless the range
    /// lies near the end of its region.
    #[inline]
    pub fn translate_short(&self, address: u64, len: u16) -> Option<NonNull<u8>> {
        let last = self.last.get();
        let offset = address.wrapping_sub(last.device);
        if offset >= self.last_clear.get() {
            return self.search(address, len.into());
        }
        let offset = usize::try_from(offset).ok()?;
        // SAFETY: `offset + len < clear + 65,535 <= last.len` (where `clear` is zero nothing comes here), and
        // `new`'s caller vouches for `last.len` mapped bytes from `host`.
        Some(unsafe { last.host.add(offset) })
    }

    /// Where a table of descriptors lies: as [`translate`](Self::translate), but read on any ring.
    #[inline]
    pub(crate) fn translate_table(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        match &self.translation {
            None => self.translate(address, len),
            Some(translation) => translation.table(address, len),
        }
    }

    /// Where the first of the `len` bytes from `address` on lie, and how many (at least one): all of them, but on a
    /// platform that translates.
    #[inline]
    pub(crate) fn translate_front(&self, address: u64, len: u32) -> Option<(NonNull<u8>, u32)> {
        match self.translate(address, len.into()) {
            Some(host) => Some((host, len)),
            None => self.front(address, len),
        }
    }

    #[cold]
    fn front(&self, address: u64, len: u32) -> Option<(NonNull<u8>, u32)> {
        let range = self.translation.as_ref()?.find(address)?;
        let held = range.len - (address - range.device);
        let held = u32::try_from(held).map_or(len, |held| held.min(len));
        Some((range.translate(address, held.into())?, held))
    }

    /// Whether what was not found lately may come: the chain that named it is to be left where it is.
    #[cold]
    pub(crate) fn stalls(&self) -> bool {
        self.translation.as_ref().is_some_and(Translation::stalls)
    }

    /// What was not found lately, and must be asked for.
    pub fn miss(&self) -> Option<Miss> {
        self.translation.as_ref()?.miss()
    }

    /// Has a map of [`translated`](Self::translated) addresses look in other ranges from now on; what it remembers is
    /// forgotten. Any other map stays as it is.
    pub fn retranslate(&mut self, buffers: Ranges, tables: Ranges) {
        if let Some(translation) = &mut self.translation {
            translation.replace(buffers, tables);
            self.last.set(Region::NONE);
            self.last_clear.set(Region::NONE.clear());
        }
    }

    /// Takes note that nothing is at an address that was missed: the next chain that names it is broken.
    pub fn refuse(&self, address: u64) {
        if let Some(translation) = &self.translation {
            translation.refuse(address);
        }
    }

    /// The region that was hit last, to test the short ranges of several buffers against at once.
    #[inline]
    pub(crate) fn nearby(&self) -> Nearby {
        let last = self.last.get();
        Nearby { device: last.device, clear: self.last_clear.get(), host: last.host }
    }

    #[inline(never)]
    fn search(&self, address: u64, len: u64) -> Option<NonNull<u8>> {
        let region = match &self.translation {
            None => {
                let behind = self.regions.partition_point(|region| region.device <= address);
                self.regions.get(behind.checked_sub(1)?)?
            }
            Some(translation) => translation.buffer(address, len)?,
        };
        let host = region.translate(address, len)?;
        self.last.set(*region);
        self.last_clear.set(region.clear());
        Some(host)
    }
}

/// One region of a map, for bursts of ranges of up to 65,535 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Nearby {
    device: u64,
    clear: u64,
    host: NonNull<u8>,
}

impl Nearby {
    /// The device address of the region: what makes a device address an offset. The offset is in the region
    /// only if [`holds`](Self::holds) says so.
    #[inline]
    pub(crate) fn device(self) -> u64 {
        self.device
    }

    /// Whether ranges of up to 65,535 bytes from all the offsets are in the region that were ORed together to
    /// `offsets`, which is no less than any of them. `false` says nothing.
    #[inline]
    pub(crate) fn holds(self, offsets: u64) -> bool {
        offsets < self.clear
    }

    /// Where an offset lies for us, if [`holds`](Self::holds) was told of it and said yes. Else nothing may be
    /// done with it.
    #[inline]
    pub(crate) fn perhaps_at(self, offset: u64) -> *mut u8 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "less than a region's length, a `usize`"
        )]
        self.host.as_ptr().wrapping_add(offset as usize)
    }

    /// Starts loading the line `MORE` bytes behind an offset, to be written.
    #[inline(always)]
    pub(crate) fn prefetch_write<const MORE: usize>(self, offset: u64) {
        #[expect(clippy::cast_possible_truncation, reason = "any address will do")]
        prefetch_write::<MORE>(self.host.as_ptr(), offset as usize);
    }
}

fn check(region: &Region) -> Result<(), MemoryMapError> {
    if region.len == 0 {
        return Err(MemoryMapError::Empty(*region));
    }
    let fits = isize::try_from(region.len).is_ok()
        && region.device.checked_add(region.len).is_some()
        && (region.host.addr().get() as u64).checked_add(region.len).is_some();
    if fits { Ok(()) } else { Err(MemoryMapError::Overflow(*region)) }
}

/// Of regions that are sorted and were [`check`]ed.
fn check_overlap(sorted: &[Region]) -> Result<(), MemoryMapError> {
    match sorted.windows(2).find(|pair| pair[1].device < pair[0].end()) {
        Some(pair) => Err(MemoryMapError::Overlap(pair[0], pair[1])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(device: u64, len: u64, host: usize) -> Region {
        Region { device, len, host: NonNull::without_provenance(host.try_into().unwrap()) }
    }

    fn map(regions: &[Region]) -> Result<MemoryMap, MemoryMapError> {
        // SAFETY: these tests never use an address from the map.
        unsafe { MemoryMap::new(regions) }
    }

    fn address(map: &MemoryMap, address: u64, len: u64) -> Option<usize> {
        let host = map.translate(address, len);
        if let Ok(len) = u16::try_from(len) {
            assert_eq!(map.translate_short(address, len), host);
        }
        host.map(|host| host.addr().get())
    }

    #[test]
    fn a_range_inside_one_region_is_found_wherever_the_last_hit_was() {
        let map =
            map(&[region(0x9000, 0x100, 0x30_0000), region(0x1000, 0x2000, 0x10_0000)]).unwrap();
        for _ in 0..2 {
            assert_eq!(address(&map, 0x1000, 0x2000), Some(0x10_0000));
            assert_eq!(address(&map, 0x2fff, 1), Some(0x10_1fff));
            assert_eq!(address(&map, 0x9080, 0x80), Some(0x30_0080));
        }
    }

    #[test]
    fn a_range_outside_or_past_the_end_is_refused() {
        let map = map(&[region(0x1000, 0x1000, 0x10_0000)]).unwrap();
        for (at, len) in [
            (0xfff, 1),
            (0xfff, 2),
            (0x2000, 1),
            (0x1fff, 2),
            (0x1000, 0x1001),
            (0, u64::MAX),
            (u64::MAX, 1),
            (u64::MAX, u64::MAX),
            (0x1800, u64::MAX),
        ] {
            assert_eq!(address(&map, at, len), None, "{at:#x} + {len:#x}");
        }
    }

    #[test]
    fn short_ranges_are_exact_up_to_the_last_byte_of_a_large_region() {
        let map = map(&[region(0x1000, 0x3_0000, 0x10_0000)]).unwrap();
        for end in [0x1_0fff, 0x2_0fff, 0x2_1000, 0x2_1001, 0x2_1002, 0x3_0fff, 0x3_1000] {
            assert_eq!(
                address(&map, end - 100, 100),
                Some(0x10_0000 + usize::try_from(end).unwrap() - 100 - 0x1000)
            );
            assert_eq!(
                address(&map, end - 0xffff, 0xffff),
                Some(0x10_0000 + usize::try_from(end).unwrap() - 0x1_0fff)
            );
        }
        assert_eq!(address(&map, 0x3_0f9d, 100), None);
        assert_eq!(address(&map, 0xfff, 100), None);
    }

    #[test]
    fn a_range_across_adjacent_regions_is_refused() {
        let map = map(&[region(0, 0x1000, 0x10_0000), region(0x1000, 0x1000, 0x10_1000)]).unwrap();
        assert_eq!(address(&map, 0xfff, 2), None);
        assert_eq!(address(&map, 0xfff, 1), Some(0x10_0fff));
        assert_eq!(address(&map, 0x1000, 1), Some(0x10_1000));
    }

    #[test]
    fn an_empty_map_refuses_every_byte() {
        let map = map(&[]).unwrap();
        assert_eq!(address(&map, 0, 1), None);
        assert_eq!(address(&map, u64::MAX, 1), None);
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        let empty = region(5, 0, 0x1000);
        assert_eq!(map(&[empty]).unwrap_err(), MemoryMapError::Empty(empty));
        for wrong in [
            region(u64::MAX, 1, 0x1000),
            region(u64::MAX - 0xfff, 0x1000, 0x1000),
            region(0, u64::MAX, 0x1000),
            region(0, 1 << 63, 0x1000),
            region(0, 0x2000, usize::MAX - 0xfff),
        ] {
            assert_eq!(map(&[wrong]).unwrap_err(), MemoryMapError::Overflow(wrong));
        }
        let (one, two) = (region(0x2000, 0x1000, 0x1000), region(0x2fff, 0x10, 0x9000));
        assert_eq!(map(&[two, one]).unwrap_err(), MemoryMapError::Overlap(one, two));
        assert_eq!(map(&[one, one]).unwrap_err(), MemoryMapError::Overlap(one, one));
        let many = [region(0, 1, 0x1000); MAX_REGIONS + 1];
        assert_eq!(map(&many).unwrap_err(), MemoryMapError::TooMany(MAX_REGIONS + 1));
    }
}
