//! Transmit: packets out, and back to their pools.
//!
//! As over a split ring: a plain packet of the ring's home pool is emptied when it is posted, so that giving it
//! back later is one copy of pointers. Other packets are posted one at a time ([`PackedTransmit::post_odd`]),
//! and while any of them is in the ring packets are freed one by one.

use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::sync::atomic::{Ordering, fence};

use netbuf::{Burst, DeviceMemory, Netbuf, Pool};
use netdev::{DropCause, QueueCounters};

use super::super::layout::{PackedRing, Slot, Word, flags};
use super::super::position;
use super::publish::{Publisher, notification};
use super::{MIN_FRAME, new_window, place, ring_bytes};
use crate::checks::BELIEVES;
use crate::raw::Pair;
use crate::ring::driver::{before_frame, write_plain};
use crate::ring::request::Requests;
use crate::ring::split::RingSize;
use crate::ring::table::Buffer;
use crate::ring::window::{Run, Window, free_one};
use crate::ring::{Addresses, Header, TransmitRing, TransmitSetup, Transmitted};

/// Packets that are posted at once, and descriptors that are looked at: two cache lines.
const GROUP: usize = 8;

/// The shortest frame, as the pool's test takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == MIN_FRAME);

/// The most that the pool's test for plain packets can tell.
const MOST: u32 = (1 << 15) - 1;

/// The driver half of a packed ring that the device empties; header and frame in one descriptor.
pub struct PackedTransmit<H> {
    ring: PackedRing,
    window: Window,
    publisher: Publisher,
    /// Used descriptors that finished nothing: see the receive side.
    lies: u32,
    broken: bool,
    /// Packets in the ring are of this pool and empty, but for `foreign` of them.
    home: Pool,
    foreign: u16,
    /// The device completes in order.
    in_order: bool,
    requests: Requests,
    /// What the largest frame is longer than the shortest.
    span: u32,
    header: PhantomData<H>,
}

impl<H: Header> PackedTransmit<H> {
    /// An empty ring in [`ring_bytes`](super::ring_bytes) of `memory` from byte `offset` on, and behind it
    /// [`table_bytes`](crate::ring::table_bytes) of tables if they are needed. `None` where the memory is too small.
    ///
    /// # Safety
    /// No device and no other ring may use these bytes, now or as long as the ring is in use.
    pub unsafe fn new(
        memory: &DeviceMemory,
        offset: usize,
        size: RingSize,
        setup: &TransmitSetup,
    ) -> Option<Self> {
        // SAFETY: the caller's promise.
        let ring = unsafe { place(memory, offset, size) }?;
        // SAFETY: as above; the tables lie behind the ring.
        let requests = unsafe { Requests::new(setup, memory, offset + ring_bytes(size), size) }?;
        Some(Self {
            window: new_window(size, H::BYTES),
            ring,
            publisher: Publisher::new(&ring, setup.options.event_idx),
            lies: 0,
            broken: false,
            home: setup.home,
            foreign: 0,
            in_order: setup.options.in_order,
            requests,
            span: u32::from(setup.max_frame).saturating_sub(MIN_FRAME),
            header: PhantomData,
        })
    }

