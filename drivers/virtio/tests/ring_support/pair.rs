//! Both halves joined: a driver's two rings, and the device half of each.

use netbuf::{DeviceMemory, Pool};
use netdev::RingFormat;
use virtio::memory::{MemoryMap, Region};
use virtio::net::PlainHeader;
use virtio::ring::packed::{PackedDevice, PackedReceive, PackedRing, PackedTransmit};
use virtio::ring::split::{
    DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
    ring_bytes,
};
use virtio::ring::{
    Addresses, DeviceHalf, ReceiveRing, ReceiveSetup, RingOptions, TransmitRing, TransmitSetup,
};

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
    pub driver_tx: Box<dyn TransmitRing>,
    pub driver_rx: Box<dyn ReceiveRing>,
    /// Takes what `driver_tx` sends.
    pub device_rx: DeviceHalf,
    /// Fills what `driver_rx` posts.
    pub device_tx: DeviceHalf,
    pub map: MemoryMap,
}

impl Pair {
    /// The rings of the driver's transmit and receive halves.
    pub fn rings(&self) -> [SplitRing; 2] {
        [&self.device_rx, &self.device_tx].map(|half| match half {
            DeviceHalf::Split(half) => half.ring(),
            DeviceHalf::Packed(_) => panic!("a packed ring"),
        })
    }

    /// The same of packed rings.
    pub fn packed_rings(&self) -> [PackedRing; 2] {
        [&self.device_rx, &self.device_tx].map(|half| match half {
            DeviceHalf::Split(_) => panic!("a split ring"),
            DeviceHalf::Packed(half) => half.ring(),
        })
    }

    /// Two split rings of `entries` in the machine's memory; nothing is posted. Only one pair at a time.
    pub fn new(machine: &Machine, entries: u32, event_idx: bool) -> Self {
        Self::of(RingFormat::Split, machine, entries, event_idx)
    }

    /// The same of either format.
    pub fn of(format: RingFormat, machine: &Machine, entries: u32, event_idx: bool) -> Self {
        let size = RingSize::new(entries).unwrap();
        assert!(entries <= MOST);
        let options = RingOptions { event_idx, ..RingOptions::NONE };
        let receive = ReceiveSetup { options, pool: machine.guest_pool, port: 3, max_frame: 1518 };
        let transmit = TransmitSetup { options, home: machine.guest_pool, max_frame: 1518 };
        let (memory, second) = (&machine.memory, machine.memory.len() / 2);
        // SAFETY: the halves of the memory do not overlap, and earlier pairs were dissolved.
        let (driver_rx, driver_tx): (Box<dyn ReceiveRing>, Box<dyn TransmitRing>) = unsafe {
            match format {
                RingFormat::Packed => (
                    Box::new(PackedReceive::<PlainHeader>::new(memory, 0, size, &receive).unwrap()),
                    Box::new(
                        PackedTransmit::<PlainHeader>::new(memory, second, size, &transmit)
                            .unwrap(),
                    ),
                ),
                _ => (
                    Box::new(SplitReceive::<PlainHeader>::new(memory, 0, size, &receive).unwrap()),
                    Box::new(
                        SplitTransmit::<PlainHeader>::new(memory, second, size, &transmit).unwrap(),
                    ),
                ),
            }
        };
        let options = DeviceOptions { ring: options, max_frame: 1518 };
        let device = |addresses| -> DeviceHalf {
            match format {
                RingFormat::Packed => {
                    let ring = packed_ring_at(memory, addresses, size);
                    PackedDevice::new(ring, PackedDevice::START, options).into()
                }
                _ => {
                    let ring = ring_at(memory, addresses, size);
                    SplitDevice::new(ring, Indexes::default(), options).into()
                }
            }
        };
        let (host, len) = machine.guest_pool.device_region();
        let packets = Region { device: host.addr().get() as u64, len: len as u64, host };
        Self {
            device_rx: device(driver_tx.addresses()),
            device_tx: device(driver_rx.addresses()),
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

/// The device's view of a packed ring in `memory`.
pub fn packed_ring_at(memory: &DeviceMemory, addresses: Addresses, size: RingSize) -> PackedRing {
    let part = |address: u64| {
        let offset = address - memory.base().addr().get() as u64;
        // SAFETY: the driver half placed its parts in this memory.
        unsafe { memory.base().add(usize::try_from(offset).unwrap()) }
    };
    // SAFETY: the driver half's own ring, in memory that is never given back.
    unsafe {
        PackedRing::new(part(addresses.desc), part(addresses.driver), part(addresses.device), size)
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
