//! Surviving a peer that truncates the file whose memory we have mapped.
//!
//! Touching a page beyond the end of its file raises SIGBUS, and no check beforehand can rule it out: the peer
//! owns the file. So each mapping of a peer's memory is registered here. A fault inside one puts anonymous
//! zero memory in its place, marks it as broken, and lets the access go on; the port finds the mark between
//! bursts and ends the connection. Any other SIGBUS goes to whoever handled it before.
//!
//! This is the only file that uses `libc`: rustix offers no `sigaction`. A handler that the program installs
//! later replaces this one, and should hand faults that are not its own back to it.

use std::ffi::{c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{NonNull, null_mut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering, fence};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Mappings that a process can have at a time: 8 regions each of 64 connections.
const SLOTS: usize = 512;

const FREE: u8 = 0;
const CLAIMED: u8 = 1;
const LIVE: u8 = 2;
const BROKEN: u8 = 3;

/// A registered mapping. `base` and `len` are valid in the states `LIVE` and `BROKEN`, and belong together if `lives` has
/// not changed meanwhile: slots are taken again by other threads.
struct Slot {
    state: AtomicU8,
    lives: AtomicUsize,
    base: AtomicUsize,
    len: AtomicUsize,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        state: AtomicU8::new(FREE),
        lives: AtomicUsize::new(0),
        base: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
    }
}; SLOTS];

/// What handled SIGBUS before us.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// The registration of one mapping; ends when dropped, which must be before the memory is unmapped.
pub(crate) struct Guard(&'static Slot);

impl Guard {
    /// Registers `len` bytes from `base`, whole pages. `None` when the table is full.
    ///
    /// # Safety
    /// The range must be a mapping of the caller's own, which stays mapped as long as the guard lives, and
    /// which may be replaced by zeroed memory at any time: nothing may rely on its contents, and no reference
    /// to it may exist.
    pub(crate) unsafe fn register(base: NonNull<u8>, len: usize) -> Option<Self> {
        install();
        let slot = TABLE.iter().find(|slot| {
            slot.state.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })?;
        slot.lives.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        slot.base.store(base.addr().get(), Ordering::Relaxed);
        slot.len.store(len, Ordering::Relaxed);
        slot.state.store(LIVE, Ordering::Release);
        Some(Self(slot))
    }

    /// Whether a fault has happened: the memory is no longer the peer's.
    pub(crate) fn is_broken(&self) -> bool {
        self.0.state.load(Ordering::Relaxed) == BROKEN
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.store(FREE, Ordering::Release);
    }
}

fn install() {
    BEFORE.get_or_init(|| {
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: all-zero bytes are a valid `sigaction` (no handler, no flags, empty mask).
        let mut ours = unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() };
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
        ours.sa_sigaction = handler as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: both point to a `sigaction`; the handler has the signature that SA_SIGINFO asks for and does
        // only what a signal handler may do (see there). Where the call fails, `before` stays zeroed.
        unsafe {
            libc::sigaction(libc::SIGBUS, &raw const ours, before.as_mut_ptr());
            before.assume_init()
        }
    });
}

/// Runs on the thread that touched the memory. Uses atomics and two system calls, nothing else: no
/// allocation, no lock.
extern "C" fn on_fault(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler with SA_SIGINFO. `si_addr` is meaningful for
    // faults (a positive code) only, and is not used otherwise.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr().addr()) };
    if code > 0 && TABLE.iter().any(|slot| replace(slot, address)) {
        return;
    }
    let default = || {
        // SAFETY: all-zero bytes are a valid `sigaction`: the default action.
        unsafe { MaybeUninit::<libc::sigaction>::zeroed().assume_init() }
    };
    let before = BEFORE.get().copied().unwrap_or_else(default);
    // SAFETY: `before` is what `sigaction` itself reported. A fault repeats when we return, and meets the
    // handler of before; a signal that was sent (code <= 0) does not repeat, so it is raised again: it is
    // blocked until we return.
    unsafe {
        libc::sigaction(libc::SIGBUS, &raw const before, null_mut());
        if code <= 0 {
            libc::raise(libc::SIGBUS);
        }
    }
}

/// Puts zeroed memory in the place of the mapping, if `address` lies in it.
fn replace(slot: &Slot, address: usize) -> bool {
    let lives = slot.lives.load(Ordering::Acquire);
    if !matches!(slot.state.load(Ordering::Acquire), LIVE | BROKEN) {
        return false;
    }
    let (base, len) = (slot.base.load(Ordering::Relaxed), slot.len.load(Ordering::Relaxed));
    fence(Ordering::Acquire);
    if slot.lives.load(Ordering::Relaxed) != lives {
        // Another mapping's by now, which is not the one that was touched: that is registered as long as it is used.
        return false;
    }
    if address.wrapping_sub(base) >= len {
        return false;
    }
    let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    let at = std::ptr::with_exposed_provenance_mut(base);
    // SAFETY: the range is a live registration: a mapping that its owner allows to be replaced, of whole pages
    // (see `Guard::register`). Whoever touches it holds its owner, so it is not being unmapped meanwhile. Several threads
    // may fault in it at once; each puts zeroes there.
    let replaced = unsafe { mmap_anonymous(at, len, protection, flags) }.is_ok();
    if replaced {
        slot.state.store(BROKEN, Ordering::Relaxed);
    }
    replaced
}
