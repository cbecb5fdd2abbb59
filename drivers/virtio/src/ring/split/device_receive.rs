//! Device half, receive: frames out of a driver's transmit queue into packets of our own.
//!
//! A burst is taken in runs. The descriptors of a run are read and checked first, and the frames' lines
//! prefetched, so that their cache misses overlap; then the frames are copied. A run holds the usual layout,
//! header and frame in one descriptor, and ends before anything else, which [`take_chain`] deals with by itself.
//!
//! [`take_chain`]: SplitDevice::take_chain

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use netbuf::{BURST, Burst, Netbuf, Pool};
use netdev::{DropCause, QueueCounters};

use super::UsedElem;
use super::chain::{Chain, Direction};
use super::device::{Done, ETHERNET_HEADER, HEADER_BYTES, HEADER_LEN, SHORT_HEADER, SplitDevice};
use super::layout::RawDesc;
use crate::memory::MemoryMap;
use crate::raw::{self, prefetch, read_once};

/// Bits of the header's first two bytes (flags, gso_type) that ask for an offload: `NEEDS_CSUM`, and any
/// segmentation. Other flags are to be ignored (virtio 1.2, 5.1.6.2.2).
const OFFLOAD: u16 = 0xff01;

/// A frame in one descriptor, inside one memory region.
#[derive(Clone, Copy)]
struct Source {
    host: NonNull<u8>,
    /// Header and frame.
    len: u16,
}

/// What a call received so far.
struct Received<'a> {
    /// Packets of the pool: the first `kept` hold frames, the others are as the pool handed them out.
    packets: &'a mut [Netbuf],
    kept: usize,
    bytes: u64,
    headroom: u16,
    port: u16,
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
            port,
        };
        let mut done = Done::new();
        let mut taken = 0;
        while let Some(&head) = heads.get(taken) {
            let run = self.take_run(memory, pool, &heads[taken..], &mut received, &mut done);
            taken += run;
            if run == 0 {
                self.take_chain(memory, pool, head, &mut received, counters, &mut done);
                taken += 1;
            }
        }
        self.complete(taken, &done);
        let (kept, bytes) = (received.kept, received.bytes);
        out.truncate(before + kept);
        if kept > 0 {
            counters.burst(kept, bytes);
        }
        kept
    }

    /// Takes the leading heads whose chains are one good descriptor with a plain header; how many.
    #[inline]
    fn take_run(
        &self,
        memory: &MemoryMap,
        pool: &Pool,
        heads: &[u16],
        received: &mut Received<'_>,
        done: &mut Done,
    ) -> usize {
        let mut storage = [const { MaybeUninit::uninit() }; BURST];
        let largest = self.options.max_frame.min(pool.room()).min(u16::MAX - SHORT_HEADER);
        let filled = received.fill(self.parse_run(memory, heads, largest, done, &mut storage));
        // SAFETY: `parse_run` has written as many as it returned, of which `filled` are kept.
        unsafe { done.written(filled) };
        filled
    }

    #[inline]
    fn parse_run<'a>(
        &self,
        memory: &MemoryMap,
        heads: &[u16],
        largest: u16,
        done: &mut Done,
        storage: &'a mut [MaybeUninit<Source>; BURST],
    ) -> &'a [Source] {
        const SMALLEST: u64 = (HEADER_LEN + ETHERNET_HEADER) as u64 * RawDesc::LEN;
        let ring = self.ring;
        let span = u64::from(largest).saturating_sub(ETHERNET_HEADER.into()) * RawDesc::LEN;
        let mut count = 0;
        for (&head, (slot, elem)) in heads.iter().zip(storage.iter_mut().zip(done.free())) {
            let Some(desc) = ring.head_desc(head) else { break };
            // One comparison: any flag makes it too large, and below the smallest the difference wraps. What
            // passes is at most `largest` and a header, so a `u16`.
            if desc.len_and_flags().wrapping_sub(SMALLEST) > span {
                break;
            }
            let len = desc.short_len();
            let Some(host) = memory.translate_short(desc.addr, len) else { break };
            prefetch(host.as_ptr());
            prefetch(host.as_ptr().wrapping_add(HEADER_BYTES));
            slot.write(Source { host, len });
            elem.write(UsedElem { id: head.into(), len: 0 });
            count += 1;
        }
        // SAFETY: the loop has written the first `count`.
        unsafe { storage[..count].assume_init_ref() }
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
        done: &mut Done,
    ) {
        if head >= self.ring.size().get() {
            counters.dropped(DropCause::BadDescriptor, 1);
            return;
        }
        done.push(head, 0);
        let packet = &mut received.packets[received.kept];
        let chain =
            Chain::new(self.ring, memory, head, Direction::DeviceReads, self.options.indirect);
        match gather(chain, pool, packet, self.options.max_frame.into()) {
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
    }
}

