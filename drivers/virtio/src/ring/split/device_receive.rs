//! Device half, receive: frames out of a driver's transmit queue into packets of our own.
//!
//! A burst is taken in runs. The descriptors of a run are read and checked first, and the frames' lines
//! prefetched, so that their cache misses overlap; then the frames are copied. A run holds the usual layout,
//! header and frame in one descriptor, and ends before anything else, which [`take_chain`] deals with by itself.
//!
//! [`take_chain`]: SplitDevice::take_chain

use core::mem::MaybeUninit;

use arrayvec::ArrayVec;
use netbuf::{BURST, Burst, Netbuf, Pool, Template};
use netdev::{DropCause, Offloads, QueueCounters};

use super::SplitRing;
use super::chain::{Chain, Direction};
use super::device::{HEADER_BYTES, HEADER_LEN, SHORT_HEADER, SHORTEST, SplitDevice, Wide};
use super::layout::RawDesc;
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::memory::{MemoryMap, Nearby};
use crate::raw::{self, Block, Class, Pair, prefetch, read_once};
use crate::ring::frame::{asked, gather};
use crate::ring::header::ASKS;

/// Descriptors that are checked at once.
pub(super) const GROUP: usize = 8;

/// A frame in one descriptor, inside one memory region.
#[derive(Clone, Copy)]
struct Source {
    /// Of the header in front of it.
    host: *const u8,
    len: u32,
}

/// Descriptors of a class of lengths, in one region: what they have more than the least.
struct Alike<'a> {
    region: Nearby,
    class: Class,
    /// Of packets that are as much longer as the excess says.
    template: Template,
    /// Offsets of the headers in the region, and how many bytes the frames are longer than the shortest.
    excess: &'a [Pair],
}

/// What a call received so far.
struct Received<'a> {
    /// Packets of the pool: the first `kept` hold frames, the others are as the pool handed them out.
    packets: &'a mut [Netbuf],
    kept: usize,
    bytes: u64,
    headroom: u16,
    template: Template,
    clean: Template,
    port: u16,
    /// What headers may ask for.
    offloads: Offloads,
}