    /// Posts packets from `packets` on up to the first that is odd, or to where the ring starts again; how
    /// many, and their bytes. The first descriptor is made available last: the device sees none of them, or all.
    ///
    /// # Safety
    /// `count` packets must stand there, at least one, and as many entries be free. The posted ones were moved
    /// out when this returns.
    #[inline]
    unsafe fn post_run(&mut self, packets: *mut Netbuf, count: usize) -> (usize, u64) {
        let turn = position::available(self.window.tail(), self.ring.size());
        // SAFETY: `count` entries are free.
        let Run { keys, packets: places, place } = unsafe { self.window.next(count) };
        let entry = Entry::<H> {
            home: self.home,
            headroom: self.home.headroom(),
            span: self.span,
            turn,
            header: PhantomData,
        };
        let places = &mut places[..keys.len()];
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(place as u16) };
        let (mut done, mut bytes, mut word) = (0, 0, Word(0));
        // SAFETY: `count` packets stand there, and as many places lie in the ring; those that were posted are not
        // touched below.
        unsafe {
            entry.fill_groups(packets, places, first, keys, &mut done, &mut bytes, &mut word)
        };
        while done < keys.len() {
            // SAFETY: `done < count`: as many packets stand there, and places lie in the ring. One that is
            // posted is moved once, `done` growing.
            let (slot, filled) = unsafe {
                let slot = first.add(done);
                let place = &mut places[done];
                (slot, entry.fill(packets.add(done), place, slot, keys[done], &mut bytes))
            };
            match filled {
                None => break,
                Some(filled) if done == 0 => word = filled,
                Some(filled) => slot.set_word(filled),
            }
            done += 1;
        }
        if done == 0 {
            return (0, 0);
        }
        first.publish(word);
        // SAFETY: `done` packets were moved into the next places.
        unsafe { self.window.posted(done) };
        (done, bytes)
    }

    /// Posts or drops one packet that is not plain, not of the home pool, or not of a proper size; its bytes, if
    /// posted.
    #[cold]
    fn post_odd(&mut self, mut packet: Netbuf, counters: &QueueCounters) -> u64 {
        match self.requests.prepare(&mut packet).map(|len| (len, self.post(packet))) {
            Ok((len, Some(()))) => len as u64,
            Ok((_, None)) => {
                counters.dropped(DropCause::Unsupported, 1);
                0
            }
            Err(cause) => {
                counters.dropped(cause, 1);
                0
            }
        }
    }

    /// Posts a prepared packet at the next place, if there is one (there is: `transmit` takes no more than are free).
    fn post(&mut self, mut packet: Netbuf) -> Option<()> {
        let (free, tail, size) = (self.window.free().min(1), self.window.tail(), self.ring.size());
        // SAFETY: as many are free, and the packet is moved into the one place that then is. A packet that is emptied
        // is plain, and its pool's headroom lies inside its buffer.
        unsafe {
            let Run { keys: [key], packets: [place], .. } = self.window.next(free) else {
                return None;
            };
            let Buffer { addr, len, flags } =
                self.requests.buffer(u32::from(Word(*key).id()), &packet, false)?;
            let turn = position::available(tail, size) | flags;
            let slot = self.ring.slot(position::place(tail, size));
            slot.set_addr(addr);
            slot.publish(Word::new(len, Word(*key).id(), turn));
            if self.home.is_plain(&packet) {
                packet.set_received_from(self.home.template(self.home.headroom(), 0), 0);
            } else {
                self.foreign += 1;
            }
            place.write(packet);
            self.window.posted(1);
        }
        Some(())
    }

    /// Where the device writes its next used descriptor.
    #[inline]
    fn used(&self) -> u32 {
        self.window.head().wrapping_add(self.lies)
    }

    /// Frees what the device has finished. Once in several bursts, and so kept out of their way.
    #[inline(never)]
    fn reclaim(&mut self, counters: &QueueCounters) {
        let size = self.ring.size();
        // As much as was outstanding before, and no more: a device does not keep us here.
        let mut left = self.window.outstanding();
        while left > 0 && !self.broken {
            let mut took = 0;
            if self.lies == 0 {
                // SAFETY: `left` entries are outstanding.
                took = unsafe { self.reclaim_run(left) };
            }
            left -= took;
            let at = self.used();
            if at == self.window.tail() {
                return;
            }
            let word = self.ring.slot(position::place(at, size)).word();
            if word.turn() != position::used(at, size) {
                return;
            }
            if took == 0 {
                left = left.saturating_sub(self.reclaim_odd(word, counters));
            }
        }
    }

    /// Frees what was finished in order, up to the first that was not, or to where the ring starts again; how
    /// many.
    ///
    /// # Safety
    /// At least `count` entries must be outstanding, and nothing was a lie.
    #[inline]
    unsafe fn reclaim_run(&mut self, count: usize) -> usize {
        debug_assert_eq!(self.lies, 0);
        let turn = position::used(self.window.head(), self.ring.size());
        // SAFETY: `count` are outstanding.
        let Run { keys, place, .. } = unsafe { self.window.oldest(count) };
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(place as u16) };
        // SAFETY: the run lies in the ring.
        let done = unsafe { in_order(first, keys, turn) };
        // SAFETY: `done <= count`.
        unsafe { self.give_back(done) }
    }

    /// See [`Window::give_back`].
    ///
    /// # Safety
    /// At least as many must be outstanding.
    #[inline]
    unsafe fn give_back(&mut self, count: usize) -> usize {
        // SAFETY: as many are outstanding. Without foreign ones they were all plain packets of the home pool, and
        // emptied when they were posted.
        unsafe { self.window.give_back(count, &self.home, &mut self.foreign) }
    }

    /// Takes one used descriptor that is out of order, stands for several entries, or is a lie; how many entries that
    /// were.
    #[cold]
    fn reclaim_odd(&mut self, word: Word, counters: &QueueCounters) -> usize {
        let id = word.id().into();
        let finished = if self.in_order {
            // All up to the one that is named (virtio 1.2, 2.8.9).
            self.window.count_to(id)
        } else {
            self.window.promote(id).map(|_| 1)
        };
        let Some(count) = finished else {
            self.lies += 1;
            counters.dropped(DropCause::BadDescriptor, 1);
            if self.lies >= self.ring.size().get().into() && !self.broken {
                self.broken = true;
                counters.dropped(DropCause::RingBroken, 1);
            }
            return 1;
        };
        let mut done = 0;
        while done < count {
            // SAFETY: `count` are outstanding, less those that were given back.
            done += unsafe { self.give_back(count - done) };
        }
        count
    }
}

