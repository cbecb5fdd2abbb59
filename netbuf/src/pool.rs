//! The pool: fixed-size slots, a last-in first-out free list owned by one core, and a list over which other
//! cores return what was detached to them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::header::{Header, Word, flag};
use crate::pair::Pair;
use crate::prefetch::prefetch_write;
use crate::{BURST, Burst, CACHE_LINE, DeviceMemory, Netbuf, Template, code};

/// What a pool is carved into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Number of buffers.
    pub buffers: usize,
    /// Bytes kept free in front of a frame, for the device's header and encapsulations; a multiple of
    /// [`CACHE_LINE`], so that the frame starts on a line boundary and the device's header, in the line
    /// before it, need not move between cores when it does not change.
    pub headroom: u16,
    /// Bytes for the frame: L2 header included, FCS excluded.
    pub room: u16,
}

impl Default for PoolConfig {
    /// 4096 buffers of 128 + 2048 bytes.
    fn default() -> Self {
        Self { buffers: 4096, headroom: 128, room: 2048 }
    }
}

impl PoolConfig {
    /// Bytes of device memory that the pool takes.
    pub fn device_bytes(&self) -> usize {
        self.buffers.saturating_mul(self.stride())
    }

    /// Bytes from one buffer to the next: whole cache lines, an odd number of them, so that the frames of
    /// neighbouring buffers spread over all sets of a cache.
    pub fn stride(&self) -> usize {
        let lines = (usize::from(self.headroom) + usize::from(self.room)).div_ceil(CACHE_LINE);
        (lines | 1) * CACHE_LINE
    }
}

/// Why a pool could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// `headroom` is no multiple of [`CACHE_LINE`], or `headroom + room` exceeds 65,535, or `room` is zero.
    Shape(PoolConfig),
    /// The memory is smaller than [`PoolConfig::device_bytes`], or there is no buffer at all.
    TooSmall {
        /// Bytes that the configuration takes.
        needed: usize,
        /// Bytes that were given.
        given: usize,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape(c) => write!(
                f,
                "a buffer of {} + {} bytes is not possible: the headroom must be a multiple of {CACHE_LINE}, \
                 the room at least 1, both together at most 65535",
                c.headroom, c.room
            ),
            Self::TooSmall { needed, given } => {
                write!(
                    f,
                    "the pool takes {needed} bytes of device memory (at least one buffer), {given} were given"
                )
            }
        }
    }
}

impl core::error::Error for PoolError {}

/// Counters of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Buffers in all.
    pub buffers: usize,
    /// Buffers on the owner's free list now.
    pub available: usize,
    /// Buffers that were asked for and not there.
    pub exhausted: u64,
}

/// The shared state of a pool. Lives for ever, like the memory that it hands out.
pub(crate) struct Inner {
    /// `buffers` entries, of which the first `available` are free slots. Only the owning core touches it.
    free: NonNull<MaybeUninit<NonNull<Header>>>,
    available: Cell<usize>,
    buffers: usize,
    headroom: u16,
    room: u16,
    /// The word of every free slot.
    clean: Word,
    /// The same, if its [`code`] is this pool's alone: what no other pool's words can OR to. Else no slot has it.
    proof: Word,
    memory: (NonNull<u8>, usize),
    /// Written by the owner (a plain add), readable from anywhere.
    exhausted: AtomicU64,
    /// Slots that other cores dropped, linked by `Header::next`; drained by the owner as a whole.
    remote: CachePadded<AtomicPtr<Header>>,
}