impl SplitDevice {
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
        let wanted = self.available(counters).min(out.remaining_capacity());
        if wanted == 0 {
            return 0;
        }
        let before = out.len();
        let heads = &mut [0; BURST][..pool.alloc_burst(out, wanted)];
        self.ring.avail_run(self.at.avail, heads);
        let mut received = Received {
            packets: &mut out[before..],
            kept: 0,
            bytes: 0,
            headroom: pool.headroom(),
            template: pool.template(pool.headroom(), port),
            clean: pool.template(pool.headroom(), 0),
            port,
            offloads: self.options.ring.offloads,
        };
        let (mut taken, mut outside) = (0, 0);
        while let Some(&head) = heads.get(taken) {
            let run = self.take_run(memory, pool, &heads[taken..], &mut received);
            taken += run;
            if run == 0 {
                let named = self.take_chain(memory, pool, head, &mut received, counters);
                outside += usize::from(!named);
                taken += 1;
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
        let count = self.parse_groups(region, class, heads, &mut storage);
        if count == 0 {
            return self.take_each(memory, largest, heads, received);
        }
        // SAFETY: `parse_groups` has written so many.
        let excess = unsafe { storage[..count].assume_init_ref() };
        let template = received.template.longer(class.least);
        received.fill_class(&Alike { region, class, template, excess }, self.wide)
    }

    /// See [`parse_groups`].
    #[inline]
    fn parse_groups(
        &self,
        region: Nearby,
        class: Class,
        heads: &[u16],
        excess: &mut [MaybeUninit<Pair>; BURST],
    ) -> usize {
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

    /// Takes one chain of any layout; `false` where an index beyond the table names none.
    #[cold]
    fn take_chain(
        &self,
        memory: &MemoryMap,
        pool: &Pool,
        head: u16,
        received: &mut Received<'_>,
        counters: &QueueCounters,
    ) -> bool {
        if head >= self.ring.size().get() {
            counters.dropped(DropCause::BadDescriptor, 1);
            return false;
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
                counters.dropped(cause, 1);
                // Empty again, for the next frame; cutting to nothing cannot fail.
                let _ = packet.truncate(0);
            }
        }
        true
    }
}

/// Parses whole groups of descriptors that are all good, and of one class of lengths; how many descriptors.
///
/// Each check is made for a group at once, on the OR of what it looks at: that is no less than any of them.
#[inline(never)]
pub(super) fn parse_groups(
    ring: &SplitRing,
    region: Nearby,
    class: Class,
    heads: &[u16],
    excess: &mut [MaybeUninit<Pair>; BURST],
) -> usize {
    let mask = Pair::new(RawDesc::MASK);
    let least = Pair::new([region.device(), u64::from(class.least) + u64::from(HEADER_LEN)]);
    let groups = heads.as_chunks::<GROUP>().0.iter();
    let mut count = 0;
    for (heads, excess) in groups.zip(excess.as_chunks_mut::<GROUP>().0) {
        if !ring.holds_all(heads) {
            break;
        }
        let mut all = Pair::new([0, 0]);
        for (&head, excess) in heads.iter().zip(&mut *excess) {
            // SAFETY: `holds_all`.
            let desc = unsafe { ring.desc_pair_unchecked(head) };
            // Any flag makes the second too large, and below the least both wrap.
            let more = desc.and(mask).minus(least);
            all = all.or(more);
            // (Where a check fails, these are not among those that are counted.)
            excess.write(more);
        }
        // SAFETY: written above.
        let excess = unsafe { excess.assume_init_ref() };
        let [offsets, lengths] = all.words();
        // (An OR may reach the end of the region where none of the offsets does.)
        let inside =
            region.holds(offsets) || excess.iter().all(|more| region.holds(more.words()[0]));
        if lengths > class.width.into() || !inside {
            break;
        }
        for more in excess {
            let host = region.perhaps_at(more.words()[0]);
            prefetch(host);
            prefetch(host.wrapping_add(HEADER_BYTES));
        }
        count += GROUP;
    }
    count
}

impl<'a> Alike<'a> {
    fn sources(&self) -> impl Iterator<Item = Source> + 'a {
        let (region, least) = (self.region, self.class.least);
        self.excess.iter().map(move |more| {
            let [offset, longer] = more.words();
            Source { host: region.perhaps_at(offset), len: narrow(longer) + u32::from(least) }
        })
    }
}

/// The second word of what was parsed.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "less than 65,536")]
fn narrow(longer: u64) -> u32 {
    debug_assert!(longer <= u16::MAX.into());
    longer as u32
}

