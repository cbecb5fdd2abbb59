//! Both halves joined in one address space: a driver's two rings, of either format, and the device half of each.

use std::ptr::NonNull;

use netbuf::{Burst, DeviceMemory, Pool};
use netdev::{Offloads, QueueCounters};
use virtio::memory::{MemoryMap, Region};
use virtio::net::{PlainHeader, SpeakingHeader};
use virtio::ring::packed::{self, PackedDevice, PackedReceive, PackedRing, PackedTransmit};
use virtio::ring::split::{
    self, DeviceOptions, Indexes, RingSize, SplitDevice, SplitReceive, SplitRing, SplitTransmit,
};
use virtio::ring::{
    Addresses, Header, ReceiveRing, ReceiveSetup, RingOptions, TransmitRing, TransmitSetup,
    table_bytes,
};

use crate::gates::new_pool;

/// Entries of the rings.
pub const ENTRIES: u32 = 256;
/// Entries of deep ones, where 256 packets are always on their way (a driver posts no fewer than an eighth of its ring, so
/// an eighth may be missing).
pub const DEEP: u32 = 512;

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

/// A pair of split rings for frames over several buffers.
pub type JumboPair = Pair<SplitTransmit<PlainHeader>, SplitReceive<SpeakingHeader>, SplitDevice>;

/// A pair of packed rings for frames over several buffers.
pub type PackedJumboPair =
    Pair<PackedTransmit<PlainHeader>, PackedReceive<SpeakingHeader>, PackedDevice>;

/// The largest frame of a jumbo pair.
pub const JUMBO: u16 = 9018;

/// What was negotiated, as the driver names it, and the largest frame.
#[derive(Clone, Copy)]
struct Carries {
    entries: u32,
    driver: RingOptions,
    device: DeviceOptions,
}

/// Frames of one buffer.
const PLAIN: Carries = Carries {
    entries: ENTRIES,
    driver: RingOptions::EVENT_IDX,
    device: DeviceOptions { ring: RingOptions::EVENT_IDX, max_frame: 2048 },
};

/// Frames over several: chained in indirect tables one way, in mergeable buffers the other.
const CHAINS: Carries = {
    let ring = RingOptions { indirect: true, mergeable: true, ..RingOptions::EVENT_IDX };
    let offloads = Offloads::TX_CHAINS.union(Offloads::RX_CHAINS);
    Carries {
        entries: ENTRIES,
        driver: RingOptions { offloads, ..ring },
        device: DeviceOptions {
            ring: RingOptions { offloads: Offloads::RX_CHAINS, ..ring },
            max_frame: JUMBO,
        },
    }
};

/// A driver's setups, and the memory of its two rings.
struct Parts {
    device: DeviceOptions,
    guest_pool: Pool,
    host_pool: Pool,
    size: RingSize,
    receive: ReceiveSetup,
    transmit: TransmitSetup,
    memory: [DeviceMemory; 2],
}

impl Parts {
    fn new(ring_bytes: fn(RingSize) -> usize, carries: Carries) -> Self {
        let Some(size) = RingSize::new(carries.entries) else { unreachable!("a power of two") };
        let (guest_pool, host_pool) = (new_pool(2048), new_pool(2048));
        let (options, max_frame) = (carries.driver, carries.device.max_frame);
        // (Tables are needed behind one of them, and only for chains.)
        let bytes = ring_bytes(size) + table_bytes(size);
        Self {
            device: carries.device,
            guest_pool,
            host_pool,
            size,
            receive: ReceiveSetup { options, pool: guest_pool, port: 3, max_frame },
            transmit: TransmitSetup { options, home: guest_pool, max_frame },
            memory: [(); 2].map(|()| DeviceMemory::from_heap(bytes)),
        }
    }

    fn join<Tx: TransmitRing, Rx: ReceiveRing, Device>(
        &self,
        driver: (Option<Rx>, Option<Tx>),
        device: impl Fn([NonNull<u8>; 3], &Self) -> Device,
    ) -> Pair<Tx, Rx, Device> {
        let (Some(mut driver_rx), Some(driver_tx)) = driver else {
            unreachable!("the memory is as large as the rings")
        };
        let _ = driver_rx.refill();
        let region = |host: NonNull<u8>, len: usize| Region {
            device: host.addr().get() as u64,
            len: len as u64,
            host,
        };
        let (packets, bytes) = self.guest_pool.device_region();
        let tables = &self.memory[1];
        let regions = [region(packets, bytes), region(tables.base(), tables.len())];
        // SAFETY: the memory of pool and rings is never given back, and no reference to a packet that is in a ring exists.
        let Ok(map) = (unsafe { MemoryMap::new(&regions) }) else {
            unreachable!("two disjoint regions")
        };
        // The one that was hit last is where packets lie (see `Guest::new`).
        let found = map.translate(regions[0].device, 1);
        debug_assert!(found.is_some());
        Pair {
            device_rx: device(parts_at(&self.memory[1], driver_tx.addresses()), self),
            device_tx: device(parts_at(&self.memory[0], driver_rx.addresses()), self),
            guest_pool: self.guest_pool,
            host_pool: self.host_pool,
            driver_tx,
            driver_rx,
            map,
        }
    }
}