/// A handle to a pool: cheap to clone, bound to the core that made it (neither `Send` nor `Sync`).
///
/// The memory behind it is never given back, so packets may outlive every handle.
#[derive(Clone, Copy)]
pub struct Pool {
    inner: &'static Inner,
    not_send: PhantomData<*mut ()>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Carves `memory` into buffers. The headers come from the heap; this is the last allocation.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub fn new(memory: DeviceMemory, config: PoolConfig) -> Result<Self, PoolError> {
        let capacity = usize::from(config.headroom) + usize::from(config.room);
        let (true, true, Ok(capacity)) = (
            usize::from(config.headroom).is_multiple_of(CACHE_LINE),
            config.room > 0,
            u16::try_from(capacity),
        ) else {
            return Err(PoolError::Shape(config));
        };
        let needed = config.device_bytes();
        if config.buffers == 0 || needed > memory.len() {
            return Err(PoolError::TooSmall { needed: needed.max(1), given: memory.len() });
        }
        let inner = Inner::leak(&memory, config);
        let mut headers = Vec::with_capacity(config.buffers);
        for slot in 0..config.buffers {
            // SAFETY: `buffers * stride <= memory.len()`, so the slot's start lies inside the region.
            let room = unsafe { memory.base().add(slot * config.stride()) };
            headers.push(Header {
                word: Cell::new(inner.clean),
                room,
                pool: NonNull::from(inner),
                next: Cell::new(ptr::null()),
                timestamp: Cell::new(0),
                rss_hash: Cell::new(0),
                vlan: Cell::new(0),
                csum_start: Cell::new(0),
                csum_offset: Cell::new(0),
                gso_size: Cell::new(0),
                gso_header_len: Cell::new(0),
                gso_kind: Cell::new(0),
                capacity,
                headroom: config.headroom,
            });
        }
        // The lowest address on top of the stack, so that early packets lie at the start of the memory.
        for header in Vec::leak(headers).iter().rev() {
            inner.free_one(NonNull::from(header));
        }
        Ok(Self { inner, not_send: PhantomData })
    }

    /// Takes an empty packet: no bytes, the full headroom. `None` (counted) when the pool is empty.
    #[inline]
    pub fn alloc(&self) -> Option<Netbuf> {
        let inner = self.inner;
        if inner.available.get() == 0 && inner.drain_remote() == 0 {
            inner.count_exhausted(1);
            return None;
        }
        let top = inner.available.get() - 1;
        inner.available.set(top);
        // SAFETY: `top < buffers`, and entries below the old `available` are initialised. The slot leaves
        // the free list here, so the handle is its only owner.
        Some(unsafe { Netbuf::from_header(inner.free.add(top).read().assume_init()) })
    }

    /// Appends up to `count` empty packets to `burst`, as far as both have room; returns how many. What was
    /// wanted and not there is counted.
    #[inline]
    pub fn alloc_burst(&self, burst: &mut Burst, count: usize) -> usize {
        let wanted = count.min(burst.remaining_capacity());
        let filled = burst.len();
        // SAFETY: `wanted` more elements fit behind the `filled` ones, and `alloc_into` initialises the first
        // `got` of them.
        unsafe {
            let free = burst.as_mut_ptr().add(filled).cast::<MaybeUninit<Netbuf>>();
            let got = self.alloc_into(core::slice::from_raw_parts_mut(free, wanted));
            burst.set_len(filled + got);
            got
        }
    }

    /// As [`alloc_burst`](Self::alloc_burst), for packets that are filled at once: the first cache lines of their
    /// frames are loaded to be written.
    #[inline]
    pub fn alloc_burst_to_fill(&self, burst: &mut Burst, count: usize) -> usize {
        let filled = burst.len();
        let got = self.alloc_burst(burst, count);
        for packet in &burst[filled..] {
            prefetch_write::<0>(packet.room().as_ptr(), self.inner.headroom.into());
        }
        got
    }

    /// Fills `out` from the front with empty packets; returns how many were there, and counts the rest. The
    /// one copy of pointers that a driver's refill is made of.
    #[inline]
    pub fn alloc_into(&self, out: &mut [MaybeUninit<Netbuf>]) -> usize {
        let inner = self.inner;
        let mut got = out.len();
        if inner.available.get() < got {
            got = inner.gather(got);
        }
        let rest = inner.available.get() - got;
        // SAFETY: entries `rest..available` are initialised slots; `Netbuf` is a transparent
        // `NonNull<Header>`, and lowering `available` makes the new handles the only owners.
        unsafe {
            let from = inner.free.add(rest).cast::<MaybeUninit<Netbuf>>();
            move_handles(from.as_ptr(), out.as_mut_ptr(), got);
        }
        inner.available.set(rest);
        got
    }

