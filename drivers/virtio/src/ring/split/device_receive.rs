//! Device half, receive: frames out of a driver's transmit queue into packets of our own.
//!
//! A burst is taken in runs. The descriptors of a run are read and checked first, and the frames' lines
//! prefetched, so that their cache misses overlap; then the frames are copied. A run holds the usual layout,
//! header and frame in one descriptor, and ends before anything else, which [`take_chain`] deals with by itself.
//!
//! [`take_chain`]: SplitDevice::take_chain

use core::mem::MaybeUninit;

use arrayvec::ArrayVec;
use netbuf::{BURST, Burst, Pool};
use netdev::{DropCause, QueueCounters};

use super::SplitRing;
use super::chain::{Chain, Direction};
use super::device::{HEADER_BYTES, HEADER_LEN, SHORT_HEADER, SHORTEST, SplitDevice};
use super::layout::RawDesc;
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::checks::checked;
use crate::memory::{MemoryMap, Nearby};
use crate::raw::{Class, Pair, prefetch};
use crate::ring::copy_in::{Alike, GROUP, Received, Source};
use crate::ring::frame::gather;

/// What became of a chain that a run could not take.
enum Chained {
    /// It is done with: received, or dropped and counted.
    Taken,
    /// An index beyond the table names none.
    Outside,
    /// Where it lies is not known yet.
    Waits,
}

impl SplitDevice {
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
        let wanted = self.available(counters).min(out.remaining_capacity());
        if wanted == 0 {
            return 0;
        }
        let before = out.len();
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let got = pool.alloc_burst(out, wanted);
        let mut heads = self.ring.avail_run(self.at.avail, got, &mut storage);
        let offloads = self.options.ring.offloads;
        let mut received = Received::new(pool, port, offloads, &mut out[before..]);
        let (mut taken, mut outside) = (0, 0);
        while let Some(&head) = heads.get(taken) {
            let run = self.take_run(memory, pool, &heads[taken..], &mut received);
            taken += run;
            if run == 0 {
                match self.take_chain(memory, pool, head, &mut received, counters) {
                    Chained::Taken => taken += 1,
                    Chained::Outside => (outside, taken) = (outside + 1, taken + 1),
                    Chained::Waits => heads = &heads[..taken],
                }
            }
        }
        let published = self.at.used;
        self.complete_heads(heads, outside);
        self.publish(published);
        let (kept, bytes) = (received.kept, received.bytes);
        out.truncate(before + kept);
        if kept > 0 {
            counters.burst(kept, bytes);
        }
        kept
    }

    /// Takes leading heads whose chains are one good descriptor with a plain header; how many.
    #[inline]
    fn take_run(
        &self,
        memory: &MemoryMap,
        pool: &Pool,
        heads: &[u16],
        received: &mut Received<'_>,
    ) -> usize {
        let largest = self.options.max_frame.min(pool.room()).min(u16::MAX - SHORT_HEADER);
        // What the first descriptor says now is only a guess.
        let guess = heads.first().and_then(|&head| self.ring.head_desc(head));
        let class = guess
            .and_then(|desc| Class::of(desc.len().wrapping_sub(HEADER_LEN), SHORTEST, largest));
        let Some(class) = class else { return self.take_each(memory, largest, heads, received) };
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let region = memory.nearby();
        let (count, bytes) = self.parse_groups(region, class, heads, &mut storage);
        if count == 0 {
            return self.take_each(memory, largest, heads, received);
        }
        // SAFETY: `parse_groups` has written so many.
        let excess = unsafe { storage[..count].assume_init_ref() };
        let template = received.template.longer(class.least);
        received.fill_class(&Alike { region, class, template, excess, bytes }, self.wide)
    }

    /// See [`parse_groups`].
    #[inline]
    fn parse_groups(
        &self,
        region: Nearby,
        class: Class,
        heads: &[u16],
        excess: &mut [MaybeUninit<Pair>; BURST],
    ) -> (usize, u64) {
        #[cfg(target_arch = "x86_64")]
        if self.wide.is_some() {
            // SAFETY: the CPU has AVX2.
            return unsafe { wide::parse_groups(&self.ring, region, class, heads, excess) };
        }
        parse_groups(&self.ring, region, class, heads, excess)
    }

    /// Takes descriptors one by one: as many as a group, up to the first that is not a good one.
    #[inline(never)]
    fn take_each(
        &self,
        memory: &MemoryMap,
        largest: u16,
        heads: &[u16],
        received: &mut Received<'_>,
    ) -> usize {
        let sources = heads.iter().take(GROUP);
        let sources = sources.map_while(|&head| self.parse(memory, head, largest));
        let sources: ArrayVec<Source, GROUP> = sources.collect();
        received.fill(sources.into_iter())
    }

    /// Parses one descriptor.
    fn parse(&self, memory: &MemoryMap, head: u16, largest: u16) -> Option<Source> {
        const SMALLEST: u64 = (SHORT_HEADER + SHORTEST) as u64 * RawDesc::LEN;
        let span = u64::from(largest.saturating_sub(SHORTEST)) * RawDesc::LEN;
        let desc = self.ring.head_desc(head)?;
        // One comparison: any flag makes it too large, and below the smallest the difference wraps. What
        // passes is at most `largest` and a header, so a `u16`.
        if desc.len_and_flags().wrapping_sub(SMALLEST) > span {
            return None;
        }
        let host = memory.translate_short(desc.addr, desc.short_len())?;
        prefetch(host.as_ptr());
        prefetch(host.as_ptr().wrapping_add(HEADER_BYTES));
        Some(Source { host: host.as_ptr(), len: desc.len() - HEADER_LEN })
    }

    /// Takes one chain of any layout.
    #[cold]
    fn take_chain(
        &self,
        memory: &MemoryMap,
        pool: &Pool,
        head: u16,
        received: &mut Received<'_>,
        counters: &QueueCounters,
    ) -> Chained {
        if head >= self.ring.size().get() {
            counters.dropped(DropCause::BadDescriptor, 1);
            return Chained::Outside;
        }
        let packet = &mut received.packets[received.kept];
        let mut chain =
            Chain::new(self.ring, memory, head, Direction::DeviceReads, self.options.ring.indirect);
        match gather(&mut chain, pool, packet, &self.options) {
            Ok(len) => {
                packet.set_port(received.port);
                received.kept += 1;
                received.bytes += len as u64;
            }
            Err(cause) => {
                // Empty again, for the next frame; cutting to nothing cannot fail.
                let _ = packet.truncate(0);
                if memory.stalls() {
                    return Chained::Waits;
                }
                counters.dropped(cause, 1);
            }
        }
        Chained::Taken
    }
}

