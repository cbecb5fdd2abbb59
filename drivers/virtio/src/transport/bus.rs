//! The doorbell of devices that have one in memory: PCI and MMIO.

use alloc::boxed::Box;
use core::ptr::NonNull;

use netdev::{RxQueue, StartFailure, TxQueue};

use super::Doorbell;
use crate::net::Queues;

/// A cached doorbell register. Ringing is one store; over a virtual machine's bus, one exit.
#[derive(Debug)]
pub struct BusDoorbell {
    register: Register,
    queue: u16,
}

#[derive(Debug)]
enum Register {
    /// PCI: 16 bits, a register of its own per queue or one for all (virtio 1.2, 4.1.4.4).
    Word(NonNull<u16>),
    /// MMIO: 32 bits, one for all queues (virtio 1.2, 4.2.2).
    Long(NonNull<u32>),
    /// Either, with data (virtio 1.2, 4.1.5.2 and 4.2.3.3).
    Data(NonNull<u32>),
}

impl BusDoorbell {
    /// # Safety
    /// `register` must be valid for writes for as long as the doorbell is used, and aligned.
    pub(super) unsafe fn word(register: NonNull<u16>, queue: u16) -> Self {
        Self { register: Register::Word(register), queue }
    }

    /// # Safety
    /// As [`word`](Self::word).
    pub(super) unsafe fn long(register: NonNull<u32>, queue: u16) -> Self {
        Self { register: Register::Long(register), queue }
    }

    /// # Safety
    /// As [`word`](Self::word).
    pub(super) unsafe fn data(register: NonNull<u32>, queue: u16) -> Self {
        Self { register: Register::Data(register), queue }
    }
}

impl Doorbell for BusDoorbell {
    #[inline]
    fn ring(&mut self, data: u32) {
        // SAFETY: valid and aligned, as whoever made the value promised.
        unsafe {
            match self.register {
                Register::Word(register) => register.write_volatile(self.queue),
                Register::Long(register) => register.write_volatile(self.queue.into()),
                Register::Data(register) => register.write_volatile(data),
            }
        }
    }

    #[inline(never)]
    fn receive_queue(
        queues: &mut Queues<'_, Self>,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn RxQueue>, StartFailure> {
        queues.receive(queue, entries)
    }

    #[inline(never)]
    fn transmit_queue(
        queues: &mut Queues<'_, Self>,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn TxQueue>, StartFailure> {
        queues.transmit(queue, entries)
    }
}
