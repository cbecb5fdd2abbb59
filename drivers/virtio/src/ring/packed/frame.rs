//! Frames over several buffers: gathered out of a chain, scattered into one.

use netbuf::{Netbuf, Pool};
use netdev::DropCause;

use super::chain::Chain;
use crate::raw;
use crate::ring::split::HEADER_LEN;

/// Bytes of the header in front of each frame.
pub(super) const HEADER_BYTES: usize = HEADER_LEN as usize;

/// The header of every frame that we send: no offload, and `num_buffers` is one (virtio 1.2, 5.1.6.4.1).
pub(super) const HEADER: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// Bits of the header's first two bytes (flags, gso_type) that ask for an offload: `NEEDS_CSUM`, and any
/// segmentation. Other flags are to be ignored (virtio 1.2, 5.1.6.2.2).
pub(super) const OFFLOAD: u16 = 0xff01;

/// Bytes of an Ethernet header: no frame is shorter.
pub(super) const ETHERNET_HEADER: u32 = 14;

/// Copies a chain's header to private memory and its frame, of at most `max_frame` bytes, into `packet`;
/// the frame's length.
pub(super) fn gather(
    chain: &mut Chain<'_>,
    pool: &Pool,
    packet: &mut Netbuf,
    max_frame: usize,
) -> Result<usize, DropCause> {
    let mut header = [0u8; HEADER_BYTES];
    let mut header_len = 0;
    let mut frame = Frame { packet, pool, len: 0, left: pool.room().into() };
    while let Some(piece) = chain.next().map_err(|_| DropCause::BadDescriptor)? {
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

/// Why a packet did not get into a chain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unscattered {
    /// Both are lost: the chain breaks a rule.
    BadChain,
    /// The packet cannot be sent; the chain waits for the next.
    Unsendable(DropCause),
}

/// Writes [`HEADER`] and the packet's bytes over the buffers of a chain.
pub(super) fn scatter(chain: &mut Chain<'_>, packet: &Netbuf) -> Result<(), Unscattered> {
    let (mut to, mut left) = (core::ptr::null_mut::<u8>(), 0);
    for mut bytes in core::iter::once(&HEADER[..]).chain(packet.segments()) {
        while !bytes.is_empty() {
            if left == 0 {
                match chain.next() {
                    Ok(Some(piece)) => (to, left) = (piece.host.as_ptr(), piece.len),
                    Ok(None) => return Err(Unscattered::Unsendable(DropCause::Oversize)),
                    Err(_) => return Err(Unscattered::BadChain),
                }
            }
            let (now, later) = bytes.split_at(bytes.len().min(left));
            // SAFETY: the walk translated the buffer, of which `left >= now.len()` bytes remain; `bytes` is ours.
            unsafe {
                raw::copy(now.as_ptr(), to, now.len());
                to = to.add(now.len());
            }
            left -= now.len();
            bytes = later;
        }
    }
    Ok(())
}
