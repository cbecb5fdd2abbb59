//! Device half, transmit: our packets into the buffers of a driver's receive queue.
//!
//! As in receive, a burst goes in runs: the driver's buffers for a run of packets are read, checked and
//! prefetched before the first copy. A run ends before a packet or a buffer that needs more than that, which
//! [`put_odd`](PackedDevice::put_odd) deals with by itself.

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::slice;

use netbuf::{BURST, Burst, Netbuf, Pool};
use netdev::{DropCause, QueueCounters};

use super::chain::{Chain, Direction};
use super::device::PackedDevice;
use super::layout::{Word, flags};
use super::position;
#[cfg(target_arch = "x86_64")]
use super::wide;
use crate::memory::MemoryMap;
use crate::raw::{self, Class, prefetch, prefetch_write};
use crate::ring::copy_out::Matched;
use crate::ring::frame::{BadChain, Pour, put_header, room};
use crate::ring::outgoing::Outgoing;
use crate::ring::split::{ETHERNET_HEADER, HEADER_BYTES, HEADER_LEN};

/// The shortest frame, as the pool's test takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == ETHERNET_HEADER);

/// The most that the pool's test for plain packets can tell.
const MOST: u32 = (1 << 15) - 1;

/// How far ahead descriptors are loaded: a burst.
#[expect(clippy::cast_possible_truncation, reason = "32")]
const AHEAD: u32 = BURST as u32;

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
    /// All that the driver has posted are too small together; whether they are the whole ring.
    TooSmall { whole: bool },
    /// So many, of which the last breaks a rule.
    Bad(u16),
    /// One does not end.
    Endless,
}

/// What a call has sent so far.
struct Sent {
    packets: usize,
    bytes: u64,
}

