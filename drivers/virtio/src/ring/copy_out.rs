//! Device half, transmit: packets copied into the buffers that they were matched with, whatever the ring's format.

use netbuf::{Netbuf, Template};

use super::copy_in::GROUP;
use super::split::{HEADER_BYTES, Wide};
use crate::memory::Nearby;
use crate::raw::{self, Block, Pair};
use crate::ring::frame::{any_differs, header_differs, put_header};

/// Buffers that were matched with packets.
pub(super) struct Matched<'a> {
    pub(super) region: Nearby,
    pub(super) headroom: u16,
    pub(super) clean: Template,
    /// The first words are offsets in the region: where the headers go.
    pub(super) offsets: &'a [Pair],
    /// Of the packets.
    pub(super) bytes: u64,
}

impl Matched<'_> {
    /// Copies packets into the buffers that they were matched with, and cleans them; how many, and their bytes. All
    /// are of the class that is copied in so many `blocks`, if any.
    #[inline]
    pub(super) fn put(&self, blocks: usize, wide: Wide, packets: &mut [Netbuf]) -> (usize, u64) {
        #[cfg(target_arch = "x86_64")]
        if wide.is_some() {
            // SAFETY: the CPU has AVX2.
            return unsafe {
                match blocks {
                    2 => put_wide::<2>(self, packets),
                    4 => put_wide::<4>(self, packets),
                    8 => put_wide::<8>(self, packets),
                    _ => put_alike::<0>(self, packets),
                }
            };
        }
        let _ = wide;
        match blocks {
            2 => put_alike::<2>(self, packets),
            4 => put_alike::<4>(self, packets),
            8 => put_alike::<8>(self, packets),
            _ => put_alike::<0>(self, packets),
        }
    }
}

#[inline(never)]
fn put_alike<const BLOCKS: usize>(matched: &Matched<'_>, packets: &mut [Netbuf]) -> (usize, u64) {
    put_by::<Block, BLOCKS>(matched, packets)
}

#[inline(never)]
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn put_wide<const BLOCKS: usize>(matched: &Matched<'_>, packets: &mut [Netbuf]) -> (usize, u64) {
    put_by::<core::arch::x86_64::__m256i, BLOCKS>(matched, packets)
}

/// Copies in moves of a `Move`. (In line, for callers that have registers for it.)
#[inline(always)]
fn put_by<Move: Copy, const BLOCKS: usize>(
    matched: &Matched<'_>,
    packets: &mut [Netbuf],
) -> (usize, u64) {
    // (The region is not copied: as a whole it would be read behind the stores of its parts, and wait for them.)
    let (region, headroom, clean) = (&matched.region, matched.headroom, matched.clean);
    let groups = matched.offsets.as_chunks::<GROUP>().0.iter();
    for (offsets, packets) in groups.zip(packets.as_chunks_mut::<GROUP>().0) {
        let mut differs = Pair::new([0, 0]);
        for (offset, packet) in offsets.iter().zip(packets) {
            let to = region.perhaps_at(offset.words()[0]);
            let (from, len) = (packet.room(), packet.bytes().len());
            // SAFETY: `match_groups` found room for the header and the packet's bytes behind it, at least an Ethernet
            // header, and no peer maps those. The packet is a plain one of `home` and not moved, so its bytes stand
            // behind the pool's headroom; its length is of the class. It becomes what it was when the pool handed
            // it out.
            unsafe {
                differs = differs.or(header_differs(to));
                let (from, to) = (from.add(headroom.into()).as_ptr(), to.add(HEADER_BYTES));
                if BLOCKS == 0 {
                    raw::copy(from, to, len);
                } else {
                    raw::copy_ends_by::<Move, BLOCKS>(from, to, len);
                }
                packet.set_received_from(clean, 0);
            }
        }
        if any_differs(differs) {
            put_headers(*region, offsets);
        }
    }
    (matched.offsets.len(), matched.bytes)
}

/// Corrects headers.
#[cold]
#[inline(never)]
fn put_headers(region: Nearby, offsets: &[Pair; GROUP]) {
    for offset in offsets {
        // SAFETY: `match_groups` found room for the header, and for at least an Ethernet header behind it.
        unsafe { put_header(region.perhaps_at(offset.load_first())) };
    }
}