/// What every packet of a run is compared with.
struct Entry<H> {
    home: Pool,
    headroom: u16,
    /// What the largest frame is longer than the shortest.
    span: u32,
    turn: u16,
    header: PhantomData<H>,
}

impl<H: Header> Entry<H> {
    /// Posts whole groups of packets that are plain, of the home pool, of a proper size, and have its headroom:
    /// one comparison a group. The second word of the very first is not written but returned.
    ///
    /// # Safety
    /// As many packets as keys must stand at `packets`, and as many descriptors lie in the ring from `first` on.
    /// The first `done` packets were moved to `places` when this returns.
    #[expect(clippy::too_many_arguments, reason = "a part of `post_run`")]
    #[inline(always)]
    unsafe fn fill_groups(
        &self,
        packets: *mut Netbuf,
        places: &mut [MaybeUninit<Netbuf>],
        first: Slot,
        keys: &[u64],
        done: &mut usize,
        bytes: &mut u64,
        head: &mut Word,
    ) {
        /// Makes an available descriptor one that is not.
        const HELD_BACK: [u64; 2] = [Word::of_flags(flags::AVAIL | flags::USED), 0];
        let Some(front) = self.headroom.checked_sub(H::BYTES) else { return };
        let (plain, clean) = (self.home.plain_from(SHORTEST), self.home.template(self.headroom, 0));
        let span = self.span.min(MOST);
        let turn = Pair::both(Word::of_flags(self.turn));
        let (mut at, mut sum) = (0, Pair::both(0));
        let groups = keys.as_chunks::<GROUP>().0.iter();
        for (keys, places) in groups.zip(places.as_chunks_mut::<GROUP>().0) {
            // SAFETY: `at + GROUP <= keys.len()` packets stand there, and nobody else looks at them. They are only
            // moved as a whole, below.
            let group = unsafe { &mut *packets.add(at).cast::<[Netbuf; GROUP]>() };
            let twos = group.as_chunks_mut::<2>().0;
            let longer: [Pair; 4] = core::array::from_fn(|two| plain.more_of_both(&twos[two]));
            if !plain.are(Pair::joined(longer), span) {
                break;
            }
            let mut before = Pair::both(0);
            let pairs = twos.iter_mut().zip(longer).zip(Pair::four(keys)).enumerate();
            for (two, ((both, longer), keys)) in pairs {
                for (step, packet) in both.iter_mut().enumerate() {
                    // SAFETY: not moved, so the pool's headroom, which holds the header, stands before the frame.
                    // The packet is plain, and of the template's pool. `at + 2 * two + step` is one of the places.
                    unsafe {
                        let header = packet.room().add(front.into());
                        before = before.or(before_frame::<H>(header));
                        let slot = first.add(at + 2 * two + step);
                        slot.set_addr(header.addr().get() as u64);
                        packet.set_received_from(clean, 0);
                    }
                }
                let longer = longer.upper_halves();
                sum = sum.plus(longer);
                let mut words = keys.plus(longer).plus(turn);
                if at == 0 && two == 0 {
                    *head = Word(words.words()[0]);
                    words = words.xor(Pair::new(HELD_BACK));
                }
                // SAFETY: of the group.
                unsafe { first.add(at + 2 * two).set_two_words(words) };
            }
            if !H::is_plain(before) {
                // SAFETY: as above.
                unsafe { write_plain::<H>(group, front) };
            }
            // SAFETY: both are groups of handles; these are the only moves.
            unsafe {
                let handles = core::ptr::from_mut(group).cast::<[MaybeUninit<Netbuf>; GROUP]>();
                core::ptr::from_mut(places).copy_from_nonoverlapping(handles, 1);
            }
            at += GROUP;
        }
        *done = at;
        let [one, two] = sum.words();
        *bytes += one + two + u64::from(SHORTEST) * at as u64;
    }

