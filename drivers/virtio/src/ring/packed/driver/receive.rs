//! Receive: buffers out, frames in.
//!
//! A completion in order, of a proper length, is one word read, one comparison of its id and flags, one of the
//! length, and one store into the packet's private header; a run of them is taken by
//! [`PackedReceive::take_run`]. Whatever else the device says goes to [`PackedReceive::take_odd`], one
//! descriptor at a time.

use core::marker::PhantomData;
use core::mem::MaybeUninit;

use netbuf::{BURST, Burst, DeviceMemory, Netbuf, Pool, Template};
use netdev::{DropCause, QueueCounters};

use super::super::layout::{PackedRing, Slot, Word, flags};
use super::super::position;
use super::publish::{Publisher, disarm, notification};
use super::{MIN_FRAME, place};
use crate::raw::prefetch;
use crate::ring::assembly::{Assembly, Returned};
use crate::ring::driver::{oddity, read_header};
use crate::ring::split::RingSize;
use crate::ring::window::{Batch, Run, Window};
use crate::ring::{Addresses, Header, ReceiveRing, ReceiveSetup};

/// Descriptors that are looked at or written at once: a cache line.
const GROUP: usize = 4;

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
            window: Window::new(size),
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
        let Run { place, ids, packets } = unsafe { self.window.oldest(count) };
        let packets = &mut packets[..ids.len()];
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(place as u16) };
        let (headroom, port) = (self.pool.headroom(), self.port);
        let header = u32::from(H::BYTES);
        let span = self.span;
        let template = self.pool.template(headroom, port);
        let filled = out.len();
        let target = out.as_mut_ptr();
        // SAFETY: the run lies in the ring; its places are outstanding, so their packets initialised, plain and of
        // the pool; the burst has room for `count` more. What was moved is not moved again below.
        let (mut done, mut bytes) = unsafe {
            let expected = Expected { least: header + MIN_FRAME, span, headroom, turn, template };
            expected.take_groups::<H>(first, ids, packets, target.add(filled).cast())
        };
        while done < ids.len() {
            // SAFETY: the run lies in the ring, side by side, because each descriptor so far has finished one
            // entry.
            let word = unsafe { first.add(done) }.word();
            let len = word.len();
            // SAFETY: the place is outstanding.
            let odd = || unsafe { oddity::<H>(packets[done].assume_init_ref(), headroom) };
            if !finishes(word, ids[done], turn)
                || len.wrapping_sub(header + MIN_FRAME) > span
                || odd() != 0
            {
                break;
            }
            bytes += u64::from(len);
            // SAFETY: the id is the one posted at this outstanding place, so the packet is initialised and,
            // `done` growing, moved once. It came plain from the pool, and `frame <= max_frame <= room`. The
            // burst has room for `count` more.
            unsafe {
                let mut packet = packets[done].assume_init_read();
                prefetch(packet.room().as_ptr().wrapping_add(headroom.into()));
                packet.set_received_from(template, u64::from(len - header));
                target.add(filled + done).write(packet);
            }
            done += 1;
        }
        // SAFETY: `done` packets were moved from the oldest places to behind the burst's end.
        unsafe {
            out.set_len(filled + done);
            self.window.completed(done);
        }
        (done, bytes - u64::from(header) * done as u64)
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
        let all = got == run.ids.len();
        #[expect(clippy::cast_possible_truncation, reason = "less than the ring's size")]
        // SAFETY: the run lies in the ring.
        let first = unsafe { self.ring.slot_unchecked(run.place as u16) };
        let word = Word::new(self.posted_len, 0, turn).0;
        let prepare = |at: usize| {
            // SAFETY: `at < got`, of the run, and `alloc_into` initialised as many. The pool's headroom lies in
            // the buffer.
            unsafe {
                let header = run.packets.get_unchecked(at).assume_init_ref().room().add(front);
                let slot = first.add(at);
                slot.set_addr(header.addr().get() as u64);
                (slot, Word(word | u64::from(*run.ids.get_unchecked(at)) << Word::ID))
            }
        };
        let mut at = 1;
        while at + GROUP <= got {
            for step in 0..GROUP {
                let (slot, word) = prepare(at + step);
                slot.set_word(word);
            }
            at += GROUP;
        }
        for at in at..got {
            let (slot, word) = prepare(at);
            slot.set_word(word);
        }
        if got > 0 {
            // Last: the device sees none of them, or all.
            let (slot, word) = prepare(0);
            slot.publish(word);
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

/// What used descriptors must say, and what is made of them.
struct Expected {
    /// Bytes, the header included.
    least: u32,
    /// By how many bytes the longest is longer.
    span: u32,
    headroom: u16,
    turn: u16,
    template: Template,
}

impl Expected {
    /// Takes whole groups of descriptors that are used, in order, and of a proper length; how many, and their
    /// bytes, headers included. Turn, id and length are one subtraction, and a group of them is one comparison;
    /// it may refuse a group of which each would do (the lengths are ORed), but takes none that does not.
    ///
    /// # Safety
    /// As many descriptors as `ids` must lie in the ring from `first` on. The `packets` must be initialised, plain,
    /// and of the template's pool, with room for the longest frame. `target` must have room for as many, and those
    /// that were taken were moved there when this returns.
    #[inline]
    unsafe fn take_groups<H: Header>(
        &self,
        first: Slot,
        ids: &[u32],
        packets: &mut [MaybeUninit<Netbuf>],
        target: *mut MaybeUninit<Netbuf>,
    ) -> (usize, u64) {
        const IGNORED: u64 = (flags::DESC_WRITE as u64) << Word::FLAGS;
        let base = u64::from(self.turn) << Word::FLAGS | u64::from(self.least);
        let template = self.template.longer(SHORTEST);
        let (mut done, mut longer) = (0, 0);
        let groups = ids.as_chunks::<GROUP>().0.iter();
        for (ids, packets) in groups.zip(packets.as_chunks_mut::<GROUP>().0) {
            let (mut words, mut all) = ([0; GROUP], 0);
            for (step, (word, &id)) in words.iter_mut().zip(ids).enumerate() {
                // SAFETY: `done + step < ids.len()`.
                let found = unsafe { first.add(done + step) }.word().0 & !IGNORED;
                // Nothing is left above the length only if all above it is as expected, and it long enough.
                *word = found.wrapping_sub(base + (u64::from(id) << Word::ID));
                all |= *word;
            }
            if all > self.span.into() {
                break;
            }
            // SAFETY: initialised.
            let group = unsafe { packets.assume_init_ref() }.iter();
            // SAFETY: of the pool.
            if group.fold(0, |odd, packet| odd | unsafe { oddity::<H>(packet, self.headroom) }) != 0
            {
                break;
            }
            // SAFETY: initialised; plain, and of the template's pool, with room for `least + span` bytes; moved
            // once, as a whole.
            unsafe {
                for (packet, word) in packets.assume_init_mut().iter_mut().zip(words) {
                    prefetch(packet.room().as_ptr().wrapping_add(self.headroom.into()));
                    packet.set_received_from(template, word);
                    longer += word;
                }
                let target = target.add(done).cast::<[MaybeUninit<Netbuf>; GROUP]>();
                target.copy_from_nonoverlapping(packets, 1);
            }
            done += GROUP;
        }
        (done, longer + u64::from(self.least) * done as u64)
    }
}

/// Whether a descriptor is used, in the lap of `turn`, and names the buffer `id`.
#[inline]
pub(super) fn finishes(word: Word, id: u32, turn: u16) -> bool {
    const LOOKED_AT: u32 = 0xffff | ((flags::AVAIL | flags::USED) as u32) << 16;
    ((word.0 >> Word::ID) as u32 ^ u32::from(turn) << 16) & LOOKED_AT == id
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

    unsafe fn release(&mut self) {
        while self.window.take_oldest().is_some() {}
    }
}
