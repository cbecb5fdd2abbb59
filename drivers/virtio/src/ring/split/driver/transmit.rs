//! Transmit: packets out, and back to their pools.
//!
//! A plain packet of the ring's home pool is emptied when it is posted, so that giving it back later is one
//! copy of pointers, for which no packet's header line is touched again. Other packets are posted one at a
//! time ([`SplitTransmit::post_odd`]), and while any of them is in the ring packets are freed one by one.

use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use netbuf::{Burst, DeviceMemory, Netbuf, PlainFrom, Pool, Template};
use netdev::{DropCause, QueueCounters};

use super::super::layout::UsedRun;
use super::super::{Desc, RingSize, SplitRing, flags};
use super::publish::{Publisher, notification};
use super::{MIN_FRAME, addresses, exchange, new_window, place, ring_bytes};
use crate::checks::checked;
use crate::raw::Pair;
use crate::ring::driver::{before_frame, write_plain};
use crate::ring::request::Requests;
use crate::ring::table::Buffer;
use crate::ring::window::{Run, Window, free_one, index, lower_half, lower_index};
use crate::ring::{Addresses, Header, TransmitRing, TransmitSetup, Transmitted};

/// Packets that are posted at once.
const GROUP: usize = 8;

/// The shortest frame, as the pool's test takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == MIN_FRAME);

/// The most that the pool's test for plain packets can tell.
const MOST: u32 = (1 << 15) - 1;

/// The driver half of a split ring that the device empties; header and frame in one descriptor.
pub struct SplitTransmit<H> {
    ring: SplitRing,
    window: Window,
    publisher: Publisher,
    /// Used elements that finished nothing: see the receive side.
    lies: u16,
    broken: bool,
    /// Packets in the ring are of this pool and empty, but for `foreign` of them.
    home: Pool,
    foreign: u16,
    /// The device completes in order.
    in_order: bool,
    requests: Requests,
    /// What `max_frame` is longer than the shortest frame.
    span: u32,
    header: PhantomData<H>,
}

