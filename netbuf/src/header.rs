//! The slot header: one private cache line per buffer.

use core::cell::Cell;
use core::ptr::NonNull;

use crate::CACHE_LINE;
use crate::pool::Inner;

/// Bits of [`Word::flags`]: what besides the lengths is valid in the header.
pub(crate) mod flag {
    /// `next` holds a further segment.
    pub(crate) const CHAINED: u16 = 1 << 0;
    /// Detached once: a drop returns the slot over the pool's remote-free list.
    pub(crate) const REMOTE: u16 = 1 << 1;
    /// `vlan` is valid.
    pub(crate) const VLAN: u16 = 1 << 2;
    /// `rss_hash` is valid.
    pub(crate) const RSS_HASH: u16 = 1 << 3;
    /// `timestamp` is valid.
    pub(crate) const TIMESTAMP: u16 = 1 << 4;
    /// The receiver's device has verified the checksums.
    pub(crate) const CSUM_VALID: u16 = 1 << 5;
    /// `csum_start` and `csum_offset` are valid: the checksum is still partial.
    pub(crate) const CSUM_PARTIAL: u16 = 1 << 6;
    /// `gso_*` is valid.
    pub(crate) const GSO: u16 = 1 << 7;
    /// Either of the two that make a drop take the slow path.
    pub(crate) const SLOW_DROP: u16 = CHAINED | REMOTE;
}

/// What changes with every packet, in one 8-byte store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub(crate) struct Word {
    /// Bytes from `room` to the first byte of this segment.
    pub(crate) offset: u16,
    /// Bytes of this segment.
    pub(crate) len: u16,
    /// The port that received the packet.
    pub(crate) port: u16,
    /// See [`flag`].
    pub(crate) flags: u16,
}

impl Word {
    /// The word of a received packet, put together in a register: the compiler would write field by field.
    #[inline]
    pub(crate) fn received(offset: u16, len: u16, port: u16) -> Self {
        if cfg!(target_endian = "big") {
            return Self { offset, len, port, flags: 0 };
        }
        let bits = u64::from(offset) | u64::from(len) << 16 | u64::from(port) << 32;
        // SAFETY: the same size (see below), and any bits are four `u16`s.
        unsafe { core::mem::transmute::<u64, Self>(bits) }
    }
}

/// One per slot, beside the packet bytes and never visible to a device.
///
/// Invariant: `offset + len <= capacity`; `room .. room + capacity` is the slot's own part of the pool's
/// device memory. Only the owner of the [`Netbuf`](crate::Netbuf) (or, for a free slot, the pool)
/// touches the line.
#[repr(C, align(64))]
pub(crate) struct Header {
    pub(crate) word: Cell<Word>,
    /// First byte of the buffer: the start of the headroom. Constant.
    pub(crate) room: NonNull<u8>,
    /// Constant.
    pub(crate) pool: NonNull<Inner>,
    /// Next segment if [`flag::CHAINED`]; the link of the remote-free list while on it.
    pub(crate) next: Cell<*const Header>,
    /// Device or platform clock, in nanoseconds.
    pub(crate) timestamp: Cell<u64>,
    pub(crate) rss_hash: Cell<u32>,
    pub(crate) vlan: Cell<u16>,
    pub(crate) csum_start: Cell<u16>,
    pub(crate) csum_offset: Cell<u16>,
    pub(crate) gso_size: Cell<u16>,
    pub(crate) gso_header_len: Cell<u16>,
    /// A [`GsoKind`](crate::GsoKind).
    pub(crate) gso_kind: Cell<u8>,
    /// Bytes of the buffer, headroom included. Constant.
    pub(crate) capacity: u16,
}

const _: () = assert!(size_of::<Header>() == CACHE_LINE);
const _: () = assert!(size_of::<Word>() == 8);

impl Header {
    pub(crate) fn set_flag(&self, bit: u16, on: bool) {
        let mut word = self.word.get();
        word.flags = if on { word.flags | bit } else { word.flags & !bit };
        self.word.set(word);
    }

    pub(crate) fn has_flag(&self, bit: u16) -> bool {
        self.word.get().flags & bit != 0
    }
}