impl Received<'_> {
    /// As [`fill`](Self::fill), for whole groups of frames of one class.
    #[inline]
    fn fill_class(&mut self, alike: &Alike<'_>, wide: Wide) -> usize {
        #[cfg(target_arch = "x86_64")]
        if wide.is_some() {
            // SAFETY: the CPU has AVX2.
            return unsafe {
                match alike.class.blocks {
                    2 => self.fill_wide::<2>(alike),
                    4 => self.fill_wide::<4>(alike),
                    8 => self.fill_wide::<8>(alike),
                    _ => self.fill(alike.sources()),
                }
            };
        }
        let _ = wide;
        match alike.class.blocks {
            2 => self.fill_alike::<2>(alike),
            4 => self.fill_alike::<4>(alike),
            8 => self.fill_alike::<8>(alike),
            _ => self.fill(alike.sources()),
        }
    }

    #[inline(never)]
    fn fill_alike<const BLOCKS: usize>(&mut self, alike: &Alike<'_>) -> usize {
        self.fill_by::<Block, BLOCKS>(alike)
    }

    #[inline(never)]
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn fill_wide<const BLOCKS: usize>(&mut self, alike: &Alike<'_>) -> usize {
        self.fill_by::<core::arch::x86_64::__m256i, BLOCKS>(alike)
    }

    /// Copies in moves of a `Move`. (In line, for callers that have registers for it.)
    #[inline(always)]
    fn fill_by<Move: Copy, const BLOCKS: usize>(&mut self, alike: &Alike<'_>) -> usize {
        let packets = &mut self.packets[self.kept..];
        // The shortest of the class (see `Class`), known to the compiler.
        let least = 16 * BLOCKS + 1;
        debug_assert_eq!(usize::from(alike.class.least), least);
        let region = alike.region;
        // (Made by the caller: here the compiler would take it apart again.)
        let template = alike.template;
        let (mut asks, mut bytes) = (0, 0);
        // (Fewer at once than are parsed: there are only so many registers.)
        let groups = alike.excess.as_chunks::<4>().0;
        for (group, packets) in groups.iter().zip(packets.as_chunks_mut::<4>().0) {
            for (more, packet) in group.iter().zip(packets) {
                let [offset, longer] = more.words();
                let host = region.perhaps_at(offset);
                let to = packet.room().as_ptr().wrapping_add(self.headroom.into());
                // SAFETY: see `fill`; `parse_groups` has found the length to be of the class.
                unsafe {
                    asks |= host.cast::<u16>().read_unaligned();
                    packet.set_received_from(template, longer);
                    #[expect(clippy::cast_possible_truncation, reason = "less than 65,536")]
                    let len = least + longer as usize;
                    raw::copy_ends_by::<Move, BLOCKS>(host.add(HEADER_BYTES), to, len);
                }
                bytes += longer;
            }
        }
        let count = alike.excess.len();
        if asks & ASKS != 0 {
            return self.fill_again(alike);
        }
        self.kept += count;
        self.bytes += bytes + (least * count) as u64;
        count
    }

    /// As [`fill`](Self::fill), where one of the headers was found to ask for something.
    #[cold]
    #[inline(never)]
    fn fill_again(&mut self, alike: &Alike<'_>) -> usize {
        for packet in self.packets[self.kept..].iter_mut().take(alike.excess.len()) {
            // SAFETY: plain ones of the pool that the template is of; what it says is what the pool hands out.
            unsafe { packet.set_received_from(self.clean, 0) };
        }
        self.fill(alike.sources())
    }

    /// Copies frames into the next packets, and what their headers ask for onto them, up to the first whose header
    /// asks for what cannot be; how many.
    #[inline(never)]
    fn fill(&mut self, sources: impl Iterator<Item = Source>) -> usize {
        let (mut filled, mut bytes) = (0, 0);
        for (source, packet) in sources.zip(&mut self.packets[self.kept..]) {
            let (host, len) = (source.host, source.len);
            let room = packet.room();
            // SAFETY: more than a header was translated.
            let front: u64 = unsafe { read_once(host) };
            let mut asks = None;
            if u64::from_le(front) & u64::from(ASKS) != 0 {
                // SAFETY: as above.
                asks = unsafe { asked(front, host, len, self.offloads) };
                if asks.is_none() {
                    break;
                }
            }
            // SAFETY: the packet is as the pool handed it out, and `len` is at most the pool's room: that many
            // bytes behind its headroom are ours alone, since a peer maps none of the memory of a pool that we
            // copy into. Header and frame were translated.
            unsafe {
                packet.set_received_from(self.template, len.into());
                let to = room.add(self.headroom.into()).as_ptr();
                raw::copy(host.add(HEADER_BYTES), to, len as usize);
            }
            if let Some(asks) = asks {
                asks.put_on(packet);
            }
            filled += 1;
            bytes += u64::from(len);
        }
        self.kept += filled;
        self.bytes += bytes;
        filled
    }
}
