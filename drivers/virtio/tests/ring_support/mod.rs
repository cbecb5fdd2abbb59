//! What the ring tests share: guest memory, and a driver that is written word by word, so that it can break
//! every rule.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

pub mod either;
pub mod packed;
pub mod pair;
pub mod rule_breaker;
pub mod scripted;

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use netbuf::{Burst, Checksum, DeviceMemory, Pool, PoolConfig};
use netdev::{DropCause, Offloads, QueueCounters};
use virtio::memory::{MemoryMap, Ranges, Region};
use virtio::ring::RingOptions;
use virtio::ring::split::{
    Desc, DeviceOptions, HEADER_LEN, Indexes, RingSize, SplitDevice, SplitRing, UsedElem, flags,
};

/// Two regions whose device addresses follow each other, and whose memory does not.
pub const LOW: u64 = 0x1_0000;
pub const HIGH: u64 = LOW + REGION;
pub const END: u64 = HIGH + REGION;
const REGION: u64 = 0x2_0000;

pub const OPTIONS: DeviceOptions = DeviceOptions { ring: RingOptions::NONE, max_frame: 1518 };

pub fn pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

pub fn ring(entries: u16) -> SplitRing {
    let size = RingSize::new(entries.into()).unwrap();
    let part = |bytes| DeviceMemory::from_heap(bytes).base();
    // SAFETY: fresh heap memory of the right sizes, aligned to cache lines, never freed.
    unsafe {
        SplitRing::new(
            part(size.desc_bytes()),
            part(size.avail_bytes()),
            part(size.used_bytes()),
            size,
        )
    }
}

/// A frame of `len` bytes (at least 14) that is told apart by `number`.
pub fn frame(number: u8, len: usize) -> Vec<u8> {
    (0..len).map(|at| number.wrapping_add((at % 251).to_le_bytes()[0])).collect()
}

/// A guest and one of its rings.
pub struct Guest {
    pub ring: SplitRing,
    pub map: MemoryMap,
    pub counters: QueueCounters,
    regions: [NonNull<u8>; 2],
    avail: u16,
    used: u16,
}

impl Guest {
    pub fn new(entries: u16) -> Self {
        Self::starting_at(entries, 0)
    }

    pub fn starting_at(entries: u16, index: u16) -> Self {
        let regions = [(); 2].map(|()| DeviceMemory::from_heap(0x2_0000).base());
        let map = [
            Region { device: LOW, len: REGION, host: regions[0] },
            Region { device: HIGH, len: REGION, host: regions[1] },
        ];
        // SAFETY: heap memory of these sizes, never freed, never borrowed.
        let map = unsafe { MemoryMap::new(&map) }.unwrap();
        let ring = ring(entries);
        ring.store_avail_index(index);
        ring.store_used_index(index);
        Self { ring, map, counters: QueueCounters::default(), regions, avail: index, used: index }
    }

    /// The memory page by page, each a range by itself, but for those that are missing.
    pub fn ranges(&self, page: u64, missing: &[u64]) -> Ranges {
        let pages = (LOW..END).step_by(usize::try_from(page).unwrap());
        let region = |device| Region { device, len: page, host: self.host(device) };
        let ranges = pages.filter(|page| !missing.contains(page)).map(region).collect();
        // SAFETY: as in `starting_at`.
        unsafe { Ranges::new(ranges) }.unwrap()
    }

    pub fn device(&self, options: DeviceOptions) -> SplitDevice {
        SplitDevice::new(self.ring, Indexes { avail: self.avail, used: self.used }, options)
    }

    fn host(&self, address: u64) -> NonNull<u8> {
        assert!((LOW..END).contains(&address));
        let region = usize::from(address >= HIGH);
        let offset = (address - LOW) % REGION;
        // SAFETY: an offset into the region.
        unsafe { self.regions[region].add(offset as usize) }
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        for (at, &byte) in (address..).zip(bytes) {
            // SAFETY: a byte of guest memory.
            unsafe { self.host(at).write_volatile(byte) };
        }
    }

    pub fn read(&self, address: u64, len: usize) -> Vec<u8> {
        // SAFETY: a byte of guest memory each.
        (address..).take(len).map(|at| unsafe { self.host(at).read_volatile() }).collect()
    }

    /// Writes descriptors from entry `first` on, each but the last with NEXT.
    pub fn chain(&self, first: u16, pieces: &[(u64, u32)], extra: u16) {
        for (at, &(addr, len)) in (first..).zip(pieces) {
            let last = usize::from(at - first) + 1 == pieces.len();
            let next = if last { 0 } else { flags::DESC_NEXT };
            self.ring.set_desc(at, Desc { addr, len, flags: next | extra, next: at + 1 });
        }
    }

