//! Receive: buffers out, frames in.
//!
//! A completion in order, of a proper length, is one comparison of the id, one of the length and one store
//! into the packet's private header; a run of them is taken by [`SplitReceive::take_run`]. Whatever else the
//! device says goes to [`SplitReceive::take_odd`], one element at a time.

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::slice;
use core::sync::atomic::{Ordering, fence};

use netbuf::{BURST, Burst, DeviceMemory, Netbuf, Pool, Template};
use netdev::{DropCause, QueueCounters};

use super::super::layout::UsedRun;
use super::super::{Desc, RingSize, SplitRing, UsedElem, flags};
use super::publish::{Publisher, notification};
use super::{MIN_FRAME, addresses, exchange, new_window, place};
use crate::checks::checked;
use crate::raw::{Pair, prefetch, prefetch_write};
use crate::ring::assembly::{Assembly, Returned};
use crate::ring::driver::{oddity, read_header};
use crate::ring::window::{Batch, Run, Window, index, lower_half, lower_index};
use crate::ring::{Addresses, Header, ReceiveRing, ReceiveSetup};

/// Elements that are checked at once.
const GROUP: usize = 8;

/// The shortest frame, as a template takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == MIN_FRAME);

/// The driver half of a split ring that the device fills; header and frame in one descriptor.
///
/// The avail ring says `avail[i] = i` and the descriptors' lengths and flags never change, so that a refill
/// writes an address per buffer and one index.
pub struct SplitReceive<H> {
    ring: SplitRing,
    window: Window,
    publisher: Publisher,
    /// Used elements that finished nothing. Once there was one, elements no longer stand where the entries do
    /// that they finish, and each is taken as an odd one.
    lies: u16,
    /// Free entries that are worth a publication.
    threshold: usize,
    broken: bool,
    armed: bool,
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

impl<H: Header> SplitReceive<H> {
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
        let len = u32::from(H::BYTES) + u32::from(setup.pool.room());
        for id in 0..size.get() {
            ring.set_desc(id, Desc { addr: 0, len, flags: flags::DESC_WRITE, next: 0 });
        }
        let receive = Self {
            window: new_window(&ring, u32::from(H::BYTES) + MIN_FRAME),
            ring,
            publisher: Publisher::new(setup.options.event_idx),
            lies: 0,
            threshold: usize::from(size.get() / 8).clamp(1, BURST),
            broken: false,
            armed: false,
            in_order: setup.options.in_order,
            batch: Batch::default(),
            assembly: Assembly::new(setup, H::SPEAKS),
            pool: setup.pool,
            port: setup.port,
            span: setup.span(),
            header: PhantomData,
        };
        receive.disarm();
        Some(receive)
    }

    /// No interrupts. With EVENT_IDX the flags must stay zero, and an event index that is left alone falls
    /// behind: it costs an interrupt in 65,536 packets.
    fn disarm(&self) {
        if !self.publisher.event_idx() {
            self.ring.set_avail_flags(flags::AVAIL_NO_INTERRUPT);
        }
    }

    /// Used elements taken.
    #[inline]
    fn used(&self) -> u16 {
        index(self.window.head()).wrapping_add(self.lies)
    }

    /// Finished elements that were not taken yet.
    #[inline]
    fn pending(&self) -> u16 {
        self.ring.load_used_index(Ordering::Acquire).wrapping_sub(self.used())
    }

