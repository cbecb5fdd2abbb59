//! A pretended guest: memory, and a split ring in it that is written by hand, as an honest driver would.
//!
//! The partner of the device half where the driver half must not be part of what is counted.

use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use netbuf::{Burst, DeviceMemory, Netbuf, Pool};
use virtio::memory::{MemoryMap, Region};
use virtio::ring::split::{Desc, HEADER_LEN, RingSize, SplitRing, flags};

use crate::frames;

/// Bytes from one packet buffer to the next; the frame starts on a cache line.
const STRIDE: usize = 2176;
const FRAME_AT: usize = 128;

/// Entries of the rings.
pub const RING: u16 = 256;

/// A new, zeroed ring of [`RING`] entries, in memory that is never given back.
pub fn new_ring() -> SplitRing {
    let Some(size) = RingSize::new(RING.into()) else { unreachable!("a power of two") };
    let part = |bytes| DeviceMemory::from_heap(bytes).base();
    // SAFETY: fresh heap memory of the sizes asked for, aligned to a cache line, never freed.
    unsafe {
        SplitRing::new(
            part(size.desc_bytes()),
            part(size.avail_bytes()),
            part(size.used_bytes()),
            size,
        )
    }
}

/// A guest with one packet buffer per ring entry. Its device addresses start at 4 GiB, in the second region.
pub struct Guest {
    ring: SplitRing,
    buffers: NonNull<u8>,
    memory: MemoryMap,
    avail: u16,
}

const BASE: u64 = 1 << 32;

impl Guest {
    /// A guest with nothing in its ring.
    pub fn new() -> Self {
        // (Memory goes on behind the buffers, as it does in a guest: the end of a region is a case of its own.)
        let len = STRIDE * usize::from(RING) + (1 << 16);
        let (low, high) = (DeviceMemory::from_heap(4096), DeviceMemory::from_heap(len));
        let regions = [
            Region { device: 0, len: 4096, host: low.base() },
            Region { device: BASE, len: len as u64, host: high.base() },
        ];
        // SAFETY: heap memory of these sizes, never freed; no reference to it is formed.
        let Ok(memory) = (unsafe { MemoryMap::new(&regions) }) else {
            unreachable!("two disjoint regions")
        };
        // The map remembers the region that was hit last. The twin without checks is not told that it is another.
        let found = memory.translate(BASE, 1);
        debug_assert!(found.is_some());
        Self { ring: new_ring(), buffers: high.base(), memory, avail: 0 }
    }

    /// The ring, for the device half.
    pub fn ring(&self) -> SplitRing {
        self.ring
    }

    /// What the device half may reach.
    pub fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// Puts the test frames `numbers` into the ring as sent frames.
    pub fn send(&mut self, numbers: std::ops::Range<u32>, len: usize) {
        for number in numbers {
            let frame = frames::frame(number, len);
            // SAFETY: a frame of at most 2048 bytes in a buffer of ours; nothing else uses it now.
            unsafe {
                let to = self.frame_of(self.avail).as_ptr();
                std::ptr::copy_nonoverlapping(frame.as_ptr(), to, len);
            }
            self.post(len, 0);
        }
        self.ring.store_avail_index(self.avail);
    }

    /// Posts `count` empty buffers.
    pub fn offer(&mut self, count: u16) {
        for _ in 0..count {
            self.post(2048, flags::DESC_WRITE);
        }
        self.ring.store_avail_index(self.avail);
    }

    /// Verifies that the latest `numbers.len()` buffers came back, in order, as the test frames `numbers`.
    pub fn verify_received(&self, numbers: std::ops::Range<u32>, len: usize) {
        let count = u16::try_from(numbers.len()).expect("a burst");
        assert_eq!(self.ring.load_used_index(Ordering::Acquire), self.avail);
        for (number, at) in numbers.zip(self.avail.wrapping_sub(count)..) {
            let elem = self.ring.used(at);
            assert_eq!(elem.id, u32::from(self.ring.size().wrap(at)));
            assert_eq!(elem.len as usize, len + HEADER_LEN as usize);
            let mut copy = vec![0; len];
            // SAFETY: the buffer is ours and the device half is not running.
            unsafe {
                let from = self.frame_of(at).as_ptr();
                std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), len);
            }
            assert_eq!(copy, frames::frame(number, len));
        }
    }

    fn post(&mut self, len: usize, flags: u16) {
        let head = self.ring.size().wrap(self.avail);
        let len = u32::try_from(len).expect("a frame") + HEADER_LEN;
        let addr = BASE + (usize::from(head) * STRIDE + FRAME_AT) as u64 - u64::from(HEADER_LEN);
        self.ring.set_desc(head, Desc { addr, len, flags, next: 0 });
        self.ring.set_avail(self.avail, head);
        self.avail = self.avail.wrapping_add(1);
    }

    fn frame_of(&self, index: u16) -> NonNull<u8> {
        let at = usize::from(self.ring.size().wrap(index)) * STRIDE + FRAME_AT;
        // SAFETY: the wrapped index is one of the buffers.
        unsafe { self.buffers.add(at) }
    }
}

impl Default for Guest {
    fn default() -> Self {
        Self::new()
    }
}

/// A packet with these bytes, over as many buffers of the pool as it takes; `None` where it has not enough.
pub fn packet_of(pool: &Pool, frame: &[u8]) -> Option<Netbuf> {
    let mut pieces = frame.chunks(pool.room().into());
    let mut packet = pool.copy_from(pieces.next().unwrap_or(&[]))?;
    for piece in pieces {
        packet.chain(pool.copy_from(piece)?);
    }
    Some(packet)
}

/// Verifies that a packet, over however many buffers, holds these bytes.
pub fn same_packet(packet: &Netbuf, frame: &[u8]) {
    let bytes: Vec<u8> = packet.segments().flatten().copied().collect();
    assert_eq!(bytes, frame);
}

/// Verifies that `packets` are the test frames `numbers`.
pub fn same_packets(packets: &Burst, numbers: std::ops::Range<u32>, len: usize) {
    assert_eq!(packets.len(), numbers.len());
    for (packet, number) in packets.iter().zip(numbers) {
        same_packet(packet, &frames::frame(number, len));
    }
}

/// Verifies that `packets` are the test frames `numbers`, and frees them.
pub fn verify_packets(packets: &mut Burst, numbers: std::ops::Range<u32>, len: usize) {
    same_packets(packets, numbers, len);
    packets.clear();
}
