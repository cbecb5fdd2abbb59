//! The bare machine: what stands between the monitor's PVH entry and a Barewire program.
//!
//! It boots, protects memory, reports every trap and panic and ends the machine with a telling status; it finds memory,
//! the PCI bus, virtio-mmio slots and the rate of the clock. It knows no packet and no driver, has one core, no
//! scheduler and no files, and no interrupts but those that end a sleep. Only the facade crate `barewire` and this
//! crate's self-test image use it.
//!
//! An image calls [`entry!`] once; everything else hangs off the [`Machine`] that its function is given. Code that only
//! makes sense in an image (entry, panic handler, allocator, `memcpy` and its kin) is compiled only with
//! `panic = "abort"` and never in a test, so that the workspace's hosted builds and checks work on the same sources.
//! A hosted program must not call into this crate: there are no ports to write to in a process.

#![no_std]
#![cfg_attr(not(all(panic = "abort", not(any(test, feature = "hosted")))), allow(dead_code))]

#[cfg(barewire_unchecked)]
compile_error!(
    "checks on what a peer wrote are never left out of a program that runs on a platform"
);

mod acpi;
mod backtrace;
#[cfg(all(panic = "abort", not(any(test, feature = "hosted"))))]
mod boot;
mod build_id;
mod clock;
mod command_line;
mod console;
mod cpu;
mod error;
mod exit;
mod free_memory;
mod hal;
mod interrupts;
mod ioapic;
mod local_apic;
mod machine;
mod mem;
mod memory;
mod memory_map;
mod mmio;
mod paging;
#[cfg(all(panic = "abort", not(any(test, feature = "hosted"))))]
mod panic;
mod pci;
mod sleep;
mod start_info;
mod symbols;
mod traps;
mod tsc_rate;
mod wake_timer;

pub use build_id::{BuildId, build_id};
pub use clock::{Clock, TscSource};
pub use command_line::MAX_COMMAND_LINE;
pub use console::Console;
pub use cpu::timestamp;
pub use error::BootError;
pub use exit::{ExitCode, exit};
pub use hal::MachineHal;
pub use machine::Machine;
pub use memory::{device_memory_free, device_memory_largest, take_device_memory};
pub use mmio::{MmioSlot, SlotError};
pub use pci::{ConfigSpace, EnableError, Functions, Pci};
pub use sleep::{SleepCount, SleepError, Sleeper, Wake, WakeError};

/// Names the function that an image runs: `fn(Machine) -> ExitCode`. What it returns ends the machine.
///
/// ```no_run
/// plat_kvm::entry!(start);
/// fn start(machine: plat_kvm::Machine) -> plat_kvm::ExitCode {
///     plat_kvm::println!("up after {} cycles", plat_kvm::timestamp() - machine.entry_cycles());
///     plat_kvm::ExitCode::SUCCESS
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn barewire_image_main(machine: $crate::Machine) -> $crate::ExitCode {
            let main: fn($crate::Machine) -> $crate::ExitCode = $main;
            main(machine)
        }
    };
}

/// What to do while there is nothing to do for a moment: a hint to the CPU. To sleep, use a [`Sleeper`].
#[inline]
pub fn idle() {
    core::hint::spin_loop();
}

/// An address as a pointer-sized number: the same thing on this platform.
#[allow(clippy::cast_possible_truncation, reason = "a 64-bit platform, asserted")]
const fn to_usize(address: u64) -> usize {
    const { assert!(size_of::<usize>() == 8) };
    address as usize
}
