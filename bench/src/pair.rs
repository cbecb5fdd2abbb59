//! Both halves joined in one address space: a driver's two rings, of either format, and the device half of each.

use std::ptr::NonNull;

use netbuf::{Burst, DeviceMemory, Pool};
use netdev::QueueCounters;
use virtio::memory::{MemoryMap, Region};
use virtio::net::PlainHeader;
use virtio::ring::packed::{self, PackedDevice, PackedReceive, PackedRing, PackedTransmit};
use virtio::ring::split::{
    self, DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
};
use virtio::ring::{
    Addresses, ReceiveRing, ReceiveSetup, RingOptions, TransmitRing, TransmitSetup,
};

use crate::gates::new_pool;

/// Entries of the rings.
pub const ENTRIES: u32 = 256;

/// Two rings and both of their halves.
pub struct Pair<
    Tx = SplitTransmit<PlainHeader>,
    Rx = SplitReceive<PlainHeader>,
    Device = SplitDevice,
> {
    /// The driver's packets.
    pub guest_pool: Pool,
    /// The device's packets.
    pub host_pool: Pool,
    /// The driver half that sends.
    pub driver_tx: Tx,
    /// The driver half that receives.
    pub driver_rx: Rx,
    /// Takes what `driver_tx` sends.
    pub device_rx: Device,
    /// Fills what `driver_rx` posts.
    pub device_tx: Device,
    /// The driver's packets, as the device half may reach them.
    pub map: MemoryMap,
}

/// A pair of packed rings.
pub type PackedPair = Pair<PackedTransmit<PlainHeader>, PackedReceive<PlainHeader>, PackedDevice>;

const OPTIONS: DeviceOptions = DeviceOptions { ring: RingOptions::EVENT_IDX, max_frame: 2048 };

/// A driver's setups, and the memory of its two rings.
struct Parts {
    guest_pool: Pool,
    host_pool: Pool,
    size: RingSize,
    receive: ReceiveSetup,
    transmit: TransmitSetup,
    memory: [DeviceMemory; 2],
}

impl Parts {
    fn new(ring_bytes: fn(RingSize) -> usize) -> Self {
        let Some(size) = RingSize::new(ENTRIES) else { unreachable!("a power of two") };
        let (guest_pool, host_pool) = (new_pool(2048), new_pool(2048));
        Self {
            guest_pool,
            host_pool,
            size,
            receive: ReceiveSetup {
                options: OPTIONS.ring,
                pool: guest_pool,
                port: 3,
                max_frame: 2048,
            },
            transmit: TransmitSetup { options: OPTIONS.ring, home: guest_pool, max_frame: 2048 },
            memory: [(); 2].map(|()| DeviceMemory::from_heap(ring_bytes(size))),
        }
    }

    fn join<Tx: TransmitRing, Rx: ReceiveRing, Device>(
        &self,
        driver: (Option<Rx>, Option<Tx>),
        device: impl Fn([NonNull<u8>; 3], RingSize) -> Device,
    ) -> Pair<Tx, Rx, Device> {
        let (Some(mut driver_rx), Some(driver_tx)) = driver else {
            unreachable!("the memory is as large as the rings")
        };
        let _ = driver_rx.refill();
        let (host, len) = self.guest_pool.device_region();
        let packets = Region { device: host.addr().get() as u64, len: len as u64, host };
        // SAFETY: the pool's memory is never given back, and no reference to a packet that is in a ring exists.
        let Ok(map) = (unsafe { MemoryMap::new(&[packets]) }) else { unreachable!("one region") };
        Pair {
            device_rx: device(parts_at(&self.memory[1], driver_tx.addresses()), self.size),
            device_tx: device(parts_at(&self.memory[0], driver_rx.addresses()), self.size),
            guest_pool: self.guest_pool,
            host_pool: self.host_pool,
            driver_tx,
            driver_rx,
            map,
        }
    }
}

impl Pair {
    /// Two fresh split rings, with buffers posted for receiving.
    pub fn new() -> Self {
        let parts = Parts::new(split::ring_bytes);
        // SAFETY: fresh memory, each part for one ring.
        let driver = unsafe {
            (
                SplitReceive::new(&parts.memory[0], 0, parts.size, &parts.receive),
                SplitTransmit::new(&parts.memory[1], 0, parts.size, &parts.transmit),
            )
        };
        parts.join(driver, |[desc, avail, used], size| {
            // SAFETY: the driver half's own ring, in memory that is never given back.
            let ring = unsafe { SplitRing::new(desc, avail, used, size) };
            SplitDevice::new(ring, Indexes::default(), OPTIONS)
        })
    }
}