impl<H: Header> Pair<SplitTransmit<PlainHeader>, SplitReceive<H>, SplitDevice> {
    fn split(carries: Carries) -> Self {
        let parts = Parts::new(split::ring_bytes, carries);
        // SAFETY: fresh memory, each part for one ring.
        let driver = unsafe {
            (
                SplitReceive::new(&parts.memory[0], 0, parts.size, &parts.receive),
                SplitTransmit::new(&parts.memory[1], 0, parts.size, &parts.transmit),
            )
        };
        parts.join(driver, |[desc, avail, used], parts| {
            // SAFETY: the driver half's own ring, in memory that is never given back.
            let ring = unsafe { SplitRing::new(desc, avail, used, parts.size) };
            SplitDevice::new(ring, Indexes::default(), parts.device)
        })
    }
}

impl<H: Header> Pair<PackedTransmit<PlainHeader>, PackedReceive<H>, PackedDevice> {
    fn packed_of(carries: Carries) -> Self {
        let parts = Parts::new(packed::ring_bytes, carries);
        // SAFETY: fresh memory, each part for one ring.
        let driver = unsafe {
            (
                PackedReceive::new(&parts.memory[0], 0, parts.size, &parts.receive),
                PackedTransmit::new(&parts.memory[1], 0, parts.size, &parts.transmit),
            )
        };
        parts.join(driver, |[desc, driver, device], parts| {
            // SAFETY: the driver half's own ring, in memory that is never given back.
            let ring = unsafe { PackedRing::new(desc, driver, device, parts.size) };
            PackedDevice::new(ring, PackedDevice::START, parts.device)
        })
    }
}

impl Pair {
    /// Two fresh split rings, with buffers posted for receiving.
    pub fn new() -> Self {
        Self::split(PLAIN)
    }

    /// As [`new`](Self::new), with [`DEEP`] entries.
    pub fn deep() -> Self {
        Self::split(Carries { entries: DEEP, ..PLAIN })
    }
}

impl PackedPair {
    /// Two fresh packed rings, with buffers posted for receiving.
    pub fn packed() -> Self {
        Self::packed_of(PLAIN)
    }

    /// As [`packed`](Self::packed), with [`DEEP`] entries.
    pub fn packed_deep() -> Self {
        Self::packed_of(Carries { entries: DEEP, ..PLAIN })
    }
}

impl JumboPair {
    /// As [`Pair::new`], for frames of up to [`JUMBO`] bytes.
    pub fn jumbo() -> Self {
        Self::split(CHAINS)
    }
}

impl PackedJumboPair {
    /// As [`PackedPair::packed`], for frames of up to [`JUMBO`] bytes.
    pub fn packed_jumbo() -> Self {
        Self::packed_of(CHAINS)
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

const SPLIT: [&str; 4] =
    ["split, driver sends", "split, device takes", "split, device sends", "split, driver takes"];
const PACKED: [&str; 4] = [
    "packed, driver sends",
    "packed, device takes",
    "packed, device sends",
    "packed, driver takes",
];

halves!(Pair, SPLIT);
halves!(PackedPair, PACKED);
halves!(JumboPair, SPLIT);
halves!(PackedJumboPair, PACKED);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::guest::{packet_of, same_packets};

    fn round_trips(pair: &mut dyn Halves, len: usize) {
        let counters = QueueCounters::default();
        let (guest, host) = pair.pools();
        let at_first = host.available();
        for round in 0..3 * ENTRIES {
            let number = round * 5..round * 5 + 5;
            let frames = number.clone().map(|number| frames::frame(number, len));
            let mut burst: Burst = frames.map(|frame| packet_of(&guest, &frame).unwrap()).collect();
            for half in 0..4 {
                pair.work(half, &mut burst, &counters);
            }
            same_packets(&burst, number, len);
        }
        pair.work(0, &mut Burst::new(), &counters);
        // What the driver holds lies in its two rings.
        let segments = len.div_ceil(guest.room().into());
        assert!(guest.buffers() - guest.available() <= (1 + segments) * ENTRIES as usize);
        assert_eq!(host.available(), at_first);
    }

    #[test]
    fn both_formats_carry_packets_there_and_back() {
        round_trips(&mut Pair::new(), 100);
        round_trips(&mut PackedPair::packed(), 100);
        for len in [100, 2048, 2049, 9000] {
            round_trips(&mut JumboPair::jumbo(), len);
            round_trips(&mut PackedJumboPair::packed_jumbo(), len);
        }
    }
}