    /// Moves a plain packet of a proper size from `packet` to `place`, empties it, and writes its descriptor's
    /// address; the second word. `None`, nothing changed, where it is odd.
    ///
    /// # Safety
    /// A packet must stand at `packet`; where this returns something, it stands there no longer.
    #[inline(always)]
    unsafe fn fill(
        &self,
        packet: *mut Netbuf,
        place: &mut MaybeUninit<Netbuf>,
        slot: Slot,
        key: u64,
        bytes: &mut u64,
    ) -> Option<Word> {
        // SAFETY: a packet stands there. It stays there, and this handle is forgotten, unless it is moved below.
        let mut packet = ManuallyDrop::new(unsafe { packet.read() });
        if !self.home.is_plain(&packet) {
            return None;
        }
        let front = packet.headroom().checked_sub(H::BYTES.into())?;
        // (Plain: the first segment is the frame.)
        let (room, len) = (packet.room(), packet.bytes().len());
        if len.wrapping_sub(MIN_FRAME as usize) > self.span as usize {
            return None;
        }
        *bytes += len as u64;
        // SAFETY: the headroom holds the header. The packet is plain, and its pool's headroom lies inside its
        // buffer. It is moved once.
        unsafe {
            let header = room.add(front);
            packet.set_received_from(self.home.template(self.headroom, 0), 0);
            H::write_plain(header);
            place.write(ManuallyDrop::into_inner(packet));
            slot.set_addr(header.addr().get() as u64);
        }
        Some(Word(key + Word::of_flags(self.turn) + (len as u64 - u64::from(SHORTEST))))
    }
}

/// How many descriptors from `first` on are used and name the buffers of `keys`, in their order; eight are compared at
/// a time.
///
/// # Safety
/// As many descriptors as keys must lie in the ring from `first` on.
#[inline]
unsafe fn in_order(first: Slot, keys: &[u64], turn: u16) -> usize {
    let (mut done, flags) = (0, Pair::both(Word::of_flags(turn)));
    for group in keys.as_chunks::<GROUP>().0 {
        let keys = Pair::four(group);
        let differs = Pair::joined(core::array::from_fn(|at| {
            // SAFETY: `done + 2 * at + 1 < keys.len()`.
            unsafe { first.add(done + 2 * at).two_words() }.xor(keys[at].xor(flags))
        }));
        // (Whether they are used is looked at in any case.)
        if differs & (if BELIEVES { Word::TURN } else { Word::ID_AND_TURN }) != 0 {
            break;
        }
        done += GROUP;
    }
    fence(Ordering::Acquire);
    // SAFETY: as above.
    while done < keys.len() && unsafe { first.add(done) }.word().finishes(keys[done], turn) {
        done += 1;
    }
    done
}

impl<H: Header> TransmitRing for PackedTransmit<H> {
    fn addresses(&self) -> Addresses {
        self.ring.addresses()
    }

    #[inline]
    fn transmit(&mut self, packets: &mut Burst, counters: &QueueCounters) -> Transmitted {
        let wanted = packets.len();
        if self.window.free() < wanted || wanted == 0 {
            self.reclaim(counters);
        }
        let taken = wanted.min(self.window.free());
        if taken == 0 || self.broken {
            return Transmitted::default();
        }
        if self.window.outstanding() == 0
            && let Some(home) = packets.first().and_then(Pool::of)
        {
            self.home = home;
        }
        let before = self.window.tail();
        let (mut done, mut bytes) = (0, 0);
        let source = packets.as_mut_ptr();
        // SAFETY: zero is no more than the capacity. From here on the packets are owned by this function.
        unsafe { packets.set_len(0) };
        while done < taken {
            // SAFETY: `taken - done` packets that were not moved yet stand there, and each of the `done` took
            // one entry at most.
            let (count, some) = unsafe { self.post_run(source.add(done), taken - done) };
            done += count;
            bytes += some;
            if count == 0 {
                // SAFETY: as above.
                bytes += self.post_odd(unsafe { source.add(done).read() }, counters);
                done += 1;
            }
        }
        // SAFETY: the first `taken` were moved out; the rest moves to the front, and is the burst's again.
        unsafe {
            if taken < wanted {
                source.copy_from(source.add(taken), wanted - taken);
            }
            packets.set_len(wanted - taken);
        }
        let tail = self.window.tail();
        if tail == before {
            return Transmitted { taken, notify: false };
        }
        counters.burst(tail.wrapping_sub(before) as usize, bytes);
        Transmitted { taken, notify: self.publisher.check(&self.ring, tail) }
    }

    fn notification(&self, queue: u16) -> u32 {
        notification(&self.ring, queue, self.window.tail())
    }

    fn is_broken(&self) -> bool {
        self.broken
    }

    unsafe fn release(&mut self) {
        while let Some(packet) = self.window.take_oldest() {
            free_one(packet, &self.home, &mut self.foreign);
        }
    }
}