impl PackedPair {
    /// Two fresh packed rings, with buffers posted for receiving.
    pub fn packed() -> Self {
        let parts = Parts::new(packed::ring_bytes);
        // SAFETY: fresh memory, each part for one ring.
        let driver = unsafe {
            (
                PackedReceive::new(&parts.memory[0], 0, parts.size, &parts.receive),
                PackedTransmit::new(&parts.memory[1], 0, parts.size, &parts.transmit),
            )
        };
        parts.join(driver, |[desc, driver, device], size| {
            // SAFETY: the driver half's own ring, in memory that is never given back.
            let ring = unsafe { PackedRing::new(desc, driver, device, size) };
            PackedDevice::new(ring, PackedDevice::START, OPTIONS)
        })
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the parts of a ring lie in `memory`.
fn parts_at(memory: &DeviceMemory, addresses: Addresses) -> [NonNull<u8>; 3] {
    [addresses.desc, addresses.driver, addresses.device].map(|address| {
        let offset = usize::try_from(address).unwrap_or(0) - memory.base().addr().get();
        // SAFETY: the driver half placed its parts in this memory.
        unsafe { memory.base().add(offset) }
    })
}

/// The four halves of a pair, by what they do to a burst; for loops over pairs of either format.
pub trait Halves {
    /// The pools: the driver's, and the device's.
    fn pools(&self) -> (Pool, Pool);

    /// Which, and what it is called.
    fn names(&self) -> [&'static str; 4];

    /// Lets the half of that number ([`names`](Self::names)) do its work: the driver sends `burst`, the device takes
    /// it, the device sends it, the driver takes it and posts new buffers.
    fn work(&mut self, half: usize, burst: &mut Burst, counters: &QueueCounters);
}

macro_rules! halves {
    ($pair:ty, $names:expr) => {
        impl Halves for $pair {
            fn pools(&self) -> (Pool, Pool) {
                (self.guest_pool, self.host_pool)
            }

            fn names(&self) -> [&'static str; 4] {
                $names
            }

            #[inline]
            fn work(&mut self, half: usize, burst: &mut Burst, counters: &QueueCounters) {
                match half {
                    0 => {
                        self.driver_tx.transmit(burst, counters);
                    }
                    1 => {
                        self.device_rx.receive(&self.map, &self.host_pool, burst, counters, 0);
                        self.device_rx.should_notify();
                    }
                    2 => {
                        self.device_tx.transmit(&self.map, burst, counters);
                        self.device_tx.should_notify();
                    }
                    _ => {
                        self.driver_rx.receive(burst, counters);
                        let _ = self.driver_rx.refill();
                    }
                }
            }
        }
    };
}

halves!(
    Pair,
    ["split, driver sends", "split, device takes", "split, device sends", "split, driver takes"]
);
halves!(
    PackedPair,
    [
        "packed, driver sends",
        "packed, device takes",
        "packed, device sends",
        "packed, driver takes"
    ]
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::guest::same_packets;

    fn round_trips(pair: &mut dyn Halves) {
        let counters = QueueCounters::default();
        let (guest, host) = pair.pools();
        let at_first = host.available();
        for round in 0..3 * ENTRIES {
            let number = round * 5..round * 5 + 5;
            let frames = number.clone().map(|number| frames::frame(number, 100));
            let mut burst: Burst = frames.map(|frame| guest.copy_from(&frame).unwrap()).collect();
            for half in 0..4 {
                pair.work(half, &mut burst, &counters);
            }
            same_packets(&burst, number, 100);
        }
        pair.work(0, &mut Burst::new(), &counters);
        // What the driver holds lies in its two rings.
        assert!(guest.buffers() - guest.available() <= 2 * ENTRIES as usize);
        assert_eq!(host.available(), at_first);
    }

    #[test]
    fn both_formats_carry_packets_there_and_back() {
        round_trips(&mut Pair::new());
        round_trips(&mut Pair::packed());
    }
}