/// Parses whole groups of descriptors that are all good, and of one class of lengths; how many descriptors, and
/// the bytes of their frames.
///
/// Each check is made for a group at once, on the OR of what it looks at: that is no less than any of them.
#[inline(never)]
pub(super) fn parse_groups(
    ring: &SplitRing,
    region: Nearby,
    class: Class,
    heads: &[u16],
    excess: &mut [MaybeUninit<Pair>; BURST],
) -> (usize, u64) {
    let mask = Pair::new(RawDesc::MASK);
    let least = Pair::new([region.device(), u64::from(class.least) + u64::from(HEADER_LEN)]);
    let groups = heads.as_chunks::<GROUP>().0.iter();
    let (mut count, mut bytes) = (0, Pair::new([0; 2]));
    for (heads, excess) in groups.zip(excess.as_chunks_mut::<GROUP>().0) {
        if !checked(ring.holds_all(heads)) {
            break;
        }
        let (mut all, mut sum) = (Pair::new([0; 2]), bytes);
        for (&head, excess) in heads.iter().zip(&mut *excess) {
            // SAFETY: `holds_all`.
            let desc = unsafe { ring.desc_pair_unchecked(head) };
            // Any flag makes the second too large, and below the least both wrap.
            let more = desc.and(mask).minus(least);
            (all, sum) = (all.or(more), sum.plus(more));
            // (Where a check fails, these are not among those that are counted.)
            excess.write(more);
        }
        // SAFETY: written above.
        let excess = unsafe { excess.assume_init_ref() };
        let [offsets, lengths] = all.words();
        // (An OR may reach the end of the region where none of the offsets does.)
        let inside =
            || region.holds(offsets) || excess.iter().all(|more| region.holds(more.words()[0]));
        if !checked(lengths <= class.width.into() && inside()) {
            break;
        }
        for more in excess {
            let host = region.perhaps_at(more.words()[0]);
            prefetch(host);
            prefetch(host.wrapping_add(HEADER_BYTES));
        }
        count += GROUP;
        bytes = sum;
    }
    (count, bytes.words()[1] + u64::from(class.least) * count as u64)
}