    /// An indirect table at `address`.
    pub fn table(&self, address: u64, descs: &[Desc]) {
        for (at, desc) in (address..).step_by(16).zip(descs) {
            self.write(at, &desc.addr.to_le_bytes());
            self.write(at + 8, &desc.len.to_le_bytes());
            self.write(at + 12, &desc.flags.to_le_bytes());
            self.write(at + 14, &desc.next.to_le_bytes());
        }
    }

    /// Publishes one head.
    pub fn publish(&mut self, head: u16) {
        self.ring.set_avail(self.avail, head);
        self.avail = self.avail.wrapping_add(1);
        self.ring.store_avail_index(self.avail);
    }

    /// The next used element, if there is one.
    pub fn used(&mut self) -> Option<UsedElem> {
        let end = self.ring.load_used_index(Ordering::Acquire);
        (self.used != end).then(|| {
            self.used = self.used.wrapping_add(1);
            self.ring.used(self.used.wrapping_sub(1))
        })
    }

    /// Sends a plain frame in one descriptor, entry `head`.
    pub fn send(&mut self, head: u16, frame: &[u8]) {
        let address = LOW + u64::from(head) * 2048 + 52;
        self.write(address, &[0; HEADER_LEN as usize]);
        self.write(address + u64::from(HEADER_LEN), frame);
        self.chain(head, &[(address, HEADER_LEN + u32::try_from(frame.len()).unwrap())], 0);
        self.publish(head);
    }

    pub fn drops(&self, cause: DropCause) -> u64 {
        self.counters.snapshot().drops[cause]
    }

    pub fn all_drops(&self) -> u64 {
        self.counters.snapshot().drops.total()
    }

    pub fn receive(&self, device: &mut SplitDevice, pool: &Pool) -> Burst {
        let mut out = Burst::new();
        assert_eq!(device.receive(&self.map, pool, &mut out, &self.counters, 7), out.len());
        out
    }
}

/// What a second thread writes into the header at [`LOW`], all the time.
pub struct Headers(NonNull<u8>);

// SAFETY: guest memory, which is never given back and never borrowed; both sides use volatile bytes only.
unsafe impl Send for Headers {}

impl Headers {
    pub fn new(map: &MemoryMap) -> Self {
        Self(map.translate(LOW, 12).unwrap())
    }

    /// Any header, of which most say something that is possible.
    pub fn flip(&self, random: u64) {
        let [flags, gso_type, a, b, c, d, ..] = random.to_le_bytes();
        let flags = [0, 0, 1, 1, 3, flags][usize::from(a % 6)];
        let gso_type = [0, 0, 0, 1, 4, gso_type][usize::from(b % 6)];
        let numbers = [a, 0, b / 64, 0, c / 2, d / 64, d, c / 128, b, a].into_iter();
        for (at, byte) in [flags, gso_type].into_iter().chain(numbers).enumerate() {
            // SAFETY: one of twelve bytes that were translated.
            unsafe { self.0.add(at).write_volatile(byte) };
        }
    }
}

/// Whether what a packet carries is possible for a packet of its size, however its header flickered.
pub fn is_sound(packet: &netbuf::Netbuf, options: &DeviceOptions) -> bool {
    let len = packet.len();
    let checksum = match packet.checksum() {
        Checksum::Partial { start, offset } => {
            usize::from(start) + usize::from(offset) + 2 <= len
                && options.ring.offloads.contains(Offloads::RX_CHECKSUM)
        }
        Checksum::Valid => false,
        Checksum::Unknown => true,
    };
    let (gso, most) = match packet.gso() {
        Some(gso) => (gso.size > 0 && usize::from(gso.header_len) <= len, 65_550),
        None => (true, options.max_frame.into()),
    };
    checksum && gso && (14..=most).contains(&len)
}

/// Nothing but indirect tables; and all that a device half knows.
pub fn mutated_options() -> [DeviceOptions; 2] {
    let all = RingOptions {
        event_idx: true,
        indirect: true,
        in_order: true,
        mergeable: true,
        offloads: Offloads::all(),
    };
    [RingOptions::INDIRECT, all].map(|ring| DeviceOptions { ring, ..OPTIONS })
}

/// A packet of one or two segments, some of which ask for something.
pub fn any_packet(pool: &Pool, round: u32) -> netbuf::Netbuf {
    let number = round.to_le_bytes()[0];
    let mut packet = pool.copy_from(&frame(number, 60 + (round % 40) as usize)).unwrap();
    if round.is_multiple_of(3) {
        packet.set_checksum(Checksum::Partial { start: 34, offset: 16 });
    }
    if round.is_multiple_of(7) {
        packet.chain(pool.copy_from(&frame(number, 1400)).unwrap());
    }
    packet
}
