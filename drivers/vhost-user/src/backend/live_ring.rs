//! A ring that runs: the device half of a virtqueue together with the memory that it lies in.

use std::rc::Rc;

use netdev::{Armed, QueueCounters};
use virtio::ring::split::{DeviceOptions, Indexes, RingSize, SplitDevice, SplitRing};

use super::memory_table::MemoryTable;
use crate::message::VringAddr;
use netbuf::{Burst, Pool};

/// A started and enabled ring.
pub(crate) struct LiveRing {
    /// Lies in `memory`; never handed out.
    device: SplitDevice,
    memory: Rc<MemoryTable>,
    armed: bool,
}

impl LiveRing {
    /// Starts the ring at `addr`, with avail ring entry `base` as the next to take. `None` if a part of it is
    /// misaligned or not inside one region.
    pub(crate) fn start(
        memory: &Rc<MemoryTable>,
        addr: &VringAddr,
        size: RingSize,
        base: u16,
        options: DeviceOptions,
    ) -> Option<Self> {
        let part = |address: u64, len, align: u64| {
            let host = memory.user(address, len)?;
            // Both, because the front end's address need not be aligned as ours is.
            let aligned =
                address.is_multiple_of(align) && (host.addr().get() as u64).is_multiple_of(align);
            aligned.then_some(host)
        };
        let desc = part(addr.desc, size.desc_bytes(), 16)?;
        let avail = part(addr.avail, size.avail_bytes(), 2)?;
        let used = part(addr.used, size.used_bytes(), 4)?;
        // SAFETY: each part lies inside one mapping of `memory` with its full length, aligned; the new value
        // holds the table, so the mappings outlive the ring, which is private to it.
        let ring = unsafe { SplitRing::new(desc, avail, used, size) };
        let used = ring.load_used_index(std::sync::atomic::Ordering::Relaxed);
        let device = SplitDevice::new(ring, Indexes { avail: base, used }, options);
        Some(Self { device, memory: Rc::clone(memory), armed: false })
    }

    /// Frames that the driver has sent; see [`SplitDevice::receive`].
    #[inline]
    pub(crate) fn receive(
        &mut self,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> usize {
        if self.armed {
            self.disarm();
        }
        self.device.receive(self.memory.map(), pool, out, counters, port)
    }

    /// Frames for the driver; see [`SplitDevice::transmit`].
    #[inline]
    pub(crate) fn transmit(&mut self, packets: &mut Burst, counters: &QueueCounters) -> usize {
        self.device.transmit(self.memory.map(), packets, counters)
    }

    /// Whether the driver wants to be told about the burst.
    #[inline]
    pub(crate) fn should_notify(&mut self) -> bool {
        self.device.should_notify()
    }

    /// Asks for a kick at the driver's next entry.
    pub(crate) fn arm(&mut self) -> Armed {
        let armed = self.device.arm();
        self.armed = armed == Armed::Armed;
        armed
    }

    #[cold]
    fn disarm(&mut self) {
        self.armed = false;
        self.device.disarm();
    }

    /// The avail ring entry to take next.
    pub(crate) fn base(&self) -> u16 {
        self.device.indexes().avail
    }

    /// Whether the driver has broken the ring's rules beyond repair.
    pub(crate) fn is_broken(&self) -> bool {
        self.device.is_broken()
    }
}