    /// A packet that holds a copy of `bytes`, as a chain where one buffer is too small. `None` when the pool
    /// does not have the buffers.
    pub fn copy_from(&self, bytes: &[u8]) -> Option<Netbuf> {
        let room = usize::from(self.inner.room);
        let (first, mut rest) = bytes.split_at(bytes.len().min(room));
        let mut packet = self.alloc()?;
        packet.append(first.len())?.copy_from_slice(first);
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(rest.len().min(room));
            let mut segment = self.alloc()?;
            segment.append(piece.len())?.copy_from_slice(piece);
            packet.chain(segment);
            rest = later;
        }
        Some(packet)
    }

    /// The pool that `packet` came from, if it is one of this core: `None` for a packet that was detached.
    #[inline]
    pub fn of(packet: &Netbuf) -> Option<Self> {
        let header = packet.header();
        if header.has_flag(flag::REMOTE) {
            return None;
        }
        // SAFETY: pools live for ever. A packet that was never detached is on the core of its pool.
        Some(Self { inner: unsafe { header.pool.as_ref() }, not_send: PhantomData })
    }

    /// Whether `packet` came from this pool, is a single segment, was never detached, and asks a device for
    /// nothing but to send its bytes.
    #[inline]
    pub fn is_plain(&self, packet: &Netbuf) -> bool {
        const MASK: u64 = Word::CODE_MASK | (flag::ODD as u64) << Word::FLAGS;
        let header = packet.header();
        header.word.get().0 & MASK == self.inner.clean.0
            && (self.inner.clean == self.inner.proof || header.pool == NonNull::from(self.inner))
    }

    /// A test for plain packets of this pool that have at least `least` bytes (at most 32,768).
    #[inline]
    pub fn plain_from(&self, least: u16) -> PlainFrom {
        debug_assert!(least <= 1 << 15);
        PlainFrom(self.inner.proof.with_len(least))
    }

    /// What packets have in common that are received into buffers of this pool, `headroom` bytes from their
    /// start, by `port`. With no port and the pool's own headroom, a packet of no bytes that is made with it is
    /// what the pool hands out.
    #[inline]
    pub fn template(&self, headroom: u16, port: u16) -> Template {
        let moved = u64::from(headroom ^ self.inner.headroom);
        Template(Word(self.inner.clean.0 | moved).with_port(port))
    }

    /// Frees packets by one copy of pointers: what a driver's reclaim is made of. Their memory stands in
    /// `packets` afterwards and is owned by the pool.
    ///
    /// # Safety
    /// Every element must be initialised with a packet of this pool that is as the pool handed it out (see
    /// [`Netbuf::set_received_unchecked`]), and must not be used afterwards.
    #[inline]
    pub unsafe fn free_clean(&self, packets: &[MaybeUninit<Netbuf>]) {
        let inner = self.inner;
        let top = inner.available.get();
        debug_assert!(top + packets.len() <= inner.buffers, "a slot was freed twice");
        // SAFETY: at most `buffers` slots exist and each is free at most once, so the copy ends inside the
        // list; `Netbuf` is a transparent `NonNull<Header>`; the caller gives the handles up.
        unsafe {
            debug_assert!(packets.iter().all(|packet| {
                let header = packet.assume_init_ref().header();
                header.pool == NonNull::from(inner) && header.word.get() == inner.clean
            }));
            let to = inner.free.add(top).cast::<MaybeUninit<Netbuf>>();
            move_handles(packets.as_ptr(), to.as_ptr(), packets.len());
        }
        inner.available.set(top + packets.len());
    }

    /// Free buffers, those included that other cores have returned.
    pub fn available(&self) -> usize {
        self.inner.drain_remote();
        self.inner.available.get()
    }

    /// Buffers in all.
    pub fn buffers(&self) -> usize {
        self.inner.buffers
    }

    /// Bytes kept free in front of a new packet.
    pub fn headroom(&self) -> u16 {
        self.inner.headroom
    }

    /// Bytes for a frame in one buffer, L2 header included, FCS excluded.
    pub fn room(&self) -> u16 {
        self.inner.room
    }

    /// The device memory that the buffers lie in: first byte and length in bytes.
    pub fn device_region(&self) -> (NonNull<u8>, usize) {
        self.inner.memory
    }

    /// The counters.
    pub fn stats(&self) -> PoolStats {
        PoolStats {
            buffers: self.inner.buffers,
            available: self.available(),
            exhausted: self.inner.exhausted.load(Ordering::Relaxed),
        }
    }
}

