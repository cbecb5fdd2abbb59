//! Receive: buffers out, frames in.
//!
//! A completion in order, of a proper length, is one word read, one comparison of its id and flags, one of the
//! length, and one store into the packet's private header; a run of them is taken by
//! [`PackedReceive::take_run`]. Whatever else the device says goes to [`PackedReceive::take_odd`], one
//! descriptor at a time.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::slice;
use core::sync::atomic::{Ordering, fence};

use netbuf::{BURST, Burst, DeviceMemory, Netbuf, Pool, Template};
use netdev::{DropCause, QueueCounters};

use super::super::layout::{PackedRing, Slot, Word, flags};
use super::super::position;
use super::publish::{Publisher, disarm, notification};
use super::{MIN_FRAME, new_window, place};
use crate::checks::BELIEVES;
use crate::raw::{Pair, prefetch_write};
use crate::ring::assembly::{Assembly, Returned};
use crate::ring::driver::{oddity, read_header};
use crate::ring::split::RingSize;
use crate::ring::window::{Batch, Run, Window};
use crate::ring::{Addresses, Header, ReceiveRing, ReceiveSetup};

/// Descriptors that are looked at or written at once: two cache lines, which are fetched together.
const GROUP: usize = 8;

/// The shortest frame, as a template takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == MIN_FRAME);

/// The driver half of a packed ring that the device fills; header and frame in one descriptor.
pub struct PackedReceive<H> {
    ring: PackedRing,
    window: Window,
    publisher: Publisher,
    /// Used descriptors that finished nothing. Once there was one, descriptors no longer stand where the
    /// entries do that they finish, and each is taken as an odd one.
    lies: u32,
    /// Free entries that are worth a publication.
    threshold: usize,
    broken: bool,
    armed: bool,
    /// Bytes of a posted buffer, header included.
    posted_len: u32,
    /// The device completes in order.
    in_order: bool,
    /// What is left of the last completion.
    batch: Batch,
    assembly: Assembly,
    pool: Pool,
    port: u16,
    /// By how many bytes the largest frame of one buffer is longer than the shortest.
    span: u32,
    header: PhantomData<H>,
}

impl<H: Header> PackedReceive<H> {
    /// A ring in [`ring_bytes`](super::ring_bytes) of `memory` from byte `offset` on, with nothing posted yet.
    /// `None` where the memory, or the pool's headroom or room, is too small.
    ///
    /// # Safety
    /// No device and no other ring may use these bytes, now or as long as the ring is in use.
    pub unsafe fn new(
        memory: &DeviceMemory,
        offset: usize,
        size: RingSize,
        setup: &ReceiveSetup,
    ) -> Option<Self> {
        if !setup.fits(H::BYTES) {
            return None;
        }
        // SAFETY: the caller's promise.
        let ring = unsafe { place(memory, offset, size) }?;
        Some(Self {
            window: new_window(size, H::BYTES),
            ring,
            publisher: Publisher::new(&ring, setup.options.event_idx),
            lies: 0,
            threshold: usize::from(size.get() / 8).clamp(1, BURST),
            broken: false,
            armed: false,
            posted_len: u32::from(H::BYTES) + u32::from(setup.pool.room()),
            in_order: setup.options.in_order,
            batch: Batch::default(),
            assembly: Assembly::new(setup, H::SPEAKS),
            pool: setup.pool,
            port: setup.port,
            span: setup.span(),
            header: PhantomData,
        })
    }

    /// Where the device writes its next used descriptor.
    #[inline]
    fn used(&self) -> u32 {
        self.window.head().wrapping_add(self.lies)
    }

    /// The descriptor that the device has used next, if it has. Only what was made available can be used: a
    /// device that flips flags beyond that is not listened to.
    #[inline]
    fn pending(&self) -> Option<Word> {
        let (at, size) = (self.used(), self.ring.size());
        if at == self.window.tail() {
            return None;
        }
        let word = self.ring.slot(position::place(at, size)).word();
        (word.turn() == position::used(at, size)).then_some(word)
    }

