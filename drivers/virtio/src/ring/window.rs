//! The private side of a driver half: which descriptor stands at which place, and what it holds.
//!
//! Entries are posted at free-running positions. `head..tail` are outstanding: the device has them. A device
//! that completes in order always finishes the entry at `head`, so that one comparison with `keys` proves an
//! id to be in range, outstanding, and the one whose packet lies at the same place. A device that completes
//! another entry first has that one exchanged with the head ([`Window::promote`]); a permutation is all that is
//! ever needed, there is no free list and no search. The same for both formats: what a place means in the ring
//! is the format's business.

use alloc::boxed::Box;
use core::mem::MaybeUninit;

use netbuf::{Netbuf, Pool};

use super::split::RingSize;

/// Invariants: `keys` are those of a permutation of `0..size` and `places` is its inverse; these and `packets` have
/// `size` entries, a power of two. `packets` is initialised at the places of `head..tail`, which are at most `size`,
/// and only there.
pub(super) struct Window {
    keys: Box<[u64]>,
    made: Keys,
    places: Box<[u32]>,
    packets: Box<[MaybeUninit<Netbuf>]>,
    /// Position of the oldest outstanding entry.
    head: u32,
    /// Position of the next entry to post.
    tail: u32,
}

/// How a descriptor's key is made: a word of the ring's format as it is expected of that descriptor, so that the
/// device's word is checked by one subtraction.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    /// What all have in common; it does not reach the id.
    pub(super) base: u64,
    /// Where the id begins. Below it or above it stands nothing but the base.
    pub(super) id: u32,
}

impl Keys {
    #[inline]
    fn of(self, id: u32) -> u64 {
        self.base + (u64::from(id) << self.id)
    }

    #[expect(clippy::cast_possible_truncation, reason = "cuts the id out")]
    fn id(self, key: u64) -> u32 {
        ((key - self.base) >> self.id) as u32
    }
}

/// Places that lie side by side: the first of them, their descriptors' keys and their packets.
pub(super) struct Run<'a> {
    pub(super) place: usize,
    pub(super) keys: &'a [u64],
    pub(super) packets: &'a mut [MaybeUninit<Netbuf>],
}

/// Receive buffers that the device has finished with one completion: one, or under `VIRTIO_F_IN_ORDER` all up to
/// the one that it named, of which those before the last are full (virtio 1.2, 2.7.9 and 2.8.9).
#[derive(Clone, Copy, Default)]
pub(super) struct Batch {
    left: usize,
    /// Bytes written to the last one.
    len: u32,
}

impl Batch {
    pub(super) fn new(left: usize, len: u32) -> Self {
        Self { left, len }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The bytes written to the next buffer, of `full` bytes, which is then no longer part of the batch.
    pub(super) fn next(&mut self, full: u32) -> u32 {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 { self.len } else { full }
    }
}

/// Two places, and the descriptors that stand there now.
pub(super) type Exchanged = [(u16, u16); 2];

impl Window {
    /// An empty window: descriptor `i` stands at place `i`.
    #[inline(never)]
    pub(super) fn new(size: RingSize, made: Keys) -> Self {
        let size = u32::from(size.get());
        let packets = (0..size).map(|_| MaybeUninit::uninit()).collect();
        let keys = (0..size).map(|id| made.of(id)).collect();
        Self { keys, made, places: (0..size).collect(), packets, head: 0, tail: 0 }
    }

    #[inline]
    fn size(&self) -> usize {
        self.keys.len()
    }

    /// Entries that the device has.
    #[inline]
    pub(super) fn outstanding(&self) -> usize {
        self.tail.wrapping_sub(self.head) as usize
    }

    /// Entries that can be posted.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.size() - self.outstanding()
    }

    /// The position of the oldest outstanding entry.
    #[inline]
    pub(super) fn head(&self) -> u32 {
        self.head
    }

    /// The position of the next entry to post.
    #[inline]
    pub(super) fn tail(&self) -> u32 {
        self.tail
    }

