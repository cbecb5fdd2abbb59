//! Receive: buffers out, frames in.
//!
//! A completion in order, of a proper length, is one comparison of the id, one of the length and one store
//! into the packet's private header; a run of them is taken by [`SplitReceive::take_run`]. Whatever else the
//! device says goes to [`SplitReceive::take_odd`], one element at a time.

use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};

use netbuf::{BURST, Burst, DeviceMemory, Pool};
use netdev::{DropCause, QueueCounters};

use super::super::{Desc, RingSize, SplitRing, UsedElem, flags};
use super::publish::Publisher;
use super::window::{Run, Window};
use super::{MIN_FRAME, addresses, place};
use crate::raw::prefetch;
use crate::ring::{Addresses, Header, ReceiveRing, ReceiveSetup};

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
    pool: Pool,
    port: u16,
    max_frame: u16,
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
        if setup.pool.headroom() < H::BYTES || setup.max_frame > setup.pool.room() {
            return None;
        }
        // SAFETY: the caller's promise.
        let ring = unsafe { place(memory, offset, size) }?;
        let len = u32::from(H::BYTES) + u32::from(setup.pool.room());
        for id in 0..size.get() {
            ring.set_desc(id, Desc { addr: 0, len, flags: flags::DESC_WRITE, next: 0 });
        }
        let receive = Self {
            window: Window::new(&ring),
            ring,
            publisher: Publisher::new(setup.event_idx),
            lies: 0,
            threshold: usize::from(size.get() / 8).clamp(1, BURST),
            broken: false,
            armed: false,
            pool: setup.pool,
            port: setup.port,
            max_frame: setup.max_frame,
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
        self.window.head().wrapping_add(self.lies)
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
        let (Run { ids, packets, .. }, elements) = unsafe {
            let run = self.window.oldest(count);
            let elements = self.ring.used_run(run.place, run.ids.len());
            (run, elements)
        };
        let packets = &mut packets[..ids.len()];
        let (headroom, port) = (self.pool.headroom(), self.port);
        for packet in &*packets {
            // SAFETY: outstanding, so initialised.
            let room = unsafe { packet.assume_init_ref() }.room();
            prefetch(room.as_ptr().wrapping_add(headroom.into()));
        }
        let header = u32::from(H::BYTES);
        let span = u32::from(self.max_frame).saturating_sub(MIN_FRAME);
        let (filled, mut done, mut bytes) = (out.len(), 0, 0u64);
        let target = out.as_mut_ptr();
        while let Some(UsedElem { id, len }) = elements.get(done) {
            if len.wrapping_sub(header + MIN_FRAME) > span || id != ids[done] {
                break;
            }
            bytes += u64::from(len);
            #[expect(clippy::cast_possible_truncation, reason = "compared with `max_frame`")]
            let frame = (len - header) as u16;
            // SAFETY: the id is the one posted at this outstanding place, so the packet is initialised and,
            // `done` growing, moved once. It came plain from the pool, and `frame <= max_frame <= room`. The
            // burst has room for `count` more.
            unsafe {
                let mut packet = packets[done].assume_init_read();
                packet.set_received_unchecked(headroom, frame, port);
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

    /// Takes one element that is out of order or a lie. The ring is read again here, because nothing that was
    /// read before is remembered.
    #[cold]
    fn take_odd(&mut self, out: &mut Burst, counters: &QueueCounters) -> u64 {
        let UsedElem { id, len } = self.ring.used(self.used());
        let oldest = self.window.promote(id, &self.ring);
        let Some(mut packet) = oldest.and_then(|()| self.window.take_oldest()) else {
            self.lies = self.lies.wrapping_add(1);
            counters.dropped(DropCause::BadDescriptor, 1);
            return 0;
        };
        let frame = len.checked_sub(H::BYTES.into()).filter(|&frame| frame >= MIN_FRAME);
        let Some(frame) = frame else {
            counters.dropped(DropCause::Undersize, 1);
            return 0;
        };
        if frame > self.pool.room().into() {
            counters.dropped(DropCause::BadDescriptor, 1);
            return 0;
        }
        let fits = u16::try_from(frame).ok().filter(|&frame| frame <= self.max_frame);
        let Some(()) =
            fits.and_then(|len| packet.set_received(self.pool.headroom(), len, self.port))
        else {
            counters.dropped(DropCause::Oversize, 1);
            return 0;
        };
        out.push(packet);
        frame.into()
    }

    /// Posts buffers up to where the ring starts again; how many, and whether the pool had enough.
    #[inline]
    fn post_run(&mut self) -> (usize, bool) {
        let front = usize::from(self.pool.headroom() - H::BYTES);
        // SAFETY: as many are free.
        let run = unsafe { self.window.next(self.window.free()) };
        let got = self.pool.alloc_into(run.packets);
        for (&id, packet) in run.ids[..got].iter().zip(&run.packets[..got]) {
            // SAFETY: `alloc_into` initialised the first `got`. The pool's headroom lies in the buffer, and the
            // window's ids are the ring's.
            unsafe {
                let header = packet.assume_init_ref().room().add(front);
                self.ring.set_desc_addr_unchecked(id, header.addr().get() as u64);
            }
        }
        let all = got == run.ids.len();
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
        if usize::from(pending) > self.window.outstanding() || self.broken {
            return self.break_down(counters);
        }
        let before = out.len();
        let mut left = usize::from(pending).min(out.remaining_capacity());
        let mut bytes = 0;
        while left > 0 {
            let (mut took, mut some) = (0, 0);
            if self.lies == 0 {
                // SAFETY: `left` elements are pending and fit; as many entries are outstanding, because an
                // element finishes one at most.
                (took, some) = unsafe { self.take_run(out, left) };
            }
            if took == 0 {
                some = self.take_odd(out, counters);
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
        posted > 0 && self.publisher.publish(&self.ring, self.window.tail())
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

    unsafe fn release(&mut self) {
        while self.window.take_oldest().is_some() {}
    }
}