impl Inner {
    fn leak(memory: &DeviceMemory, config: PoolConfig) -> &'static Self {
        let free: &mut [MaybeUninit<NonNull<Header>>] =
            Vec::leak(alloc::vec![MaybeUninit::uninit(); config.buffers]);
        let code = code::take();
        Box::leak(Box::new(Self {
            free: NonNull::from(free).cast(),
            available: Cell::new(0),
            buffers: config.buffers,
            headroom: config.headroom,
            room: config.room,
            clean: Word::clean(code),
            proof: Word::clean(if code == code::NONE { 0 } else { code }),
            memory: (memory.base(), memory.len()),
            exhausted: AtomicU64::new(0),
            remote: CachePadded::new(AtomicPtr::new(ptr::null_mut())),
        }))
    }

    /// Puts one slot on the free list. Owner's core only.
    #[inline]
    fn free_one(&self, slot: NonNull<Header>) {
        let top = self.available.get();
        debug_assert!(top < self.buffers, "a slot was freed twice");
        // SAFETY: at most `buffers` slots exist and each is free at most once (a `Netbuf` is its slot's only
        // owner), so `top < buffers`. The header outlives everything.
        unsafe {
            slot.as_ref().word.set(self.clean);
            self.free.add(top).write(MaybeUninit::new(slot));
        }
        self.available.set(top + 1);
    }

    /// Frees packets if they are all plain ones of this pool, which has a code of its own; whether they are.
    /// Owner's core only.
    #[inline(always)]
    fn free_group<const N: usize>(&self, slots: &[NonNull<Header>; N]) -> bool {
        const MASK: u64 = Word::CODE_MASK | (flag::SLOW_DROP as u64) << Word::FLAGS;
        let clean = self.proof;
        // SAFETY: headers live for ever.
        let word = |slot: &NonNull<Header>| unsafe { slot.as_ref() }.word.get();
        let all = slots.iter().fold(0, |all, slot| all | word(slot).0);
        // SAFETY: of this pool, because the OR of their codes is its code (see `code`), and plain.
        unsafe {
            if all == clean.0 {
                self.push_group(slots);
                true
            } else {
                all & MASK == clean.0 && self.push_used_group(slots)
            }
        }
    }

    /// Cleans slots and puts them on the free list; `true`. Out of line, so that those that need no cleaning pay
    /// nothing for it.
    ///
    /// # Safety
    /// As [`push_group`](Self::push_group), but for the words.
    #[inline(never)]
    unsafe fn push_used_group<const N: usize>(&self, slots: &[NonNull<Header>; N]) -> bool {
        for slot in slots {
            // SAFETY: headers live for ever.
            unsafe { slot.as_ref() }.word.set(self.clean);
        }
        // SAFETY: the caller's promise; the words are clean now.
        unsafe { self.push_group(slots) };
        true
    }

    /// Puts clean slots on the free list.
    ///
    /// # Safety
    /// They must be this pool's, given up by their owners, and their words clean. Owner's core only.
    #[inline]
    unsafe fn push_group<const N: usize>(&self, slots: &[NonNull<Header>; N]) {
        let top = self.available.get();
        debug_assert!(top + N <= self.buffers, "a slot was freed twice");
        // SAFETY: see `free_one`: at most `buffers` slots exist and each is free at most once.
        unsafe { move_handles(slots.as_ptr(), self.free.add(top).cast().as_ptr(), N) };
        self.available.set(top + N);
    }

    /// Puts one slot on the remote-free list. Any core.
    fn free_remote(&self, slot: NonNull<Header>) {
        let mut head = self.remote.load(Ordering::Relaxed);
        loop {
            // SAFETY: we own the slot until the exchange publishes it.
            unsafe { slot.as_ref() }.next.set(head);
            match self.remote.compare_exchange_weak(
                head,
                slot.as_ptr(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Moves what other cores returned to the free list; how many. Owner's core only. Taking the whole list
    /// in one exchange leaves no room for an ABA fault.
    fn drain_remote(&self) -> usize {
        if self.remote.load(Ordering::Relaxed).is_null() {
            return 0;
        }
        let mut slot = self.remote.swap(ptr::null_mut(), Ordering::Acquire);
        let mut count = 0;
        while let Some(header) = NonNull::new(slot) {
            // SAFETY: headers live for ever; the acquire exchange made the link visible, and the list is
            // ours alone now.
            slot = unsafe { header.as_ref() }.next.get().cast_mut();
            self.free_one(header);
            count += 1;
        }
        count
    }

    /// Fetches what other cores returned, for want of `wanted` slots; how many of them there are now. The
    /// others are counted.
    #[cold]
    #[inline(never)]
    fn gather(&self, wanted: usize) -> usize {
        self.drain_remote();
        let got = self.available.get().min(wanted);
        if got < wanted {
            self.count_exhausted(wanted - got);
        }
        got
    }

    #[cold]
    fn count_exhausted(&self, packets: usize) {
        let total = self.exhausted.load(Ordering::Relaxed) + packets as u64;
        self.exhausted.store(total, Ordering::Relaxed);
    }
}

/// Frees a slot that its owner gave up: to the owner's list, segment by segment, or over the remote list.
#[inline]
pub(crate) fn free_slot(slot: NonNull<Header>) {
    // SAFETY: headers and pools live for ever.
    let header = unsafe { slot.as_ref() };
    if !header.has_flag(flag::SLOW_DROP) {
        // SAFETY: as above. Without REMOTE the handle never left the owner's core (`Netbuf` is not `Send`).
        unsafe { header.pool.as_ref() }.free_one(slot);
    } else {
        free_slowly(slot);
    }
}

#[cold]
fn free_slowly(first: NonNull<Header>) {
    let mut next = Some(first);
    while let Some(slot) = next {
        // SAFETY: headers and pools live for ever; each segment of a chain is owned through its head.
        let (header, pool) = unsafe { (slot.as_ref(), slot.as_ref().pool.as_ref()) };
        next = header
            .has_flag(flag::CHAINED)
            .then(|| NonNull::new(header.next.get().cast_mut()))
            .flatten();
        if header.has_flag(flag::REMOTE) {
            pool.free_remote(slot);
        } else {
            pool.free_one(slot);
        }
    }
}

/// Frees a whole burst; faster than dropping the packets one by one when they share a pool.
#[inline(always)]
pub fn free_burst(burst: &mut Burst) {
    // SAFETY: the length goes to zero first, so the slots below are owned by this loop alone.
    let slots = unsafe {
        let len = burst.len();
        burst.set_len(0);
        core::slice::from_raw_parts(burst.as_ptr().cast::<NonNull<Header>>(), len)
    };
    free_slots(slots);
}

#[inline(always)]
fn free_slots(slots: &[NonNull<Header>]) {
    let Some(first) = slots.first() else { return };
    // SAFETY: headers and pools live for ever. (Where another core detached the packet, the pool is not ours
    // to touch: nothing but constants of it is read before that is known.)
    let pool = unsafe { first.as_ref().pool.as_ref() };
    let mut rest = slots;
    if let Some(group) = rest.first_chunk::<BURST>()
        && pool.free_group(group)
    {
        return;
    }
    while let Some((group, others)) = rest.split_first_chunk::<8>()
        && pool.free_group(group)
    {
        rest = others;
    }
    if !rest.is_empty() {
        free_each(rest);
    }
}

/// Frees packets of any kind.
#[inline(never)]
fn free_each(slots: &[NonNull<Header>]) {
    slots.iter().for_each(|&slot| free_slot(slot));
}

/// Moves handles, many at a time: without a call, and with few branches on how many there are.
///
/// # Safety
/// As `copy_nonoverlapping`.
#[inline]
unsafe fn move_handles<T>(from: *const T, to: *mut T, count: usize) {
    // SAFETY: a whole burst; `done + 8 <= count` in the first loop, `done < count` in the second.
    unsafe {
        if count == BURST {
            // (In halves: all at once would be a call again.)
            let (from, to) = (from.cast::<[T; BURST / 2]>(), to.cast::<[T; BURST / 2]>());
            to.write(from.read());
            to.add(1).write(from.add(1).read());
            return;
        }
        let mut done = 0;
        while done + 8 <= count {
            to.add(done).cast::<[T; 8]>().write(from.add(done).cast::<[T; 8]>().read());
            done += 8;
        }
        while done < count {
            to.add(done).write(from.add(done).read());
            done += 1;
        }
    }
}

/// Proves of a packet, or of many at once, to be plain and of a length. See [`Pool::plain_from`].
#[derive(Clone, Copy, Debug)]
pub struct PlainFrom(Word);

impl PlainFrom {
    /// Less than 32,768 only if `packet` is plain (see [`Pool::is_plain`]), carries no metadata, and has the
    /// least length: then by how many bytes it is longer. (So is the OR of several, of each of them.)
    #[inline]
    pub fn excess(self, packet: &Netbuf) -> u32 {
        Word(self.more(packet)).upper()
    }

    /// [`excess`](Self::excess) in the upper half, and below it what tells whether the packet was moved in its
    /// buffer: one subtraction for all. Ask [`longest`](Self::longest) what the OR of several means.
    #[inline]
    pub fn more(self, packet: &Netbuf) -> u64 {
        packet.header().word.get().0.wrapping_sub(self.0.0)
    }

    /// [`more`](Self::more) of two packets.
    #[inline(always)]
    pub fn more_of_both(self, packets: &[Netbuf; 2]) -> Pair {
        let [one, two] = packets.each_ref().map(|packet| packet.header().word.as_ptr().cast());
        // SAFETY: the words of two headers that are ours.
        unsafe { Pair::read_apart(one, two) }.minus(Pair::both(self.0.0))
    }

    /// Less than 32,768 only if all packets that [`more`](Self::more) was asked of, and ORed to `all`, are plain (see [`Pool::is_plain`]),
    /// carry no metadata, start where their pool's headroom ends, and have the least length: then an upper bound
    /// of by how many bytes each of them is longer.
    #[inline]
    pub fn longest(self, all: u64) -> u32 {
        // A code that is not ours, a flag, or a missing byte is a difference of at least 32,768 (the least is no
        // more than that), and an OR is no less than what it was made of.
        if Word(all).moved() == 0 { Word(all).upper() } else { u32::MAX }
    }

    /// Bits of which the OR of what [`more`](Self::more) said has none if [`longest`](Self::longest) of it is less than the
    /// largest power of two that is at most `span + 1`: for a test of several ORs at once. `span` is less than 32,768.
    #[inline(always)]
    pub fn beyond(self, span: u32) -> u64 {
        debug_assert!(span < 1 << 15);
        // (One bit more changes nothing where there is one, and tells the compiler that there is.)
        let few = ((span + 1) | 1).ilog2();
        u64::from(u32::MAX << few) << Word::LEN | 0xffff
    }

    /// Whether [`longest`](Self::longest) is at most `span`, of less than 32,768: two branches, which a processor
    /// foresees, instead of a calculation.
    #[inline(always)]
    pub fn are(self, all: u64, span: u32) -> bool {
        debug_assert!(span < 1 << 15);
        Word(all).moved() == 0 && Word(all).upper() <= span
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(buffers: usize) -> Pool {
        let config = PoolConfig { buffers, ..PoolConfig::default() };
        Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
    }

    #[test]
    fn frames_start_on_a_line_boundary_and_strides_are_odd_lines() {
        let pool = pool(4);
        for _ in 0..4 {
            let packet = pool.alloc().unwrap();
            assert_eq!(packet.bytes().as_ptr().addr() % CACHE_LINE, 0);
            core::mem::forget(packet);
        }
        assert_eq!((PoolConfig::default().stride() / CACHE_LINE) % 2, 1);
    }

    #[test]
    fn one_test_of_bits_never_passes_what_is_too_long_or_not_plain() {
        let (pool, other) = (pool(4), pool(4));
        let plain = pool.plain_from(33);
        let packet = |pool: &Pool, len: usize| pool.copy_from(&vec![7; len]).unwrap();
        for span in [0, 1, 30, 31, 32, 63, 1000, 32_767] {
            let passes = |packet: &Netbuf| plain.more(packet) & plain.beyond(span) == 0;
            for len in [20, 32, 33, 34, 48, 63, 64, 65, 96, 97, 600, 1033, 1034, 2000] {
                let packet = packet(&pool, len);
                let longest = plain.longest(plain.more(&packet));
                assert!(!passes(&packet) || longest <= span, "{len} {span}");
                if (span + 1).is_power_of_two() {
                    assert_eq!(passes(&packet), longest <= span, "{len} {span}");
                }
            }
            let mut odd = packet(&pool, 40);
            odd.set_vlan(Some(3));
            assert!(!passes(&odd));
            let mut odd = packet(&pool, 40);
            odd.trim(1).unwrap();
            assert!(!passes(&odd) && !passes(&packet(&other, 33)));
        }
    }

    #[test]
    fn exhaustion_is_counted_and_recovers() {
        let pool = pool(40);
        let mut burst = Burst::new();
        assert_eq!(pool.alloc_burst(&mut burst, 32), 32);
        let mut rest = Burst::new();
        assert_eq!(pool.alloc_burst(&mut rest, 32), 8);
        assert!(pool.alloc().is_none());
        assert_eq!(pool.stats().exhausted, 25);
        free_burst(&mut burst);
        drop(rest);
        assert_eq!(pool.available(), 40);
    }

    #[test]
    fn last_freed_is_first_allocated() {
        let pool = pool(8);
        let packet = pool.alloc().unwrap();
        let address = packet.bytes().as_ptr();
        drop(packet);
        assert_eq!(pool.alloc().unwrap().bytes().as_ptr(), address);
    }

    #[test]
    fn free_burst_sorts_packets_of_two_pools_and_chains() {
        let (one, two) = (pool(8), pool(8));
        let mut burst = Burst::new();
        burst.push(one.alloc().unwrap());
        burst.push(two.alloc().unwrap());
        burst.push(one.copy_from(&[7; 5000]).unwrap());
        burst.push(two.alloc().unwrap().detach().attach());
        free_burst(&mut burst);
        assert_eq!((one.available(), two.available()), (8, 8));
    }

    #[test]
    fn shapes_that_cannot_be_are_refused() {
        let config = PoolConfig { headroom: 100, ..PoolConfig::default() };
        assert_eq!(
            Pool::new(DeviceMemory::from_heap(64), config).unwrap_err(),
            PoolError::Shape(config)
        );
        let config = PoolConfig { room: 65_500, ..PoolConfig::default() };
        assert_eq!(
            Pool::new(DeviceMemory::from_heap(64), config).unwrap_err(),
            PoolError::Shape(config)
        );
        let config = PoolConfig { buffers: 0, ..PoolConfig::default() };
        assert!(matches!(
            Pool::new(DeviceMemory::from_heap(64), config),
            Err(PoolError::TooSmall { .. })
        ));
    }
}
