//! The words of one queue's region.

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use crate::mapping::Mapping;

/// One queue's region: each field is read (acquire) and written (release) whole.
pub(crate) struct Cells {
    /// `len` bytes in `_memory`, aligned to 8.
    base: NonNull<u8>,
    len: usize,
    _memory: Arc<Mapping>,
}

// SAFETY: the words lie in a mapping that the value keeps, for all threads alike, and are touched atomically only.
unsafe impl Send for Cells {}

/// Reads and writes of one width.
macro_rules! width {
    ($load:ident, $store:ident, $atomic:ty, $value:ty) => {
        pub(super) fn $load(&self, at: usize) -> $value {
            self.check(at, size_of::<$value>());
            // SAFETY: checked: inside the region, aligned. All accesses on our side are atomic.
            unsafe { <$atomic>::from_ptr(self.base.add(at).cast().as_ptr()) }
                .load(Ordering::Acquire)
        }

        pub(super) fn $store(&self, at: usize, value: $value) {
            self.check(at, size_of::<$value>());
            #[cfg(test)]
            if !killer::survives() {
                return;
            }
            // SAFETY: as above.
            unsafe { <$atomic>::from_ptr(self.base.add(at).cast().as_ptr()) }
                .store(value, Ordering::Release);
        }
    };
}

impl Cells {
    /// The `len` bytes from `offset` of a mapping of `mapped` bytes; `None` if they are not in it, or not aligned to 8.
    pub(super) fn new(
        memory: &Arc<Mapping>,
        mapped: usize,
        offset: usize,
        len: usize,
    ) -> Option<Self> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= mapped);
        // SAFETY: inside the mapping, which has so many bytes.
        let base = inside.then(|| unsafe { memory.host().add(offset) })?;
        let aligned = base.addr().get().is_multiple_of(8);
        aligned.then(|| Self { base, len, _memory: Arc::clone(memory) })
    }

    /// Makes it a region that nobody has used.
    pub(crate) fn forget(&self) {
        self.store16(super::VERSION_AT, 0);
    }

    fn check(&self, at: usize, size: usize) {
        assert!(at.is_multiple_of(size) && at + size <= self.len, "no such field: {at}");
    }

    width!(load8, store8, AtomicU8, u8);
    width!(load16, store16, AtomicU16, u16);
    width!(load32, store32, AtomicU32, u32);
    width!(load64, store64, AtomicU64, u64);
}

/// Ends a back end between two of its stores.
#[cfg(test)]
pub(super) mod killer {
    use std::cell::Cell;

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// Lets so many stores through, and none behind them.
    pub(in super::super) fn after(stores: usize) {
        LEFT.set(stores);
    }

    /// Whether the next store is made.
    pub(in super::super) fn survives() -> bool {
        let left = LEFT.get();
        LEFT.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether a store was swallowed, or the next one would be.
    pub(in super::super) fn is_dead() -> bool {
        LEFT.get() == 0
    }
}
