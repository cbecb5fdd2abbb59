//! Device half, receive: frames copied out of a driver's buffers into packets, whatever the ring's format.

use netbuf::{Netbuf, Pool, Template};
use netdev::Offloads;

use super::frame::asked;
use super::header::ASKS;
use super::split::{HEADER_BYTES, Wide};
use crate::checks::checked;
use crate::memory::Nearby;
use crate::raw::{self, Block, Class, Pair, read_once};

/// Descriptors that are checked at once.
pub(super) const GROUP: usize = 8;

/// A frame in one descriptor, inside one memory region.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// Of the header in front of it.
    pub(super) host: *const u8,
    pub(super) len: u32,
}

/// Descriptors of a class of lengths, in one region: what they have more than the least.
pub(super) struct Alike<'a> {
    pub(super) region: Nearby,
    pub(super) class: Class,
    /// Of packets that are as much longer as the excess says.
    pub(super) template: Template,
    /// Offsets of the headers in the region, and how many bytes the frames are longer than the shortest.
    pub(super) excess: &'a [Pair],
    /// Of the frames.
    pub(super) bytes: u64,
}

/// What a call received so far.
pub(super) struct Received<'a> {
    /// Packets of the pool: the first `kept` hold frames, the others are as the pool handed them out.
    pub(super) packets: &'a mut [Netbuf],
    pub(super) kept: usize,
    pub(super) bytes: u64,
    pub(super) headroom: u16,
    pub(super) template: Template,
    pub(super) clean: Template,
    pub(super) port: u16,
    /// What headers may ask for.
    pub(super) offloads: Offloads,
}

impl<'a> Alike<'a> {
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> + 'a {
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

impl<'a> Received<'a> {
    /// Nothing yet; for `packets` as `pool` handed them out.
    #[inline]
    pub(super) fn new(
        pool: &Pool,
        port: u16,
        offloads: Offloads,
        packets: &'a mut [Netbuf],
    ) -> Self {
        let headroom = pool.headroom();
        let (template, clean) = (pool.template(headroom, port), pool.template(headroom, 0));
        Self { packets, kept: 0, bytes: 0, headroom, template, clean, port, offloads }
    }

    /// As [`fill`](Self::fill), for whole groups of frames of one class.
    #[inline]
    pub(super) fn fill_class(&mut self, alike: &Alike<'_>, wide: Wide) -> usize {
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
        let mut asks = 0;
        let groups = alike.excess.as_chunks::<GROUP>().0;
        for (group, packets) in groups.iter().zip(packets.as_chunks_mut::<GROUP>().0) {
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
            }
        }
        let count = alike.excess.len();
        if !checked(asks & ASKS == 0) {
            return self.fill_again(alike);
        }
        self.kept += count;
        self.bytes += alike.bytes;
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
    pub(super) fn fill(&mut self, sources: impl Iterator<Item = Source>) -> usize {
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
