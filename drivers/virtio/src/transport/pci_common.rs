//! The registers that every PCI device has: `virtio_pci_common_cfg` (virtio 1.2, 4.1.4.3).

use core::marker::PhantomData;
use core::ptr::NonNull;

use super::pci_config::COMMON_BYTES;
use super::{Span, reset_ends};

/// A register: its offset, and how wide it is.
pub(super) struct Register<T>(usize, PhantomData<T>);

impl<T> Register<T> {
    const fn at(offset: usize) -> Self {
        assert!(offset + size_of::<T>() <= COMMON_BYTES as usize);
        assert!(offset.is_multiple_of(align_of::<T>()) && align_of::<T>() <= 4);
        Self(offset, PhantomData)
    }
}

pub(super) const DEVICE_FEATURE_SELECT: Register<u32> = Register::at(0);
pub(super) const DEVICE_FEATURE: Register<u32> = Register::at(4);
pub(super) const DRIVER_FEATURE_SELECT: Register<u32> = Register::at(8);
pub(super) const DRIVER_FEATURE: Register<u32> = Register::at(12);
pub(super) const DEVICE_STATUS: Register<u8> = Register::at(20);
pub(super) const CONFIG_GENERATION: Register<u8> = Register::at(21);
const QUEUE_SELECT: Register<u16> = Register::at(22);
pub(super) const QUEUE_SIZE: Register<u16> = Register::at(24);
pub(super) const QUEUE_MSIX_VECTOR: Register<u16> = Register::at(26);
pub(super) const QUEUE_ENABLE: Register<u16> = Register::at(28);
pub(super) const QUEUE_NOTIFY_OFF: Register<u16> = Register::at(30);
/// Three addresses of 64 bits, each written in halves (virtio 1.2, 4.1.3.1).
const QUEUE_ADDRESSES: [[Register<u32>; 2]; 3] = [
    [Register::at(32), Register::at(36)],
    [Register::at(40), Register::at(44)],
    [Register::at(48), Register::at(52)],
];

/// `queue_reset`, which only devices that offer `VIRTIO_F_RING_RESET` must have.
const QUEUE_RESET: usize = 58;

/// The structure of one device.
#[derive(Debug)]
pub(super) struct Common {
    /// Invariant: [`COMMON_BYTES`] from here on are registers, mapped for good and aligned to 4; where the device
    /// `has_reset`, four bytes more.
    base: NonNull<u8>,
    has_reset: bool,
}

impl Common {
    /// The structure at `span`; `None` where it is not aligned, or too short.
    ///
    /// # Safety
    /// The span must be mapped at its own addresses, as device memory wants it, for ever.
    pub(super) unsafe fn new(span: Span) -> Option<Self> {
        let base = super::pci::pointer(span.address)?;
        let fits = span.len >= COMMON_BYTES.into() && span.address.is_multiple_of(4);
        fits.then_some(Self { base, has_reset: span.len >= QUEUE_RESET as u64 + 2 })
    }

    pub(super) fn read<T>(&self, register: Register<T>) -> T
    where
        T: zerocopy::FromBytes,
    {
        // SAFETY: inside the structure and aligned (see `Register::at`); any bytes make a `T`.
        unsafe { self.base.add(register.0).cast::<T>().read_volatile() }
    }

    pub(super) fn write<T>(&self, register: Register<T>, value: T) {
        // SAFETY: as for `read`.
        unsafe { self.base.add(register.0).cast::<T>().write_volatile(value) }
    }

    /// Of the registers of queues, those of this one are meant from now on.
    pub(super) fn select(&self, queue: u16) {
        self.write(QUEUE_SELECT, queue);
    }

    /// Writes the addresses of the selected queue's parts.
    pub(super) fn set_addresses(&self, addresses: [u64; 3]) {
        for ([low, high], address) in QUEUE_ADDRESSES.into_iter().zip(addresses) {
            #[expect(clippy::cast_possible_truncation, reason = "both halves are written")]
            self.write(low, address as u32);
            self.write(high, (address >> 32) as u32);
        }
    }

    /// Whether there is a register that resets one queue.
    pub(super) fn has_reset(&self) -> bool {
        self.has_reset
    }

    /// Resets the selected queue; whether the device says that it is done.
    pub(super) fn reset(&self) -> bool {
        if !self.has_reset {
            return false;
        }
        // SAFETY: the structure reaches that far, and is aligned.
        unsafe {
            let register = self.base.add(QUEUE_RESET).cast::<u16>();
            register.write_volatile(1);
            reset_ends(|| register.read_volatile() != 0)
        }
    }
}