    /// Takes used descriptors in order up to the first that is not, or to where the ring starts again; how
    /// many, and the bytes of their frames.
    ///
    /// # Safety
    /// At least `count` packets must be outstanding and fit `out`, and nothing was a lie.
    #[inline]
    unsafe fn take_run(&mut self, out: &mut Burst, count: usize) -> (usize, u64) {
        debug_assert!(self.lies == 0 && count <= out.remaining_capacity());
        let size = self.ring.size();
        let turn = position::used(self.window.head(), size);
        // SAFETY: `count` are outstanding.
        let Run { place, keys, packets } = unsafe { self.window.oldest(count) };
        let packets = &mut packets[..keys.len()];
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(place as u16) };
        let headroom = self.pool.headroom();
        let template = self.pool.template(headroom, self.port).longer(SHORTEST);
        let filled = out.len();
        let target = out.as_mut_ptr();
        let expected = Expected { span: self.span.into(), headroom, turn, template };
        // SAFETY: the run lies in the ring; its places are outstanding, so their packets initialised, plain and of
        // the pool; the burst has room for `count` more. What was moved is not moved again below.
        let (mut done, mut longer) =
            unsafe { expected.take_groups::<H>(first, keys, packets, target.add(filled).cast()) };
        while done < keys.len() {
            // SAFETY: the run lies in the ring, side by side, because each descriptor so far has finished one
            // entry.
            let word = unsafe { first.add(done) }.word();
            let more = expected.longer(word.0, keys[done]);
            // SAFETY: the place is outstanding.
            let odd = || unsafe {
                oddity::<H>(slice::from_ref(packets[done].assume_init_ref()), headroom)
            };
            if more > expected.span || odd() {
                break;
            }
            longer += more;
            // SAFETY: the id is the one posted at this outstanding place, so the packet is initialised and,
            // `done` growing, moved once. It came plain from the pool, and `frame <= max_frame <= room`. The
            // burst has room for `count` more.
            unsafe {
                let mut packet = packets[done].assume_init_read();
                prefetch_write::<0>(packet.room().as_ptr(), headroom.into());
                packet.set_received_from(template, more);
                target.add(filled + done).write(packet);
            }
            done += 1;
        }
        // SAFETY: `done` packets were moved from the oldest places to behind the burst's end.
        unsafe {
            out.set_len(filled + done);
            self.window.completed(done);
        }
        (done, longer + u64::from(SHORTEST) * done as u64)
    }

    /// Whether nothing stands between the oldest buffer and the next used descriptor, which finishes it and a frame.
    #[inline]
    fn is_straight(&self) -> bool {
        self.lies == 0 && self.batch.is_empty() && !(H::SPEAKS && self.assembly.is_open())
    }

    /// Takes one buffer that is out of order, part of a larger frame, or a lie; the bytes of the frame that it
    /// completes. `None`: there is none.
    #[cold]
    fn take_odd(&mut self, out: &mut Burst, counters: &QueueCounters) -> Option<u64> {
        if self.batch.is_empty() {
            let word = self.pending()?;
            let Some(count) = self.finished(word.id().into()) else {
                self.lies += 1;
                counters.dropped(DropCause::BadDescriptor, 1);
                if self.lies as usize + self.threshold > self.ring.size().get().into() {
                    self.break_down(counters);
                }
                return Some(0);
            };
            self.batch = Batch::new(count, word.len());
        }
        let len = self.batch.next(self.posted_len);
        let outstanding = self.window.outstanding();
        let packet = self.window.take_oldest()?;
        // SAFETY: a posted one.
        let header = unsafe { read_header::<H>(&packet, self.pool.headroom()) };
        let returned = Returned { packet, header, len, outstanding };
        let Some((packet, len)) = self.assembly.take(returned, counters) else { return Some(0) };
        out.push(packet);
        Some(len)
    }

    /// How many buffers a used descriptor with this id finishes, which then are the oldest; `None`: it is a lie.
    fn finished(&mut self, id: u32) -> Option<usize> {
        if self.in_order {
            return self.window.count_to(id);
        }
        self.window.promote(id).map(|_| 1)
    }

    /// Posts buffers up to where the ring starts again; how many, and whether the pool had enough.
    #[inline]
    fn post_run(&mut self) -> (usize, bool) {
        let front = usize::from(self.pool.headroom() - H::BYTES);
        let turn = position::available(self.window.tail(), self.ring.size()) | flags::DESC_WRITE;
        // SAFETY: as many are free.
        let run = unsafe { self.window.next(self.window.free()) };
        let got = self.pool.alloc_into(run.packets);
        let all = got == run.keys.len();
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(run.place as u16) };
        // By what the second words differ from their keys.
        let word = Word::new(self.posted_len, 0, turn).0;
        let word = word.wrapping_sub(u64::from(H::BYTES) + u64::from(SHORTEST));
        let (groups, last_keys) = run.keys[..got].as_chunks::<GROUP>();
        let (packets, last_packets) = run.packets[..got].as_chunks::<GROUP>();
        // Backwards, so that the device sees none of them, or all.
        let rest = (groups.len() * GROUP..got).zip(last_keys).zip(last_packets);
        for ((at, key), packet) in rest.rev() {
            // SAFETY: `at < got`, of the run, and `alloc_into` initialised as many. The pool's headroom lies in the
            // buffer.
            unsafe {
                let slot = first.add(at);
                slot.set_addr(packet.assume_init_ref().room().add(front).addr().get() as u64);
                slot.publish(Word(key.wrapping_add(word)));
            }
        }
        for (at, (keys, packets)) in groups.iter().zip(packets).enumerate().rev() {
            // SAFETY: as above.
            unsafe { post_group(first.add(at * GROUP), keys, packets, front, word) };
        }
        // SAFETY: `got` packets were moved into the next places.
        unsafe { self.window.posted(got) };
        (got, all)
    }

    /// Too few entries are left to go on with.
    #[cold]
    fn break_down(&mut self, counters: &QueueCounters) {
        if !self.broken {
            self.broken = true;
            counters.dropped(DropCause::RingBroken, 1);
        }
    }
}

