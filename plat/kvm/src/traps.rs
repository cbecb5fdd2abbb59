//! Exceptions: each one prints what happened and ends the machine with a status of its own.
//!
//! No trap returns. Interrupts are enabled only while the core sleeps, and the few that may come then have stubs of their
//! own (`interrupts.rs`); every other vector that arrives is a fault (or an NMI, or a mistake). Each runs
//! on a stack of its own choosing (IST): the code that was interrupted may have data below its stack pointer (the red
//! zone), or no usable stack at all. A trap within a trap prints one line; a third ends the machine in silence.

use crate::{backtrace, build_id, cpu, exit::ExitCode, interrupts, symbols};
use core::arch::naked_asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

const STACK_SIZE: usize = 16 * 1024;
const CODE_SELECTOR: u16 = 8;
const TSS_SELECTOR: u16 = 16;
const DOUBLE_FAULT: u64 = 8;
const GENERAL_PROTECTION: u64 = 13;
const PAGE_FAULT: u64 = 14;

/// What is on the trap stack when Rust is called: first what the stub pushed, then what the CPU did.
#[repr(C)]
#[derive(Debug)]
struct Frame {
    /// r15 to r8, then rbp, rdi, rsi, rdx, rcx, rbx, rax.
    registers: [u64; 15],
    /// Return address of the stub's call: names the vector.
    stub: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

const NAMES: [&str; 15] = [
    "r15", "r14", "r13", "r12", "r11", "r10", "r9", "r8", "rbp", "rdi", "rsi", "rdx", "rcx", "rbx",
    "rax",
];

/// Memory that the CPU reads behind Rust's back.
#[repr(C, align(16))]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: written by `init` alone, before any trap; afterwards only the CPU uses it.
unsafe impl<T> Sync for Shared<T> {}

static IDT: Shared<[[u64; 2]; 256]> = Shared(UnsafeCell::new([[0; 2]; 256]));
/// 104 bytes: a word, three stack pointers, a word, IST 1 to 7; in 32-bit words because nothing in it is aligned.
static TSS: Shared<[u32; 26]> = Shared(UnsafeCell::new([0; 26]));
/// One for ordinary exceptions, one each for what can strike in the middle of one: double fault, NMI, machine check.
static STACKS: [Shared<[u8; STACK_SIZE]>; 4] =
    [const { Shared(UnsafeCell::new([0; STACK_SIZE])) }; 4];
static DEPTH: AtomicU8 = AtomicU8::new(0);

/// 256 stubs of eight bytes; each leaves an error code on the stack and calls the common part, so that the return
/// address tells the vector.
#[unsafe(naked)]
unsafe extern "C" fn stubs() {
    naked_asm!(
        ".set vector, 0",
        ".rept 256",
        ".balign 8",
        ".if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 \
             && vector != 29 && vector != 30",
        "push 0",
        ".endif",
        "call {common}",
        ".set vector, vector + 1",
        ".endr",
        common = sym common,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn common() {
    naked_asm!(
        "push rax", "push rbx", "push rcx", "push rdx", "push rsi", "push rdi", "push rbp",
        "push r8", "push r9", "push r10", "push r11", "push r12", "push r13", "push r14", "push r15",
        "cld",
        "mov rdi, rsp",
        "xor ebp, ebp",
        "and rsp, -16",
        "call {report}",
        "ud2",
        report = sym report,
    )
}

/// Loads a TSS with the trap stacks and an IDT with a gate for every vector.
///
/// # Safety
///
/// Called once, from boot, with the GDT of boot.s loaded and interrupts disabled.
pub(crate) unsafe fn init() {
    let tss = TSS.0.get();
    let idt = IDT.0.get();
    let gdt = symbols::gdt();
    let halves = |value: u64| [low(value), low(value >> 32)];
    // SAFETY: nobody else uses these statics yet; all indices are within bounds; the GDT has four entries, of which the
    // last two are room for the TSS descriptor (present, 64-bit TSS, limit 103).
    unsafe {
        for (index, stack) in STACKS.iter().enumerate() {
            let words = halves(stack.0.get() as u64 + STACK_SIZE as u64);
            (*tss)[9 + 2 * index] = words[0];
            (*tss)[10 + 2 * index] = words[1];
        }
        (*tss)[25] = 104 << 16; // no I/O permission map
        let base = tss as u64;
        let descriptor = 103 | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
        gdt.add(2).write_volatile(descriptor);
        gdt.add(3).write_volatile(base >> 32);

        let first = stubs as *const () as u64;
        for vector in 0..=255u8 {
            let ist = match u64::from(vector) {
                DOUBLE_FAULT => 2,
                2 => 3,
                18 => 4,
                _ => 1,
            };
            let stub = interrupts::stub(vector).unwrap_or(first + u64::from(vector) * 8);
            let gate = stub & 0xffff
                | u64::from(CODE_SELECTOR) << 16
                | ist << 32
                | 0x8e << 40 // present, interrupt gate
                | (stub >> 16 & 0xffff) << 48;
            (*idt)[usize::from(vector)] = [gate, stub >> 32];
        }
        let pointer = x86_64::structures::DescriptorTablePointer {
            limit: 0xfff,
            base: x86_64::VirtAddr::new_truncate(idt as u64),
        };
        x86_64::instructions::tables::lidt(&pointer);
        core::arch::asm!("ltr {0:x}", in(reg) TSS_SELECTOR, options(nostack, preserves_flags));
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(value: u64) -> u32 {
    value as u32
}

/// The end of every trap.
unsafe extern "C" fn report(frame: &Frame) -> ! {
    let vector = (frame.stub - 1 - stubs as *const () as u64) / 8;
    let code = match vector {
        PAGE_FAULT => ExitCode::PAGE_FAULT,
        GENERAL_PROTECTION => ExitCode::GENERAL_PROTECTION,
        _ => ExitCode::OTHER_TRAP,
    };
    match DEPTH.fetch_add(1, Relaxed) {
        0 => print(vector, frame),
        1 => crate::println!("\ntrap {vector} within a trap, rip {:#018x}", frame.rip),
        _ => cpu::triple_fault(),
    }
    crate::exit(code)
}

fn print(vector: u64, frame: &Frame) {
    use crate::println;
    println!("\ntrap: {} (vector {vector}, error code {:#x})", name(vector), frame.error);
    if vector == PAGE_FAULT {
        let address = cpu::fault_address();
        println!("  {} {address:#018x}{}", access(frame.error), place(address));
    }
    println!("  rip {:#018x} rsp {:#018x} rflags {:#x}", frame.rip, frame.rsp, frame.rflags);
    println!("  cs {:#x} ss {:#x} cr2 {:#018x}", frame.cs, frame.ss, cpu::fault_address());
    for (names, values) in NAMES.chunks(3).zip(frame.registers.chunks(3)) {
        for (name, value) in names.iter().zip(values) {
            crate::print!("  {name:>3} {value:#018x}");
        }
        println!();
    }
    println!("build id {}", build_id());
    println!("backtrace:");
    println!("  #0 {:#018x}", frame.rip);
    backtrace::print(frame.rip, frame.rsp, 1);
}

/// What a page fault's error code says was tried.
fn access(error: u64) -> &'static str {
    match error & 0b1_0011 {
        0b0_0000 => "read of absent memory at",
        0b0_0010 => "write to absent memory at",
        0b0_0011 => "write to read-only memory at",
        0b1_0000 => "execution of absent memory at",
        0b1_0001 => "execution of data at",
        _ => "access at",
    }
}

/// Words for the places where page faults are telling.
fn place(address: u64) -> &'static str {
    if address < 0x1000 {
        " (null pointer)"
    } else if address & !0xfff == symbols::stack_guard() {
        " (stack overflow)"
    } else {
        ""
    }
}

fn name(vector: u64) -> &'static str {
    match vector {
        0 => "divide error",
        1 => "debug",
        2 => "non-maskable interrupt",
        3 => "breakpoint",
        4 => "overflow",
        5 => "bound range exceeded",
        6 => "invalid opcode",
        7 => "device not available",
        8 => "double fault",
        10 => "invalid TSS",
        11 => "segment not present",
        12 => "stack segment fault",
        13 => "general protection fault",
        14 => "page fault",
        16 => "x87 floating point",
        17 => "alignment check",
        18 => "machine check",
        19 => "SIMD floating point",
        20 => "virtualization",
        21 => "control protection",
        _ => "unexpected interrupt",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_fault_causes_are_named() {
        assert_eq!(access(0), "read of absent memory at");
        assert_eq!(access(3), "write to read-only memory at");
        assert_eq!(access(0x11), "execution of data at");
        assert_eq!(place(8), " (null pointer)");
    }
}
