//! Device half, receive: frames out of a driver's transmit queue into packets of our own.
//!
//! A burst is taken in runs. The descriptors of a run are read and checked first, and the frames' lines
//! prefetched, so that their cache misses overlap; then the frames are copied. A run holds the usual layout,
//! header and frame in one descriptor, and ends before anything else, which [`PackedDevice::take_chain`] deals
//! with by itself.

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use netbuf::{BURST, Burst, Pool};
use netdev::{Offloads, QueueCounters};

use super::chain::{Chain, Direction};
use super::device::PackedDevice;
use super::layout::Word;
use super::position;
use crate::memory::MemoryMap;
use crate::raw::{self, prefetch, read_once};
use crate::ring::frame::{asked, gather};
use crate::ring::header::ASKS;
use crate::ring::split::{ETHERNET_HEADER, HEADER_BYTES, HEADER_LEN};

/// A frame in one descriptor, inside one memory region.
#[derive(Clone, Copy)]
struct Source {
    host: NonNull<u8>,
    /// Header and frame.
    len: u32,
}

/// What is asked of a receive call, and what came of it so far.
struct Received<'a> {
    out: &'a mut Burst,
    pool: &'a Pool,
    port: u16,
    /// What headers may ask for.
    offloads: Offloads,
    bytes: u64,
}

impl PackedDevice {
    /// Takes frames that the driver has sent and appends copies of them to `out`; how many.
    ///
    /// Takes as many as `out` has room and `pool` has buffers for; the others stay in the ring. What the driver
    /// got wrong is dropped, counted, and handed back to it like a sent frame.
    pub fn receive(
        &mut self,
        memory: &MemoryMap,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> usize {
        let before = out.len();
        let mut left = out.remaining_capacity();
        if !self.begin() || left == 0 {
            return 0;
        }
        let mut received =
            Received { out, pool, port, offloads: self.options.ring.offloads, bytes: 0 };
        while left > 0 {
            let (found, run) = self.take_run(memory, left, &mut received);
            left -= run;
            if run < found && pool.available() == 0 {
                break;
            }
            if run == 0 {
                if self.is_stuck() || !self.take_chain(memory, &mut received, counters) {
                    break;
                }
                left -= 1;
            }
        }
        let (kept, bytes) = (received.out.len() - before, received.bytes);
        if kept > 0 {
            counters.burst(kept, bytes);
        }
        kept
    }

    /// Takes the next descriptors as far as they are available and frames of their own, with a plain header: how
    /// many there were, and how many it took.
    #[inline]
    fn take_run(
        &mut self,
        memory: &MemoryMap,
        most: usize,
        received: &mut Received<'_>,
    ) -> (usize, usize) {
        let mut sources = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [Word(0); BURST];
        let most = most.min(self.straight());
        let largest = self.options.max_frame.min(received.pool.room());
        let sources = self.parse_run(memory, most, largest, &mut sources, &mut words);
        let found = sources.len();
        if found == 0 {
            return (0, 0);
        }
        let run = received.fill(sources);
        self.complete_unwritten(&words[..run]);
        (found, run)
    }

    #[inline]
    fn parse_run<'a>(
        &self,
        memory: &MemoryMap,
        most: usize,
        largest: u16,
        storage: &'a mut [MaybeUninit<Source>; BURST],
        words: &mut [Word; BURST],
    ) -> &'a [Source] {
        const SMALLEST: u32 = HEADER_LEN + ETHERNET_HEADER;
        let size = self.ring.size();
        let first = self.ring.slot(position::place(self.avail, size));
        let turn = position::available(self.avail, size);
        let span = u32::from(largest).saturating_sub(ETHERNET_HEADER);
        let mut count = 0;
        for (slot, done) in storage[..most.min(BURST)].iter_mut().zip(words) {
            // SAFETY: `most` descriptors lie before the end of the ring.
            let desc = unsafe { first.add(count) };
            let word = desc.word();
            let len = word.len();
            // The turn, and no other flag: not a chain, not a table, and ours to read.
            if word.flags() != turn || len.wrapping_sub(SMALLEST) > span {
                break;
            }
            let Some(host) = translate(memory, desc.addr(), len) else { break };
            prefetch(host.as_ptr());
            prefetch(host.as_ptr().wrapping_add(HEADER_BYTES));
            slot.write(Source { host, len });
            *done = Word(word.0 & 0xffff << Word::ID);
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
    }

    /// Takes one chain of any layout; `false` where there was no buffer to take it into.
    #[cold]
    fn take_chain(
        &mut self,
        memory: &MemoryMap,
        received: &mut Received<'_>,
        counters: &QueueCounters,
    ) -> bool {
        let Some(mut packet) = received.pool.alloc() else { return false };
        let indirect = self.options.ring.indirect;
        let mut chain = Chain::new(self.ring, memory, self.avail, Direction::DeviceReads, indirect);
        let gathered = gather(&mut chain, received.pool, &mut packet, &self.options);
        let walked = chain.finish();
        match (gathered, &walked) {
            (Ok(len), Ok(_)) => {
                packet.set_port(received.port);
                received.out.push(packet);
                received.bytes += len as u64;
            }
            (Err(cause), Ok(_)) => counters.dropped(cause, 1),
            (_, Err(_)) => {}
        }
        self.complete_chain(walked, 0, counters);
        true
    }
}

/// Where a frame lies. (Its length was compared with that of a frame of 16 bits.)
#[inline]
fn translate(memory: &MemoryMap, addr: u64, len: u32) -> Option<NonNull<u8>> {
    match u16::try_from(len) {
        Ok(len) => memory.translate_short(addr, len),
        Err(_) => memory.translate(addr, len.into()),
    }
}

impl Received<'_> {
    /// Copies frames into fresh packets, and what their headers ask for onto them, as far as there are any and up to
    /// the first whose header asks for what cannot be; how many.
    #[inline]
    fn fill(&mut self, sources: &[Source]) -> usize {
        let before = self.out.len();
        let got = self.pool.alloc_burst(self.out, sources.len());
        let headroom = self.pool.headroom();
        let template = self.pool.template(headroom, self.port);
        let (mut filled, mut bytes) = (0, 0);
        for (source, packet) in sources.iter().zip(&mut self.out[before..]) {
            let (host, len) = (source.host.as_ptr(), source.len - HEADER_LEN);
            // SAFETY: `parse_run` translated `source.len` bytes, more than a header.
            let front: u64 = unsafe { read_once(host) };
            // SAFETY: the packet is as the pool handed it out, and `len` is at most the pool's room: that many
            // bytes behind its headroom are ours alone, since a peer maps none of the memory of a pool that we
            // copy into. Header and frame were translated.
            unsafe {
                packet.set_received_from(template, len.into());
                let to = packet.room().add(headroom.into()).as_ptr();
                raw::copy(host.add(HEADER_BYTES), to, len as usize);
            }
            if u64::from_le(front) & u64::from(ASKS) != 0 {
                // SAFETY: as above.
                let Some(asks) = (unsafe { asked(front, host, len, self.offloads) }) else { break };
                asks.put_on(packet);
            }
            filled += 1;
            bytes += u64::from(len);
        }
        if filled < got {
            self.out.truncate(before + filled);
        }
        self.bytes += bytes;
        filled
    }
}
