//! Device half, transmit: our packets into the buffers of a driver's receive queue.
//!
//! As in receive, a burst goes in runs: the driver's buffers for a run of packets are read, checked and
//! prefetched before the first copy. A run ends before a packet or a buffer that needs more than that, which
//! [`put_odd`](SplitDevice::put_odd) deals with by itself.

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::slice;

use netbuf::{BURST, Burst, Netbuf, Pool};
use netdev::{DropCause, QueueCounters};

use super::SplitRing;
use super::UsedElem;
use super::chain::{Chain, Direction};
use super::device::{ETHERNET_HEADER, HEADER_BYTES, HEADER_LEN, SHORTEST, SplitDevice};
use super::layout::RawDesc;
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::checks::checked;
use crate::memory::{MemoryMap, Nearby};
use crate::raw::{self, Class, Pair, prefetch, prefetch_write};
use crate::ring::copy_in::GROUP;
use crate::ring::copy_out::Matched;
use crate::ring::frame::{BadChain, Pour, put_header, room};
use crate::ring::outgoing::Outgoing;

/// The most that the pool's test for plain packets can tell.
pub(super) const MOST: u16 = (1 << 15) - 1;

/// What a call has sent so far.
struct Sent {
    packets: usize,
    bytes: u64,
}

/// What became of a packet that a run could not take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Odd {
    /// It is done with: sent, or dropped and counted.
    Taken,
    /// It waits for more buffers, or to learn where they lie.
    Waits,
}

/// How many of the driver's chains a frame takes.
enum Fit {
    /// So many, from the next one on.
    Chains(u16),
    /// All that the driver has posted are too small together.
    TooSmall,
    /// So many, of which the last breaks a rule.
    Bad(u16),
}

impl SplitDevice {
    /// Copies packets from the front of `packets` into buffers that the driver has posted, as far as there are
    /// any whose place [`memory`](MemoryMap::miss) knows, and frees them; how many it took. What it did not take stays, in
    /// order.
    ///
    /// A packet that cannot be sent, or meets a buffer that breaks a rule, is dropped and counted. The header in
    /// front of a frame is written only where it differs: its cache line stays shared.
    pub fn transmit(
        &mut self,
        memory: &MemoryMap,
        packets: &mut Burst,
        counters: &QueueCounters,
    ) -> usize {
        let total = packets.len();
        let mut posted = self.available_for(total, counters);
        if posted == 0 || total == 0 {
            return 0;
        }
        let source = packets.as_mut_ptr();
        // SAFETY: the burst has `total` packets. From here on they are owned by this function: each is moved out
        // of `all` once, in order, and the others go back to the burst at the end.
        let all = unsafe {
            packets.set_len(0);
            slice::from_raw_parts_mut(source.cast::<MaybeUninit<Netbuf>>(), total)
        };
        let (mut sent, published) = (Sent { packets: 0, bytes: 0 }, self.at.used);
        let mut taken = 0;
        while taken < total {
            // SAFETY: packets from `taken` on were not moved out; a run moves out those that it counts.
            let run = unsafe { self.put_runs(memory, &mut all[taken..], posted, &mut sent) };
            taken += run;
            posted -= run;
            if taken == total {
                break;
            }
            if posted == 0 {
                posted = self.available_now(counters);
                if posted == 0 {
                    break;
                }
                continue;
            }
            let before = self.at.avail;
            // SAFETY: as above.
            let packet = unsafe { all[taken].assume_init_mut() };
            if self.put_odd(memory, packet, posted, &mut sent, counters) == Odd::Waits {
                let more = self.available_now(counters);
                if more == posted {
                    break;
                }
                posted = more;
                continue;
            }
            // SAFETY: as above; it is not looked at again.
            unsafe { all[taken].assume_init_drop() };
            taken += 1;
            posted -= usize::from(self.at.avail.wrapping_sub(before));
        }
        // SAFETY: the first `taken` were moved out; the others move to the front and are the burst's again.
        unsafe {
            if taken < total {
                ptr::copy(source.add(taken), source, total - taken);
            }
            packets.set_len(total - taken);
        }
        self.publish(published);
        if sent.packets > 0 {
            counters.burst(sent.packets, sent.bytes);
        }
        taken
    }

