//! The only interrupts there are: those that end a sleep.
//!
//! The interrupt flag is clear, always, except inside [`halt`] and [`window`]: no packet is ever handled with an
//! interrupt possible. A stub notes what came and clears the flag in what it returns to, so that one sleep takes at most
//! one interrupt; everything else (the end of interrupt, the device) is left to the sleeper, which then runs as
//! ordinary code. All devices share a vector, because whoever sleeps polls all of them afterwards.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// The local APIC's timer.
pub(crate) const TIMER: u8 = 0x31;
/// Any device; of a higher priority than the timer.
pub(crate) const DEVICE: u8 = 0x41;
/// An interrupt that went away before it was taken; needs no end of interrupt.
pub(crate) const SPURIOUS: u8 = 0xff;

/// The vector that was taken last; 0: none.
static TAKEN: AtomicU8 = AtomicU8::new(0);

/// Runs on a stack of its own (`traps.rs`), touches no register, and returns with the interrupt flag clear: bit 9 of
/// the third word of the interrupt frame.
macro_rules! stub {
    ($name:ident, $vector:expr) => {
        #[unsafe(naked)]
        unsafe extern "C" fn $name() {
            naked_asm!(
                "mov byte ptr [rip + {taken}], {vector}",
                "btr qword ptr [rsp + 16], 9",
                "iretq",
                taken = sym TAKEN,
                vector = const $vector,
            )
        }
    };
}

stub!(timer, TIMER);
stub!(device, DEVICE);
stub!(spurious, SPURIOUS);

/// The stub behind a vector; None: an interrupt there is a mistake, and reported as a trap.
pub(crate) fn stub(vector: u8) -> Option<u64> {
    let stub: unsafe extern "C" fn() = match vector {
        TIMER => timer,
        DEVICE => device,
        SPURIOUS => spurious,
        _ => return None,
    };
    Some(stub as *const () as u64)
}

/// Halts until an interrupt comes, and gives its vector. One that has been pending since before ends it at once: the
/// CPU takes none between STI and the end of the next instruction, so none can slip in before HLT. 0: none came, and
/// something else ended the halt.
pub(crate) fn halt() -> u8 {
    TAKEN.store(0, Relaxed);
    // SAFETY: ring 0; each vector has a gate, whose stub runs on a stack of its own and changes TAKEN alone.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
    TAKEN.load(Relaxed)
}

/// Takes an interrupt that is pending, without waiting for one, and gives its vector, or 0.
pub(crate) fn window() -> u8 {
    TAKEN.store(0, Relaxed);
    // SAFETY: as for `halt`.
    unsafe { asm!("sti", "nop", "nop", "cli", options(nostack)) };
    TAKEN.load(Relaxed)
}