impl PackedDevice {
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
        if !self.begin() || total == 0 {
            return 0;
        }
        let source = packets.as_mut_ptr();
        // SAFETY: the burst has `total` packets. From here on they are owned by this function: each is moved out
        // of `all` once, in order, and the others go back to the burst at the end.
        let all = unsafe {
            packets.set_len(0);
            slice::from_raw_parts_mut(source.cast::<MaybeUninit<Netbuf>>(), total)
        };
        let mut sent = Sent { packets: 0, bytes: 0 };
        let mut taken = 0;
        while taken < total {
            // SAFETY: packets from `taken` on were not moved out; a run moves out those that it counts.
            let run = unsafe { self.put_run(memory, &mut all[taken..], &mut sent) };
            taken += run;
            if run == 0 {
                if self.is_stuck() {
                    break;
                }
                // SAFETY: as above.
                let packet = unsafe { all[taken].assume_init_mut() };
                if self.put_odd(memory, packet, &mut sent, counters) == Odd::Waits {
                    break;
                }
                // SAFETY: as above; it is not looked at again.
                unsafe { all[taken].assume_init_drop() };
                taken += 1;
            }
        }
        // SAFETY: the first `taken` were moved out; the others move to the front and are the burst's again.
        unsafe {
            if taken < total {
                ptr::copy(source.add(taken), source, total - taken);
            }
            packets.set_len(total - taken);
        }
        if sent.packets > 0 {
            counters.burst(sent.packets, sent.bytes);
        }
        taken
    }

    /// Sends and frees the leading packets that are plain, of one pool, and meet a buffer of one good
    /// descriptor; how many.
    ///
    /// # Safety
    /// All of `packets` must be initialised. Those that were sent must not be used afterwards.
    #[inline]
    unsafe fn put_run(
        &mut self,
        memory: &MemoryMap,
        packets: &mut [MaybeUninit<Netbuf>],
        sent: &mut Sent,
    ) -> usize {
        // SAFETY: initialised (see above).
        let run = unsafe { packets.assume_init_mut() };
        let Some(home) = run.first().and_then(Pool::of) else { return 0 };
        #[cfg(target_arch = "x86_64")]
        if self.wide.is_some() {
            let count = self.put_wide(memory, &home, run, sent);
            if count > 0 {
                // SAFETY: plain packets of `home`, cleaned where they were sent, and given up by the caller.
                unsafe { home.free_clean(&packets[..count]) };
                return count;
            }
        }
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [Word(0); BURST];
        let buffers = self.match_run(memory, &home, run, &mut storage, &mut words);
        let clean = home.template(home.headroom(), 0);
        for (buffer, packet) in buffers.iter().zip(run) {
            let (to, from, len) = (buffer.as_ptr(), packet.data(), packet.bytes().len());
            // SAFETY: `match_run` translated room for the header and the packet's bytes behind it, and no peer
            // maps those. The packet is a plain one of `home`, and becomes what it was when that handed it out.
            unsafe {
                put_header(to);
                raw::copy(from.as_ptr(), to.add(HEADER_BYTES), len);
                packet.set_received_from(clean, 0);
            }
            sent.bytes += len as u64;
        }
        let count = buffers.len();
        sent.packets += count;
        self.complete_run(&words[..count]);
        // SAFETY: plain packets of `home`, cleaned by the loop, and given up by the caller.
        unsafe { home.free_clean(&packets[..count]) };
        count
    }

    /// Sends the leading packets, in whole groups of one class of lengths, and cleans them; how many.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    fn put_wide(
        &mut self,
        memory: &MemoryMap,
        home: &Pool,
        packets: &mut [Netbuf],
        sent: &mut Sent,
    ) -> usize {
        let size = self.ring.size();
        let len = packets.first().map_or(0, |packet| packet.bytes().len());
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let Some(class) = Class::of(len, SHORTEST, self.options.max_frame) else { return 0 };
        let (region, most) = (memory.nearby(), self.straight().min(BURST));
        let first = self.ring.slot(position::place(self.avail, size));
        let ahead = self.ring.slot(position::place(self.avail.wrapping_add(AHEAD), size));
        let available = position::available(self.avail, size) | flags::DESC_WRITE;
        // WRITE says that the length means something (virtio 1.2, 2.8.5).
        let used = self.used_flags() | flags::DESC_WRITE;
        let run = wide::Run { first, most, available, used, region, class };
        let mut offsets = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [const { MaybeUninit::uninit() }; BURST];
        // SAFETY: `most` descriptors lie before the end of the ring; and the CPU has AVX2.
        let (count, bytes) =
            unsafe { wide::match_groups(&run, ahead, home, packets, &mut offsets, &mut words) };
        // SAFETY: `match_groups` has written so many.
        let (offsets, words) =
            unsafe { (offsets[..count].assume_init_ref(), words[..count].assume_init_ref()) };
        if count == 0 {
            return 0;
        }
        let headroom = home.headroom();
        let clean = home.template(headroom, 0);
        let matched = Matched { region, headroom, clean, offsets, bytes };
        matched.put(class.blocks, self.wide, packets);
        sent.bytes += bytes;
        sent.packets += count;
        self.complete_run(words);
        count
    }

    /// The buffers that take the leading packets, each with room for the header and its packet's bytes, and what
    /// is written into their descriptors in the end.
    #[inline]
    fn match_run<'a>(
        &self,
        memory: &MemoryMap,
        home: &Pool,
        packets: &[Netbuf],
        storage: &'a mut [MaybeUninit<NonNull<u8>>; BURST],
        words: &mut [Word; BURST],
    ) -> &'a [NonNull<u8>] {
        let size = self.ring.size();
        let first = self.ring.slot(position::place(self.avail, size));
        let wanted = position::available(self.avail, size) | flags::DESC_WRITE;
        // WRITE says that `len` means something (virtio 1.2, 2.8.5).
        let used = self.used_flags() | flags::DESC_WRITE;
        let span = u32::from(self.options.max_frame).saturating_sub(ETHERNET_HEADER);
        let most = self.straight().min(packets.len());
        let plain = home.plain_from(SHORTEST);
        let mut count = 0;
        let slots = storage.iter_mut().zip(words);
        for (packet, (slot, done)) in packets[..most].iter().zip(slots) {
            let longer = plain.excess(packet);
            let len = if longer <= span.min(MOST) {
                longer + ETHERNET_HEADER
            } else {
                // With metadata, or very long, perhaps.
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a segment has at most 65,535 bytes"
                )]
                let len = packet.bytes().len() as u32;
                let plain = home.is_plain(packet) && self.options.says_nothing(packet);
                if !plain || len.wrapping_sub(ETHERNET_HEADER) > span {
                    break;
                }
                len
            };
            // SAFETY: `most` descriptors lie before the end of the ring.
            let desc = unsafe { first.add(count) };
            let (word, written) = (desc.word(), HEADER_LEN + len);
            let room = word.len();
            if word.flags() != wanted || room < written {
                break;
            }
            let Ok(short) = u16::try_from(room) else { break };
            let Some(host) = memory.translate_short(desc.addr(), short) else { break };
            prefetch(host.as_ptr());
            prefetch_write::<HEADER_BYTES>(host.as_ptr(), 0);
            slot.write(host);
            *done = Word::new(written, word.id(), used);
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
    }

    /// Sends one packet of any shape into the next chain, of any layout; where buffers are mergeable, into as many
    /// as it takes. All of them are looked at before the first byte is written, and the driver sees all or nothing
    /// (CVE-2021-3748). It is not freed here.
    #[cold]
    fn put_odd(
        &mut self,
        memory: &MemoryMap,
        packet: &mut Netbuf,
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
        let (chains, good) = match self.fit(memory, outgoing.bytes()) {
            Fit::Chains(chains) => (chains, Some(outgoing)),
            Fit::Bad(_) if memory.stalls() => return Odd::Waits,
            Fit::Bad(chains) => (chains, None),
            Fit::TooSmall { whole: false } if self.options.ring.mergeable => return Odd::Waits,
            Fit::TooSmall { .. } => {
                counters.dropped(DropCause::Oversize, 1);
                return Odd::Taken;
            }
            Fit::Endless => {
                self.break_ring(counters);
                return Odd::Waits;
            }
        };
        match self.pour(memory, packet, good, chains) {
            Ok(true) => {
                sent.packets += 1;
                sent.bytes += u64::from(outgoing.len);
            }
            Ok(false) => counters.dropped(DropCause::BadDescriptor, 1),
            Err(_) => self.break_ring(counters),
        }
        Odd::Taken
    }

    fn chain<'a>(&self, memory: &'a MemoryMap, position: u32) -> Chain<'a> {
        let indirect = self.options.ring.indirect;
        Chain::new(self.ring, memory, position, Direction::DeviceWrites, indirect)
    }

    /// The next chains that have room for so many bytes.
    fn fit(&self, memory: &MemoryMap, bytes: usize) -> Fit {
        let size = u32::from(self.ring.size().get());
        let (mut have, mut chains, mut descs) = (0, 0, 0);
        loop {
            let mut chain = self.chain(memory, self.avail.wrapping_add(descs));
            let found = room(&mut chain, bytes - have);
            let Ok(walked) = chain.finish() else { return Fit::Endless };
            chains += 1;
            descs += u32::from(walked.descs);
            match found {
                Ok(room) if have + room >= bytes => return Fit::Chains(chains),
                Ok(room) => have += room,
                Err(_) => return Fit::Bad(chains),
            }
            let whole = descs >= size;
            let more = !whole && self.is_available_at(self.avail.wrapping_add(descs));
            if !more || !self.options.ring.mergeable {
                return Fit::TooSmall { whole };
            }
        }
    }

    /// Hands the next `chains` back with a frame poured over them, or without, where there is none; whether all of it
    /// found room. They may be others by now than those that were looked at. The first one's words come last, so
    /// that the driver sees none of them, or all.
    ///
    /// # Errors
    /// One does not end: nobody can say where the next one starts.
    fn pour(
        &mut self,
        memory: &MemoryMap,
        packet: &Netbuf,
        outgoing: Option<Outgoing>,
        chains: u16,
    ) -> Result<bool, BadChain> {
        let sent = outgoing.map(|outgoing| (outgoing.header_over(chains), outgoing));
        let mut pour = sent.as_ref().map(|(header, sent)| Pour::new(header, sent, packet));
        let mut first = None;
        for _ in 0..chains {
            let mut chain = self.chain(memory, self.avail);
            let len = pour.as_mut().map_or(Ok(0), |pour| pour.fill_chain(&mut chain));
            let (slot, word) = self.used_chain(chain.finish()?, len.unwrap_or(0));
            if len.is_err() {
                pour = None;
            }
            match first {
                None => first = Some((slot, word)),
                Some(_) => slot.set_word(word),
            }
        }
        if let Some((slot, word)) = first {
            slot.publish(word);
        }
        Ok(pour.is_some_and(|pour| pour.is_done()))
    }
}
