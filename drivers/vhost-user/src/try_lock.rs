//! A lock for which nobody on the packet path waits: taken by one atomic exchange, or not at all.
//!
//! Why not the standard mutex: it takes one more locked instruction to release, and looks whether a thread panics.

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

/// A value that one thread at a time has.
#[derive(Default)]
pub(crate) struct TryLock<T> {
    taken: AtomicBool,
    /// Touched only by whoever set `taken`.
    value: UnsafeCell<T>,
}

// SAFETY: shared threads only take turns with the value, each after the last (`taken` is set with acquire and cleared
// with release); that moves it between threads, which `T` allows.
unsafe impl<T: Send> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// The value, unless somebody else has it.
    #[inline]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        if self.taken.swap(true, Ordering::Acquire) {
            return None;
        }
        Some(Guard { lock: self, bound: PhantomData })
    }

    /// The value, once whoever has it lets go. Not for the packet path.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        loop {
            match self.try_lock() {
                Some(guard) => return guard,
                None => std::thread::yield_now(),
            }
        }
    }
}

/// The value, until dropped. Stays on its thread, as a reference to what it holds may have to.
pub(crate) struct Guard<'a, T> {
    lock: &'a TryLock<T>,
    bound: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one, because `taken` was clear when it was made and is set until it is
        // dropped; the value is borrowed through it.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time() {
        let lock = TryLock::new(1);
        let mut guard = lock.try_lock().unwrap();
        for _ in 0..2 {
            assert!(lock.try_lock().is_none(), "an attempt let go of what it did not get");
        }
        *guard = 2;
        drop(guard);
        assert_eq!(*lock.lock(), 2);
    }

    #[test]
    fn no_step_is_lost_between_threads() {
        let lock = TryLock::new(0u64);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20_000).for_each(|_| *lock.lock() += 1));
            }
        });
        assert_eq!(*lock.lock(), 80_000);
    }
}