    /// Takes elements in order up to the first that is odd, or to where the ring starts again; how many, and
    /// the bytes of their frames.
    ///
    /// # Safety
    /// At least `count` packets must be outstanding and fit `out`, and nothing was a lie.
    #[inline]
    unsafe fn take_run(&mut self, out: &mut Burst, count: usize) -> (usize, u64) {
        debug_assert!(self.lies == 0 && count <= out.remaining_capacity());
        // SAFETY: `count` are outstanding. The run ends where the ring does, and its elements stand at the same
        // places, because each element so far has finished one entry.
        let (Run { keys, packets, .. }, elements) = unsafe {
            let run = self.window.oldest(count);
            let elements = self.ring.used_run(run.place, run.keys.len());
            (run, elements)
        };
        let packets = &mut packets[..keys.len()];
        let headroom = self.pool.headroom();
        let template = self.pool.template(headroom, self.port).longer(SHORTEST);
        let filled = out.len();
        let expected = Expected { span: self.span, headroom, template };
        let target = out.as_mut_ptr();
        // SAFETY: the places are outstanding, so their packets initialised, plain and of the pool; the burst has
        // room for `count` more. What was moved is not moved again below.
        let (mut done, mut longer) = unsafe {
            let target = target.add(filled).cast::<MaybeUninit<Netbuf>>();
            take_groups::<H>(&expected, &elements, keys, packets, target)
        };
        while let Some(word) = elements.word(done) {
            let word = word.wrapping_sub(keys[done]);
            // SAFETY: the place is outstanding.
            let odd = || unsafe {
                oddity::<H>(slice::from_ref(packets[done].assume_init_ref()), headroom)
            };
            if !expected.is_met(word) || odd() {
                break;
            }
            longer += word >> 32;
            // SAFETY: the id is the one posted at this outstanding place, so the packet is initialised and,
            // `done` growing, moved once. It came plain from the pool, and `frame <= max_frame <= room`. The
            // burst has room for `count` more.
            unsafe {
                let mut packet = packets[done].assume_init_read();
                packet.set_received_from(template, word >> 32);
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

    /// Whether nothing stands between the oldest buffer and the next element, which finishes it and a frame.
    #[inline]
    fn is_straight(&self) -> bool {
        self.lies == 0 && self.batch.is_empty() && !(H::SPEAKS && self.assembly.is_open())
    }

    /// Takes one buffer that is out of order, part of a larger frame, or a lie, with `left` finished ones; the bytes
    /// of the frame that it completes. The ring is read again here, because nothing that was read before is
    /// remembered.
    #[cold]
    fn take_odd(&mut self, left: usize, out: &mut Burst, counters: &QueueCounters) -> u64 {
        if self.batch.is_empty() {
            let UsedElem { id, len } = self.ring.used(self.used());
            let Some(count) = self.finished(id).filter(|&count| count <= left) else {
                self.lies = self.lies.wrapping_add(1);
                counters.dropped(DropCause::BadDescriptor, 1);
                return 0;
            };
            self.batch = Batch::new(count, len);
        }
        let len = self.batch.next(u32::from(H::BYTES) + u32::from(self.pool.room()));
        let outstanding = self.window.outstanding();
        let Some(packet) = self.window.take_oldest() else { return 0 };
        // SAFETY: a posted one.
        let header = unsafe { read_header::<H>(&packet, self.pool.headroom()) };
        let returned = Returned { packet, header, len, outstanding };
        let Some((packet, len)) = self.assembly.take(returned, counters) else { return 0 };
        out.push(packet);
        len
    }

    /// How many buffers an element with this id finishes, which then are the oldest; `None`: it is a lie.
    fn finished(&mut self, id: u32) -> Option<usize> {
        if self.in_order {
            return self.window.count_to(id);
        }
        let both = self.window.promote(id)?;
        exchange(&self.ring, both);
        Some(1)
    }

    /// Posts buffers up to where the ring starts again; how many, and whether the pool had enough.
    #[inline]
    fn post_run(&mut self) -> (usize, bool) {
        let front = usize::from(self.pool.headroom() - H::BYTES);
        // SAFETY: as many are free.
        let run = unsafe { self.window.next(self.window.free()) };
        let got = self.pool.alloc_into(run.packets);
        // SAFETY: `alloc_into` initialised the first `got`. The pool's headroom lies in the buffer, and the
        // window's ids, the keys' lower halves, are the ring's.
        let post = |key: &u64, packet: &MaybeUninit<Netbuf>| unsafe {
            let header = packet.assume_init_ref().room().add(front);
            self.ring.set_desc_addr_unchecked(lower_index(key), header.addr().get() as u64);
        };
        let (groups, keys) = run.keys[..got].as_chunks::<GROUP>();
        let (packets, rest) = run.packets[..got].as_chunks::<GROUP>();
        for (keys, packets) in groups.iter().zip(packets) {
            keys.iter().zip(packets).for_each(|(key, packet)| post(key, packet));
        }
        keys.iter().zip(rest).for_each(|(key, packet)| post(key, packet));
        let all = got == run.keys.len();
        // SAFETY: `got` packets were moved into the next places.
        unsafe { self.window.posted(got) };
        (got, all)
    }

    /// More elements than buffers: the index is nothing to go by any more.
    #[cold]
    fn break_down(&mut self, counters: &QueueCounters) -> usize {
        if !self.broken {
            self.broken = true;
            counters.dropped(DropCause::RingBroken, 1);
        }
        0
    }
}

/// What elements must say, and what is made of them.
struct Expected {
    /// By how many bytes the longest frame is longer than the shortest.
    span: u32,
    headroom: u16,
    template: Template,
}

impl Expected {
    /// Whether an element less its key, or the OR of several such, names the right descriptor and a proper length. (An
    /// id leaves nothing in the lower half only if it is the one that was posted there.)
    #[inline(always)]
    fn is_met(&self, word: u64) -> bool {
        lower_half(word) == 0 && word >> 32 <= self.span.into()
    }
}

/// Takes whole groups of elements that are in order and of a proper length; how many, and by how many bytes their
/// frames are longer than the shortest. A group of elements is one comparison.
///
/// # Safety
/// There must be as many elements as keys. The `packets` must be initialised, plain, and of the template's pool.
/// `target` must have room for as many, and those that were taken were moved there when this returns.
#[inline(never)]
unsafe fn take_groups<H: Header>(
    expected: &Expected,
    elements: &UsedRun,
    keys: &[u64],
    packets: &mut [MaybeUninit<Netbuf>],
    target: *mut MaybeUninit<Netbuf>,
) -> (usize, u64) {
    let frame = |packet: &Netbuf| {
        packet.room().as_ptr().wrapping_add(expected.headroom.into()).cast_const()
    };
    if H::SPEAKS {
        // SAFETY: initialised.
        for packet in unsafe { packets.assume_init_ref() } {
            prefetch(frame(packet).wrapping_sub(H::BYTES.into()));
        }
    }
    let (mut done, mut longer) = (0, Pair::both(0));
    let groups = keys.as_chunks::<GROUP>().0.iter();
    for (keys, packets) in groups.zip(packets.as_chunks_mut::<GROUP>().0) {
        // SAFETY: `done + GROUP <= keys.len()`.
        let words = unsafe { elements.eight(done) };
        let keys = Pair::four(keys);
        let words: [Pair; 4] = core::array::from_fn(|at| words[at].minus(keys[at]));
        if !checked(expected.is_met(Pair::joined(words))) {
            break;
        }
        // SAFETY: initialised.
        let group = unsafe { packets.assume_init_mut() };
        // SAFETY: of the pool.
        if unsafe { oddity::<H>(group, expected.headroom) } {
            break;
        }
        for (both, word) in group.as_chunks_mut::<2>().0.iter_mut().zip(words) {
            for packet in &*both {
                prefetch_write::<0>(packet.room().as_ptr(), expected.headroom.into());
            }
            // SAFETY: plain, and of the template's pool, with room for the longest frame.
            unsafe { Netbuf::set_both_received(both, expected.template, word) };
            longer = longer.plus(word);
        }
        // SAFETY: initialised, and moved once, as a whole; the target has room.
        unsafe {
            target
                .add(done)
                .cast::<[MaybeUninit<Netbuf>; GROUP]>()
                .copy_from_nonoverlapping(packets, 1);
        }
        done += GROUP;
    }
    let [one, two] = longer.upper_halves().words();
    (done, one + two)
}

impl<H: Header> ReceiveRing for SplitReceive<H> {
    fn addresses(&self) -> Addresses {
        addresses(&self.ring)
    }

    #[inline]
    fn receive(&mut self, out: &mut Burst, counters: &QueueCounters) -> usize {
        if self.armed {
            self.armed = false;
            self.disarm();
        }
        let pending = self.pending();
        if pending == 0 {
            return 0;
        }
        if !checked(usize::from(pending) <= self.window.outstanding()) || self.broken {
            return self.break_down(counters);
        }
        let before = out.len();
        let (mut left, mut bytes) = (usize::from(pending), 0);
        while left > 0 && !out.is_full() {
            let (mut took, mut some) = (0, 0);
            if self.is_straight() {
                let count = left.min(out.remaining_capacity());
                // SAFETY: as many elements are pending and fit; as many entries are outstanding, because an
                // element finishes one at most.
                (took, some) = unsafe { self.take_run(out, count) };
            }
            if took == 0 {
                some = self.take_odd(left, out, counters);
                took = 1;
            }
            left -= took;
            bytes += some;
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
        posted > 0 && self.publisher.publish(&self.ring, index(self.window.tail()))
    }

    fn arm(&mut self) -> bool {
        if self.publisher.event_idx() {
            self.ring.set_used_event(self.used());
        } else {
            self.ring.set_avail_flags(0);
        }
        fence(Ordering::SeqCst);
        if self.pending() != 0 && !self.broken {
            self.disarm();
            return false;
        }
        self.armed = true;
        true
    }

    fn notification(&self, queue: u16) -> u32 {
        notification(queue, index(self.window.tail()))
    }

    fn is_broken(&self) -> bool {
        self.broken
    }

    unsafe fn release(&mut self) {
        while self.window.take_oldest().is_some() {}
    }
}
