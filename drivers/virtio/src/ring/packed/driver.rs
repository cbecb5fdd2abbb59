//! The driver half of a packed virtqueue, in two directions.
//!
//! Each holds its packets in a private window and takes nothing from a used descriptor but its id and length,
//! checked one by one. One descriptor per packet; header and frame lie side by side. Chains of descriptors are
//! deliberately absent: a packet of several segments is refused.
//!
//! A device that says something false about a descriptor has used it up all the same, while the entry that it
//! should have finished stays outstanding: each lie costs the ring one entry, until it is reset.

mod publish;
mod receive;
mod transmit;

use core::ptr::NonNull;

use netbuf::DeviceMemory;

pub use receive::PackedReceive;
pub use transmit::PackedTransmit;

use super::layout::{PackedRing, Word};
use crate::ring::split::RingSize;
use crate::ring::window::{Keys, Window};

/// Shortest frame: an Ethernet header.
const MIN_FRAME: u32 = 14;

/// Distance between words that different sides write: two cache lines, because the prefetcher fetches pairs.
const APART: usize = 128;

/// Bytes of device memory that a ring of `size` entries takes, its three parts on lines of their own.
pub const fn ring_bytes(size: RingSize) -> usize {
    size.desc_bytes().next_multiple_of(APART) + 2 * APART
}

/// Zeroes [`ring_bytes`] of `memory` from byte `offset` on, and makes a ring of them; `None` where the memory
/// is too small or `offset` no multiple of 64.
///
/// # Safety
/// No device and no other ring may use these bytes, now or as long as the ring is in use.
#[inline(never)]
pub(in crate::ring) unsafe fn place(
    memory: &DeviceMemory,
    offset: usize,
    size: RingSize,
) -> Option<PackedRing> {
    let end = offset.checked_add(ring_bytes(size))?;
    if end > memory.len() || !offset.is_multiple_of(netbuf::CACHE_LINE) {
        return None;
    }
    // SAFETY: `offset + ring_bytes <= len`: every sum stays in the region, which is valid for ever and aligned
    // to a cache line, as the offsets of the parts are; nobody else uses these bytes (see above).
    unsafe {
        let desc: NonNull<u8> = memory.base().add(offset);
        desc.write_bytes(0, ring_bytes(size));
        let driver = desc.add(size.desc_bytes().next_multiple_of(APART));
        Some(PackedRing::new(desc, driver, driver.add(APART), size))
    }
}

/// An empty window. A key is the second word of a used or an available descriptor, without flags: the id, and below it
/// the length of a header of `header` bytes and the shortest frame.
fn new_window(size: RingSize, header: u16) -> Window {
    Window::new(size, Keys { base: u64::from(header) + u64::from(MIN_FRAME), id: Word::ID })
}
