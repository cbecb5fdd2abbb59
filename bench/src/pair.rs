//! Both halves joined in one address space: a driver's two rings, and the device half of each.

use netbuf::{DeviceMemory, Pool};
use virtio::memory::{MemoryMap, Region};
use virtio::net::PlainHeader;
use virtio::ring::split::{
    DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
    ring_bytes,
};
use virtio::ring::{Addresses, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup};

use crate::gates::new_pool;

/// Entries of the rings.
pub const ENTRIES: u32 = 256;

/// Two rings and both of their halves.
pub struct Pair {
    /// The driver's packets.
    pub guest_pool: Pool,
    /// The device's packets.
    pub host_pool: Pool,
    /// The driver half that sends.
    pub driver_tx: SplitTransmit<PlainHeader>,
    /// The driver half that receives.
    pub driver_rx: SplitReceive<PlainHeader>,
    /// Takes what `driver_tx` sends.
    pub device_rx: SplitDevice,
    /// Fills what `driver_rx` posts.
    pub device_tx: SplitDevice,
    /// The driver's packets, as the device half may reach them.
    pub map: MemoryMap,
}

impl Pair {
    /// Two fresh rings, with buffers posted for receiving.
    pub fn new() -> Self {
        let Some(size) = RingSize::new(ENTRIES) else { unreachable!("a power of two") };
        let (guest_pool, host_pool) = (new_pool(2048), new_pool(2048));
        let memory = [(); 2].map(|()| DeviceMemory::from_heap(ring_bytes(size)));
        let receive = ReceiveSetup { event_idx: true, pool: guest_pool, port: 3, max_frame: 2048 };
        let transmit = TransmitSetup { event_idx: true, home: guest_pool, max_frame: 2048 };
        // SAFETY: fresh memory, each part for one ring.
        let halves = unsafe {
            (
                SplitReceive::new(&memory[0], 0, size, &receive),
                SplitTransmit::new(&memory[1], 0, size, &transmit),
            )
        };
        let (Some(mut driver_rx), Some(driver_tx)) = halves else {
            unreachable!("the memory is as large as the rings")
        };
        let _ = driver_rx.refill();
        let options = DeviceOptions { event_idx: true, indirect: false, max_frame: 2048 };
        let device = |addresses, memory| {
            SplitDevice::new(ring_at(memory, addresses, size), Indexes::default(), options)
        };
        let (host, len) = guest_pool.device_region();
        let packets = Region { device: host.addr().get() as u64, len: len as u64, host };
        // SAFETY: the pool's memory is never given back, and no reference to a packet that is in a ring exists.
        let Ok(map) = (unsafe { MemoryMap::new(&[packets]) }) else { unreachable!("one region") };
        Self {
            device_rx: device(driver_tx.addresses(), &memory[1]),
            device_tx: device(driver_rx.addresses(), &memory[0]),
            guest_pool,
            host_pool,
            driver_tx,
            driver_rx,
            map,
        }
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// The device's view of a ring in `memory`.
fn ring_at(memory: &DeviceMemory, addresses: Addresses, size: RingSize) -> SplitRing {
    let part = |address: u64| {
        let offset = usize::try_from(address).unwrap_or(0) - memory.base().addr().get();
        // SAFETY: the driver half placed its parts in this memory.
        unsafe { memory.base().add(offset) }
    };
    // SAFETY: the driver half's own ring, in memory that is never given back.
    unsafe {
        SplitRing::new(part(addresses.desc), part(addresses.driver), part(addresses.device), size)
    }
}
