//! Sleeping: the core halts until a time comes or a device has something.
//!
//! Meant for an idle policy that arms its queues, looks at them once more and then sleeps: an interrupt that a device
//! raised in between ends the sleep at once. Interrupts are possible inside [`Sleeper::sleep`] and nowhere else. A
//! device need not be able to wake anybody: every sleep ends by itself, after a second at the latest.

extern crate alloc;

use crate::local_apic::LocalApic;
use crate::wake_timer::WakeTimer;
use crate::{Clock, MmioSlot, Pci, cpu, interrupts, ioapic};
use alloc::vec::Vec;
use core::fmt;
use core::ptr::NonNull;
use virtio_drivers::transport::pci::bus::DeviceFunction;

/// Longest sleep, in nanoseconds.
const LONGEST: u64 = 1_000_000_000;
/// virtio 1.2, 4.2.2: in a virtio-mmio device's interrupt acknowledgement, both reasons that there are.
const BOTH_REASONS: u32 = 0b11;

/// Puts the core to sleep. Its existence proves that the timer's interrupt arrives; there is at most one.
#[derive(Debug)]
pub struct Sleeper {
    timer: WakeTimer,
    longest: u64,
    /// This CPU, as a destination of interrupts.
    cpu: Option<u8>,
    /// Interrupt acknowledgement registers of the virtio-mmio devices that wake.
    slots: Vec<NonNull<u32>>,
    count: SleepCount,
}

/// What a sleep ended by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The time came, or a second went by.
    Time,
    /// A device interrupted. (It may have been for something that has been polled already.)
    Device,
}

/// Counts since the [`Sleeper`] was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SleepCount {
    /// Times the core was halted. Each ends by one interrupt.
    pub halts: u64,
    /// Timer interrupts.
    pub timer: u64,
    /// Device interrupts.
    pub device: u64,
}

/// Why the machine cannot sleep; poll instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SleepError {
    /// [`Machine::sleeper`](crate::Machine::sleeper) was called before.
    Taken,
    /// The CPU has no local APIC, or it is switched off.
    NoLocalApic,
    /// The local APIC's timer stands still, or its interrupt does not arrive.
    NoTimer,
}

/// Why a device cannot wake the sleeper; limit each sleep instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WakeError {
    /// The PCI function has not been enabled ([`Pci::enable`]).
    NotEnabled,
    /// The PCI function has no MSI-X capability (QEMU: `vectors=0`).
    NoMsix,
    /// The MSI-X table does not lie in a mapped BAR.
    MsixTable,
    /// It is not known which interrupt line the virtio-mmio device has.
    UnknownLine,
    /// No IOAPIC has the virtio-mmio device's interrupt line.
    NoIoApic(
        /// The line.
        u32,
    ),
    /// This CPU's number does not fit an interrupt's destination.
    Destination,
}

impl Sleeper {
    /// The MSI-X table entry that [`wake_on_pci`](Self::wake_on_pci) sets up: a virtio driver writes it to
    /// `queue_msix_vector` of each queue that is to wake the sleeper.
    pub const MSIX_ENTRY: u16 = 0;

    pub(crate) fn find(clock: Clock) -> Result<Self, SleepError> {
        let apic = LocalApic::find().ok_or(SleepError::NoLocalApic)?;
        let timer = WakeTimer::find(apic, clock).ok_or(SleepError::NoTimer)?;
        let longest = clock.cycles(LONGEST);
        let cpu = timer.apic().id();
        Ok(Self { timer, longest, cpu, slots: Vec::new(), count: SleepCount::default() })
    }

    /// Sleeps until the time-stamp counter reaches `until` (in cycles; None: for a second, as for any later time) or a
    /// device interrupts; returns at once if either has happened already.
    pub fn sleep(&mut self, until: Option<u64>) -> Wake {
        let latest = cpu::timestamp().saturating_add(self.longest);
        let until = until.map_or(latest, |until| until.min(latest));
        loop {
            let now = cpu::timestamp();
            if now >= until {
                return Wake::Time;
            }
            self.timer.set(now, until);
            let taken = interrupts::halt();
            self.timer.stop();
            self.timer.acknowledge(taken);
            self.count.halts += 1;
            match taken {
                interrupts::DEVICE => {
                    self.count.device += 1;
                    self.lower_lines();
                    return Wake::Device;
                }
                interrupts::TIMER => self.count.timer += 1,
                _ => {} // spurious: whatever it was is still to come
            }
        }
    }

    /// Lets the function wake the sleeper, through its MSI-X table's entry [`MSIX_ENTRY`](Self::MSIX_ENTRY), and gives
    /// the vector. The function must have been enabled; its driver then names the entry for a queue.
    ///
    /// # Errors
    ///
    /// Where the function cannot interrupt; it is then as it was.
    pub fn wake_on_pci(
        &mut self,
        pci: &mut Pci,
        function: DeviceFunction,
    ) -> Result<u8, WakeError> {
        let cpu = self.cpu.ok_or(WakeError::Destination)?;
        pci.route_msix(function, interrupts::DEVICE, cpu)?;
        Ok(interrupts::DEVICE)
    }

    /// Lets the device in `slot` wake the sleeper, through its interrupt line, and gives the vector. From then on its
    /// interrupts are acknowledged here; a driver has nothing to do.
    ///
    /// # Errors
    ///
    /// Where the device's line is not known or leads nowhere.
    pub fn wake_on_mmio(&mut self, slot: &MmioSlot) -> Result<u8, WakeError> {
        let cpu = self.cpu.ok_or(WakeError::Destination)?;
        let line = slot.line().ok_or(WakeError::UnknownLine)?;
        self.slots.push(slot.acknowledgement());
        self.lower_lines(); // a line that is up already would never rise
        if ioapic::route(line, interrupts::DEVICE, cpu) {
            return Ok(interrupts::DEVICE);
        }
        self.slots.pop();
        Err(WakeError::NoIoApic(line))
    }

    /// How often the core has been halted, and what woke it.
    #[must_use]
    pub fn count(&self) -> SleepCount {
        self.count
    }

    /// Acknowledges the interrupts of all virtio-mmio devices, so that their next ones are edges again.
    ///
    /// Nothing is lost: what a device reported before this is polled after the sleep, and what it reports later raises
    /// the line anew, which stays noted in the local APIC until the next sleep.
    fn lower_lines(&self) {
        for register in &self.slots {
            // SAFETY: the register of a virtio-mmio device that `mmio::probe` mapped for good; writing it only lowers
            // the device's interrupt line.
            unsafe { register.write_volatile(BOTH_REASONS) };
        }
    }
}

impl fmt::Display for SleepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "the machine's sleeper is in use already",
            Self::NoLocalApic => "the CPU has no local APIC, or it is off",
            Self::NoTimer => "the local APIC's timer does not interrupt",
        })
    }
}

impl core::error::Error for SleepError {}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotEnabled => "the PCI function is not enabled",
            Self::NoMsix => "the PCI function has no MSI-X (QEMU: vectors=0)",
            Self::MsixTable => "the MSI-X table does not lie in a mapped BAR",
            Self::UnknownLine => "the interrupt line is not known: name it by virtio_mmio.device=",
            Self::NoIoApic(line) => return write!(f, "no IOAPIC has interrupt line {line}"),
            Self::Destination => "the CPU's number is too large for interrupts",
        })
    }
}

impl core::error::Error for WakeError {}