    /// Sends and frees leading packets, run by run, as far as the usual way goes; how many. As many entries are
    /// consumed, of `posted`.
    ///
    /// # Safety
    /// As [`put_run`](Self::put_run).
    #[inline]
    unsafe fn put_runs(
        &mut self,
        memory: &MemoryMap,
        packets: &mut [MaybeUninit<Netbuf>],
        posted: usize,
        sent: &mut Sent,
    ) -> usize {
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let count = posted.min(packets.len());
        let heads = self.ring.avail_run(self.at.avail, count, &mut storage);
        let mut taken = 0;
        while taken < heads.len() {
            let (packets, heads) = (&mut packets[taken..], &heads[taken..]);
            // SAFETY: the caller's promise; those that were sent are not looked at again.
            let run = unsafe { self.put_run(memory, packets, heads, sent) };
            if run == 0 {
                break;
            }
            self.completed(run);
            taken += run;
        }
        taken
    }

    /// Sends and frees the leading packets that are plain, of one pool, and meet a buffer of one good
    /// descriptor; how many. Their used elements are written then, but not published.
    ///
    /// # Safety
    /// All of `packets` must be initialised. Those that were sent must not be used afterwards.
    #[inline]
    unsafe fn put_run(
        &self,
        memory: &MemoryMap,
        packets: &mut [MaybeUninit<Netbuf>],
        heads: &[u16],
        sent: &mut Sent,
    ) -> usize {
        // SAFETY: initialised (see above).
        let run = unsafe { packets.assume_init_mut() };
        let Some(home) = run.first().and_then(Pool::of) else { return 0 };
        let len = u32::from(run.first().map_or(0, first_len));
        let Some(class) = Class::of(len, SHORTEST, self.options.max_frame) else { return 0 };
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let region = memory.nearby();
        let [(elems, heads), _] = self.ring.used_places(self.at.used, heads);
        let (count, bytes) =
            self.match_groups(region, &home, class, run, heads, &mut storage, elems);
        // SAFETY: `match_groups` has written so many.
        let offsets = unsafe { storage[..count].assume_init_ref() };
        let headroom = home.headroom();
        let clean = home.template(headroom, 0);
        let matched = Matched { region, headroom, clean, offsets, bytes };
        let (taken, bytes) = if count == 0 {
            self.put_each(memory, &home, run, heads)
        } else {
            matched.put(class.blocks, self.wide, run)
        };
        sent.bytes += bytes;
        sent.packets += taken;
        // SAFETY: plain packets of `home`, cleaned where they were sent, and given up by the caller.
        unsafe { home.free_clean(&packets[..taken]) };
        taken
    }

