//! The packet handle: eight bytes that own a frame.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::header::{Header, Word, flag};
use crate::pool::free_slot;

/// A packet that you own. Dropping it returns its buffers to their pools.
///
/// A packet larger than one buffer is a chain of segments; [`bytes`](Self::bytes) is then the first of them
/// ([`is_chained`](Self::is_chained) tells). Nothing here moves bytes but [`linearize`](Self::linearize)
/// and [`make_headroom`](Self::make_headroom).
///
/// Not `Send`: use [`detach`](Self::detach) to hand a packet to another core.
#[repr(transparent)]
pub struct Netbuf(pub(crate) NonNull<Header>);

const _: () = assert!(size_of::<Option<Netbuf>>() == 8);

impl Netbuf {
    /// # Safety
    /// The caller hands over the only ownership of a slot, on the core that owns the slot's pool or with
    /// the slot's REMOTE flag set.
    #[inline]
    pub(crate) unsafe fn from_header(slot: NonNull<Header>) -> Self {
        Self(slot)
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: headers live for ever and are never visible to a device; this handle owns the slot.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn into_slot(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Bytes of the frame over all segments: L2 header included, FCS excluded.
    #[inline]
    pub fn len(&self) -> usize {
        let word = self.header().word.get();
        if word.flags & flag::CHAINED == 0 {
            usize::from(word.len)
        } else {
            self.segments().map(<[u8]>::len).sum()
        }
    }

    /// Whether the frame has no byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the first segment: of the whole frame unless [`is_chained`](Self::is_chained).
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `offset + len <= capacity` lies in the slot's own, initialised memory, which this handle
        // owns; it is borrowed as long as the slice.
        unsafe {
            core::slice::from_raw_parts(
                self.data().as_ptr(),
                usize::from(self.header().word.get().len),
            )
        }
    }

    /// As [`bytes`](Self::bytes), to edit in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = usize::from(self.header().word.get().len);
        // SAFETY: as in `bytes`; the handle is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.data().as_ptr(), len) }
    }

    /// First byte of the first segment, and the address by which a device reaches it.
    #[inline]
    pub fn data(&self) -> NonNull<u8> {
        let header = self.header();
        // SAFETY: `offset <= capacity`, so the sum stays inside the slot's memory or one past it.
        unsafe { header.room.add(usize::from(header.word.get().offset)) }
    }

