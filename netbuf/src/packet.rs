//! The packet handle: eight bytes that own a frame.

use core::fmt;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use crate::header::{Header, Word, flag};
use crate::pair::Pair;
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
        if word.flags() & flag::CHAINED == 0 {
            usize::from(word.len())
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
            core::slice::from_raw_parts(self.data().as_ptr(), usize::from(self.header().len()))
        }
    }

    /// As [`bytes`](Self::bytes), to edit in place.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let len = usize::from(self.header().len());
        // SAFETY: as in `bytes`; the handle is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.data().as_ptr(), len) }
    }

    /// First byte of the first segment, and the address by which a device reaches it.
    #[inline]
    pub fn data(&self) -> NonNull<u8> {
        let header = self.header();
        // SAFETY: `offset <= capacity`, so the sum stays inside the slot's memory or one past it.
        unsafe { header.room.add(usize::from(header.offset())) }
    }

    /// Bytes before the first byte that [`push`](Self::push) can take.
    #[inline]
    pub fn headroom(&self) -> usize {
        usize::from(self.header().offset())
    }

    /// Bytes after the last byte of the first segment.
    #[inline]
    pub fn tailroom(&self) -> usize {
        let header = self.header();
        usize::from(header.capacity - header.offset() - header.len())
    }

    /// Puts `count` bytes in front of the frame and returns them, with whatever they held. `None`, nothing
    /// changed, where the headroom is smaller.
    #[inline]
    pub fn push(&mut self, count: usize) -> Option<&mut [u8]> {
        let header = self.header();
        let offset = header.offset();
        let count16 = u16::try_from(count).ok().filter(|&n| n <= offset)?;
        header.set_extent(offset - count16, header.len() + count16);
        Some(&mut self.bytes_mut()[..count])
    }

    /// Takes `count` bytes off the front of the first segment. `None`, nothing changed, where it is shorter.
    #[inline]
    pub fn trim(&mut self, count: usize) -> Option<()> {
        let header = self.header();
        let len = header.len();
        let count = u16::try_from(count).ok().filter(|&n| n <= len)?;
        header.set_extent(header.offset() + count, len - count);
        Some(())
    }

    /// Puts `count` bytes behind the last segment and returns them, with whatever they held. `None`,
    /// nothing changed, where its tailroom is smaller.
    #[inline]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let last = self.last_segment();
        // SAFETY: the last segment is owned through this handle, which is borrowed exclusively.
        let header = unsafe { last.as_ref() };
        let (offset, len) = (header.offset(), header.len());
        let tailroom = header.capacity - offset - len;
        let count16 = u16::try_from(count).ok().filter(|&n| n <= tailroom)?;
        let end = usize::from(offset) + usize::from(len);
        header.word.set(header.word.get().with_len(len + count16));
        // SAFETY: `end + count <= capacity`: the slot's own, initialised memory.
        Some(unsafe { core::slice::from_raw_parts_mut(header.room.add(end).as_ptr(), count) })
    }

    /// Cuts the frame to its first `len` bytes and frees the segments that then hold nothing. `None`,
    /// nothing changed, where it is shorter.
    pub fn truncate(&mut self, len: usize) -> Option<()> {
        if !self.is_chained() {
            let word = self.header().word.get();
            let len = u16::try_from(len).ok().filter(|&n| n <= word.len())?;
            self.header().word.set(word.with_len(len));
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
        let flags = header.word.get().flags();
        debug_assert_eq!(flags & flag::CHAINED, 0, "a posted buffer is a single segment");
        header.set_received(headroom, len, port, flags & flag::REMOTE);
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
        debug_assert!(!header.has_flag(flag::SLOW_DROP));
        header.set_received(headroom, len, port, 0);
    }

    /// As [`set_received_unchecked`](Self::set_received_unchecked), from what was put together once for a whole
    /// burst: one addition and one store, and the header line is not read.
    ///
    /// # Safety
    /// As there, and `template` must be of the packet's own pool. (`len` counts from what the template was made
    /// [`longer`](Template::longer) by.)
    #[inline]
    pub unsafe fn set_received_from(&mut self, template: Template, len: u64) {
        let header = self.header();
        debug_assert!(!header.has_flag(flag::SLOW_DROP));
        header.word.set(template.with(len));
        debug_assert!(
            u32::from(header.offset()) + u32::from(header.len()) <= u32::from(header.capacity)
        );
    }

    /// Zero if the headroom is the pool's: what a packet has that nothing was pushed to or trimmed from.
    #[inline]
    pub fn moved(&self) -> u16 {
        self.header().word.get().moved()
    }

    /// As [`set_received_from`](Self::set_received_from) for two packets, their lengths in the upper halves of words
    /// whose lower halves are zero: as they stand in used elements.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    pub unsafe fn set_both_received(packets: &mut [Self; 2], template: Template, lens: Pair) {
        debug_assert_eq!(lens.raised().words(), [0, 0]);
        debug_assert!(!packets.iter().any(|packet| packet.header().has_flag(flag::SLOW_DROP)));
        let [one, two] = packets.each_ref().map(|packet| packet.header().word.as_ptr().cast());
        // SAFETY: the words of two headers that are ours to write.
        unsafe { Pair::both(template.0.0).plus(lens).write_apart(one, two) }
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
        let header = self.header();
        let (offset, len) = (header.offset(), header.len());
        let Some(missing) = count.checked_sub(usize::from(offset)) else { return Some(()) };
        let missing = u16::try_from(missing).ok().filter(|&n| usize::from(n) <= self.tailroom())?;
        let from = self.data().as_ptr();
        header.set_extent(offset + missing, len);
        // SAFETY: both ranges lie in the slot's memory (`missing <= tailroom`); `copy` allows overlap.
        unsafe { core::ptr::copy(from, self.data().as_ptr(), len.into()) };
        Some(())
    }
}

/// What received packets of one pool have in common: headroom and port. Made by [`Pool::template`](crate::Pool::template).
#[derive(Clone, Copy, Debug)]
pub struct Template(pub(crate) Word);

impl Template {
    /// The same for packets that are `least` bytes longer than they are then said to be.
    #[inline]
    pub fn longer(self, least: u16) -> Self {
        Self(self.with(least.into()))
    }

    #[inline]
    fn with(self, len: u64) -> Word {
        Word(self.0.0.wrapping_add(len << Word::LEN))
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
