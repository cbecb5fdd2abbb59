//! The device half of a virtqueue of either format: what a back end holds that learns of the format when a
//! ring is started.
//!
//! One test per burst, none per packet.
#![forbid(unsafe_code)]

use netbuf::{Burst, Pool};
use netdev::{Armed, QueueCounters};

use super::packed::PackedDevice;
use super::split::{Indexes, SplitDevice};
use crate::memory::MemoryMap;

/// A device half.
#[derive(Debug)]
pub enum DeviceHalf {
    /// Of a split ring.
    Split(SplitDevice),
    /// Of a packed ring.
    Packed(PackedDevice),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident.$($call:tt)+) => {
        match $self {
            Self::Split(half) => half.$($call)+,
            Self::Packed(half) => half.$($call)+,
        }
    };
}

impl DeviceHalf {
    /// See [`SplitDevice::receive`].
    #[inline]
    pub fn receive(
        &mut self,
        memory: &MemoryMap,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> usize {
        either!(self.receive(memory, pool, out, counters, port))
    }

    /// See [`SplitDevice::transmit`].
    #[inline]
    pub fn transmit(
        &mut self,
        memory: &MemoryMap,
        packets: &mut Burst,
        counters: &QueueCounters,
    ) -> usize {
        either!(self.transmit(memory, packets, counters))
    }

    /// See [`SplitDevice::should_notify`].
    #[inline]
    pub fn should_notify(&mut self) -> bool {
        either!(self.should_notify())
    }

    /// See [`SplitDevice::arm`].
    pub fn arm(&mut self) -> Armed {
        either!(self.arm())
    }

    /// See [`SplitDevice::disarm`].
    pub fn disarm(&mut self) {
        either!(self.disarm());
    }

    /// Where the ring stands; see [`SplitDevice::indexes`] and [`PackedDevice::indexes`].
    pub fn indexes(&self) -> Indexes {
        either!(self.indexes())
    }

    /// Whether the driver has broken the ring beyond repair.
    pub fn is_broken(&self) -> bool {
        either!(self.is_broken())
    }
}

impl From<SplitDevice> for DeviceHalf {
    fn from(half: SplitDevice) -> Self {
        Self::Split(half)
    }
}

impl From<PackedDevice> for DeviceHalf {
    fn from(half: PackedDevice) -> Self {
        Self::Packed(half)
    }
}
