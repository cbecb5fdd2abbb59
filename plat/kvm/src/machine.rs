//! What a booted machine gives to the program: the one value that proves the platform is up.

use crate::clock::Clock;
use crate::ioapic;
use crate::memory_map::MemoryMap;
use crate::mmio::{self, MmioSlot, SlotError};
use crate::pci::{self, Pci};
use crate::sleep::{SleepError, Sleeper};
use core::ptr::NonNull;

/// A booted machine. There is exactly one; the entry function gets it.
#[derive(Debug)]
pub struct Machine {
    pub(crate) clock: Clock,
    pub(crate) command_line: &'static str,
    pub(crate) entry_cycles: u64,
    pub(crate) extended_state: u64,
    pub(crate) memory_map: MemoryMap,
    pub(crate) pci: Option<Pci>,
    pub(crate) sleeper_taken: bool,
}

impl Machine {
    /// The clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The command line: printable ASCII and blanks, at most [`crate::MAX_COMMAND_LINE`] bytes.
    #[must_use]
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// The time-stamp counter when the first instruction of the image ran.
    #[must_use]
    pub fn entry_cycles(&self) -> u64 {
        self.entry_cycles
    }

    /// Whether AVX state is switched on, so that code may use it after asking CPUID.
    #[must_use]
    pub fn has_avx(&self) -> bool {
        self.extended_state & 0b100 != 0
    }

    /// The PCI bus; None on a machine without one.
    pub fn pci(&mut self) -> Option<&mut Pci> {
        self.pci.as_mut()
    }

    /// The virtio-mmio devices: those that the command line names, else those in microvm's slots.
    ///
    /// # Errors
    ///
    /// An item is an error where the command line has a malformed `virtio_mmio.device=`, or one that lies in RAM.
    pub fn mmio_slots(&self) -> impl Iterator<Item = Result<MmioSlot, SlotError<'static>>> + '_ {
        let named = mmio::named(self.command_line);
        let is_named = mmio::named(self.command_line).next().is_some();
        let guessed = !is_named && !pci::has_ports();
        let guesses = guessed.then(|| {
            // With a single IOAPIC, microvm's lines depend on options that are not visible from here.
            mmio::microvm(ioapic::has_second().then_some(ioapic::SECOND_LINE))
        });
        let guesses = guesses.into_iter().flatten().map(Ok);
        named.chain(guesses).filter_map(|place| match place {
            Ok(place) if self.memory_map.has_ram(&place.range()) => {
                Some(Err(SlotError("virtio_mmio.device= within RAM")))
            }
            // SAFETY: the place is no RAM according to the memory map.
            Ok(place) => unsafe { mmio::probe(place) }.map(Ok),
            Err(error) => Some(Err(error)),
        })
    }

    /// What puts the core to sleep. Trying the timer takes about a millisecond.
    ///
    /// # Errors
    ///
    /// Where nothing would end a sleep, or the one sleeper has been taken.
    pub fn sleeper(&mut self) -> Result<Sleeper, SleepError> {
        if self.sleeper_taken {
            return Err(SleepError::Taken);
        }
        let sleeper = Sleeper::find(self.clock)?;
        self.sleeper_taken = true;
        Ok(sleeper)
    }

    /// Takes zeroed memory for good, for packets and rings; see [`crate::take_device_memory`].
    #[must_use]
    pub fn take_device_memory(&mut self, length: usize, align: usize) -> Option<NonNull<[u8]>> {
        crate::take_device_memory(length, align)
    }

    /// Bytes of usable memory in the machine, whoever owns them.
    #[must_use]
    pub fn memory_size(&self) -> u64 {
        self.memory_map.ram().map(|ram| ram.end - ram.start).sum()
    }
}
