//! The memory of a split virtqueue, as both halves see it: raw words, nothing remembered.
//!
//! No reference to this memory is ever formed but to single atomics, because the peer may write it at any
//! time. Plain entries are read and written as whole volatile words; the two index words order them.

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU16, Ordering};

use netbuf::{BURST, CACHE_LINE};

use crate::raw::{self, Pair, prefetch};

/// How far ahead entries are loaded: a burst.
#[expect(clippy::cast_possible_truncation, reason = "32")]
const AHEAD: u16 = BURST as u16;

/// Descriptors in a cache line.
const DESCS_IN_LINE: usize = CACHE_LINE / size_of::<RawDesc>();

/// Bits in the ring that virtio 1.2 names.
pub mod flags {
    /// `VIRTQ_DESC_F_NEXT`: the chain goes on at `next`.
    pub const DESC_NEXT: u16 = 1;
    /// `VIRTQ_DESC_F_WRITE`: the device writes the buffer (else it reads).
    pub const DESC_WRITE: u16 = 2;
    /// `VIRTQ_DESC_F_INDIRECT`: the buffer is a table of descriptors.
    pub const DESC_INDIRECT: u16 = 4;
    /// `VIRTQ_AVAIL_F_NO_INTERRUPT` in the avail ring's flags.
    pub const AVAIL_NO_INTERRUPT: u16 = 1;
    /// `VIRTQ_USED_F_NO_NOTIFY` in the used ring's flags.
    pub const USED_NO_NOTIFY: u16 = 1;
}

/// A descriptor, copied out of or into the ring as two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Desc {
    /// Device address of the buffer.
    pub addr: u64,
    /// Bytes.
    pub len: u32,
    /// `DESC_*` of [`flags`].
    pub flags: u16,
    /// Index of the next descriptor if `DESC_NEXT`.
    pub next: u16,
}

impl Desc {
    #[inline]
    const fn second_word(self) -> u64 {
        self.len as u64 | (self.flags as u64) << 32 | (self.next as u64) << 48
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
    pub(super) const fn from_words(addr: u64, rest: u64) -> Self {
        Self { addr, len: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
    }
}

/// A descriptor as its two words, for the paths that check several fields in one comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawDesc {
    pub(super) addr: u64,
    rest: u64,
}

impl RawDesc {
    /// The length's place in [`len_and_flags`](Self::len_and_flags).
    pub(super) const LEN: u64 = 1 << 16;
    /// What of a descriptor's words is looked at: all but the next index.
    pub(super) const MASK: [u64; 2] = [u64::MAX, u64::MAX >> 16];
    /// [`flags::DESC_WRITE`] in the second of those words.
    pub(super) const WRITE_ALONE: u64 = (flags::DESC_WRITE as u64) << 32;
    /// [`flags::DESC_WRITE`]'s place in [`len_and_flags`](Self::len_and_flags).
    pub(super) const WRITE: u64 = (flags::DESC_WRITE as u64) << 48;

    /// Flags above the length, and zeroes where `next` was.
    #[inline]
    pub(super) const fn len_and_flags(self) -> u64 {
        self.rest << 16
    }

    /// The length.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "cuts the word into its fields")]
    pub(super) const fn len(self) -> u32 {
        self.rest as u32
    }

    /// The length's lower half: all of it where the rest was found to be zero.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "says so")]
    pub(super) const fn short_len(self) -> u16 {
        self.rest as u16
    }
}

/// A used element: which chain the device has finished, and how many bytes it wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct UsedElem {
    /// Head of the chain. A u32 in the ring: compare before narrowing.
    pub id: u32,
    /// Bytes written, as the device claims.
    pub len: u32,
}

impl UsedElem {
    /// A chain into which the device has written the lower half of `len` bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "says so")]
    pub(super) fn filled(head: u16, len: u64) -> Self {
        Self { id: head.into(), len: len as u32 }
    }
}

/// Writes used elements, at `to` and behind, that name `heads`.
///
/// # Safety
/// `to` must be valid for writes of 8 bytes for each.
#[inline]
pub(super) unsafe fn write_heads(mut to: *mut u8, heads: &[u16]) {
    let (groups, rest) = match heads.as_chunks::<8>() {
        both if cfg!(target_endian = "little") => both,
        _ => (&[][..], heads),
    };
    // SAFETY: 64 bytes for each group, and 8 for each of the rest.
    unsafe {
        for group in groups {
            // (Put together in registers: the compiler would store the halves one by one.)
            for pair in raw::widen(*group) {
                pair.write(to);
                to = to.add(16);
            }
        }
        for &head in rest {
            to.cast::<UsedElem>().write_unaligned(UsedElem { id: head.into(), len: 0 });
            to = to.add(8);
        }
    }
}

