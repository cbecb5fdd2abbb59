//! A frame and its header in a peer's buffers, whatever the format of the ring that named them: taken out of several
//! buffers, and the header that stands in front of every frame that a device half sends.

use core::ptr::NonNull;

use netbuf::{Netbuf, Pool};
use netdev::DropCause;

use super::split::HEADER_LEN;
use crate::raw::{self, read_once};

/// A buffer of a chain, inside one memory region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) host: NonNull<u8>,
    /// Not zero.
    pub(super) len: usize,
}

/// The chain breaks a rule: nothing further can be said of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadChain;

/// Bytes of the header in front of each frame.
pub(super) const HEADER_BYTES: usize = HEADER_LEN as usize;

/// The header of every frame that we send: no offload, and `num_buffers` is one (virtio 1.2, 5.1.6.4.1).
pub(super) const HEADER: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Bits of the header's first two bytes (flags, gso_type) that ask for an offload: `NEEDS_CSUM`, and any
/// segmentation. Other flags are to be ignored (virtio 1.2, 5.1.6.2.2).
pub(super) const OFFLOAD: u16 = 0xff01;

/// Bytes of an Ethernet header: no frame is shorter.
pub(super) const ETHERNET_HEADER: u32 = 14;

/// Writes [`HEADER`] where it does not stand already.
///
/// # Safety
/// `to` must be valid for reads and writes of a header.
#[inline]
pub(super) unsafe fn put_header(to: *mut u8) {
    const FRONT: u64 = u64::from_ne_bytes(*HEADER.first_chunk().unwrap());
    const BACK: u32 = u32::from_ne_bytes(*HEADER.last_chunk().unwrap());
    // SAFETY: eight and four bytes of the header; unaligned accesses.
    unsafe {
        let differs = read_once::<u64>(to) != FRONT || read_once::<u32>(to.add(8)) != BACK;
        if differs {
            to.cast::<[u8; HEADER_BYTES]>().write(HEADER);
        }
    }
}

/// Copies a chain's header to private memory and its frame, of at most `max_frame` bytes, into `packet`;
/// the frame's length. `next` gives the chain's buffers, in order.
pub(super) fn gather(
    mut next: impl FnMut() -> Result<Option<Piece>, BadChain>,
    pool: &Pool,
    packet: &mut Netbuf,
    max_frame: usize,
) -> Result<usize, DropCause> {
    let mut header = [0u8; HEADER_BYTES];
    let mut header_len = 0;
    let mut frame = Frame { packet, pool, len: 0, left: pool.room().into() };
    while let Some(piece) = next().map_err(|_| DropCause::BadDescriptor)? {
        let of_header = piece.len.min(HEADER_BYTES - header_len);
        let (from, to) = (piece.host.as_ptr(), &mut header[header_len..][..of_header]);
        // SAFETY: the walk translated `piece.len >= of_header` bytes; `to` is private and as long.
        unsafe { raw::copy(from, to.as_mut_ptr(), of_header) };
        header_len += of_header;
        let rest = piece.len - of_header;
        if rest > max_frame - frame.len {
            return Err(DropCause::Oversize);
        }
        // SAFETY: `rest` bytes of the piece follow the header's.
        unsafe { frame.append(from.add(of_header), rest)? };
    }
    if header_len < HEADER_BYTES || u16::from_le_bytes([header[0], header[1]]) & OFFLOAD != 0 {
        return Err(DropCause::BadHeader);
    }
    if frame.len < ETHERNET_HEADER as usize {
        return Err(DropCause::Undersize);
    }
    Ok(frame.len)
}

/// A frame that grows piece by piece, over as many buffers as it takes.
struct Frame<'a> {
    packet: &'a mut Netbuf,
    pool: &'a Pool,
    len: usize,
    /// Bytes left in the last buffer.
    left: usize,
}

impl Frame<'_> {
    /// # Safety
    /// `from` must be valid for reads of `len` bytes, of which none may be a packet's.
    unsafe fn append(&mut self, mut from: *const u8, mut len: usize) -> Result<(), DropCause> {
        while len > 0 {
            if self.left == 0 {
                self.packet.chain(self.pool.alloc().ok_or(DropCause::NoBuffer)?);
                self.left = self.pool.room().into();
            }
            let count = len.min(self.left);
            let to = self.packet.append(count).ok_or(DropCause::Oversize)?;
            // SAFETY: `count <= len` bytes are readable, and `to` has as many, ours alone.
            unsafe {
                raw::copy(from, to.as_mut_ptr(), count);
                from = from.add(count);
            }
            self.len += count;
            self.left -= count;
            len -= count;
        }
        Ok(())
    }
}