/// Writes the descriptors of a whole group from `first` on, that one last.
///
/// # Safety
/// They must be the ring's. The packets must be initialised, and `front` lie in their buffers.
#[inline(always)]
unsafe fn post_group(
    first: Slot,
    keys: &[u64; GROUP],
    packets: &[MaybeUninit<Netbuf>; GROUP],
    front: usize,
    word: u64,
) {
    for (step, packet) in packets.iter().enumerate() {
        // SAFETY: of the group.
        unsafe {
            let header = packet.assume_init_ref().room().add(front);
            first.add(step).set_addr(header.addr().get() as u64);
        }
    }
    let words = Pair::four(keys).map(|keys| keys.plus(Pair::both(word)));
    for (step, words) in words.into_iter().enumerate().skip(1) {
        // SAFETY: of the group.
        unsafe { first.add(2 * step).set_two_words(words) };
    }
    let [one, two] = words[0].words();
    // SAFETY: of the group.
    unsafe { first.add(1) }.set_word(Word(two));
    first.publish(Word(one));
}

/// What used descriptors must say, and what is made of them.
struct Expected {
    /// By how many bytes the longest frame is longer than the shortest.
    span: u64,
    headroom: u16,
    turn: u16,
    template: Template,
}

impl Expected {
    /// A flag that says nothing of a used descriptor.
    const IGNORED: u64 = Word::of_flags(flags::DESC_WRITE);

    /// By how many bytes the frame is longer than the shortest, if it is no more than `span`: nothing is left above the
    /// length only if all above it is as expected, and it long enough.
    #[inline(always)]
    fn longer(&self, word: u64, key: u64) -> u64 {
        (word & !Self::IGNORED).wrapping_sub(key + Word::of_flags(self.turn))
    }

