//! Tables of descriptors beside a transmit ring, one for each of its entries, for packets of several segments
//! (`VIRTIO_F_INDIRECT_DESC`; virtio 1.2, 2.7.5.3 and 2.8.7).

use core::ptr::NonNull;

use netbuf::{DeviceMemory, Netbuf};

use super::split::{RingSize, flags};

/// Most segments of a packet: 64 KiB in buffers of 2 KiB.
pub(super) const MOST_SEGMENTS: usize = 32;

/// Bytes of a descriptor.
const DESC: usize = 16;

/// Bytes of a table.
const TABLE: usize = DESC * MOST_SEGMENTS;

/// Bytes of device memory for the tables of a transmit ring of `size` entries, behind the ring: needed where chained
/// packets are sent (`Offloads::TX_CHAINS`) and indirect descriptors were negotiated.
pub const fn table_bytes(size: RingSize) -> usize {
    TABLE * size.get() as usize
}

/// What a descriptor in the ring says of its packet.
#[derive(Clone, Copy)]
pub(super) struct Buffer {
    pub(super) addr: u64,
    pub(super) len: u32,
    /// `DESC_*`, the same in both formats.
    pub(super) flags: u16,
}

/// The tables of one ring.
pub(super) struct Tables {
    /// Invariant: `table_bytes(size)` from here on are valid for writes, and this ring's alone.
    base: NonNull<u8>,
    size: RingSize,
}

impl Tables {
    /// Tables in `memory` from byte `offset` on; `None` where it is too small, or `offset` no multiple of 16.
    ///
    /// # Safety
    /// No device and nobody else may use these bytes, now or as long as the ring is in use.
    pub(super) unsafe fn place(
        memory: &DeviceMemory,
        offset: usize,
        size: RingSize,
    ) -> Option<Self> {
        let end = offset.checked_add(table_bytes(size))?;
        if end > memory.len() || !offset.is_multiple_of(DESC) {
            return None;
        }
        // SAFETY: the sum stays in the region.
        Some(Self { base: unsafe { memory.base().add(offset) }, size })
    }

    /// Writes the table of entry `id` for a prepared packet, with `header` bytes before its first. `chained`: as a
    /// split ring has it, each descriptor naming the next; in a packed ring they just follow. `None` where the entry
    /// has no table, or the packet too many segments.
    pub(super) fn write(
        &self,
        id: u32,
        packet: &Netbuf,
        header: usize,
        chained: bool,
    ) -> Option<Buffer> {
        if id >= self.size.get().into() || packet.headroom() < header {
            return None;
        }
        let offset = id as usize * TABLE;
        let (mut count, mut parts) = (0, parts(packet, header).peekable());
        while let Some((addr, len)) = parts.next() {
            if count == MOST_SEGMENTS {
                return None;
            }
            let link = match parts.peek() {
                Some(_) if chained => u64::from(flags::DESC_NEXT) << 32 | (count as u64 + 1) << 48,
                _ => 0,
            };
            // SAFETY: `id < size` and `count < MOST_SEGMENTS`: two words of a table of ours, aligned to 16 as all
            // summands are. The device does not read it yet.
            unsafe {
                let place = self.base.add(offset + DESC * count).cast::<u64>();
                place.write_volatile(addr);
                place.add(1).write_volatile(len | link);
            }
            count += 1;
        }
        let len = u32::try_from(DESC * count).ok()?;
        let addr = (self.base.addr().get() + offset) as u64;
        Some(Buffer { addr, len, flags: flags::DESC_INDIRECT })
    }
}

/// Address and bytes of a packet's parts: the header and the first segment, and each further one that is not empty.
fn parts(packet: &Netbuf, header: usize) -> impl Iterator<Item = (u64, u64)> {
    packet.segments().enumerate().filter_map(move |(at, segment)| {
        let front = if at == 0 { header } else { 0 };
        let len = segment.len() + front;
        (len > 0).then(|| (segment.as_ptr().addr() as u64 - front as u64, len as u64))
    })
}

/// A prepared packet of one segment, with `header` bytes before its first.
pub(super) fn direct(packet: &Netbuf, header: u16) -> Buffer {
    #[expect(clippy::cast_possible_truncation, reason = "a segment has at most 65,535 bytes")]
    let len = packet.bytes().len() as u32 + u32::from(header);
    let addr = packet.data().addr().get() as u64 - u64::from(header);
    Buffer { addr, len, flags: 0 }
}
