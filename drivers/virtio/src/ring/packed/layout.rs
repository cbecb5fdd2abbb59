//! The memory of a packed virtqueue, as both halves see it: raw words, nothing remembered.
//!
//! A descriptor is two words of 64 bits. The second one holds length, id and flags, and is read and written as
//! a whole: what is read in one access belongs together, and cannot change between two looks at it. (The peer
//! may write its parts one by one, the flags last; whoever sees the flags then sees the rest.) No reference to
//! this memory is ever formed but to single atomics, because the peer may write it at any time.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use netbuf::CACHE_LINE;

use crate::raw::{Pair, prefetch_write};
use crate::ring::Addresses;
use crate::ring::split::RingSize;

/// Bits in the ring that virtio 1.2 names.
pub mod flags {
    pub use crate::ring::split::flags::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE};

    /// `VIRTQ_DESC_F_AVAIL`: equals the driver's wrap counter in an available descriptor.
    pub const AVAIL: u16 = 1 << 7;
    /// `VIRTQ_DESC_F_USED`: equals the device's wrap counter in a used descriptor, differs in an available one.
    pub const USED: u16 = 1 << 15;
    /// `RING_EVENT_FLAGS_ENABLE`: notifications are wanted.
    pub const EVENT_ENABLE: u16 = 0;
    /// `RING_EVENT_FLAGS_DISABLE`: they are not.
    pub const EVENT_DISABLE: u16 = 1;
    /// `RING_EVENT_FLAGS_DESC`: one is wanted at a certain descriptor (EVENT_IDX).
    pub const EVENT_DESC: u16 = 2;
}

/// A descriptor, copied out of or into the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    /// Device address of the buffer; means nothing in a used descriptor.
    pub addr: u64,
    /// Bytes; in a used descriptor: bytes written, as the device claims.
    pub len: u32,
    /// The driver's name for the buffer.
    pub id: u16,
    /// See [`flags`].
    pub flags: u16,
}

/// The second word of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Word(pub(super) u64);

impl Word {
    /// The id's place.
    pub(super) const ID: u32 = 32;
    /// The flags' place.
    pub(super) const FLAGS: u32 = 48;
    /// What tells whether, and of which buffer, a descriptor is used.
    pub(super) const ID_AND_TURN: u64 = 0xffff << Self::ID | Self::TURN;
    /// What tells whether it is.
    pub(super) const TURN: u64 = Self::of_flags(flags::AVAIL | flags::USED);

    #[inline]
    pub(super) const fn new(len: u32, id: u16, flags: u16) -> Self {
        Self(len as u64 | (id as u64) << Self::ID | (flags as u64) << Self::FLAGS)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
    pub(super) const fn len(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
    pub(super) const fn id(self) -> u16 {
        (self.0 >> Self::ID) as u16
    }

    #[inline]
    pub(super) const fn flags(self) -> u16 {
        (self.0 >> Self::FLAGS) as u16
    }

    /// Whether a descriptor is used, in the lap of `turn`, and names the buffer that `key` does.
    #[inline]
    pub(super) const fn finishes(self, key: u64, turn: u16) -> bool {
        (self.0 ^ key ^ Self::of_flags(turn)) & Self::ID_AND_TURN == 0
    }

    /// Flags alone.
    #[inline]
    pub(super) const fn of_flags(flags: u16) -> u64 {
        (flags as u64) << Self::FLAGS
    }

    /// The two flags that say whose turn it is.
    #[inline]
    pub(super) const fn turn(self) -> u16 {
        self.flags() & (flags::AVAIL | flags::USED)
    }
}

/// An event suppression structure (virtio 1.2, 2.8.14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Index of a descriptor, and the wrap counter in bit 15: with [`EVENT_DESC`](flags::EVENT_DESC).
    pub off_wrap: u16,
    /// `EVENT_*` of [`flags`].
    pub flags: u16,
}

impl Event {
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
    const fn from_word(word: u32) -> Self {
        Self { off_wrap: word as u16, flags: (word >> 16) as u16 }
    }

    #[inline]
    const fn word(self) -> u32 {
        self.off_wrap as u32 | (self.flags as u32) << 16
    }
}

/// Where the three parts of a packed virtqueue lie. A view, without any state.
#[derive(Clone, Copy, Debug)]
pub struct PackedRing {
    desc: NonNull<u64>,
    driver: NonNull<u32>,
    device: NonNull<u32>,
    size: RingSize,
}

impl PackedRing {
    /// Bytes of an event suppression structure; aligned to 4.
    pub const EVENT_BYTES: usize = 4;