    /// Takes whole groups of descriptors that are used, in order, and of a proper length; how many, and by how many
    /// bytes their frames are longer than the shortest. Turn, id and length are one subtraction, and a group of them
    /// is one comparison; it may refuse a group of which each would do (the lengths are ORed), but takes none that
    /// does not.
    ///
    /// # Safety
    /// As many descriptors as keys must lie in the ring from `first` on. The `packets` must be initialised, plain,
    /// and of the template's pool, with room for the longest frame. `target` must have room for as many, and those
    /// that were taken were moved there when this returns.
    #[inline]
    unsafe fn take_groups<H: Header>(
        &self,
        first: Slot,
        keys: &[u64],
        packets: &mut [MaybeUninit<Netbuf>],
        target: *mut MaybeUninit<Netbuf>,
    ) -> (usize, u64) {
        let (turn, mask) = (Pair::both(Word::of_flags(self.turn)), Pair::both(!Self::IGNORED));
        let (mut done, mut longer) = (0, Pair::both(0));
        let groups = keys.as_chunks::<GROUP>().0.iter();
        for (keys, packets) in groups.zip(packets.as_chunks_mut::<GROUP>().0) {
            let keys = Pair::four(keys);
            let words: [Pair; 4] = core::array::from_fn(|at| {
                // SAFETY: `done + 2 * at + 1 < keys.len()`.
                let words = unsafe { first.add(done + 2 * at).two_words() };
                words.and(mask).minus(keys[at].plus(turn))
            });
            // (Whether they are used is looked at in any case.)
            let all = Pair::joined(words);
            if if BELIEVES { all & Word::TURN != 0 } else { all > self.span } {
                break;
            }
            fence(Ordering::Acquire);
            // SAFETY: initialised.
            let group = unsafe { packets.assume_init_mut() };
            // SAFETY: of the pool.
            if unsafe { oddity::<H>(group, self.headroom) } {
                break;
            }
            for (both, word) in group.as_chunks_mut::<2>().0.iter_mut().zip(words) {
                for packet in &*both {
                    prefetch_write::<0>(packet.room().as_ptr(), self.headroom.into());
                }
                // SAFETY: plain, and of the template's pool, with room for the longest frame.
                unsafe { Netbuf::set_both_received(both, self.template, word.raised()) };
                longer = longer.plus(word);
            }
            // SAFETY: initialised, and moved once, as a whole; the target has room.
            unsafe {
                let target = target.add(done).cast::<[MaybeUninit<Netbuf>; GROUP]>();
                target.copy_from_nonoverlapping(packets, 1);
            }
            done += GROUP;
        }
        let [one, two] = longer.words();
        (done, one + two)
    }
}

impl<H: Header> ReceiveRing for PackedReceive<H> {
    fn addresses(&self) -> Addresses {
        self.ring.addresses()
    }

    #[inline]
    fn receive(&mut self, out: &mut Burst, counters: &QueueCounters) -> usize {
        if self.armed {
            self.armed = false;
            disarm(&self.ring);
        }
        let before = out.len();
        // As much as is outstanding now, and no more: a device does not keep us here.
        let (mut left, mut bytes) = (self.window.outstanding(), 0);
        while left > 0 && !out.is_full() && !self.broken {
            let mut took = 0;
            if self.is_straight() {
                let count = left.min(out.remaining_capacity());
                // SAFETY: as many are outstanding, and fit.
                let (run, some) = unsafe { self.take_run(out, count) };
                took = run;
                bytes += some;
            }
            left -= took;
            // The run has ended at the end of the ring, at something odd, or at what is still to come.
            if self.batch.is_empty() && self.pending().is_none() {
                break;
            }
            if took == 0 {
                let Some(some) = self.take_odd(out, counters) else { break };
                bytes += some;
                left -= 1;
            }
        }
        let packets = out.len() - before;
        if packets > 0 {
            counters.burst(packets, bytes);
        }
        packets
    }

    #[inline]
    fn refill(&mut self) -> bool {
        if self.window.free() < self.threshold || self.broken {
            return false;
        }
        let (mut posted, all) = self.post_run();
        if all && self.window.free() > 0 {
            // The rest stands at the start of the ring.
            posted += self.post_run().0;
        }
        posted > 0 && self.publisher.check(&self.ring, self.window.tail())
    }

    fn arm(&mut self) -> bool {
        self.publisher.arm(&self.ring, self.used());
        let pending = !self.batch.is_empty() || self.pending().is_some();
        if pending && !self.broken {
            disarm(&self.ring);
            return false;
        }
        self.armed = true;
        true
    }

    fn notification(&self, queue: u16) -> u32 {
        notification(&self.ring, queue, self.window.tail())
    }

    fn is_broken(&self) -> bool {
        self.broken
    }

    unsafe fn release(&mut self) {
        while self.window.take_oldest().is_some() {}
    }
}