    /// See [`match_groups`].
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "as there")]
    fn match_groups(
        &self,
        region: Nearby,
        home: &Pool,
        class: Class,
        packets: &[Netbuf],
        heads: &[u16],
        offsets: &mut [MaybeUninit<Pair>; BURST],
        elems: *mut u8,
    ) -> (usize, u64) {
        let ring = &self.ring;
        // SAFETY: `used_places` gave the place of as many elements as `heads`; and the CPU has AVX2.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.wide.is_some() {
                return wide::match_groups(
                    ring, region, home, class, packets, heads, offsets, elems,
                );
            }
            match_groups(ring, region, home, class, packets, heads, offsets, elems)
        }
    }

    /// Sends leading packets one by one, as many as a group, and cleans them; how many, and their bytes.
    #[inline(never)]
    fn put_each(
        &self,
        memory: &MemoryMap,
        home: &Pool,
        packets: &mut [Netbuf],
        heads: &[u16],
    ) -> (usize, u64) {
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let heads = &heads[..heads.len().min(GROUP)];
        let buffers = self.match_run(memory, home, packets, heads, &mut storage);
        let clean = home.template(home.headroom(), 0);
        let mut bytes = 0;
        for (buffer, packet) in buffers.iter().zip(packets) {
            let (to, from, len) = (buffer.as_ptr(), packet.data(), packet.bytes().len());
            // SAFETY: `match_run` translated room for the header and the packet's bytes behind it, and no peer
            // maps those. The packet is a plain one of `home`, and becomes what it was when that handed it out.
            unsafe {
                put_header(to);
                raw::copy(from.as_ptr(), to.add(HEADER_BYTES), len);
                packet.set_received_from(clean, 0);
            }
            bytes += len as u64;
        }
        (buffers.len(), bytes)
    }

    /// The buffers that take the leading packets, each with room for the header and its packet's bytes; their
    /// used elements are written.
    #[inline]
    fn match_run<'a>(
        &self,
        memory: &MemoryMap,
        home: &Pool,
        packets: &[Netbuf],
        heads: &[u16],
        storage: &'a mut [MaybeUninit<NonNull<u8>>; BURST],
    ) -> &'a [NonNull<u8>] {
        let ring = self.ring;
        let span = u32::from(self.options.max_frame).saturating_sub(ETHERNET_HEADER);
        let mut count = 0;
        let used = (0..).map(|at| self.at.used.wrapping_add(at));
        for (((packet, &head), slot), used) in
            packets.iter().zip(heads).zip(storage.iter_mut()).zip(used)
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a segment has at most 65,535 bytes"
            )]
            let len = packet.bytes().len() as u32;
            let plain = home.is_plain(packet) && self.options.says_nothing(packet);
            if !plain || len.wrapping_sub(ETHERNET_HEADER) > span {
                break;
            }
            let Some(desc) = ring.head_desc(head) else { break };
            // Any other flag, or WRITE missing, leaves more than 65,535.
            let (room, written) = (desc.short_len(), HEADER_LEN + len);
            if desc.len_and_flags() ^ RawDesc::WRITE > u64::from(u16::MAX) * RawDesc::LEN
                || u32::from(room) < written
            {
                break;
            }
            let Some(host) = memory.translate_short(desc.addr, room) else { break };
            prefetch(host.as_ptr());
            prefetch_write::<HEADER_BYTES>(host.as_ptr(), 0);
            slot.write(host);
            ring.set_used(used, UsedElem { id: head.into(), len: written });
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
    }

    /// Sends one packet of any shape into the next chain, of any layout; where buffers are mergeable, into as many
    /// of the `posted` ones as it takes. All of them are looked at before the first byte is written, and the driver
    /// sees all or nothing (CVE-2021-3748). It is not freed here.
    #[cold]
    fn put_odd(
        &mut self,
        memory: &MemoryMap,
        packet: &mut Netbuf,
        posted: usize,
        sent: &mut Sent,
        counters: &QueueCounters,
    ) -> Odd {
        let outgoing = match Outgoing::prepare(packet, &self.options) {
            Ok(outgoing) => outgoing,
            Err(cause) => {
                counters.dropped(cause, 1);
                return Odd::Taken;
            }
        };
        let (chains, poured) = match self.fit(memory, outgoing.bytes(), posted) {
            Fit::Chains(chains) => (chains, self.pour(memory, packet, outgoing, chains)),
            Fit::Bad(_) if memory.stalls() => return Odd::Waits,
            Fit::Bad(chains) => (chains, Err(BadChain)),
            Fit::TooSmall if self.options.ring.mergeable && posted < self.entries() => {
                return Odd::Waits;
            }
            Fit::TooSmall => {
                counters.dropped(DropCause::Oversize, 1);
                return Odd::Taken;
            }
        };
        if poured.is_ok() {
            sent.packets += 1;
            sent.bytes += u64::from(outgoing.len);
        } else {
            // Some of them may say already that they were written, in the ring, but that was not published.
            (0..chains).for_each(|_| self.complete_one(self.ring.avail(self.at.avail), 0));
            counters.dropped(DropCause::BadDescriptor, 1);
        }
        Odd::Taken
    }

    fn entries(&self) -> usize {
        self.ring.size().get().into()
    }

    /// The chains, of the next `posted` ones, that have room for so many bytes.
    fn fit(&self, memory: &MemoryMap, bytes: usize, posted: usize) -> Fit {
        let most = if self.options.ring.mergeable { posted } else { 1 };
        let (mut have, mut chains) = (0, 0);
        while usize::from(chains) < most {
            let head = self.ring.avail(self.at.avail.wrapping_add(chains));
            let found =
                self.chain(memory, head).and_then(|mut chain| room(&mut chain, bytes - have));
            chains += 1;
            match found {
                Ok(room) if have + room >= bytes => return Fit::Chains(chains),
                Ok(room) => have += room,
                Err(_) => return Fit::Bad(chains),
            }
        }
        Fit::TooSmall
    }

    /// The chain that starts at `head`, whatever the driver wrote there.
    fn chain<'a>(&self, memory: &'a MemoryMap, head: u16) -> Result<Chain<'a>, BadChain> {
        if head >= self.ring.size().get() {
            return Err(BadChain);
        }
        let indirect = self.options.ring.indirect;
        Ok(Chain::new(self.ring, memory, head, Direction::DeviceWrites, indirect))
    }

    /// Writes a frame over the next `chains`, and on success completes them. They may be others by now than those
    /// that were found to have room: then the frame is lost.
    fn pour(
        &mut self,
        memory: &MemoryMap,
        packet: &Netbuf,
        outgoing: Outgoing,
        chains: u16,
    ) -> Result<(), BadChain> {
        let header = outgoing.header_over(chains);
        let mut pour = Pour::new(&header, &outgoing, packet);
        let before = self.at;
        for _ in 0..chains {
            let head = self.ring.avail(self.at.avail);
            let len = self.chain(memory, head).and_then(|mut chain| pour.fill_chain(&mut chain));
            match len {
                Ok(len) => self.complete_one(head, len),
                Err(bad) => {
                    self.at = before;
                    return Err(bad);
                }
            }
        }
        if !pour.is_done() {
            self.at = before;
            return Err(BadChain);
        }
        Ok(())
    }
}

