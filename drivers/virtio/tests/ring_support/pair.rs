//! Both halves joined: a driver's two rings, and the device half of each.

use netbuf::{DeviceMemory, Pool};
use netdev::{Offloads, RingFormat};
use virtio::memory::{MemoryMap, Region};
use virtio::net::{PlainHeader, SpeakingHeader};
use virtio::ring::packed::{PackedDevice, PackedReceive, PackedRing, PackedTransmit};
use virtio::ring::split::{
    DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
    ring_bytes,
};
use virtio::ring::{
    Addresses, DeviceHalf, Header, ReceiveRing, ReceiveSetup, RingOptions, TransmitRing,
    TransmitSetup, table_bytes,
};

/// What is shared by many pairs, one after the other: memory is never given back.
pub struct Machine {
    pub guest_pool: Pool,
    pub host_pool: Pool,
    pub memory: DeviceMemory,
}

/// The most entries of a ring that a [`Machine`] has memory for.
pub const MOST: u32 = 256;

impl Machine {
    pub fn new() -> Self {
        let most = RingSize::new(MOST).unwrap();
        let ring = ring_bytes(most) + table_bytes(most);
        Self {
            guest_pool: super::pool(1000),
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
        let options = RingOptions { event_idx, ..RingOptions::NONE };
        Self::with(format, machine, entries, options, 1518)
    }

    /// The same with all that can be negotiated.
    pub fn with(
        format: RingFormat,
        machine: &Machine,
        entries: u32,
        options: RingOptions,
        max_frame: u16,
    ) -> Self {
        let size = RingSize::new(entries).unwrap();
        assert!(entries <= MOST);
        let receive = ReceiveSetup { options, pool: machine.guest_pool, port: 3, max_frame };
        let transmit = TransmitSetup { options, home: machine.guest_pool, max_frame };
        let (memory, second) = (&machine.memory, machine.memory.len() / 2);
        let speaks = options.mergeable
            || options.offloads.intersects(Offloads::RX_CHECKSUM | Offloads::RX_LRO);
        // SAFETY: the halves of the memory do not overlap, and earlier pairs were dissolved.
        let (driver_rx, driver_tx): (Box<dyn ReceiveRing>, Box<dyn TransmitRing>) = unsafe {
            let driver_rx = if speaks {
                receiver::<SpeakingHeader>(format, memory, size, &receive)
            } else {
                receiver::<PlainHeader>(format, memory, size, &receive)
            };
            let driver_tx: Box<dyn TransmitRing> = match format {
                RingFormat::Packed => Box::new(
                    PackedTransmit::<PlainHeader>::new(memory, second, size, &transmit).unwrap(),
                ),
                _ => Box::new(
                    SplitTransmit::<PlainHeader>::new(memory, second, size, &transmit).unwrap(),
                ),
            };
            (driver_rx, driver_tx)
        };
        let offloads = mirrored(options.offloads);
        let options = DeviceOptions { ring: RingOptions { offloads, ..options }, max_frame };
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
        // (Tables of descriptors lie beside the rings.)
        let (host, len) = (memory.base(), memory.len());
        let rings = Region { device: host.addr().get() as u64, len: len as u64, host };
        Self {
            device_rx: device(driver_tx.addresses()),
            device_tx: device(driver_rx.addresses()),
            // SAFETY: memory of pools and rings is never given back.
            map: unsafe { MemoryMap::new(&[packets, rings]) }.unwrap(),
            driver_tx,
            driver_rx,
        }
    }
}

/// What the driver calls so, as the device names it.
fn mirrored(offloads: Offloads) -> Offloads {
    let cutting = Offloads::TX_TSO4 | Offloads::TX_TSO6;
    let pairs = [
        (Offloads::TX_CHECKSUM, Offloads::RX_CHECKSUM),
        (Offloads::RX_CHECKSUM, Offloads::TX_CHECKSUM),
        (cutting, Offloads::RX_LRO | Offloads::RX_CHAINS),
        (Offloads::TX_CHAINS, Offloads::RX_CHAINS),
        (Offloads::RX_LRO, Offloads::TX_CHECKSUM | cutting),
    ];
    let said = pairs.iter().filter(|(driver, _)| offloads.intersects(*driver));
    said.fold(Offloads::empty(), |all, (_, device)| all | *device)
}

/// # Safety
/// Nobody else may use the first half of `memory`.
unsafe fn receiver<H: Header>(
    format: RingFormat,
    memory: &DeviceMemory,
    size: RingSize,
    setup: &ReceiveSetup,
) -> Box<dyn ReceiveRing> {
    // SAFETY: the caller's promise.
    unsafe {
        match format {
            RingFormat::Packed => {
                Box::new(PackedReceive::<H>::new(memory, 0, size, setup).unwrap())
            }
            _ => Box::new(SplitReceive::<H>::new(memory, 0, size, setup).unwrap()),
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
