//! Device half, transmit: our packets into the buffers of a driver's receive queue.
//!
//! As in receive, a burst goes in runs: the driver's buffers for a run of packets are read, checked and
//! prefetched before the first copy. A run ends before a packet or a buffer that needs more than that.

use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::slice;

use netbuf::{BURST, Burst, Netbuf, Pool};
use netdev::{DropCause, QueueCounters};

use super::chain::{Chain, Direction};
use super::device::PackedDevice;
use super::frame::{Unscattered, scatter};
use super::layout::{Word, flags};
use super::position;
use crate::memory::MemoryMap;
use crate::raw::{self, prefetch};
use crate::ring::frame::{ETHERNET_HEADER, HEADER_BYTES, put_header};
use crate::ring::split::HEADER_LEN;

/// The shortest frame, as the pool's test takes it.
const SHORTEST: u16 = 14;
const _: () = assert!(SHORTEST as u32 == ETHERNET_HEADER);

/// The most that the pool's test for plain packets can tell.
const MOST: u32 = (1 << 15) - 1;

/// What a call has sent so far.
struct Sent {
    packets: usize,
    bytes: u64,
}

impl PackedDevice {
    /// Copies packets from the front of `packets` into buffers that the driver has posted, as far as there are
    /// any, and frees them; how many it took. What it did not take stays, in order.
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
                let packet = unsafe { all[taken].assume_init_read() };
                taken += 1;
                self.put_odd(memory, &packet, &mut sent, counters);
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
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let mut words = [Word(0); BURST];
        // SAFETY: initialised (see above).
        let run = unsafe { packets.assume_init_mut() };
        let Some(home) = run.first().and_then(Pool::of) else { return 0 };
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
                if !home.is_plain(packet) || len.wrapping_sub(ETHERNET_HEADER) > span {
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
            prefetch(host.as_ptr().wrapping_add(HEADER_BYTES));
            slot.write(host);
            // WRITE says that `len` means something (virtio 1.2, 2.8.5).
            *done = Word::new(written, word.id(), flags::DESC_WRITE);
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
    }

    /// Sends one packet of any shape into the next chain, of any layout. Where it cannot be sent the chain waits
    /// for the next one.
    #[cold]
    fn put_odd(
        &mut self,
        memory: &MemoryMap,
        packet: &Netbuf,
        sent: &mut Sent,
        counters: &QueueCounters,
    ) {
        let len = match sendable(packet, self.options.max_frame) {
            Ok(len) => len,
            Err(cause) => return counters.dropped(cause, 1),
        };
        let indirect = self.options.ring.indirect;
        let mut chain =
            Chain::new(self.ring, memory, self.avail, Direction::DeviceWrites, indirect);
        match scatter(&mut chain, packet) {
            Ok(()) => {
                let walked = chain.finish();
                if walked.is_ok() {
                    sent.packets += 1;
                    sent.bytes += u64::from(len);
                }
                self.complete_chain(walked, HEADER_LEN + len, counters);
            }
            Err(Unscattered::BadChain) => {
                let walked = chain.finish();
                if walked.is_ok() {
                    counters.dropped(DropCause::BadDescriptor, 1);
                }
                self.complete_chain(walked, 0, counters);
            }
            Err(Unscattered::Unsendable(cause)) => counters.dropped(cause, 1),
        }
    }
}

/// The packet's length, or why it is never sent.
fn sendable(packet: &Netbuf, max_frame: u16) -> Result<u32, DropCause> {
    if packet.wants_offload() {
        return Err(DropCause::Unsupported);
    }
    match u32::try_from(packet.len()) {
        Ok(len) if len < ETHERNET_HEADER => Err(DropCause::Undersize),
        Ok(len) if len <= max_frame.into() => Ok(len),
        _ => Err(DropCause::Oversize),
    }
}