/// Entries of a ring: a power of two from 1 to 32,768.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSize(u16);

impl RingSize {
    /// `None` unless `entries` is a power of two from 1 to 32,768.
    pub const fn new(entries: u32) -> Option<Self> {
        if entries.is_power_of_two() && entries <= 1 << 15 {
            #[expect(clippy::cast_possible_truncation, reason = "at most 2^15")]
            Some(Self(entries as u16))
        } else {
            None
        }
    }

    /// The number of entries.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// Reduces a free-running index to an entry.
    #[inline]
    pub const fn wrap(self, index: u16) -> u16 {
        index & (self.0 - 1)
    }

    /// Bytes of the descriptor table; aligned to 16.
    pub const fn desc_bytes(self) -> usize {
        16 * self.0 as usize
    }

    /// Bytes of the avail ring, `used_event` included; aligned to 2.
    pub const fn avail_bytes(self) -> usize {
        6 + 2 * self.0 as usize
    }

    /// Bytes of the used ring, `avail_event` included; aligned to 4.
    pub const fn used_bytes(self) -> usize {
        6 + 8 * self.0 as usize
    }
}

/// Used elements that lie side by side. A view: each call reads the ring.
#[derive(Clone, Copy)]
pub(super) struct UsedRun {
    /// `count` elements from here on lie in the used ring.
    first: NonNull<u32>,
    count: usize,
}

impl UsedRun {
    /// Reads element `at` of the run as one word, its id in the lower half and its length in the upper; `None` behind
    /// the run's end.
    #[inline]
    pub(super) fn word(&self, at: usize) -> Option<u64> {
        // SAFETY: `at < count`, which lies in the used ring, valid as long as the view; any bytes are a valid word.
        let word = || u64::from_le(unsafe { raw::read_once(self.element(at)) });
        (at < self.count).then(word)
    }

    /// The same of the eight elements from `at` on.
    ///
    /// # Safety
    /// As many must be left.
    #[inline(always)]
    pub(super) unsafe fn eight(&self, at: usize) -> [Pair; 4] {
        debug_assert!(at + 8 <= self.count);
        // SAFETY: each `at + 2 * step + 1 < count`.
        let pairs =
            [0, 2, 4, 6].map(|step| unsafe { Pair::read_unaligned(self.element(at + step)) });
        if cfg!(target_endian = "big") {
            return pairs.map(|pair| Pair::new(pair.words().map(u64::from_le)));
        }
        pairs
    }

    /// # Safety
    /// `at < count`.
    #[inline(always)]
    unsafe fn element(&self, at: usize) -> *const u8 {
        // SAFETY: an element of the used ring.
        unsafe { self.first.add(2 * at) }.cast().as_ptr()
    }
}

/// Where the three parts of a split virtqueue lie. A view, without any state.
#[derive(Clone, Copy, Debug)]
pub struct SplitRing {
    desc: NonNull<u64>,
    /// flags, index, ring[size], used_event.
    avail: NonNull<u16>,
    /// flags, index (u16 each), ring[size] (u32 pairs), avail_event (u16).
    used: NonNull<u16>,
    size: RingSize,
}

impl SplitRing {
    /// A view of the ring at these addresses.
    ///
    /// # Safety
    /// Each part must be valid for reads and writes of the bytes that [`RingSize`] states for as long as the
    /// view or a copy of it is used, and aligned as stated there. Others may write it concurrently.
    pub unsafe fn new(
        desc: NonNull<u8>,
        avail: NonNull<u8>,
        used: NonNull<u8>,
        size: RingSize,
    ) -> Self {
        debug_assert!(desc.addr().get().is_multiple_of(16));
        debug_assert!(avail.addr().get().is_multiple_of(2));
        debug_assert!(used.addr().get().is_multiple_of(4));
        Self { desc: desc.cast(), avail: avail.cast(), used: used.cast(), size }
    }

    /// Entries.
    #[inline]
    pub fn size(&self) -> RingSize {
        self.size
    }

    /// Reads a descriptor; `index` is wrapped.
    #[inline]
    pub fn desc(&self, index: u16) -> Desc {
        let at = 2 * usize::from(self.size.wrap(index));
        // SAFETY: the wrapped index lies in the table; 16-byte alignment covers both words.
        unsafe {
            let word = self.desc.add(at);
            Desc::from_words(word.read_volatile(), word.add(1).read_volatile())
        }
    }

