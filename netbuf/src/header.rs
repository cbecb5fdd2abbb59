//! The slot header: one private cache line per buffer.

use core::cell::Cell;
use core::ptr::NonNull;

use crate::CACHE_LINE;
use crate::pool::Inner;

/// Bits of [`Word::flags`]: what besides the lengths is valid in the header.
pub(crate) mod flag {
    /// `next` holds a further segment.
    pub(crate) const CHAINED: u8 = 1 << 0;
    /// Detached once: a drop returns the slot over the pool's remote-free list.
    pub(crate) const REMOTE: u8 = 1 << 1;
    /// `vlan` is valid.
    pub(crate) const VLAN: u8 = 1 << 2;
    /// `rss_hash` is valid.
    pub(crate) const RSS_HASH: u8 = 1 << 3;
    /// `timestamp` is valid.
    pub(crate) const TIMESTAMP: u8 = 1 << 4;
    /// The receiver's device has verified the checksums.
    pub(crate) const CSUM_VALID: u8 = 1 << 5;
    /// `csum_start` and `csum_offset` are valid: the checksum is still partial.
    pub(crate) const CSUM_PARTIAL: u8 = 1 << 6;
    /// `gso_*` is valid.
    pub(crate) const GSO: u8 = 1 << 7;
    /// Either of the two that make a drop take the slow path.
    pub(crate) const SLOW_DROP: u8 = CHAINED | REMOTE;
    /// Any of those that a device which only sends bytes cannot serve.
    pub(crate) const ODD: u8 = SLOW_DROP | CSUM_PARTIAL | GSO | VLAN;
}

/// What changes with every packet, in one 8-byte word that is put together in a register and stored at once.
///
/// From bit 0 on: how the first byte's place differs from the pool's headroom (exclusive or), the port, the
/// segment's length (16 bits each), the [`flag`]s and the pool's [`code`](crate::code) (8 bits each). A free
/// slot's word is the code and else zero, so that the words of a burst, ORed together, tell whether all are
/// of one pool, whether any has a flag, and whether any is not as its pool handed it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Word(pub(crate) u64);

#[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
impl Word {
    const PORT: u32 = 16;
    pub(crate) const LEN: u32 = 32;
    pub(crate) const FLAGS: u32 = 48;
    pub(crate) const CODE: u32 = 56;
    /// Where the code stands.
    pub(crate) const CODE_MASK: u64 = 0xff << Self::CODE;

    /// Of a free slot.
    #[inline]
    pub(crate) const fn clean(code: u8) -> Self {
        Self((code as u64) << Self::CODE)
    }

    /// The same slot's, with nothing else in it.
    #[inline]
    const fn emptied(self) -> Self {
        Self(self.0 & Self::CODE_MASK)
    }

    #[inline]
    pub(crate) const fn len(self) -> u16 {
        (self.0 >> Self::LEN) as u16
    }

    #[inline]
    pub(crate) const fn port(self) -> u16 {
        (self.0 >> Self::PORT) as u16
    }

    #[inline]
    pub(crate) const fn flags(self) -> u8 {
        (self.0 >> Self::FLAGS) as u8
    }

    /// The length, and the flags and the code above it.
    #[inline]
    pub(crate) const fn upper(self) -> u32 {
        (self.0 >> Self::LEN) as u32
    }

    #[inline]
    pub(crate) const fn moved(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    const fn with_moved(self, moved: u16) -> Self {
        Self(self.0 & !0xffff | moved as u64)
    }

    #[inline]
    pub(crate) const fn with_len(self, len: u16) -> Self {
        Self(self.0 & !(0xffff << Self::LEN) | (len as u64) << Self::LEN)
    }

    #[inline]
    pub(crate) const fn with_port(self, port: u16) -> Self {
        Self(self.0 & !(0xffff << Self::PORT) | (port as u64) << Self::PORT)
    }

    #[inline]
    pub(crate) const fn with_flags(self, flags: u8) -> Self {
        Self(self.0 & !(0xff << Self::FLAGS) | (flags as u64) << Self::FLAGS)
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
    /// The pool's. Constant.
    pub(crate) headroom: u16,
}

const _: () = assert!(size_of::<Header>() == CACHE_LINE);
const _: () = assert!(size_of::<Word>() == 8);

impl Header {
    /// Bytes from `room` to the first byte of this segment.
    #[inline]
    pub(crate) fn offset(&self) -> u16 {
        self.word.get().moved() ^ self.headroom
    }

    /// Bytes of this segment.
    #[inline]
    pub(crate) fn len(&self) -> u16 {
        self.word.get().len()
    }

    /// Where the segment lies: `offset + len <= capacity` is the caller's to see to.
    #[inline]
    pub(crate) fn set_extent(&self, offset: u16, len: u16) {
        let word = self.word.get();
        self.word.set(word.with_moved(offset ^ self.headroom).with_len(len));
    }

    /// Makes the word that of a received packet, with `flags` and no others.
    #[inline]
    pub(crate) fn set_received(&self, offset: u16, len: u16, port: u16, flags: u8) {
        let word = self.word.get().emptied().with_moved(offset ^ self.headroom);
        self.word.set(word.with_len(len).with_port(port).with_flags(flags));
    }

    #[inline]
    pub(crate) fn set_flag(&self, bit: u8, on: bool) {
        let word = self.word.get();
        let flags = if on { word.flags() | bit } else { word.flags() & !bit };
        self.word.set(word.with_flags(flags));
    }

    #[inline]
    pub(crate) fn has_flag(&self, bit: u8) -> bool {
        self.word.get().flags() & bit != 0
    }
}
