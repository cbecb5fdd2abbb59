//! Both halves joined: a driver's two rings, and the device half of each.

use netbuf::{DeviceMemory, Pool};
use virtio::memory::{MemoryMap, Region};
use virtio::net::PlainHeader;
use virtio::ring::split::{
    DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
    ring_bytes,
};
use virtio::ring::{Addresses, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup};

/// What is shared by many pairs, one after the other: memory is never given back.
pub struct Machine {
    pub guest_pool: Pool,
    pub host_pool: Pool,
    memory: DeviceMemory,
}

/// The most entries of a ring that a [`Machine`] has memory for.
pub const MOST: u32 = 256;

impl Machine {
    pub fn new() -> Self {
        let ring = ring_bytes(RingSize::new(MOST).unwrap());
        Self {
            guest_pool: super::pool(700),
            host_pool: super::pool(200),
            memory: DeviceMemory::from_heap(2 * ring),
        }
    }
}

pub struct Pair {
    pub driver_tx: SplitTransmit<PlainHeader>,
    pub driver_rx: SplitReceive<PlainHeader>,
    /// Takes what `driver_tx` sends.
    pub device_rx: SplitDevice,
    /// Fills what `driver_rx` posts.
    pub device_tx: SplitDevice,
    pub map: MemoryMap,
}

impl Pair {
    /// The rings of the driver's transmit and receive halves.
    pub fn rings(&self) -> [SplitRing; 2] {
        [self.device_rx.ring(), self.device_tx.ring()]
    }

    /// Two rings of `entries` in the machine's memory; nothing is posted. Only one pair at a time.
    pub fn new(machine: &Machine, entries: u32, event_idx: bool) -> Self {
        let size = RingSize::new(entries).unwrap();
        assert!(entries <= MOST);
        let receive =
            ReceiveSetup { event_idx, pool: machine.guest_pool, port: 3, max_frame: 1518 };
        let transmit = TransmitSetup { event_idx, home: machine.guest_pool, max_frame: 1518 };
        let second = machine.memory.len() / 2;
        // SAFETY: the halves of the memory do not overlap, and earlier pairs were dissolved.
        let (driver_rx, driver_tx) = unsafe {
            (
                SplitReceive::new(&machine.memory, 0, size, &receive).unwrap(),
                SplitTransmit::new(&machine.memory, second, size, &transmit).unwrap(),
            )
        };
        let options = DeviceOptions { event_idx, indirect: false, max_frame: 1518 };
        let view = |addresses| ring_at(&machine.memory, addresses, size);
        let (host, len) = machine.guest_pool.device_region();
        let packets = Region { device: host.addr().get() as u64, len: len as u64, host };
        Self {
            device_rx: SplitDevice::new(view(driver_tx.addresses()), Indexes::default(), options),
            device_tx: SplitDevice::new(view(driver_rx.addresses()), Indexes::default(), options),
            // SAFETY: the pool's memory is never given back.
            map: unsafe { MemoryMap::new(&[packets]) }.unwrap(),
            driver_tx,
            driver_rx,
        }
    }
}

/// Every packet goes home.
impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: the device halves are not used any more.
        unsafe {
            self.driver_tx.release();
            self.driver_rx.release();
        }
    }
}

/// The device's view of a ring in `memory`.
pub fn ring_at(memory: &DeviceMemory, addresses: Addresses, size: RingSize) -> SplitRing {
    let part = |address: u64| {
        let offset = address - memory.base().addr().get() as u64;
        // SAFETY: the driver half placed its parts in this memory.
        unsafe { memory.base().add(usize::try_from(offset).unwrap()) }
    };
    // SAFETY: the driver half's own ring, in memory that is never given back.
    unsafe {
        SplitRing::new(part(addresses.desc), part(addresses.driver), part(addresses.device), size)
    }
}
