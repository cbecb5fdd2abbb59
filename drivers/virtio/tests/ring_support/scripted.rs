//! A device that says what it is told to, over a ring of either format: it knows which buffers were made available
//! and what it has used, and keeps no rule by itself.

use std::ptr::NonNull;

use netdev::RingFormat;
use virtio::ring::packed::{PackedRing, flags};
use virtio::ring::split::{SplitRing, UsedElem};

use super::pair::{Machine, Pair};

/// A descriptor as the driver made it available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    pub id: u16,
    pub addr: u64,
    pub len: u32,
    pub flags: u16,
}

enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

pub struct Scripted {
    ring: Ring,
    size: u32,
    /// Entries used so far.
    pub at: u32,
    regions: [(NonNull<u8>, usize); 2],
}

impl Scripted {
    /// In place of the device half of the ring that the driver receives from (`rx`), or of its transmit ring.
    pub fn new(format: RingFormat, machine: &Machine, pair: &Pair, rx: bool) -> Self {
        let (ring, size) = match format {
            RingFormat::Packed => {
                let ring = pair.packed_rings()[usize::from(rx)];
                (Ring::Packed(ring), ring.size())
            }
            _ => {
                let ring = pair.rings()[usize::from(rx)];
                (Ring::Split(ring), ring.size())
            }
        };
        let memory = &machine.memory;
        let regions = [machine.guest_pool.device_region(), (memory.base(), memory.len())];
        Self { ring, size: size.get().into(), at: 0, regions }
    }

    /// The descriptor that was made available as number `position`. (Not used yet, in a packed ring.)
    pub fn available(&self, position: u32) -> Available {
        let index = u16::try_from(position & 0xffff).unwrap();
        match &self.ring {
            Ring::Split(ring) => {
                let id = ring.avail(index);
                let desc = ring.desc(id);
                Available { id, addr: desc.addr, len: desc.len, flags: desc.flags }
            }
            Ring::Packed(ring) => {
                let desc = ring.desc(u16::try_from(position % self.size).unwrap());
                let flags = desc.flags & !(flags::AVAIL | flags::USED);
                Available { id: desc.id, addr: desc.addr, len: desc.len, flags }
            }
        }
    }

    /// One completion that names `id`, behind which the device goes on `entries` further.
    pub fn complete(&mut self, id: u16, len: u32, entries: u32) {
        let position = self.at;
        self.at += entries;
        match &self.ring {
            Ring::Split(ring) => {
                let index = |position: u32| u16::try_from(position & 0xffff).unwrap();
                ring.set_used(index(position), UsedElem { id: id.into(), len });
                ring.store_used_index(index(self.at));
            }
            Ring::Packed(ring) => {
                let turn = if position & self.size == 0 { flags::AVAIL | flags::USED } else { 0 };
                ring.set_used(u16::try_from(position % self.size).unwrap(), len, id, turn);
            }
        }
    }

    /// Completes the next buffer, honestly but for what it says, with these bytes in it.
    pub fn fill(&mut self, bytes: &[u8]) {
        let Available { id, addr, len, .. } = self.available(self.at);
        assert!(bytes.len() <= len as usize);
        self.write(addr, bytes);
        self.complete(id, u32::try_from(bytes.len()).unwrap(), 1);
    }

    fn host(&self, addr: u64, len: usize) -> *mut u8 {
        for (base, size) in self.regions {
            let start = base.addr().get() as u64;
            if addr >= start && addr + len as u64 <= start + size as u64 {
                // SAFETY: inside the region.
                return unsafe { base.as_ptr().add(usize::try_from(addr - start).unwrap()) };
            }
        }
        panic!("{addr:#x} lies nowhere");
    }

    pub fn write(&self, addr: u64, bytes: &[u8]) {
        let to = self.host(addr, bytes.len());
        for (at, &byte) in bytes.iter().enumerate() {
            // SAFETY: a byte of the region each.
            unsafe { to.add(at).write_volatile(byte) };
        }
    }

    pub fn read(&self, addr: u64, len: usize) -> Vec<u8> {
        let from = self.host(addr, len);
        // SAFETY: a byte of the region each.
        (0..len).map(|at| unsafe { from.add(at).read_volatile() }).collect()
    }
}
