//! Ending the machine with a status that the monitor's caller sees.
//!
//! QEMU's `-device isa-debug-exit,iobase=0xf4,iosize=4` turns a port write `v` into exit status `(v << 1) | 1`. Where
//! it is absent the write does nothing; the machine is then reset (which ends QEMU with `-no-reboot`, and Firecracker
//! and Cloud Hypervisor always), and a status cannot be told. ACPI power-off is deliberately not attempted.

use crate::{console, cpu};

const DEBUG_EXIT: u16 = 0xf4;

/// A status to end with. QEMU exits with `2 * value + 1`; 0 is not possible, 1 is QEMU's own failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitCode(u8);

impl ExitCode {
    /// All went well: QEMU status 33.
    pub const SUCCESS: Self = Self(16);
    /// The program reported a failure: QEMU status 35.
    pub const FAILURE: Self = Self(17);
    /// A bad command line: QEMU status 37.
    pub const USAGE: Self = Self(18);
    /// The machine could not be brought up: QEMU status 39.
    pub const BOOT_FAILURE: Self = Self(19);
    /// A Rust panic: QEMU status 41.
    pub const PANIC: Self = Self(20);
    /// A page fault: QEMU status 43.
    pub const PAGE_FAULT: Self = Self(21);
    /// A general protection fault: QEMU status 45.
    pub const GENERAL_PROTECTION: Self = Self(22);
    /// Any other exception: QEMU status 47.
    pub const OTHER_TRAP: Self = Self(23);

    /// The status that QEMU exits with.
    #[must_use]
    pub const fn qemu_status(self) -> u8 {
        self.0 << 1 | 1
    }
}

/// Sends what the console still holds, then ends the machine.
pub fn exit(code: ExitCode) -> ! {
    console::flush();
    // SAFETY: these ports are isa-debug-exit, the chipset's reset control and the keyboard controller's reset line (or
    // nothing at all): writing them ends the machine or has no effect; no memory is touched.
    unsafe {
        cpu::out32(DEBUG_EXIT, u32::from(code.0));
        cpu::out8(0x64, 0xfe);
        cpu::out8(0xcf9, 0x06);
    }
    cpu::triple_fault()
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn statuses_are_distinct_and_as_documented() {
        let all = [
            ExitCode::SUCCESS,
            ExitCode::FAILURE,
            ExitCode::USAGE,
            ExitCode::BOOT_FAILURE,
            ExitCode::PANIC,
            ExitCode::PAGE_FAULT,
            ExitCode::GENERAL_PROTECTION,
            ExitCode::OTHER_TRAP,
        ];
        assert_eq!(all.map(ExitCode::qemu_status), [33, 35, 37, 39, 41, 43, 45, 47]);
    }
}
