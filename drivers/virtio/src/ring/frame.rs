//! A frame and its header in a peer's buffers, whatever the format of the ring that named them: gathered out of
//! several buffers, poured into several, and the header that stands in front of a frame that asks for nothing.

use core::ptr::NonNull;

use netbuf::{Netbuf, Pool, Segments};
use netdev::{DropCause, Offloads};

use super::header::{BYTES as HEADER_BYTES, BadHeader, LARGEST_MERGED, NetHeader, Said};
use super::outgoing::Outgoing;
use super::split::{DeviceOptions, ETHERNET_HEADER};
use crate::memory::MemoryMap;
use crate::raw::{self, Pair, read_once};

/// The header of a frame that asks for nothing; `num_buffers` is one (virtio 1.2, 5.1.6.4.1).
const HEADER: [u8; HEADER_BYTES] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

/// A buffer of a chain, inside one memory region.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) host: NonNull<u8>,
    /// Not zero.
    pub(super) len: usize,
}

/// What is left of a buffer that a descriptor names: on a platform that translates addresses a buffer may lie in several
/// pieces.
#[derive(Clone, Copy, Default)]
pub(super) struct Rest {
    pub(super) addr: u64,
    /// Zero where nothing is left.
    pub(super) len: u32,
}

impl Rest {
    /// The next piece of what is left, of at least one byte.
    #[inline]
    pub(super) fn next(&mut self, memory: &MemoryMap) -> Result<Piece, BadChain> {
        let (host, len) = memory.translate_front(self.addr, self.len).ok_or(BadChain)?;
        self.addr = self.addr.wrapping_add(len.into());
        self.len -= len;
        Ok(Piece { host, len: len as usize })
    }
}

/// The chain breaks a rule, or names an address that is not known (yet): nothing further can be said of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadChain;

/// A walk along a chain of a peer's, in either format.
pub(super) trait Walk {
    /// The next buffer, or `None` behind the last.
    fn next(&mut self) -> Result<Option<Piece>, BadChain>;
}

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

/// Whether a [`HEADER`] stands there already; a zero says yes, and so does the OR of several.
///
/// # Safety
/// `at` must be valid for reads of a header and of four bytes behind it.
#[inline]
pub(super) unsafe fn header_differs(at: *const u8) -> Pair {
    const SAME: [u64; 2] = {
        let (front, back): (&[u8; 8], &[u8; 4]) =
            (HEADER.first_chunk().unwrap(), HEADER.last_chunk().unwrap());
        let back = [back[0], back[1], back[2], back[3], 0, 0, 0, 0];
        [u64::from_ne_bytes(*front), u64::from_ne_bytes(back)]
    };
    // SAFETY: sixteen bytes; any are valid.
    let there = unsafe { Pair::read_unaligned(at) };
    there.xor(Pair::new(SAME))
}

/// Whether any of the headers that were ORed together to `differs` is another.
#[inline]
pub(super) fn any_differs(differs: Pair) -> bool {
    /// What of the second word is the header's.
    const BACK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    let [front, back] = differs.words();
    front | back & BACK != 0
}

/// What the header at `from` asks for a frame of `len` bytes, where it may ask for `allowed`; `None` where it may not.
/// Each byte of it is read once: the first eight were already, as `front`.
///
/// # Safety
/// `from` must be valid for reads of a header.
#[cold]
#[inline(never)]
pub(super) unsafe fn asked(
    front: u64,
    from: *const u8,
    len: u32,
    allowed: Offloads,
) -> Option<Said> {
    let mut header = HEADER;
    header[..8].copy_from_slice(&front.to_ne_bytes());
    // SAFETY: the last four bytes of the header.
    header[8..].copy_from_slice(&unsafe { read_once::<u32>(from.add(8)) }.to_ne_bytes());
    NetHeader::asked(header).check(len as usize, allowed).ok()
}

