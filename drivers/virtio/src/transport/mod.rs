//! Transports: how a driver reaches a device's registers, and how it rings.
//!
//! Registers are virtio-drivers' [`Transport`] trait, off the packet path. What it lacks is a doorbell that
//! costs one store: its `notify` makes three register accesses over PCI. [`DoorbellTransport`] adds it, with
//! a type that each transport chooses, so that a queue depends on the doorbell only: the two buses share
//! [`BusDoorbell`], and a vhost-user front end brings its own (an eventfd).
//!
//! Deliberately absent: finding devices (the platform's), interrupts, and legacy devices.

mod bus;
mod bus_device;
mod mmio;
mod pci;
mod pci_common;
mod pci_config;

use alloc::boxed::Box;
use core::fmt;

use netdev::{RxQueue, StartFailure, TxQueue, WakeSource};
pub use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

pub use bus::BusDoorbell;
pub use bus_device::BusDevice;
pub use mmio::MmioDevice;
pub use pci::PciDevice;
pub use pci_config::{PciRegions, Span};

use crate::net::Queues;

/// Tells the device that a queue has new entries.
pub trait Doorbell {
    /// Rings. At most once per burst. `data`: the queue's [`notification`](crate::ring::ReceiveRing::notification),
    /// of which a doorbell without data tells the queue only.
    fn ring(&mut self, data: u32);

    /// Makes a receive queue that rings such a doorbell. Not to be written but for one that many transports share, so
    /// that its queues are compiled once, in this crate, for speed.
    ///
    /// # Errors
    /// As a device's start.
    #[doc(hidden)]
    fn receive_queue(
        queues: &mut Queues<'_, Self>,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn RxQueue>, StartFailure>
    where
        Self: Sized + 'static,
    {
        queues.receive(queue, entries)
    }

    /// The same of a transmit queue.
    ///
    /// # Errors
    /// As a device's start.
    #[doc(hidden)]
    fn transmit_queue(
        queues: &mut Queues<'_, Self>,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn TxQueue>, StartFailure>
    where
        Self: Sized + 'static,
    {
        queues.transmit(queue, entries)
    }
}

/// A transport that hands out a doorbell for each queue.
pub trait DoorbellTransport: Transport {
    /// Its kind of doorbell.
    type Doorbell: Doorbell + 'static;

    /// The doorbell of `queue`, which may not have been set up yet; one that carries data where that was negotiated
    /// (`VIRTIO_F_NOTIFICATION_DATA`). Asked for at start.
    ///
    /// # Errors
    /// Where the device names a place for it that is not its to name, in words.
    fn doorbell(&mut self, queue: u16, data: bool) -> Result<Self::Doorbell, &'static str>;

    /// Whether there is a register that resets one queue, should the device offer `VIRTIO_F_RING_RESET`.
    fn resets_queues(&self) -> bool {
        false
    }

    /// Resets `queue`, where that was negotiated (`VIRTIO_F_RING_RESET`); whether the device says that it is done, which
    /// [`queue_used`](Transport::queue_used) must confirm: a device may know nothing of the register.
    fn reset_queue(&mut self, queue: u16) -> bool {
        let _ = queue;
        false
    }

    /// What wakes a sleeper when the device has something in `queue`; `None` where nothing does, and the queue
    /// must be polled.
    fn wake_source(&self, queue: u16) -> Option<WakeSource> {
        let _ = queue;
        None
    }
}

/// How often a register is read while something resets. Devices of a virtual machine answer at once; a second
/// or so passes over a bus.
const RESET_READS: usize = 1_000_000;

/// Waits until what is reset says that it is done; `false`: it does not.
pub(crate) fn reset_ends(mut pending: impl FnMut() -> bool) -> bool {
    for _ in 0..RESET_READS {
        if !pending() {
            return true;
        }
        core::hint::spin_loop();
    }
    false
}

/// Why there is no usable device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// Nothing is there: an empty slot of the bus.
    Absent,
    /// Something is there, but no virtio device.
    NotVirtio {
        /// What stood where virtio's mark was expected.
        found: u32,
    },
    /// A virtio device of a version other than 1.0 or later.
    Version(u32),
    /// A kind of virtio device that nobody knows.
    UnknownDevice(u32),
    /// The device's description of itself breaks the rules, in words.
    Malformed(&'static str),
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is no device"),
            Self::NotVirtio { found } => write!(f, "{found:#010x} is not a virtio device"),
            Self::Version(version) => write!(
                f,
                "virtio-mmio version {version} is not supported, only 2 is (QEMU: -global virtio-mmio.force-legacy=false)"
            ),
            Self::UnknownDevice(id) => write!(f, "virtio device id {id} is unknown"),
            Self::Malformed(what) => write!(f, "the device describes itself wrongly: {what}"),
        }
    }
}

impl core::error::Error for TransportError {}
