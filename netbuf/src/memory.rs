//! Memory that a device may read and write, handed over once and for ever.

use alloc::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use core::ptr::NonNull;

use crate::CACHE_LINE;

/// A region of initialised memory, exclusively owned for the rest of the program, whose device address
/// equals its pointer value.
///
/// The platform makes it (huge pages, a shared memfd, RAM of the bare machine) and a
/// [`Pool`](crate::Pool) consumes it.
#[derive(Debug)]
pub struct DeviceMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the value owns its region exclusively (see `from_raw`); which thread holds it does not matter.
unsafe impl Send for DeviceMemory {}

impl DeviceMemory {
    /// Takes over `len` bytes from `base`.
    ///
    /// # Safety
    /// The region must be valid for reads and writes until the program ends, initialised (zeroed memory
    /// is), accessed by nothing but its new owner and the devices that the owner names it to, and
    /// aligned to [`CACHE_LINE`].
    pub unsafe fn from_raw(base: NonNull<u8>, len: usize) -> Self {
        debug_assert_eq!(base.addr().get() % CACHE_LINE, 0);
        Self { base, len }
    }

    /// `len` zeroed bytes of the heap, never given back: for devices of this address space (loopback,
    /// capture files, the vhost-user back end, tests).
    pub fn from_heap(len: usize) -> Self {
        let layout = Layout::from_size_align(len.max(CACHE_LINE), CACHE_LINE)
            .unwrap_or_else(|_| handle_alloc_error(Layout::new::<u8>()));
        // SAFETY: the layout's size is not zero.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        // SAFETY: fresh, zeroed, line-aligned memory that nothing else knows and nobody frees.
        unsafe { Self::from_raw(base, layout.size()) }
    }

    /// First byte; also the device address.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes in the region.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Cuts `len` bytes (rounded up to whole cache lines) off the front, or `None` where so much is not left.
    pub fn split_off_front(&mut self, len: usize) -> Option<DeviceMemory> {
        let len = len.checked_next_multiple_of(CACHE_LINE)?;
        if len > self.len {
            return None;
        }
        let front = self.base;
        // SAFETY: `len <= self.len`, so the sum stays inside (or one past) the region that we own.
        self.base = unsafe { self.base.add(len) };
        self.len -= len;
        Some(DeviceMemory { base: front, len })
    }
}