impl<H: Header> SplitTransmit<H> {
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
        if !setup.options.event_idx {
            // Completions are looked for when they are needed. (With EVENT_IDX the flags must stay zero, and
            // an event index that is left alone costs an interrupt in 65,536 packets.)
            ring.set_avail_flags(flags::AVAIL_NO_INTERRUPT);
        }
        Some(Self {
            window: new_window(&ring, 0),
            ring,
            publisher: Publisher::new(setup.options.event_idx),
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
    /// many, and their bytes.
    ///
    /// # Safety
    /// `count` packets must stand there, and as many entries be free. The posted ones were moved out when this
    /// returns.
    #[inline]
    unsafe fn post_run(&mut self, packets: *mut Netbuf, count: usize) -> (usize, u64) {
        // SAFETY: `count` entries are free.
        let Run { keys, packets: places, .. } = unsafe { self.window.next(count) };
        let (home, span) = (self.home, self.span);
        let clean = home.template(home.headroom(), 0);
        let places = &mut places[..keys.len()];
        let (mut done, mut bytes) = (0, 0);
        if let Some(front) = home.headroom().checked_sub(H::BYTES) {
            // (`plain` proves nothing above `MOST`.)
            let plain = home.plain_from(SHORTEST);
            let wanted = Wanted { plain, clean, front, span: span.min(MOST) };
            // SAFETY: `count` packets stand there, of which the posted ones are not touched below; the keys'
            // lower halves are ids of the ring's.
            (done, bytes) = unsafe { post_groups::<H>(&self.ring, &wanted, packets, keys, places) };
        }
        while done < keys.len() {
            // SAFETY: `done < count` packets stand there. It stays there, and this handle is forgotten, unless it
            // is moved below.
            let mut packet = ManuallyDrop::new(unsafe { packets.add(done).read() });
            if !home.is_plain(&packet) {
                break;
            }
            let Some(front) = packet.headroom().checked_sub(H::BYTES.into()) else { break };
            // (Plain: the first segment is the frame.)
            let (room, len) = (packet.room(), packet.bytes().len());
            if len.wrapping_sub(MIN_FRAME as usize) > span as usize {
                break;
            }
            bytes += len as u64;
            // SAFETY: the headroom holds the header. The packet is plain, and its pool's headroom lies inside
            // its buffer. It is moved once, `done` growing. The window's ids are the ring's.
            unsafe {
                let header = room.add(front);
                packet.set_received_from(clean, 0);
                H::write_plain(header);
                places[done].write(ManuallyDrop::into_inner(packet));
                self.ring.set_desc_unchecked(lower_index(&keys[done]), desc::<H>(header, len));
            }
            done += 1;
        }
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
        let free = self.window.free().min(1);
        // SAFETY: as many are free, and the packet is moved into the one place that then is. The window's ids are
        // the ring's. A packet that is emptied is plain, and its pool's headroom lies inside its buffer.
        unsafe {
            let Run { keys: [key], packets: [place], .. } = self.window.next(free) else {
                return None;
            };
            let Buffer { addr, len, flags } =
                self.requests.buffer(lower_half(*key), &packet, true)?;
            self.ring.set_desc_unchecked(lower_index(key), Desc { addr, len, flags, next: 0 });
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

    /// Used elements taken.
    #[inline]
    fn used(&self) -> u16 {
        index(self.window.head()).wrapping_add(self.lies)
    }

    /// Frees what the device has finished. Once in several bursts, and so kept out of their way.
    #[inline(never)]
    fn reclaim(&mut self, counters: &QueueCounters) {
        let pending = self.ring.load_used_index(Ordering::Acquire).wrapping_sub(self.used());
        if !checked(usize::from(pending) <= self.window.outstanding()) || self.broken {
            self.break_down(counters);
            return;
        }
        let mut left = usize::from(pending);
        while left > 0 {
            let mut took = 0;
            if self.lies == 0 {
                // SAFETY: `left` elements are pending, and so as many entries outstanding, because an element
                // finishes one at most.
                took = unsafe { self.reclaim_run(left) };
            }
            if took == 0 {
                took = self.reclaim_odd(left, counters);
            }
            left -= took;
        }
    }

    /// Frees elements in order up to the first that is odd, or to where the ring starts again; how many.
    ///
    /// # Safety
    /// At least `count` entries must be outstanding, and nothing was a lie.
    #[inline]
    unsafe fn reclaim_run(&mut self, count: usize) -> usize {
        debug_assert_eq!(self.lies, 0);
        // SAFETY: `count` are outstanding. The run ends where the ring does, and its elements stand at the same
        // places, because each element so far has finished one entry.
        let (run, elements) = unsafe {
            let run = self.window.oldest(count);
            let elements = self.ring.used_run(run.place, run.keys.len());
            (run, elements)
        };
        // SAFETY: the run of elements is as long as the run of keys.
        let done = unsafe { in_order(&elements, run.keys) };
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

    /// Takes one element that is out of order, stands for several entries, or is a lie, with `left` finished entries;
    /// how many that were.
    #[cold]
    fn reclaim_odd(&mut self, left: usize, counters: &QueueCounters) -> usize {
        let id = self.ring.used(self.used()).id;
        let finished = if self.in_order {
            // All up to the one that is named (virtio 1.2, 2.7.9).
            self.window.count_to(id).filter(|&count| count <= left)
        } else {
            self.window.promote(id).map(|both| exchange(&self.ring, both)).map(|()| 1)
        };
        let Some(count) = finished else {
            self.lies = self.lies.wrapping_add(1);
            counters.dropped(DropCause::BadDescriptor, 1);
            return 1;
        };
        let mut done = 0;
        while done < count {
            // SAFETY: `count` are outstanding, less those that were given back.
            done += unsafe { self.give_back(count - done) };
        }
        count
    }

    #[cold]
    fn break_down(&mut self, counters: &QueueCounters) {
        if !self.broken {
            self.broken = true;
            counters.dropped(DropCause::RingBroken, 1);
        }
    }
}

/// What groups are checked against, and what is made of their packets.
#[derive(Clone, Copy)]
struct Wanted {
    plain: PlainFrom,
    clean: Template,
    /// Bytes from the start of the buffer to the header.
    front: u16,
    /// By how many bytes the longest frame is longer than the shortest.
    span: u32,
}

/// Posts whole groups of packets that are plain, of a proper size, and stand where their pool put them; how
/// many, and their bytes. What is checked is checked for a group at once, on an OR.
///
/// # Safety
/// As many packets as there are `keys` must stand at `packets`; the posted ones were moved to `places` when this
/// returns. The keys' lower halves must be ids of the ring's.
#[inline(never)]
unsafe fn post_groups<H: Header>(
    ring: &SplitRing,
    wanted: &Wanted,
    packets: *mut Netbuf,
    keys: &[u64],
    places: &mut [MaybeUninit<Netbuf>],
) -> (usize, u64) {
    let Wanted { plain, clean, front, span } = *wanted;
    let shortest = Pair::both(u64::from(SHORTEST) + u64::from(H::BYTES));
    let (mut done, mut bytes) = (0, Pair::both(0));
    let groups = keys.as_chunks::<GROUP>().0.iter();
    for (keys, places) in groups.zip(places.as_chunks_mut::<GROUP>().0) {
        // SAFETY: `done + GROUP <= keys.len()` packets stand there, and nobody else looks at them. They are only
        // moved as a whole, below.
        let group = unsafe { &mut *packets.add(done).cast::<[Netbuf; GROUP]>() };
        let twos = group.as_chunks_mut::<2>().0;
        let longer: [Pair; 4] = core::array::from_fn(|at| plain.more_of_both(&twos[at]));
        if !plain.are(Pair::joined(longer), span) {
            break;
        }
        let mut before = Pair::both(0);
        for ((both, longer), keys) in twos.iter_mut().zip(longer).zip(keys.as_chunks::<2>().0) {
            for (packet, key) in both.iter_mut().zip(keys) {
                // SAFETY: not moved, so the pool's headroom, which holds the header, stands before the frame. The
                // packet is plain, and of the template's pool. The id is the ring's.
                unsafe {
                    let header = packet.room().add(front.into());
                    before = before.or(before_frame::<H>(header));
                    packet.set_received_from(clean, 0);
                    ring.set_desc_addr_unchecked(lower_index(key), header.addr().get() as u64);
                }
            }
            let lens = longer.upper_halves().plus(shortest);
            bytes = bytes.plus(lens);
            // SAFETY: ids of the ring's.
            unsafe { ring.set_desc_lens_unchecked(keys.each_ref().map(lower_index), lens) };
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
        done += GROUP;
    }
    let [one, two] = bytes.words();
    (done, one + two - u64::from(H::BYTES) * done as u64)
}

/// How many elements name the descriptors of `keys`, in their order; eight are compared at a time.
///
/// # Safety
/// There must be as many elements.
#[inline]
unsafe fn in_order(elements: &UsedRun, keys: &[u64]) -> usize {
    let mut done = 0;
    for group in keys.as_chunks::<GROUP>().0 {
        // SAFETY: `done + GROUP <= keys.len()`.
        let (words, keys) = (unsafe { elements.eight(done) }, Pair::four(group));
        let differs = Pair::joined(core::array::from_fn(|at| words[at].xor(keys[at])));
        if !checked(lower_half(differs) == 0) {
            break;
        }
        done += GROUP;
    }
    let names = |word: u64, key: u64| lower_half(word ^ key) == 0;
    while done < keys.len() && elements.word(done).is_some_and(|word| names(word, keys[done])) {
        done += 1;
    }
    done
}

/// The descriptor of a header and the `len` bytes of a frame behind it.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "a segment has at most 65,535 bytes")]
fn desc<H: Header>(header: NonNull<u8>, len: usize) -> Desc {
    let len = len as u32 + u32::from(H::BYTES);
    Desc { addr: header.addr().get() as u64, len, flags: 0, next: 0 }
}

impl<H: Header> TransmitRing for SplitTransmit<H> {
    fn addresses(&self) -> Addresses {
        addresses(&self.ring)
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
        Transmitted { taken, notify: self.publisher.publish(&self.ring, index(tail)) }
    }

    fn notification(&self, queue: u16) -> u32 {
        notification(queue, index(self.window.tail()))
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
