//! A ring that runs: the device half of a virtqueue together with the memory that it lies in.

use std::sync::Arc;

use netdev::{Armed, QueueCounters};
use virtio::memory::MemoryMap;
use virtio::ring::DeviceHalf;
use virtio::ring::packed::{PackedDevice, PackedRing};
use virtio::ring::split::{DeviceOptions, Indexes, RingSize, SplitDevice, SplitRing};

use super::memory_table::MemoryTable;
use crate::message::VringAddr;
use crate::violation::Violation;
use netbuf::{Burst, Pool};

/// What the features mean for a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingOptions {
    /// `VIRTIO_F_RING_PACKED`.
    pub(crate) packed: bool,
    pub(crate) device: DeviceOptions,
}

/// A started and enabled ring.
pub(crate) struct LiveRing {
    /// Lies in `_memory`; never handed out.
    device: DeviceHalf,
    /// The regions of `_memory`: a copy of this ring's own, because it remembers where it looked last.
    map: MemoryMap,
    /// Keeps everything mapped that `device` and `map` name.
    _memory: Arc<MemoryTable>,
    armed: bool,
}

// SAFETY: the ring's parts and the map's regions are addresses in mappings that `_memory` keeps, for all threads alike.
// They are private to this value and used through `&mut self` only, so by one thread at a time; nothing else in it is
// bound to a thread.
unsafe impl Send for LiveRing {}

impl LiveRing {
    /// Starts the ring at `addr`, at `base`: what `SET_VRING_BASE` said, or `None` for a fresh ring. (A split ring says
    /// itself where it stands.)
    ///
    /// # Errors
    /// A part of it is misaligned or not inside one region; or `base` is none of the ring's.
    pub(crate) fn start(
        memory: &Arc<MemoryTable>,
        addr: &VringAddr,
        size: RingSize,
        base: Option<u32>,
        options: RingOptions,
    ) -> Result<Self, Violation> {
        let device = match place(memory, addr, size, options.packed)? {
            Placed::Packed(ring) => {
                PackedDevice::new(ring, packed_base(base, size)?, options.device).into()
            }
            Placed::Split(ring) => {
                let used = ring.load_used_index(std::sync::atomic::Ordering::Relaxed);
                let base = base.unwrap_or(0);
                u16::try_from(base).map_err(|_| Violation::RingBase(base))?;
                // Whatever was taken was also given back, unless a device fell out of it; and DPDK's virtio-user names 0
                // as the base when a back end comes again to rings that have turned.
                let at = Indexes { avail: used, used };
                SplitDevice::new(ring, at, options.device).into()
            }
        };
        Ok(Self { device, map: memory.map()?, _memory: Arc::clone(memory), armed: false })
    }

    /// Frames that the driver has sent; see [`DeviceHalf::receive`].
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
        self.device.receive(&self.map, pool, out, counters, port)
    }

    /// Frames for the driver; see [`DeviceHalf::transmit`].
    #[inline]
    pub(crate) fn transmit(&mut self, packets: &mut Burst, counters: &QueueCounters) -> usize {
        self.device.transmit(&self.map, packets, counters)
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

    /// Where the ring stands, as `GET_VRING_BASE` answers: the avail ring entry to take next; or of a packed
    /// ring both indexes, the avail one in the lower half, with their wrap counters in bits 15 and 31.
    pub(crate) fn base(&self) -> u32 {
        let Indexes { avail, used } = self.device.indexes();
        match self.device {
            DeviceHalf::Split(_) => avail.into(),
            DeviceHalf::Packed(_) => u32::from(avail) | u32::from(used) << 16,
        }
    }

    /// Whether the driver has broken the ring's rules beyond repair.
    pub(crate) fn is_broken(&self) -> bool {
        self.device.is_broken()
    }
}

/// A ring in a front end's memory.
pub(super) enum Placed {
    Split(SplitRing),
    Packed(PackedRing),
}

/// The ring at `addr`: a view that is valid as long as `memory`.
///
/// # Errors
/// A part of it is misaligned or not inside one region.
pub(super) fn place(
    memory: &MemoryTable,
    addr: &VringAddr,
    size: RingSize,
    packed: bool,
) -> Result<Placed, Violation> {
    let parts = |driver_len, driver_align, device_len| {
        let part = |address: u64, len, align: u64| {
            let host = memory.user(address, len)?;
            // Both, because the front end's address need not be aligned as ours is.
            let aligned =
                address.is_multiple_of(align) && (host.addr().get() as u64).is_multiple_of(align);
            aligned.then_some(host)
        };
        let desc = part(addr.desc, size.desc_bytes(), 16)?;
        let driver = part(addr.avail, driver_len, driver_align)?;
        Some((desc, driver, part(addr.used, device_len, 4)?))
    };
    let misplaced = Violation::RingAddress(addr.index);
    // SAFETY (of both views): each part lies inside one mapping of `memory` with its full length, aligned; whoever uses the
    // view holds the table, so the mappings outlive it, and has it for itself.
    if packed {
        let bytes = PackedRing::EVENT_BYTES;
        let (desc, driver, device) = parts(bytes, 4, bytes).ok_or(misplaced)?;
        // SAFETY: see above.
        Ok(Placed::Packed(unsafe { PackedRing::new(desc, driver, device, size) }))
    } else {
        let (desc, avail, used) =
            parts(size.avail_bytes(), 2, size.used_bytes()).ok_or(misplaced)?;
        // SAFETY: see above.
        Ok(Placed::Split(unsafe { SplitRing::new(desc, avail, used, size) }))
    }
}

/// The indexes that a packed ring's base names.
///
/// Front ends that know of the lower half only (DPDK's virtio-user) leave the upper one zero, which also says
/// that the device stands at its first descriptor in a later lap. Whoever stops finishes first what it has
/// taken, so that both halves are equal; a zero is therefore taken for "the same".
pub(super) fn packed_base(base: Option<u32>, size: RingSize) -> Result<Indexes, Violation> {
    let Some(base) = base else { return Ok(PackedDevice::START) };
    let [a, b, c, d] = base.to_le_bytes();
    let avail = u16::from_le_bytes([a, b]);
    let used = match u16::from_le_bytes([c, d]) {
        0 => avail,
        used => used,
    };
    let inside = |index: u16| index & 0x7fff < size.get();
    if inside(avail) && inside(used) {
        Ok(Indexes { avail, used })
    } else {
        Err(Violation::RingBase(base))
    }
}
