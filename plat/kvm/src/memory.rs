//! Who owns the machine's memory: the heap gets a share at boot, the rest is taken in large pieces for packets.
//!
//! Two kinds, because they live differently: the heap (control plane, `talc`) is allocated from and freed to; device
//! memory is taken once and never comes back, so it needs no allocator, cannot fragment, and its address is the
//! device's address. Nothing here is on the packet path.

use crate::{error::BootError, free_memory::FreeMemory, memory_map::MemoryMap, paging, symbols};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use talc::lock_api::{GuardNoSend, Mutex, RawMutex};

/// Least and most memory that the heap gets; in between, an eighth of what there is.
const HEAP: (u64, u64) = (1 << 20, 64 << 20);
const LEAST: u64 = 4 << 20;

/// A spin lock. There is one core and no interrupt that runs Rust code, so it is never contended; it exists so that statics are sound.
#[derive(Debug)]
pub(crate) struct Spin(AtomicBool);

// SAFETY: the swap from false to true admits one holder at a time, with acquire/release ordering around it.
unsafe impl RawMutex for Spin {
    const INIT: Self = Self(AtomicBool::new(false));
    type GuardMarker = GuardNoSend;

    fn lock(&self) {
        while !self.try_lock() {
            core::hint::spin_loop();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, Ordering::Acquire)
    }

    unsafe fn unlock(&self) {
        self.0.store(false, Ordering::Release);
    }
}

static FREE: Mutex<Spin, FreeMemory> = Mutex::new(FreeMemory::new());

#[cfg_attr(all(panic = "abort", not(any(test, feature = "hosted"))), global_allocator)]
static HEAP_ALLOCATOR: talc::TalcLock<Spin, talc::source::Manual> =
    talc::TalcLock::new(talc::source::Manual);

/// Takes over all RAM behind the image, maps what lies above 4 GiB, and starts the heap.
///
/// # Safety
///
/// Called once; nobody uses memory that `map` calls RAM, except the image itself; the first 4 GiB are mapped.
pub(crate) unsafe fn init(map: &MemoryMap) -> Result<(), BootError> {
    const FOUR_GIB: u64 = 4 << 30;
    let image_end = symbols::image().end;
    let mut free = FreeMemory::new();
    for ram in map.ram() {
        free.add(&(ram.start.max(image_end)..ram.end.min(FOUR_GIB)));
    }
    if free.total() < LEAST {
        return Err(BootError::NoMemory { found: free.total() });
    }
    *FREE.lock() = free;
    let mapped = paging::map_high_memory(map);
    for ram in map.ram() {
        let high = ram.start.max(FOUR_GIB)..ram.end;
        if high.start < high.end && mapped(&high) {
            FREE.lock().add(&high);
        }
    }
    let mut free = FREE.lock();
    let heap = (free.total() / 8).clamp(HEAP.0, HEAP.1).min(free.largest());
    if let Some(start) = free.take(heap, 1) {
        let pointer = core::ptr::with_exposed_provenance_mut(crate::to_usize(start));
        // SAFETY: the range was just cut out of the free memory, so it is mapped RAM that nobody else has.
        unsafe { HEAP_ALLOCATOR.lock().claim(pointer, crate::to_usize(heap)) };
    }
    Ok(())
}

/// A zeroed page for a page table.
pub(crate) fn take_page() -> Option<*mut u64> {
    Some(take_device_memory(4096, 4096)?.as_ptr().cast())
}

/// Takes `length` bytes (rounded up to whole pages) of zeroed memory, aligned to `align` (a power of two) and to a
/// page, for good. Its address is the device's address of it.
///
/// A raw pointer, not a slice: a device may write there at any time, and no reference may exist to such memory.
/// `None`: no range is large enough, or `align` is not a power of two, or `length` is 0.
#[must_use]
pub fn take_device_memory(length: usize, align: usize) -> Option<NonNull<[u8]>> {
    let start = FREE.lock().take(length as u64, align as u64)?;
    let pointer = core::ptr::with_exposed_provenance_mut::<u8>(crate::to_usize(start));
    let pointer = NonNull::new(pointer)?;
    // SAFETY: the range was just cut out of the free memory, so it is mapped RAM of at least `length` bytes that
    // nobody else has.
    unsafe { pointer.write_bytes(0, length) };
    Some(NonNull::slice_from_raw_parts(pointer, length))
}

/// Bytes that [`take_device_memory`] has left.
#[must_use]
pub fn device_memory_free() -> usize {
    crate::to_usize(FREE.lock().total())
}

/// Bytes of the largest page-aligned piece that [`take_device_memory`] can give now.
#[must_use]
pub fn device_memory_largest() -> usize {
    crate::to_usize(FREE.lock().largest())
}