impl Received<'_> {
    /// Copies frames into the next packets, up to the first whose header asks for what was not negotiated; how
    /// many.
    #[inline]
    fn fill(&mut self, sources: &[Source]) -> usize {
        let (mut filled, mut bytes) = (0, 0);
        for (source, packet) in sources.iter().zip(&mut self.packets[self.kept..]) {
            let (host, len) = (source.host.as_ptr(), source.len - SHORT_HEADER);
            let room = packet.room();
            // SAFETY: `parse_run` translated `source.len` bytes, more than a header.
            let asks: u16 = unsafe { read_once(host) };
            if asks & OFFLOAD != 0 {
                break;
            }
            // SAFETY: the packet is as the pool handed it out, and `len` is at most the pool's room: that many
            // bytes behind its headroom are ours alone, since a peer maps none of the memory of a pool that we
            // copy into. Header and frame were translated.
            unsafe {
                packet.set_received_unchecked(self.headroom, len, self.port);
                let to = room.add(self.headroom.into()).as_ptr();
                raw::copy(host.add(HEADER_BYTES), to, len.into());
            }
            filled += 1;
            bytes += u64::from(len);
        }
        self.kept += filled;
        self.bytes += bytes;
        filled
    }
}

/// Copies a chain's header to private memory and its frame, of at most `max_frame` bytes, into `packet`;
/// the frame's length.
fn gather(
    mut chain: Chain<'_>,
    pool: &Pool,
    packet: &mut Netbuf,
    max_frame: usize,
) -> Result<usize, DropCause> {
    let mut header = [0u8; HEADER_BYTES];
    let mut header_len = 0;
    let mut frame = Frame { packet, pool, len: 0, left: pool.room().into() };
    while let Some(piece) = chain.next().map_err(|_| DropCause::BadDescriptor)? {
        let of_header = piece.len.min(HEADER_BYTES - header_len);
        let (from, to) = (piece.host.as_ptr(), &mut header[header_len..][..of_header]);
        // SAFETY: the walk translated `piece.len >= of_header` bytes; `to` is private and as long.
        unsafe { raw::copy(from, to.as_mut_ptr(), of_header) };
        header_len += of_header;
        let rest = piece.len - of_header;
        if rest > max_frame - frame.len {
            return Err(DropCause::Oversize);
        }
        // SAFETY: `rest` bytes of the piece follow the header's.
        unsafe { frame.append(from.add(of_header), rest)? };
    }
    if header_len < HEADER_BYTES || u16::from_le_bytes([header[0], header[1]]) & OFFLOAD != 0 {
        return Err(DropCause::BadHeader);
    }
    if frame.len < ETHERNET_HEADER as usize {
        return Err(DropCause::Undersize);
    }
    Ok(frame.len)
}

/// A frame that grows piece by piece, over as many buffers as it takes.
struct Frame<'a> {
    packet: &'a mut Netbuf,
    pool: &'a Pool,
    len: usize,
    /// Bytes left in the last buffer.
    left: usize,
}

impl Frame<'_> {
    /// # Safety
    /// `from` must be valid for reads of `len` bytes, of which none may be a packet's.
    unsafe fn append(&mut self, mut from: *const u8, mut len: usize) -> Result<(), DropCause> {
        while len > 0 {
            if self.left == 0 {
                self.packet.chain(self.pool.alloc().ok_or(DropCause::NoBuffer)?);
                self.left = self.pool.room().into();
            }
            let count = len.min(self.left);
            let to = self.packet.append(count).ok_or(DropCause::Oversize)?;
            // SAFETY: `count <= len` bytes are readable, and `to` has as many, ours alone.
            unsafe {
                raw::copy(from, to.as_mut_ptr(), count);
                from = from.add(count);
            }
            self.len += count;
            self.left -= count;
            len -= count;
        }
        Ok(())
    }
}
