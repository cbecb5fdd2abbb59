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
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::memory::MemoryMap;
use crate::raw::{Class, prefetch};
use crate::ring::copy_in::{Alike, GROUP, Received, Source};
use crate::ring::frame::gather;
use crate::ring::split::{ETHERNET_HEADER, HEADER_BYTES, HEADER_LEN, SHORT_HEADER, SHORTEST};

/// What is asked of a receive call, and what came of it so far.
struct Call<'a> {
    out: &'a mut Burst,
    pool: &'a Pool,
    port: u16,
    bytes: u64,
}

impl PackedDevice {
    /// Takes frames that the driver has sent and appends copies of them to `out`; how many.
    ///
    /// Takes as many as `out` has room and `pool` has buffers for; the others stay in the ring. So does, with all behind
    /// it, a frame at an address that [`memory`](MemoryMap::miss) has to ask for. What the driver got wrong is dropped,
    /// counted, and handed back to it like a sent frame.
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
        let mut received = Call { out, pool, port, bytes: 0 };
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
        received: &mut Call<'_>,
    ) -> (usize, usize) {
        #[cfg(target_arch = "x86_64")]
        if self.wide.is_some() {
            let run = self.take_wide(memory, most, received);
            if run > 0 {
                return (run, run);
            }
        }
        let mut sources = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [Word(0); BURST];
        let most = most.min(self.straight());
        let largest = self.options.max_frame.min(received.pool.room());
        let sources = self.parse_run(memory, most, largest, &mut sources, &mut words);
        let found = sources.len();
        if found == 0 {
            return (0, 0);
        }
        let run = received
            .fill(found, self.options.ring.offloads, |all| all.fill(sources.iter().copied()));
        self.complete_unwritten(&words[..run]);
        (found, run)
    }

    /// The same of whole groups of descriptors of one class of lengths.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    fn take_wide(&mut self, memory: &MemoryMap, most: usize, received: &mut Call<'_>) -> usize {
        let size = self.ring.size();
        let most = most.min(self.straight()).min(received.pool.available());
        let largest = self.options.max_frame.min(received.pool.room()).min(u16::MAX - SHORT_HEADER);
        let first = self.ring.slot(position::place(self.avail, size));
        // What the first descriptor says now is only a guess.
        let class = Class::of(first.word().len().wrapping_sub(HEADER_LEN), SHORTEST, largest);
        let Some(class) = class.filter(|_| most >= GROUP) else { return 0 };
        let region = memory.nearby();
        let (available, used) = (position::available(self.avail, size), self.used_flags());
        let run = wide::Run { first, most, available, used, region, class };
        let mut excess = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [const { MaybeUninit::uninit() }; BURST];
        // SAFETY: `most` descriptors lie before the end of the ring; and the CPU has AVX2.
        let (count, bytes) = unsafe { wide::parse_groups(&run, &mut excess, &mut words) };
        // SAFETY: `parse_groups` has written so many.
        let (excess, words) =
            unsafe { (excess[..count].assume_init_ref(), words[..count].assume_init_ref()) };
        if count == 0 {
            return 0;
        }
        let filled = received.fill(count, self.options.ring.offloads, |all| {
            let template = all.template.longer(class.least);
            all.fill_class(&Alike { region, class, template, excess, bytes }, self.wide)
        });
        self.complete_unwritten(&words[..filled]);
        filled
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
        let (turn, used) = (position::available(self.avail, size), self.used_flags());
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
            slot.write(Source { host: host.as_ptr(), len: len - HEADER_LEN });
            *done = Word::new(0, word.id(), used);
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
    }

    /// Takes one chain of any layout; `false` where there was no buffer to take it into, or where it lies is not known
    /// yet.
    #[cold]
    fn take_chain(
        &mut self,
        memory: &MemoryMap,
        received: &mut Call<'_>,
        counters: &QueueCounters,
    ) -> bool {
        let Some(mut packet) = received.pool.alloc() else { return false };
        let indirect = self.options.ring.indirect;
        let mut chain = Chain::new(self.ring, memory, self.avail, Direction::DeviceReads, indirect);
        let gathered = gather(&mut chain, received.pool, &mut packet, &self.options);
        let walked = chain.finish();
        if gathered.is_err() && walked.is_ok() && memory.stalls() {
            return false;
        }
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

impl Call<'_> {
    /// Has up to `count` frames copied into fresh packets, as far as there are any; how many.
    #[inline]
    fn fill(
        &mut self,
        count: usize,
        offloads: Offloads,
        copy: impl FnOnce(&mut Received<'_>) -> usize,
    ) -> usize {
        let before = self.out.len();
        let got = self.pool.alloc_burst(self.out, count);
        let mut received = Received::new(self.pool, self.port, offloads, &mut self.out[before..]);
        let filled = copy(&mut received);
        self.bytes += received.bytes;
        if filled < got {
            self.out.truncate(before + filled);
        }
        filled
    }
}
