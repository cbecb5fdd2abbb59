//! The driver half of a split virtqueue, in two directions.
//!
//! Each holds its packets in a private window and never reads back what the device can write, but for the
//! used ring: that is checked element by element. One descriptor per packet; header and frame lie side by
//! side. Chains of descriptors are deliberately absent: a packet of several segments is refused.

mod publish;
mod receive;
mod transmit;

use core::ptr::NonNull;

use netbuf::DeviceMemory;

pub use receive::SplitReceive;
pub use transmit::SplitTransmit;

use super::{RingSize, SplitRing};
use crate::ring::Addresses;
use crate::ring::window::{Exchanged, Keys, Window};

/// Shortest frame: an Ethernet header.
const MIN_FRAME: u32 = 14;

/// Distance between words that different sides write: two cache lines, because the prefetcher fetches pairs.
const APART: usize = 128;

/// Bytes of device memory that a ring of `size` entries takes, its three parts on lines of their own.
pub const fn ring_bytes(size: RingSize) -> usize {
    size.desc_bytes().next_multiple_of(APART)
        + size.avail_bytes().next_multiple_of(APART)
        + size.used_bytes().next_multiple_of(APART)
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
) -> Option<SplitRing> {
    let end = offset.checked_add(ring_bytes(size))?;
    if end > memory.len() || !offset.is_multiple_of(netbuf::CACHE_LINE) {
        return None;
    }
    // SAFETY: `offset + ring_bytes <= len`: every sum stays in the region, which is valid for ever and aligned
    // to a cache line, as the offsets of the parts are; nobody else uses these bytes (see above).
    unsafe {
        let desc: NonNull<u8> = memory.base().add(offset);
        desc.write_bytes(0, ring_bytes(size));
        let avail = desc.add(size.desc_bytes().next_multiple_of(APART));
        let used = avail.add(size.avail_bytes().next_multiple_of(APART));
        Some(SplitRing::new(desc, avail, used, size))
    }
}

/// The ring's parts as a transport wants them.
fn addresses(ring: &SplitRing) -> Addresses {
    let [desc, driver, device] = ring.addresses();
    Addresses { desc, driver, device }
}

/// An empty window, with `avail[i] = i` in the ring. A key is a used element, read as one word: the id, and above it
/// the least bytes that are to be written.
fn new_window(ring: &SplitRing, least: u32) -> Window {
    for id in 0..ring.size().get() {
        ring.set_avail(id, id);
    }
    Window::new(ring.size(), Keys { base: u64::from(least) << 32, id: 0 })
}

/// Writes what was exchanged into the avail ring, at two places that the device has read: it has finished an
/// entry that it found at or behind them. (A device that finished what it has not read yet only confuses
/// itself.)
#[cold]
fn exchange(ring: &SplitRing, exchanged: Exchanged) {
    for (place, id) in exchanged {
        ring.set_avail(place, id);
    }
}