    /// A view of the ring at these addresses: descriptors, and the event suppression structures that the
    /// driver and the device write.
    ///
    /// # Safety
    /// `desc` must be valid for reads and writes of [`RingSize::desc_bytes`] and aligned to 16, the others of
    /// [`EVENT_BYTES`](Self::EVENT_BYTES) and to 4, for as long as the view or a copy of it is used. Others may
    /// write them concurrently.
    pub unsafe fn new(
        desc: NonNull<u8>,
        driver: NonNull<u8>,
        device: NonNull<u8>,
        size: RingSize,
    ) -> Self {
        debug_assert!(desc.addr().get().is_multiple_of(16));
        debug_assert!(driver.addr().get().is_multiple_of(4));
        debug_assert!(device.addr().get().is_multiple_of(4));
        Self { desc: desc.cast(), driver: driver.cast(), device: device.cast(), size }
    }

    /// Entries.
    #[inline]
    pub fn size(&self) -> RingSize {
        self.size
    }

    /// Device addresses of the parts.
    pub fn addresses(&self) -> Addresses {
        let [desc, driver, device] = [self.desc.addr(), self.driver.addr(), self.device.addr()]
            .map(|part| part.get() as u64);
        Addresses { desc, driver, device }
    }

    /// Reads a descriptor; `index` is wrapped. Length, id and flags first, in one access (acquire).
    #[inline]
    pub fn desc(&self, index: u16) -> Desc {
        let slot = self.slot(index);
        let word = slot.word();
        Desc { addr: slot.addr(), len: word.len(), id: word.id(), flags: word.flags() }
    }

    /// Writes a descriptor; `index` is wrapped. Length, id and flags last (release).
    #[inline]
    pub fn set_desc(&self, index: u16, desc: Desc) {
        let slot = self.slot(index);
        slot.set_addr(desc.addr);
        slot.publish(Word::new(desc.len, desc.id, desc.flags));
    }

    /// Writes length, id and flags of a descriptor, as a device does (release); `index` is wrapped.
    #[inline]
    pub fn set_used(&self, index: u16, len: u32, id: u16, flags: u16) {
        self.slot(index).publish(Word::new(len, id, flags));
    }

    /// The descriptor at `index` (wrapped).
    #[inline]
    pub(super) fn slot(&self, index: u16) -> Slot {
        // SAFETY: the wrapped index is less than the size.
        unsafe { self.slot_unchecked(self.size.wrap(index)) }
    }

    /// As [`slot`](Self::slot), for an index that is known to be one of the ring's.
    ///
    /// # Safety
    /// `index < size`.
    #[inline]
    pub(super) unsafe fn slot_unchecked(&self, index: u16) -> Slot {
        debug_assert!(index < self.size.get());
        // SAFETY: the index lies in the ring, of two words each.
        Slot(unsafe { self.desc.add(2 * usize::from(index)) })
    }

    /// What the driver wants to be notified of.
    #[inline]
    pub fn driver_event(&self) -> Event {
        Event::from_word(self.event(self.driver).load(Ordering::Relaxed))
    }

    /// Writes what the driver wants to be notified of.
    pub fn set_driver_event(&self, event: Event) {
        self.event(self.driver).store(event.word(), Ordering::Relaxed);
    }

    /// What the device wants to be notified of.
    #[inline]
    pub fn device_event(&self) -> Event {
        Event::from_word(self.event(self.device).load(Ordering::Relaxed))
    }

    /// Writes what the device wants to be notified of.
    pub fn set_device_event(&self, event: Event) {
        self.event(self.device).store(event.word(), Ordering::Relaxed);
    }

    #[inline]
    fn event(&self, part: NonNull<u32>) -> &AtomicU32 {
        // SAFETY: aligned to 4 and valid as long as the view is (see `new`); all accesses on our side are atomic.
        unsafe { AtomicU32::from_ptr(part.as_ptr()) }
    }
}

/// One descriptor of a ring that is still there: made by [`PackedRing`] alone, and not kept.
#[derive(Clone, Copy)]
pub(super) struct Slot(
    /// Two words, valid and aligned as the ring's maker promised.
    NonNull<u64>,
);

impl Slot {
    /// The descriptor `count` further on.
    ///
    /// # Safety
    /// It must be one of the ring's.
    #[inline]
    pub(super) unsafe fn add(self, count: usize) -> Self {
        // SAFETY: inside the ring, as the caller says.
        Self(unsafe { self.0.add(2 * count) })
    }

