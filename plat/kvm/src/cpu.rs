//! The instructions that Rust has no word for, one small function each, and what the CPU can do.
//!
//! A thin layer over the `x86_64` crate, so that the obligations are argued once here.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};
use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

/// Reads a port.
///
/// # Safety
///
/// Reading the port must not make a device write memory that Rust owns.
pub(crate) unsafe fn in8(port: u16) -> u8 {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Reads a 32-bit port.
///
/// # Safety
///
/// As for [`in8`].
pub(crate) unsafe fn in32(port: u16) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).read() }
}

/// Writes a port.
///
/// # Safety
///
/// Writing the port must not make a device write memory that Rust owns.
pub(crate) unsafe fn out8(port: u16, value: u8) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) }
}

/// Writes a 32-bit port.
///
/// # Safety
///
/// As for [`out8`].
pub(crate) unsafe fn out32(port: u16, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { Port::new(port).write(value) }
}

/// Reads a model-specific register.
///
/// # Safety
///
/// The register must exist, or the CPU traps.
pub(crate) unsafe fn read_msr(msr: u32) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(msr).read() }
}

/// Writes a model-specific register.
///
/// # Safety
///
/// The register must exist, and the value must not break what Rust relies on (mappings, calling convention).
pub(crate) unsafe fn write_msr(msr: u32, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { Msr::new(msr).write(value) }
}

/// The time-stamp counter, not ordered against neighbouring instructions.
#[inline]
#[must_use]
pub fn timestamp() -> u64 {
    // SAFETY: every 64-bit CPU has RDTSC, and nothing on this platform sets CR4.TSD.
    unsafe { _rdtsc() }
}

/// CPUID leaf as (eax, ebx, ecx, edx); zeros for a leaf beyond the CPU's last one.
pub(crate) fn cpuid(leaf: u32) -> (u32, u32, u32, u32) {
    let base = leaf & 0xffff_0000;
    if __cpuid(base).eax < leaf {
        return (0, 0, 0, 0);
    }
    let result = __cpuid_count(leaf, 0);
    (result.eax, result.ebx, result.ecx, result.edx)
}

/// Whether a hypervisor is present (CPUID 1, ECX bit 31).
pub(crate) fn has_hypervisor() -> bool {
    cpuid(1).2 & 1 << 31 != 0
}

/// Whether pages of 1 GiB exist (CPUID 0x80000001, EDX bit 26).
pub(crate) fn has_gigabyte_pages() -> bool {
    cpuid(0x8000_0001).3 & 1 << 26 != 0
}

/// Turns on AVX (and AVX-512) state where the CPU has it; gives what XCR0 holds afterwards (0: no XSAVE).
///
/// # Safety
///
/// Ring 0, with nothing yet running that saves extended state.
pub(crate) unsafe fn enable_avx() -> u64 {
    use x86_64::registers::control::{Cr4, Cr4Flags};
    const XSAVE: u32 = 1 << 26;
    const SSE: u64 = 0b11;
    const AVX: u64 = 0b111;
    const AVX512: u64 = 0b1110_0000;
    if cpuid(1).2 & XSAVE == 0 {
        return 0;
    }
    let (low, _, _, high) = cpuid(0xd);
    let supported = u64::from(low) | u64::from(high) << 32;
    let mut wanted = SSE;
    if supported & AVX == AVX {
        wanted |= AVX;
        if supported & AVX512 == AVX512 {
            wanted |= AVX512;
        }
    }
    let (low, high) = (wanted & 0xffff_ffff, wanted >> 32);
    // SAFETY: ring 0 (the caller's promise); XSAVE exists, so OSXSAVE may be set and XCR0 written with components that
    // CPUID leaf 0xd lists, in the combinations the manual requires (AVX with SSE, AVX-512 with AVX).
    unsafe {
        Cr4::update(|flags| flags.insert(Cr4Flags::OSXSAVE));
        core::arch::asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    wanted
}

/// The address that the last page fault was about.
pub(crate) fn fault_address() -> u64 {
    x86_64::registers::control::Cr2::read_raw()
}

/// Ends the machine by a fault that cannot be delivered; halts where even that has no effect.
pub(crate) fn triple_fault() -> ! {
    let nothing = [0u16; 5];
    // SAFETY: an empty IDT makes the breakpoint undeliverable, which resets the machine; nothing runs afterwards.
    unsafe {
        core::arch::asm!("cli", "lidt [{table}]", "int3", "2:", "hlt", "jmp 2b",
            table = in(reg) &raw const nothing, options(noreturn));
    }
}

/// The instruction and stack pointers of the function that this is inlined into.
#[inline(always)]
pub(crate) fn here() -> (u64, u64) {
    let (rip, rsp): (u64, u64);
    // SAFETY: copies registers.
    unsafe {
        core::arch::asm!("lea {}, [rip]", "mov {}, rsp", out(reg) rip, out(reg) rsp,
            options(nomem, nostack, preserves_flags));
    }
    (rip, rsp)
}
