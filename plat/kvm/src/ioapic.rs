//! The IOAPIC: turns the interrupt lines of virtio-mmio devices into interrupts.
//!
//! Lines are taken to be edge-triggered and active high, which is how monitors wire virtio-mmio; the sleeper lowers them
//! after each wake-up. PCI functions use messages (MSI-X) and never come here. Where the IOAPICs are is known by
//! convention: the first one of every PC, and the second one that QEMU's microvm has.

use crate::paging;
use core::ptr::NonNull;

/// (address, global number of the first line); the second is QEMU's, `include/hw/i386/ioapic_internal.h`.
const PLACES: [(u64, u32); 2] = [(0xfec0_0000, 0), (SECOND, SECOND_LINE)];
const SECOND: u64 = 0xfec1_0000;
/// The first line of microvm's second IOAPIC.
pub(crate) const SECOND_LINE: u32 = 24;

const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;
const MASKED: u32 = 1 << 16;

/// Lets the global line `line` interrupt CPU `cpu` with `vector`; false where no IOAPIC has such a line.
pub(crate) fn route(line: u32, vector: u8, cpu: u8) -> bool {
    PLACES.into_iter().any(|(address, first)| {
        let Some(ioapic) = IoApic::at(address) else { return false };
        let Some(pin) = line.checked_sub(first).filter(|pin| *pin <= ioapic.last_pin) else {
            return false;
        };
        let low = REDIRECTION + 2 * pin;
        ioapic.write(low, MASKED);
        ioapic.write(low + 1, u32::from(cpu) << 24);
        ioapic.write(low, vector.into()); // fixed, physical, active high, edge, not masked
        true
    })
}

/// Whether there are two IOAPICs, as microvm has unless told otherwise.
pub(crate) fn has_second() -> bool {
    IoApic::at(SECOND).is_some()
}

struct IoApic {
    registers: NonNull<u32>,
    last_pin: u32,
}

impl IoApic {
    fn at(address: u64) -> Option<Self> {
        if !paging::map_device(address, 0x20) {
            return None;
        }
        let registers = core::ptr::with_exposed_provenance_mut::<u32>(crate::to_usize(address));
        let mut ioapic = Self { registers: NonNull::new(registers)?, last_pin: 0 };
        let version = ioapic.read(VERSION);
        ioapic.last_pin = version >> 16 & 0xff;
        // Nothing there reads as all zeros or all ones.
        (!matches!(version & 0xff, 0 | 0xff)).then_some(ioapic)
    }

    fn read(&self, register: u32) -> u32 {
        // SAFETY: `at` mapped the place, which lies where PCs have their IOAPICs and no RAM; index, then data.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).read_volatile()
        }
    }

    fn write(&self, register: u32, value: u32) {
        // SAFETY: as for reading; an interrupt that follows from it meets a gate, whatever its vector.
        unsafe {
            self.registers.write_volatile(register);
            self.registers.add(4).write_volatile(value);
        }
    }
}