    /// This descriptor and the seven behind it, each word read once.
    ///
    /// # Safety
    /// They must all be the ring's.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn eight(self) -> [crate::avx2::Quad; 4] {
        // SAFETY: four times two descriptors inside the ring.
        [0, 4, 8, 12].map(|at| unsafe { crate::avx2::Quad::read(self.0.add(at).as_ptr()) })
    }

    /// Starts loading the descriptor `count` further on and the seven behind it, to be written. A hint: they need not
    /// be the ring's.
    #[inline(always)]
    pub(super) fn prefetch_eight(self, count: usize) {
        let (first, offset) = (self.0.as_ptr().cast::<u8>().cast_const(), 16 * count);
        prefetch_write::<0>(first, offset);
        prefetch_write::<CACHE_LINE>(first, offset);
    }

    /// Length, id and flags, read once. Whoever sees the flags of a descriptor sees its other parts, and the
    /// bytes of its buffer.
    #[inline]
    pub(super) fn word(self) -> Word {
        Word(self.second().load(Ordering::Acquire))
    }

    /// The same of this descriptor and the next. Whoever goes by the flags needs an acquire fence.
    ///
    /// # Safety
    /// The next must be one of the ring's.
    #[inline(always)]
    pub(super) unsafe fn two_words(self) -> Pair {
        // SAFETY: two descriptors, aligned to 16. (Their halves are aligned words: each is of one moment.)
        unsafe {
            let [one, two] = [self.0, self.0.add(2)].map(|first| Pair::read(first.as_ptr()));
            Pair::second_words(one, two)
        }
    }

    /// Writes length, id and flags of this descriptor and the next, where others will be published before they are
    /// looked at.
    ///
    /// # Safety
    /// The next must be one of the ring's.
    #[inline(always)]
    pub(super) unsafe fn set_two_words(self, words: Pair) {
        // SAFETY: the second words of two descriptors. (Plain writes: a release store orders them.)
        unsafe { words.write_apart(self.0.add(1).as_ptr(), self.0.add(3).as_ptr()) }
    }

    /// Writes length, id and flags of this descriptor and those behind it, from the last to the first, which is
    /// published (release): whoever goes by the flags in order sees none of them, or all.
    ///
    /// # Safety
    /// They must all be the ring's.
    #[inline(always)]
    pub(super) unsafe fn put_words(self, words: &[Word]) {
        let (groups, rest) = words.as_chunks::<8>();
        for (at, &word) in rest.iter().enumerate().rev() {
            // SAFETY: the caller's promise.
            unsafe { self.add(8 * groups.len() + at) }.publish(word);
        }
        for (group, words) in groups.iter().enumerate().rev() {
            for (two, words) in words.as_chunks::<2>().0.iter().enumerate().skip(1).rev() {
                // SAFETY: as above.
                unsafe {
                    self.add(8 * group + 2 * two).set_two_words(Pair::new(words.map(|word| word.0)))
                };
            }
            // SAFETY: as above.
            unsafe {
                self.add(8 * group + 1).set_word(words[1]);
                self.add(8 * group).publish(words[0]);
            }
        }
    }

    #[inline]
    pub(super) fn addr(self) -> u64 {
        // SAFETY: the first word of the descriptor; volatile, so that it is read exactly once.
        unsafe { self.0.read_volatile() }
    }

    #[inline]
    pub(super) fn set_addr(self, addr: u64) {
        // SAFETY: the first word of the descriptor.
        unsafe { self.0.write_volatile(addr) }
    }

    /// Writes length, id and flags where others will be published before they are looked at.
    #[inline]
    pub(super) fn set_word(self, word: Word) {
        self.second().store(word.0, Ordering::Relaxed);
    }

    /// Writes length, id and flags, and everything before becomes visible with them (release).
    #[inline]
    pub(super) fn publish(self, word: Word) {
        self.second().store(word.0, Ordering::Release);
    }

    #[inline]
    fn second(&self) -> &AtomicU64 {
        // SAFETY: the second word of the descriptor, aligned to 8; all accesses to it on our side are atomic.
        unsafe { AtomicU64::from_ptr(self.0.add(1).as_ptr()) }
    }
}
