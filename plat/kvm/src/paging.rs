//! The identity map: address == pointer, for RAM and devices alike, so that no driver ever translates.
//!
//! boot.s maps 4 GiB in 2 MiB pages with every permission; `protect` tightens that in place: the first 8 MiB, where the
//! image lies, in 4 KiB pages (text RX, constants R, data RW, null page and stack guard absent), the rest RW, never
//! executable, uncached where it is not RAM. Memory above 4 GiB is added by the gigabyte. Nothing is ever unmapped
//! later, and there is one address space.

use crate::{cpu, memory, memory_map::ADDRESS_LIMIT, memory_map::MemoryMap, symbols};
use core::ops::Range;
use core::ptr;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const UNCACHED: u64 = 1 << 4;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const DATA: u64 = PRESENT | WRITABLE | NO_EXECUTE;

const PAGE: u64 = 4096;
const LARGE_PAGE: u64 = 2 << 20;
const GIGABYTE: u64 = 1 << 30;
/// How much is mapped in 4 KiB pages (image.ld asserts that the image fits).
const FINE: u64 = 8 << 20;

/// Where the parts of the image lie.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) text: Range<u64>,
    /// Notes and constants.
    pub(crate) constants: Range<u64>,
    /// The page under the stack.
    pub(crate) guard: u64,
}

/// The page table entry for the 4 KiB page at `address`.
fn fine_entry(address: u64, layout: &Layout) -> u64 {
    if address == 0 || address == layout.guard {
        0
    } else if layout.text.contains(&address) {
        address | PRESENT
    } else if layout.constants.contains(&address) {
        address | PRESENT | NO_EXECUTE
    } else {
        address | DATA
    }
}

/// The entry for the 2 MiB page at `address`.
fn large_entry(address: u64, ram: bool) -> u64 {
    address | DATA | LARGE | if ram { 0 } else { UNCACHED }
}

/// Gives the first 4 GiB their final permissions.
///
/// # Safety
///
/// Called once, from boot, with the tables of boot.s live and `layout` the image's own.
pub(crate) unsafe fn protect(map: &MemoryMap, layout: &Layout) {
    let tables = symbols::tables();
    let low = (0..FINE).step_by(4096).zip(0usize..);
    for (address, index) in low {
        // SAFETY: boot_pt holds FINE / PAGE entries; it is not live yet, so any value may be written.
        unsafe { tables.pt.add(index).write_volatile(fine_entry(address, layout)) };
    }
    for (address, index) in (0..4 * GIGABYTE).step_by(2 << 20).zip(0usize..) {
        let entry = if address < FINE {
            (tables.pt as u64 + index as u64 * PAGE) | PRESENT | WRITABLE
        } else {
            large_entry(address, map.has_ram(&(address..address + LARGE_PAGE)))
        };
        // SAFETY: boot_pd holds 2048 entries; the new entry maps the same addresses to the same memory, with the
        // permissions that the image's own code and data need.
        unsafe { tables.pd.add(index).write_volatile(entry) };
    }
    if cpu::has_gigabyte_pages() {
        for index in 1..4usize {
            let start = index as u64 * GIGABYTE;
            if map.is_ram(&(start..start + GIGABYTE)) {
                // SAFETY: boot_pdpt has 512 entries; the new one maps what the old one did.
                unsafe { tables.pdpt.add(index).write_volatile(large_entry(start, true)) };
            }
        }
    }
    x86_64::instructions::tlb::flush_all();
}

/// Maps the RAM above 4 GiB. Gigabytes for which no page table can be had stay unmapped and are reported as false.
pub(crate) fn map_high_memory(map: &MemoryMap) -> impl Fn(&Range<u64>) -> bool {
    for ram in map.ram() {
        let mut start = ram.start.max(4 * GIGABYTE) / GIGABYTE * GIGABYTE;
        while start < ram.end {
            map_gigabyte(start, true);
            start += GIGABYTE;
        }
    }
    |range| {
        let mut start = range.start / GIGABYTE * GIGABYTE;
        while start < range.end {
            if !is_mapped(start) {
                return false;
            }
            start += GIGABYTE;
        }
        true
    }
}

/// Makes sure that a device's registers are mapped; false where that is impossible (above 512 GiB, or no memory left
/// for a page table). Everything below 4 GiB always is.
pub(crate) fn map_device(address: u64, length: u64) -> bool {
    let Some(end) = address.checked_add(length) else { return false };
    if end > ADDRESS_LIMIT {
        return false;
    }
    let mut start = address / GIGABYTE * GIGABYTE;
    while start < end {
        if !is_mapped(start) && !map_gigabyte(start, false) {
            return false;
        }
        start += GIGABYTE;
    }
    true
}

fn slot(start: u64) -> *mut u64 {
    let index = crate::to_usize(start / GIGABYTE % 512);
    // SAFETY: boot_pdpt has 512 entries and index is below that.
    unsafe { symbols::tables().pdpt.add(index) }
}

fn is_mapped(start: u64) -> bool {
    // SAFETY: slot points into boot_pdpt, which is never borrowed.
    start < ADDRESS_LIMIT && unsafe { slot(start).read_volatile() } != 0
}

/// Maps the gigabyte at `start`, which is absent so far (so nothing needs flushing).
fn map_gigabyte(start: u64, ram: bool) -> bool {
    if is_mapped(start) {
        return true;
    }
    let entry = if cpu::has_gigabyte_pages() {
        large_entry(start, ram)
    } else {
        let Some(table) = memory::take_page() else { return false };
        for (address, index) in (start..start + GIGABYTE).step_by(2 << 20).zip(0usize..) {
            // SAFETY: the page is ours, mapped, and has room for 512 entries.
            unsafe { table.add(index).write_volatile(large_entry(address, ram)) };
        }
        table as u64 | PRESENT | WRITABLE
    };
    // SAFETY: slot points into boot_pdpt; the entry adds a mapping where there was none.
    unsafe { ptr::write_volatile(slot(start), entry) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_writable_and_executable() {
        let layout = Layout {
            constants: 0x10_0000..0x10_2000,
            text: 0x10_2000..0x11_0000,
            guard: 0x13_0000,
        };
        for address in (0..FINE).step_by(4096) {
            let entry = fine_entry(address, &layout);
            let writable = entry & WRITABLE != 0;
            let executable = entry != 0 && entry & NO_EXECUTE == 0;
            assert!(!(writable && executable));
            assert_eq!(executable, (0x10_2000..0x11_0000).contains(&address));
            assert_eq!(entry == 0, address == 0 || address == 0x13_0000);
            assert_eq!(entry != 0 && !writable, (0x10_0000..0x11_0000).contains(&address));
        }
    }

    #[test]
    fn devices_are_uncached() {
        assert_eq!(large_entry(0xfee0_0000, false) & UNCACHED, UNCACHED);
        assert_eq!(large_entry(0x20_0000, true) & UNCACHED, 0);
    }
}
