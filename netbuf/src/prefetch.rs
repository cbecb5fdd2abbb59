//! Loading cache lines ahead of their use.

/// Starts loading the cache line `MORE` bytes behind `base + offset`, to be written: whoever else has it gives it up
/// now, and not when the first store waits for it. A hint: any address is allowed.
///
/// (By hand, because the compiler's intrinsic for it becomes a load for reading unless the whole program is compiled
/// for CPUs that have the instruction; those that have not take it for no operation.)
#[inline(always)]
pub fn prefetch_write<const MORE: usize>(base: *const u8, offset: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch touches no memory that the program sees, and never faults.
    unsafe {
        core::arch::asm!(
            "prefetchw [{base} + {offset} + {more}]",
            base = in(reg) base.addr(),
            offset = in(reg) offset,
            more = const MORE,
            options(nomem, nostack, preserves_flags),
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (base, offset);
}