/// Bytes of the first segment.
fn first_len(packet: &Netbuf) -> u16 {
    u16::try_from(packet.bytes().len()).unwrap_or(u16::MAX)
}

/// Matches whole groups of packets that are plain, of one class of lengths, and stand where their pool put them,
/// with buffers that are one good descriptor with room for any of the class; how many, and their bytes. Each check is made for a
/// group at once, on an OR: that is no less than any of what it was made of.
///
/// # Safety
/// `elems` must be valid for writes of 8 bytes for each of `heads`.
#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "what a group is checked against, and two places for results"
)]
pub(super) unsafe fn match_groups(
    ring: &SplitRing,
    region: Nearby,
    home: &Pool,
    class: Class,
    packets: &[Netbuf],
    heads: &[u16],
    offsets: &mut [MaybeUninit<Pair>; BURST],
    mut elems: *mut u8,
) -> (usize, u64) {
    let (plain, written) =
        (home.plain_from(class.least), u64::from(class.least) + u64::from(HEADER_LEN));
    let most = u32::from(class.least) + HEADER_LEN + u32::from(class.width);
    let mask = Pair::new(RawDesc::MASK);
    let least = Pair::new([region.device(), RawDesc::WRITE_ALONE | u64::from(most)]);
    // A buffer of more than 65,535 bytes is not known to lie in the region.
    let Some(span) = u32::from(u16::MAX).checked_sub(most) else { return (0, 0) };
    let groups = packets.as_chunks::<GROUP>().0.iter().zip(heads.as_chunks::<GROUP>().0);
    let (mut count, mut bytes) = (0, 0);
    for ((packets, heads), offsets) in groups.zip(offsets.as_chunks_mut::<GROUP>().0) {
        if !checked(ring.holds_all(heads)) {
            break;
        }
        let (mut all, mut longer, mut sum) = (Pair::new([0, 0]), 0, 0);
        for ((packet, &head), offset) in packets.iter().zip(heads).zip(&mut *offsets) {
            let excess = plain.more(packet);
            longer |= excess;
            sum += excess >> 32;
            // SAFETY: `holds_all`.
            let more = unsafe { ring.desc_pair_unchecked(head) }.and(mask).minus(least);
            all = all.or(more);
            // (Where a check fails, these are not among those that are counted.)
            offset.write(more);
            let elem = UsedElem::filled(head, (excess >> 32).wrapping_add(written));
            // SAFETY: one of them, of 8 bytes.
            unsafe {
                elems.cast::<UsedElem>().write_unaligned(elem);
                elems = elems.add(8);
            }
        }
        // SAFETY: written above.
        let offsets = unsafe { offsets.assume_init_ref() };
        let [any_offset, room] = all.words();
        // (An OR may reach the end of the region where none of the offsets does.)
        let inside = || {
            region.holds(any_offset) || offsets.iter().all(|offset| region.holds(offset.words()[0]))
        };
        if plain.longest(longer) > class.width.min(MOST).into()
            || !checked(room <= span.into() && inside())
        {
            break;
        }
        // (The header's line is one that both sides only read, as a rule, and no instruction waits for it.)
        for offset in offsets {
            region.prefetch_write::<HEADER_BYTES>(offset.words()[0]);
        }
        count += GROUP;
        bytes += sum;
    }
    (count, bytes + u64::from(class.least) * count as u64)
}
