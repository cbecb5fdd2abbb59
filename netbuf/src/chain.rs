//! Chains: a frame over several buffers (jumbo and mergeable frames).

use core::marker::PhantomData;
use core::ptr::NonNull;

use crate::Netbuf;
use crate::header::{Header, flag};

impl Netbuf {
    /// Whether the frame has more than one segment.
    #[inline]
    pub fn is_chained(&self) -> bool {
        self.header().has_flag(flag::CHAINED)
    }

    /// Puts `tail` (itself perhaps a chain) behind the last segment. Its metadata is ignored from now on.
    pub fn chain(&mut self, tail: Netbuf) {
        // SAFETY: the last segment is owned through this handle.
        let last = unsafe { self.last_segment().as_ref() };
        last.next.set(tail.into_slot().as_ptr());
        last.set_flag(flag::CHAINED, true);
    }

    /// Takes the segments behind the first off, as a packet of their own.
    pub fn unchain(&mut self) -> Option<Netbuf> {
        let next = next_segment(self.0)?;
        self.header().set_flag(flag::CHAINED, false);
        // SAFETY: the rest of the chain was owned through this handle and is so no longer. It stays on this
        // core, and a detached chain has REMOTE set on each segment.
        Some(unsafe { Netbuf::from_header(next) })
    }

    /// The segments in order, as bytes.
    #[inline]
    pub fn segments(&self) -> Segments<'_> {
        Segments { next: Some(self.0), packet: PhantomData }
    }

    /// The segments in order, to edit in place.
    #[inline]
    pub fn segments_mut(&mut self) -> SegmentsMut<'_> {
        SegmentsMut { next: Some(self.0), packet: PhantomData }
    }

    /// Copies the frame to the front of `out`; how many bytes fitted.
    pub fn copy_to(&self, out: &mut [u8]) -> usize {
        let mut done = 0;
        for segment in self.segments() {
            let count = segment.len().min(out.len() - done);
            out[done..done + count].copy_from_slice(&segment[..count]);
            done += count;
        }
        done
    }

    /// Moves the whole frame into the first segment and frees the others. `None`, nothing changed, where
    /// its tailroom is too small.
    pub fn linearize(&mut self) -> Option<()> {
        let rest = self.len() - self.bytes().len();
        if rest > self.tailroom() {
            return None;
        }
        if let Some(tail) = self.unchain() {
            let room = self.append(rest)?;
            let copied = tail.copy_to(room);
            debug_assert_eq!(copied, rest);
        }
        Some(())
    }

    pub(crate) fn truncate_chain(&mut self, len: usize) -> Option<()> {
        if len > self.len() {
            return None;
        }
        let (mut slot, mut left) = (self.0, len);
        loop {
            // SAFETY: the segment is owned through this handle.
            let header = unsafe { slot.as_ref() };
            let len = header.len();
            if left <= usize::from(len) {
                let rest = next_segment(slot);
                // `left` fits: it is at most `len`.
                header.word.set(header.word.get().with_len(u16::try_from(left).unwrap_or(len)));
                header.set_flag(flag::CHAINED, false);
                // SAFETY: the flag is cleared, so the rest is owned by nobody else; see `unchain`.
                drop(rest.map(|slot| unsafe { Netbuf::from_header(slot) }));
                return Some(());
            }
            left -= usize::from(len);
            slot = next_segment(slot)?;
        }
    }

    #[inline]
    pub(crate) fn last_segment(&self) -> NonNull<Header> {
        let mut slot = self.0;
        while let Some(next) = next_segment(slot) {
            slot = next;
        }
        slot
    }
}

#[inline]
fn next_segment(slot: NonNull<Header>) -> Option<NonNull<Header>> {
    // SAFETY: headers live for ever; callers own the chain that `slot` is part of.
    let header = unsafe { slot.as_ref() };
    if header.has_flag(flag::CHAINED) { NonNull::new(header.next.get().cast_mut()) } else { None }
}

/// The segments of a packet. See [`Netbuf::segments`].
#[derive(Debug, Clone)]
pub struct Segments<'a> {
    next: Option<NonNull<Header>>,
    packet: PhantomData<&'a Netbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let slot = self.next?;
        self.next = next_segment(slot);
        let (data, len) = extent(slot);
        // SAFETY: the segment's own bytes, shared as long as the packet is borrowed.
        Some(unsafe { core::slice::from_raw_parts(data.as_ptr(), len) })
    }
}

/// The segments of a packet, to edit. See [`Netbuf::segments_mut`].
#[derive(Debug)]
pub struct SegmentsMut<'a> {
    next: Option<NonNull<Header>>,
    packet: PhantomData<&'a mut Netbuf>,
}

impl<'a> Iterator for SegmentsMut<'a> {
    type Item = &'a mut [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a mut [u8]> {
        let slot = self.next?;
        self.next = next_segment(slot);
        let (data, len) = extent(slot);
        // SAFETY: the segment's own bytes; segments do not overlap, each is yielded once, and the packet is
        // borrowed exclusively.
        Some(unsafe { core::slice::from_raw_parts_mut(data.as_ptr(), len) })
    }
}

#[inline]
fn extent(slot: NonNull<Header>) -> (NonNull<u8>, usize) {
    // SAFETY: headers live for ever; `offset + len <= capacity` keeps the sum in the slot's memory.
    unsafe {
        let header = slot.as_ref();
        (header.room.add(usize::from(header.offset())), usize::from(header.len()))
    }
}