    /// The `count` oldest entries, as far as they lie side by side: their packets are initialised.
    ///
    /// # Safety
    /// At most [`outstanding`](Self::outstanding) of them.
    #[inline]
    pub(super) unsafe fn oldest(&mut self, count: usize) -> Run<'_> {
        debug_assert!(count <= self.outstanding());
        self.run(self.head, count)
    }

    /// The next `count` places to post at, as far as they lie side by side.
    ///
    /// # Safety
    /// At most [`free`](Self::free) of them.
    #[inline]
    pub(super) unsafe fn next(&mut self, count: usize) -> Run<'_> {
        debug_assert!(count <= self.free());
        self.run(self.tail, count)
    }

    #[inline]
    fn run(&mut self, position: u32, count: usize) -> Run<'_> {
        let place = position as usize & (self.size() - 1);
        let end = place + count.min(self.size() - place);
        // SAFETY: `place <= end <= size`, the length of both.
        unsafe {
            Run {
                place,
                keys: self.keys.get_unchecked(place..end),
                packets: self.packets.get_unchecked_mut(place..end),
            }
        }
    }

    /// Takes note that the packets of the `count` oldest entries were moved out.
    ///
    /// # Safety
    /// They were, and at most [`outstanding`](Self::outstanding) of them.
    #[inline]
    pub(super) unsafe fn completed(&mut self, count: usize) {
        debug_assert!(count <= self.outstanding());
        self.head = self.head.wrapping_add(narrow(count));
    }

    /// Takes note that packets were moved into the next `count` places.
    ///
    /// # Safety
    /// They were, and at most [`free`](Self::free) of them.
    #[inline]
    pub(super) unsafe fn posted(&mut self, count: usize) {
        debug_assert!(count <= self.free());
        self.tail = self.tail.wrapping_add(narrow(count));
    }

    /// Frees the packets of the `count` oldest entries, as far as they lie side by side; how many. (Out of line, because
    /// it is called once a run and in many places.)
    ///
    /// # Safety
    /// At most [`outstanding`](Self::outstanding) of them. All outstanding packets but `foreign` must be of `home`, and
    /// as that handed them out.
    #[inline(never)]
    pub(super) unsafe fn give_back(
        &mut self,
        count: usize,
        home: &Pool,
        foreign: &mut u16,
    ) -> usize {
        // SAFETY: as many are outstanding.
        let packets = unsafe { self.oldest(count) }.packets;
        let done = packets.len();
        // SAFETY: the oldest places are outstanding, so initialised, and given up below; of the pool, as it handed
        // them out, where none is foreign.
        unsafe {
            if *foreign == 0 {
                home.free_clean(packets);
            } else {
                for packet in packets {
                    free_one(packet.assume_init_read(), home, foreign);
                }
            }
            self.completed(done);
        }
        done
    }

    /// How many outstanding entries there are up to `id`, which is counted; `None` where it is not outstanding.
    #[cold]
    pub(super) fn count_to(&self, id: u32) -> Option<usize> {
        let place = *self.places.get(usize::try_from(id).ok()?)?;
        let ahead = place.wrapping_sub(self.head) as usize & (self.size() - 1);
        (ahead < self.outstanding()).then_some(ahead + 1)
    }

    /// Makes `id` the oldest outstanding entry; where that moved descriptors (or not, if both places are the
    /// same). `None`, nothing changed, where it is not outstanding.
    #[cold]
    pub(super) fn promote(&mut self, id: u32) -> Option<Exchanged> {
        self.count_to(id)?;
        let mask = narrow(self.size() - 1);
        let (head, place) = (self.head & mask, *self.places.get(usize::try_from(id).ok()?)?);
        let (front, back) = (head as usize, place as usize);
        let displaced = self.made.id(self.keys[front]);
        self.keys.swap(front, back);
        self.packets.swap(front, back);
        self.places[displaced as usize] = place;
        self.places[id as usize] = head;
        Some([(index(head), index(id)), (index(place), index(displaced))])
    }

    /// Moves the oldest outstanding packet out.
    #[cold]
    pub(super) fn take_oldest(&mut self) -> Option<Netbuf> {
        if self.outstanding() == 0 {
            return None;
        }
        let place = self.head as usize & (self.size() - 1);
        self.head = self.head.wrapping_add(1);
        // SAFETY: the place was outstanding, so its packet is initialised; it is no longer, so this is the
        // only move out.
        Some(unsafe { self.packets[place].assume_init_read() })
    }
}

/// Frees a packet, and takes note where it was a foreign one. (A home packet was emptied, and is plain.)
#[cold]
pub(super) fn free_one(packet: Netbuf, home: &Pool, foreign: &mut u16) {
    if !home.is_plain(&packet) {
        *foreign -= 1;
    }
}

/// The 16 bits of a position that a split ring shows.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "ring indexes are positions modulo 2^16")]
pub(super) const fn index(position: u32) -> u16 {
    position as u16
}

/// The lower half of a key: of a split ring's, the id.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "says so")]
pub(super) const fn lower_half(key: u64) -> u32 {
    key as u32
}

/// The same as an index, read as a half, because a mask would be an instruction of its own.
#[inline(always)]
pub(super) fn lower_index(key: &u64) -> usize {
    let half = usize::from(cfg!(target_endian = "big"));
    // SAFETY: one of the two halves of a word that is borrowed.
    unsafe { core::ptr::from_ref(key).cast::<u32>().add(half).read() as usize }
}

/// Counts of entries of a ring: there are at most 2^15.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most the ring's size")]
const fn narrow(count: usize) -> u32 {
    debug_assert!(count <= 1 << 15);
    count as u32
}
