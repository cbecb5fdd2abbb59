//! The local APIC: its registers, memory-mapped or (where firmware chose x2APIC) model-specific ones.
//!
//! Only what a timer and the acknowledgement of an interrupt need; no interrupt is ever sent to another CPU. Never
//! switched from one mode to the other, and never switched on where firmware or monitor switched it off.

use crate::{cpu, interrupts, paging};

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_X2APIC: u32 = 0x800;
const ENABLED: u64 = 1 << 11;
const X2APIC: u64 = 1 << 10;
/// In a local vector table entry: no interrupt.
pub(crate) const MASKED: u32 = 1 << 16;

/// Registers by their offset in the memory-mapped page (Intel SDM volume 3, table 11-1); a sixteenth of it is the
/// index of the model-specific one. Writing any of these touches no memory.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Register {
    Id = 0x20,
    TaskPriority = 0x80,
    EndOfInterrupt = 0xb0,
    Spurious = 0xf0,
    TimerVector = 0x320,
    /// The pin that the 8259 pair is wired to.
    LocalPin0 = 0x350,
    InitialCount = 0x380,
    CurrentCount = 0x390,
    Divide = 0x3e0,
}

/// The local APIC of this CPU.
#[derive(Debug)]
pub(crate) struct LocalApic {
    /// Where the registers are mapped; None: they are model-specific registers.
    mapped: Option<u64>,
}

impl LocalApic {
    /// The local APIC, if there is one and it is on.
    pub(crate) fn find() -> Option<Self> {
        if cpu::cpuid(1).3 & 1 << 9 == 0 {
            return None;
        }
        // SAFETY: CPUID says that there is a local APIC, which always has this register.
        let base = unsafe { cpu::read_msr(MSR_APIC_BASE) };
        if base & ENABLED == 0 {
            return None;
        }
        if base & X2APIC != 0 {
            return Some(Self { mapped: None });
        }
        let address = base & 0xf_ffff_f000;
        paging::map_device(address, 4096).then_some(Self { mapped: Some(address) })
    }

    pub(crate) fn read(&self, register: Register) -> u32 {
        match self.mapped {
            Some(base) => {
                let pointer = core::ptr::with_exposed_provenance::<u32>(place(base, register));
                // SAFETY: `find` mapped the registers of an enabled local APIC here; reading has no side effect.
                unsafe { pointer.read_volatile() }
            }
            // SAFETY: `find` saw x2APIC mode, in which each `Register` exists; of the EOI register only is not readable,
            // and nobody reads that.
            None => low(unsafe { cpu::read_msr(msr(register)) }),
        }
    }

    pub(crate) fn write(&self, register: Register, value: u32) {
        match self.mapped {
            Some(base) => {
                let pointer = core::ptr::with_exposed_provenance_mut::<u32>(place(base, register));
                // SAFETY: as for reading; an interrupt that follows from it meets a gate, whatever its vector.
                unsafe { pointer.write_volatile(value) }
            }
            // SAFETY: as above.
            None => unsafe { cpu::write_msr(msr(register), value.into()) },
        }
    }

    /// Lets interrupts through, except those of the 8259 pair, of which no one knows.
    pub(crate) fn accept_interrupts(&self) {
        // SAFETY: the mask registers of the 8259 pair, or no device at all.
        unsafe {
            cpu::out8(0x21, 0xff);
            cpu::out8(0xa1, 0xff);
        }
        self.write(Register::LocalPin0, MASKED);
        self.write(Register::TaskPriority, 0);
        self.write(Register::Spurious, 1 << 8 | u32::from(interrupts::SPURIOUS));
    }

    /// This CPU's number as a destination of interrupts; None if it does not fit their eight bits.
    pub(crate) fn id(&self) -> Option<u8> {
        let id = self.read(Register::Id);
        let id = if self.mapped.is_some() { id >> 24 } else { id };
        u8::try_from(id).ok().filter(|id| *id != 0xff)
    }
}

fn place(base: u64, register: Register) -> usize {
    crate::to_usize(base) + register as usize
}

fn msr(register: Register) -> u32 {
    MSR_X2APIC + (register as u32 >> 4)
}

#[allow(clippy::cast_possible_truncation, reason = "the registers used have 32 bits")]
fn low(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_a_place_in_both_modes() {
        assert_eq!(place(0xfee0_0000, Register::EndOfInterrupt), 0xfee0_00b0);
        assert_eq!(msr(Register::EndOfInterrupt), 0x80b);
        assert_eq!(msr(Register::TimerVector), 0x832);
        assert_eq!(msr(Register::CurrentCount), 0x839);
    }
}