    /// Reads the descriptor of a chain's head, or `None` where `head` is outside the table.
    #[inline]
    pub(super) fn head_desc(&self, head: u16) -> Option<RawDesc> {
        // SAFETY: the head lies in the table.
        (head < self.size.get()).then(|| unsafe { self.head_desc_unchecked(head) })
    }

    /// Whether all of these are indexes of the table. (Its size is a power of two: no index has a bit of it, and
    /// so neither has their OR.)
    #[inline]
    pub(super) fn holds_all<const N: usize>(&self, heads: &[u16; N]) -> bool {
        heads.iter().fold(0, |all, head| all | head) < self.size.get()
    }

    /// As [`head_desc`](Self::head_desc), for a head that is known to be in the table.
    ///
    /// # Safety
    /// `head < size`.
    #[inline]
    pub(super) unsafe fn head_desc_unchecked(&self, head: u16) -> RawDesc {
        debug_assert!(head < self.size.get());
        // SAFETY: the head lies in the table; 16-byte alignment covers both words.
        unsafe {
            let word = self.desc.add(2 * usize::from(head));
            RawDesc { addr: word.read_volatile(), rest: word.add(1).read_volatile() }
        }
    }

    /// Reads a descriptor as two words: the address; the length, with the flags and the next index above it.
    ///
    /// # Safety
    /// `head < size`.
    #[inline]
    pub(super) unsafe fn desc_pair_unchecked(&self, head: u16) -> Pair {
        debug_assert!(head < self.size.get());
        // SAFETY: the head lies in the table, which is aligned to 16.
        unsafe { Pair::read(self.desc.add(2 * usize::from(head)).as_ptr()) }
    }