    /// Bytes before the first byte that [`push`](Self::push) can take.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.header().word.get().offset)
    }

    /// Bytes after the last byte of the first segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let word = self.header().word.get();
        usize::from(self.header().capacity - word.offset - word.len)
    }

    /// Puts `count` bytes in front of the frame and returns them, with whatever they held. `None`, nothing
    /// changed, where the headroom is smaller.
    #[inline]
    pub fn push(&mut self, count: usize) -> Option<&mut [u8]> {
        let mut word = self.header().word.get();
        let count16 = u16::try_from(count).ok().filter(|&n| n <= word.offset)?;
        word.offset -= count16;
        word.len += count16;
        self.header().word.set(word);
        Some(&mut self.bytes_mut()[..count])
    }

    /// Takes `count` bytes off the front of the first segment. `None`, nothing changed, where it is shorter.
    #[inline]
    pub fn trim(&mut self, count: usize) -> Option<()> {
        let mut word = self.header().word.get();
        let count = u16::try_from(count).ok().filter(|&n| n <= word.len)?;
        word.offset += count;
        word.len -= count;
        self.header().word.set(word);
        Some(())
    }

    /// Puts `count` bytes behind the last segment and returns them, with whatever they held. `None`,
    /// nothing changed, where its tailroom is smaller.
    #[inline]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let last = self.last_segment();
        // SAFETY: the last segment is owned through this handle, which is borrowed exclusively.
        let header = unsafe { last.as_ref() };
        let mut word = header.word.get();
        let tailroom = header.capacity - word.offset - word.len;
        let count16 = u16::try_from(count).ok().filter(|&n| n <= tailroom)?;
        let end = usize::from(word.offset) + usize::from(word.len);
        word.len += count16;
        header.word.set(word);
        // SAFETY: `end + count <= capacity`: the slot's own, initialised memory.
        Some(unsafe { core::slice::from_raw_parts_mut(header.room.add(end).as_ptr(), count) })
    }

    /// Cuts the frame to its first `len` bytes and frees the segments that then hold nothing. `None`,
    /// nothing changed, where it is shorter.
    pub fn truncate(&mut self, len: usize) -> Option<()> {
        if !self.is_chained() {
            let mut word = self.header().word.get();
            word.len = u16::try_from(len).ok().filter(|&n| n <= word.len)?;
            self.header().word.set(word);
            return Some(());
        }
        self.truncate_chain(len)
    }

    /// Makes the packet what a device has received: the first `len` bytes from `headroom` bytes into its
    /// buffer, unchained, without metadata. `None`, nothing changed, where the buffer is smaller.
    ///
    /// One store: the bytes are what the device wrote (packet memory is always initialised).
    #[inline]
    pub fn set_received(&mut self, headroom: u16, len: u16, port: u16) -> Option<()> {
        let header = self.header();
        if u32::from(headroom) + u32::from(len) > u32::from(header.capacity) {
            return None;
        }
        let flags = header.word.get().flags;
        debug_assert_eq!(flags & flag::CHAINED, 0, "a posted buffer is a single segment");
        header.word.set(Word { offset: headroom, len, port, flags: flags & flag::REMOTE });
        Some(())
    }

    /// As [`set_received`](Self::set_received), without its checks. With no length, no port and the pool's
    /// headroom, the packet is what its pool hands out.
    ///
    /// # Safety
    /// `headroom + len` must not exceed [`capacity`](Self::capacity), and the packet must be a single segment
    /// that was not detached since its pool handed it out (see [`Pool::is_plain`](crate::Pool::is_plain)).
    #[inline]
    pub unsafe fn set_received_unchecked(&mut self, headroom: u16, len: u16, port: u16) {
        let header = self.header();
        debug_assert!(u32::from(headroom) + u32::from(len) <= u32::from(header.capacity));
        debug_assert_eq!(header.word.get().flags & flag::SLOW_DROP, 0);
        header.word.set(Word::received(headroom, len, port));
    }

    /// Bytes of the first segment's buffer, headroom included.
    #[inline]
    pub fn capacity(&self) -> usize {
        usize::from(self.header().capacity)
    }

    /// First byte of the first segment's buffer: the start of its headroom, and its device address.
    #[inline]
    pub fn room(&self) -> NonNull<u8> {
        self.header().room
    }

    /// Moves the frame's first segment back so that at least `count` bytes of headroom stand before it.
    /// `None`, nothing changed, where the buffer has not that much room in all.
    pub fn make_headroom(&mut self, count: usize) -> Option<()> {
        let mut word = self.header().word.get();
        let Some(missing) = count.checked_sub(usize::from(word.offset)) else { return Some(()) };
        let missing = u16::try_from(missing).ok().filter(|&n| usize::from(n) <= self.tailroom())?;
        let (from, len) = (self.data().as_ptr(), usize::from(word.len));
        word.offset += missing;
        self.header().word.set(word);
        // SAFETY: both ranges lie in the slot's memory (`missing <= tailroom`); `copy` allows overlap.
        unsafe { core::ptr::copy(from, self.data().as_ptr(), len) };
        Some(())
    }
}

impl Drop for Netbuf {
    #[inline]
    fn drop(&mut self) {
        free_slot(self.0);
    }
}

impl fmt::Debug for Netbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netbuf")
            .field("len", &self.len())
            .field("headroom", &self.headroom())
            .field("segments", &self.segments().count())
            .finish()
    }
}
