//! A driver of a packed ring that is written word by word, so that it can break every rule; over the memory of the split
//! ring's.

use netbuf::{Burst, DeviceMemory, Pool};
use netdev::{DropCause, QueueCounters};
use virtio::ring::packed::{Desc, PackedDevice, PackedRing, flags};
use virtio::ring::split::{DeviceOptions, RingSize};

use super::{Guest as Memory, LOW};

const NEXT: u16 = flags::DESC_NEXT;

pub fn ring(entries: u16) -> PackedRing {
    let size = RingSize::new(entries.into()).unwrap();
    let part = |bytes| DeviceMemory::from_heap(bytes).base();
    // SAFETY: fresh heap memory of the right sizes, aligned to cache lines, never freed.
    unsafe { PackedRing::new(part(size.desc_bytes()), part(4), part(4), size) }
}

/// A driver written word by word, over the memory of the split ring's tests.
pub struct Guest {
    pub memory: Memory,
    pub ring: PackedRing,
    pub counters: QueueCounters,
    pub avail: u16,
    pub avail_wrap: bool,
    used: u16,
    used_wrap: bool,
}

impl Guest {
    pub fn new(entries: u16) -> Self {
        Self {
            memory: Memory::new(1),
            ring: ring(entries),
            counters: QueueCounters::default(),
            avail: 0,
            avail_wrap: true,
            used: 0,
            used_wrap: true,
        }
    }

    pub fn device(&self, options: DeviceOptions) -> PackedDevice {
        PackedDevice::new(self.ring, PackedDevice::START, options)
    }

    /// Makes a chain available; all its descriptors carry `id`.
    pub fn publish(&mut self, id: u16, pieces: &[(u64, u32, u16)]) {
        let (mut at, mut wrap) = (self.avail, self.avail_wrap);
        let mut descs = Vec::new();
        for (number, &(addr, len, extra)) in pieces.iter().enumerate() {
            let next = if number + 1 < pieces.len() { NEXT } else { 0 };
            let turn = if wrap { flags::AVAIL } else { flags::USED };
            descs.push((at, Desc { addr, len, id, flags: extra | next | turn }));
            at += 1;
            if at == self.ring.size().get() {
                (at, wrap) = (0, !wrap);
            }
        }
        for (index, desc) in descs.into_iter().rev() {
            self.ring.set_desc(index, desc);
        }
        (self.avail, self.avail_wrap) = (at, wrap);
    }

    /// The next used descriptor's id and length, of a chain of `descs`.
    pub fn used(&mut self, descs: u16) -> Option<(u16, u32)> {
        let desc = self.ring.desc(self.used);
        let turn = if self.used_wrap { flags::AVAIL | flags::USED } else { 0 };
        if desc.flags & (flags::AVAIL | flags::USED) != turn {
            return None;
        }
        self.used += descs;
        if self.used >= self.ring.size().get() {
            self.used -= self.ring.size().get();
            self.used_wrap = !self.used_wrap;
        }
        Some((desc.id, desc.len))
    }

    pub fn send(&mut self, id: u16, frame: &[u8]) {
        let address = LOW + 52 + u64::from(self.avail) * 2048;
        self.memory.write(address, &[0; 12]);
        self.memory.write(address + 12, frame);
        self.publish(id, &[(address, 12 + u32::try_from(frame.len()).unwrap(), 0)]);
    }

    pub fn receive(&self, device: &mut PackedDevice, pool: &Pool) -> Burst {
        let mut out = Burst::new();
        let got = device.receive(&self.memory.map, pool, &mut out, &self.counters, 7);
        assert_eq!(got, out.len());
        out
    }

    pub fn transmit(&self, device: &mut PackedDevice, packets: &mut Burst) -> usize {
        device.transmit(&self.memory.map, packets, &self.counters)
    }

    pub fn drops(&self, cause: DropCause) -> (u64, u64) {
        let drops = self.counters.snapshot().drops;
        (drops[cause], drops.total())
    }
}