    /// The same of eight descriptors, of which `head` is the first.
    ///
    /// # Safety
    /// `head + 7 < size`.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn eight_descs_unchecked(&self, head: u16) -> [crate::avx2::Quad; 4] {
        debug_assert!(head + 7 < self.size.get());
        // SAFETY: all lie in the table.
        unsafe {
            let first = self.desc.add(2 * usize::from(head));
            [0, 4, 8, 12].map(|at| crate::avx2::Quad::read(first.add(at).as_ptr()))
        }
    }

    /// Starts loading a burst of descriptors, the one that follows the burst from `head` (wrapped) on, as far as they lie
    /// side by side.
    #[inline(always)]
    pub(super) fn prefetch_burst_ahead(&self, head: u16) {
        let at = 2 * usize::from(self.size.wrap(head.wrapping_add(AHEAD)));
        let first = self.desc.as_ptr().wrapping_add(at).cast::<u8>();
        for line in 0..BURST / DESCS_IN_LINE {
            prefetch(first.wrapping_add(line * CACHE_LINE));
        }
    }

    /// Writes a descriptor; `index` is wrapped.
    #[inline]
    pub fn set_desc(&self, index: u16, desc: Desc) {
        let at = 2 * usize::from(self.size.wrap(index));
        // SAFETY: as in `desc`.
        unsafe {
            let word = self.desc.add(at);
            word.write_volatile(desc.addr);
            word.add(1).write_volatile(desc.second_word());
        }
    }

    /// Reads avail ring entry `index` (wrapped): the head of a chain.
    #[inline]
    pub fn avail(&self, index: u16) -> u16 {
        // SAFETY: two words, then `size` entries; the wrapped index is one of them.
        unsafe { self.avail.add(2 + usize::from(self.size.wrap(index))).read_volatile() }
    }

    /// Writes avail ring entry `index` (wrapped).
    #[inline]
    pub fn set_avail(&self, index: u16, head: u16) {
        // SAFETY: as in `avail`.
        unsafe { self.avail.add(2 + usize::from(self.size.wrap(index))).write_volatile(head) }
    }

    /// Reads used element `index` (wrapped).
    #[inline]
    pub fn used(&self, index: u16) -> UsedElem {
        let word = self.used_elem(index);
        // SAFETY: both words of an element in the used ring; volatile, so that each is read exactly once.
        unsafe { UsedElem { id: word.read_volatile(), len: word.add(1).read_volatile() } }
    }

    /// Writes used element `index` (wrapped).
    #[inline]
    pub fn set_used(&self, index: u16, elem: UsedElem) {
        let word = self.used_elem(index);
        // SAFETY: both words of an element in the used ring.
        unsafe {
            word.write_volatile(elem.id);
            word.add(1).write_volatile(elem.len);
        }
    }

    /// Copies `count` avail ring entries from `index` (wrapped) on, at most as many as the ring and `heads` have: each
    /// is read once.
    #[inline]
    pub(super) fn avail_run<'a>(
        &self,
        index: u16,
        count: usize,
        heads: &'a mut [MaybeUninit<u16>; BURST],
    ) -> &'a [u16] {
        let heads = &mut heads[..count];
        debug_assert!(heads.len() <= usize::from(self.size.get()));
        let from = usize::from(self.size.wrap(index));
        let first = heads.len().min(usize::from(self.size.get()) - from);
        // SAFETY: two words, then `size` entries: `from + first <= size`, and the rest starts at the front again.
        // Raw copies, because the driver may write the entries; `heads` is private, so nothing overlaps. All of them
        // are written.
        unsafe {
            let entries = self.avail.add(2).as_ptr();
            let (to, rest) = (heads.as_mut_ptr().cast::<u16>(), heads.len() - first);
            raw::copy(entries.add(from).cast(), to.cast(), 2 * first);
            if rest > 0 {
                ptr::copy_nonoverlapping(entries, to.add(first), rest);
            }
            heads.assume_init_ref()
        }
    }

    /// Writes used elements from `index` (wrapped) on, at most as many as the ring has.
    #[inline]
    pub fn set_used_run(&self, index: u16, elems: &[UsedElem]) {
        for (place, elems) in self.used_places(index, elems) {
            // SAFETY: as many bytes as these have; `elems` is private.
            unsafe { raw::copy(elems.as_ptr().cast(), place, size_of_val(elems)) };
        }
    }

    /// Where used elements from `index` (wrapped) on stand, one for each of `all`, of which there are at most as many as
    /// the ring has: those up to the end of the ring, and from its start. Each place has 8 bytes for each.
    #[inline]
    pub(super) fn used_places<'a, T>(&self, index: u16, all: &'a [T]) -> [(*mut u8, &'a [T]); 2] {
        debug_assert!(all.len() <= usize::from(self.size.get()));
        let from = usize::from(self.size.wrap(index));
        let first = all.len().min(usize::from(self.size.get()) - from);
        let (all, rest) = all.split_at(first);
        // SAFETY: two u16 words, then `size` elements of 8 bytes, of which `from` is one.
        let (start, place) = unsafe {
            let start = self.used.add(2).cast::<u8>();
            (start.as_ptr(), start.add(8 * from).as_ptr())
        };
        [(place, all), (start, rest)]
    }

    /// Writes used elements from `index` (wrapped) on that name all of `heads`, of which there are at most as many as
    /// the ring has, and say that nothing was written into their chains.
    #[inline]
    pub(super) fn set_used_heads(&self, index: u16, heads: &[u16]) {
        for (place, heads) in self.used_places(index, heads) {
            // SAFETY: as many bytes as these need.
            unsafe { write_heads(place, heads) };
        }
    }

    /// The `count` used elements from entry `from` on.
    ///
    /// # Safety
    /// They must all lie before the end of the ring: `from + count <= size`.
    #[inline]
    pub(super) unsafe fn used_run(&self, from: usize, count: usize) -> UsedRun {
        debug_assert!(from + count <= usize::from(self.size.get()));
        // SAFETY: two u16 words, then `size` elements of 8 bytes, of which `from` is one or their end.
        UsedRun { first: unsafe { self.used.cast::<u32>().add(1 + 2 * from) }, count }
    }

    /// As [`set_desc`](Self::set_desc), for an index that is known to be one of the ring's.
    ///
    /// # Safety
    /// `index < size`.
    #[inline]
    pub(super) unsafe fn set_desc_unchecked(&self, index: usize, desc: Desc) {
        debug_assert!(index < usize::from(self.size.get()));
        // SAFETY: the index lies in the table; 16-byte alignment covers both words.
        unsafe {
            let word = self.desc.add(2 * index);
            word.write_volatile(desc.addr);
            word.add(1).write_volatile(desc.second_word());
        }
    }

    /// Writes the address of a descriptor and leaves its other fields alone.
    ///
    /// # Safety
    /// `index < size`.
    #[inline]
    pub(super) unsafe fn set_desc_addr_unchecked(&self, index: usize, addr: u64) {
        debug_assert!(index < usize::from(self.size.get()));
        // SAFETY: as in `set_desc_unchecked`.
        unsafe { self.desc.add(2 * index).write_volatile(addr) }
    }

    /// Writes the lengths (less than 2^32) of two descriptors, and makes their flags and next indexes zero.
    ///
    /// # Safety
    /// Each index must be less than the size.
    #[inline(always)]
    pub(super) unsafe fn set_desc_lens_unchecked(&self, indexes: [usize; 2], lens: Pair) {
        debug_assert!(indexes.iter().all(|&index| index < usize::from(self.size.get())));
        // SAFETY: as in `set_desc_unchecked`; the second words. (Plain writes: the index orders them.)
        unsafe {
            let [one, two] = indexes.map(|index| self.desc.add(2 * index + 1).as_ptr());
            lens.write_apart(one, two);
        }
    }

    /// Device addresses of the descriptor table, the avail ring and the used ring.
    pub fn addresses(&self) -> [u64; 3] {
        [self.desc.addr(), self.avail.addr(), self.used.addr()].map(|address| address.get() as u64)
    }

    #[inline]
    fn used_elem(&self, index: u16) -> NonNull<u32> {
        // SAFETY: two u16 words, then `size` elements of 8 bytes; the wrapped index is one of them.
        unsafe { self.used.cast::<u32>().add(1 + 2 * usize::from(self.size.wrap(index))) }
    }

    /// The avail ring's index word, written by the driver half.
    #[inline]
    pub fn load_avail_index(&self, order: Ordering) -> u16 {
        self.atomic(self.avail_word(1)).load(order)
    }

    /// Publishes the avail ring up to `index` (release).
    #[inline]
    pub fn store_avail_index(&self, index: u16) {
        self.atomic(self.avail_word(1)).store(index, Ordering::Release);
    }

    /// The used ring's index word, written by the device half.
    #[inline]
    pub fn load_used_index(&self, order: Ordering) -> u16 {
        self.atomic(self.used_word(1)).load(order)
    }

    /// Publishes the used ring up to `index` (release).
    #[inline]
    pub fn store_used_index(&self, index: u16) {
        self.atomic(self.used_word(1)).store(index, Ordering::Release);
    }

    /// The avail ring's flags, written by the driver half.
    #[inline]
    pub fn avail_flags(&self) -> u16 {
        self.atomic(self.avail_word(0)).load(Ordering::Relaxed)
    }

    /// Writes the avail ring's flags.
    #[inline]
    pub fn set_avail_flags(&self, flags: u16) {
        self.atomic(self.avail_word(0)).store(flags, Ordering::Relaxed);
    }

    /// The used ring's flags, written by the device half.
    #[inline]
    pub fn used_flags(&self) -> u16 {
        self.atomic(self.used_word(0)).load(Ordering::Relaxed)
    }

    /// Writes the used ring's flags.
    #[inline]
    pub fn set_used_flags(&self, flags: u16) {
        self.atomic(self.used_word(0)).store(flags, Ordering::Relaxed);
    }

    /// `used_event`: after which used index the driver half wants an interrupt (EVENT_IDX).
    #[inline]
    pub fn used_event(&self) -> u16 {
        self.atomic(self.avail_word(2 + usize::from(self.size.get()))).load(Ordering::Relaxed)
    }

    /// Writes `used_event`.
    #[inline]
    pub fn set_used_event(&self, index: u16) {
        self.atomic(self.avail_word(2 + usize::from(self.size.get())))
            .store(index, Ordering::Relaxed);
    }

    /// `avail_event`: after which avail index the device half wants a notification (EVENT_IDX).
    #[inline]
    pub fn avail_event(&self) -> u16 {
        self.atomic(self.used_word(2 + 4 * usize::from(self.size.get()))).load(Ordering::Relaxed)
    }

    /// Writes `avail_event`.
    #[inline]
    pub fn set_avail_event(&self, index: u16) {
        self.atomic(self.used_word(2 + 4 * usize::from(self.size.get())))
            .store(index, Ordering::Relaxed);
    }

    #[inline]
    fn avail_word(&self, at: usize) -> NonNull<u16> {
        // SAFETY: callers name flags (0), index (1) or the event word behind the entries.
        unsafe { self.avail.add(at) }
    }

    #[inline]
    fn used_word(&self, at: usize) -> NonNull<u16> {
        // SAFETY: as in `avail_word`.
        unsafe { self.used.add(at) }
    }

    #[inline]
    fn atomic(&self, word: NonNull<u16>) -> &AtomicU16 {
        // SAFETY: aligned to 2 and valid as long as the view is (see `new`); all accesses to these words
        // on our side are atomic.
        unsafe { AtomicU16::from_ptr(word.as_ptr()) }
    }
}