/// Copies a chain's header to private memory, its frame into `packet`, and what the header asks for onto it; the
/// frame's length.
pub(super) fn gather(
    chain: &mut impl Walk,
    pool: &Pool,
    packet: &mut Netbuf,
    options: &DeviceOptions,
) -> Result<usize, DropCause> {
    let mut header = [0u8; HEADER_BYTES];
    // Bytes of the frame come behind a whole header, and so after its limit is known.
    let (mut header_len, mut limit) = (0, 0);
    let mut frame = Frame { packet, pool, len: 0, left: pool.room().into() };
    while let Some(piece) = chain.next().map_err(|_| DropCause::BadDescriptor)? {
        let of_header = piece.len.min(HEADER_BYTES - header_len);
        let (from, to) = (piece.host.as_ptr(), &mut header[header_len..][..of_header]);
        // SAFETY: the walk translated `piece.len >= of_header` bytes; `to` is private and as long.
        unsafe { raw::copy(from, to.as_mut_ptr(), of_header) };
        header_len += of_header;
        if of_header > 0 && header_len == HEADER_BYTES {
            limit = largest(&NetHeader::asked(header), options);
        }
        let rest = piece.len - of_header;
        if rest > limit - frame.len {
            return Err(DropCause::Oversize);
        }
        // SAFETY: `rest` bytes of the piece follow the header's.
        unsafe { frame.append(from.add(of_header), rest)? };
    }
    if header_len < HEADER_BYTES {
        return Err(DropCause::BadHeader);
    }
    let len = frame.len;
    let said = NetHeader::asked(header).check(len, options.ring.offloads);
    let said = said.map_err(|BadHeader| DropCause::BadHeader)?;
    if len < ETHERNET_HEADER as usize {
        return Err(DropCause::Undersize);
    }
    said.put_on(packet);
    Ok(len)
}

/// The largest frame that `header` may stand in front of; what it asks for is checked later.
fn largest(header: &NetHeader, options: &DeviceOptions) -> usize {
    let large = if header.is_large(options.ring.offloads) { LARGEST_MERGED } else { 0 };
    large.max(options.max_frame.into())
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

/// The bytes that a chain has room for; those beyond `wanted` are not looked for.
pub(super) fn room(chain: &mut impl Walk, wanted: usize) -> Result<usize, BadChain> {
    let mut room = 0;
    while room < wanted
        && let Some(piece) = chain.next()?
    {
        room += piece.len;
    }
    Ok(room)
}

/// A header and a frame that are poured into chains, as much into each as it holds.
pub(super) struct Pour<'a> {
    /// What is left of the bytes that are poured now.
    now: &'a [u8],
    later: Segments<'a>,
    /// Bytes left in all.
    left: usize,
}

impl<'a> Pour<'a> {
    /// `header` stands in front of the frame.
    pub(super) fn new(header: &'a [u8; HEADER_BYTES], sent: &Outgoing, packet: &'a Netbuf) -> Self {
        Self { now: header, later: packet.segments(), left: sent.bytes() }
    }

    /// Whether everything has been poured.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Fills the buffers of a chain; how many bytes.
    pub(super) fn fill_chain(&mut self, chain: &mut impl Walk) -> Result<u32, BadChain> {
        let before = self.left;
        while self.left > 0
            && let Some(piece) = chain.next()?
        {
            self.fill_piece(piece);
        }
        u32::try_from(before - self.left).map_err(|_| BadChain)
    }

    fn fill_piece(&mut self, Piece { host, len: mut room }: Piece) {
        let mut to = host.as_ptr();
        while room > 0 && self.left > 0 {
            if self.now.is_empty() {
                let Some(segment) = self.later.next() else { return self.left = 0 };
                self.now = segment;
                continue;
            }
            let (bytes, rest) = self.now.split_at(self.now.len().min(room));
            // SAFETY: the walk translated the buffer, of which `room >= bytes.len()` bytes remain; `bytes` is ours.
            unsafe {
                raw::copy(bytes.as_ptr(), to, bytes.len());
                to = to.add(bytes.len());
            }
            room -= bytes.len();
            self.left -= bytes.len();
            self.now = rest;
        }
    }
}
