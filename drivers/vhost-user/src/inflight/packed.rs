//! The region of a packed queue (`QueueRegionPacked`).
//!
//! Used descriptors overwrite available ones, so that each descriptor that is taken is copied here. The list of free
//! entries is kept privately as well; what stands in the memory is written, and read by the next back end only.
#![forbid(unsafe_code)]

use virtio::ring::packed::{Desc, flags};
use virtio::ring::split::RingSize;

use super::{Cells, VERSION, VERSION_AT};
use crate::message::Request;
use crate::violation::Violation;

/// Bytes in front of the entries.
pub(super) const HEAD: usize = 32;
/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;

const DESC_NUM: usize = 10;
const FREE_HEAD: usize = 12;
const OLD_FREE_HEAD: usize = 14;
const USED_IDX: usize = 16;
const OLD_USED_IDX: usize = 18;
const USED_WRAP: usize = 20;
const OLD_USED_WRAP: usize = 21;

const INFLIGHT: usize = 0;
const NEXT: usize = 2;
const LAST: usize = 4;
const NUM: usize = 6;
const COUNTER: usize = 8;
const ID: usize = 16;
const FLAGS: usize = 18;
const LEN: usize = 20;
const ADDR: usize = 24;

const WRONG: Violation = Violation::Value(Request::SetInflightFd);

/// Whose turn a descriptor is.
const TURN: u16 = flags::AVAIL | flags::USED;

const fn entry(index: u16, field: usize) -> usize {
    HEAD + ENTRY * index as usize + field
}

/// A place in a packed ring, and the wrap counter there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) index: u16,
    pub(crate) wrap: bool,
}

impl Spot {
    /// As it stands in a vring base: the wrap counter in bit 15. `None` if it is not in the ring.
    pub(crate) fn decode(base: u16, size: RingSize) -> Option<Self> {
        let spot = Self { index: base & 0x7fff, wrap: base >> 15 != 0 };
        (spot.index < size.get()).then_some(spot)
    }

    /// The place so many descriptors (at most the ring's size) further on.
    pub(crate) fn after(self, count: u16, size: RingSize) -> Self {
        let sum = u32::from(self.index) + u32::from(count);
        let beyond = sum >= size.get().into();
        let index = size.wrap(self.index.wrapping_add(count));
        Self { index, wrap: self.wrap != beyond }
    }

    /// `flags`, saying that the descriptor is available here (virtio 1.2, 2.8.1).
    pub(crate) fn available(self, flags: u16) -> u16 {
        flags & !TURN | if self.wrap { flags::AVAIL } else { flags::USED }
    }

    /// Whether `flags` say so.
    pub(crate) fn is_available(self, flags: u16) -> bool {
        self.available(flags) == flags
    }

    /// Whether `flags` say that the descriptor is used here.
    pub(crate) fn is_used(self, flags: u16) -> bool {
        flags & TURN == if self.wrap { TURN } else { 0 }
    }
}

/// A chain that is held: its first entry, and how many descriptors it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) entry: u16,
    pub(crate) descs: u16,
    last: u16,
}

/// What is recorded of a packed queue.
pub(crate) struct PackedRecord {
    cells: Cells,
    entries: u16,
    counter: u64,
    /// Free entries, the first one last.
    free: Vec<u16>,
    /// The entry behind each in its chain.
    next: Vec<u16>,
}

/// A chain that is to be submitted again.
pub(crate) struct Again {
    pub(crate) taken: Taken,
    pub(crate) descs: Vec<Desc>,
}

/// What a region says to whoever takes it over.
pub(crate) struct Opened {
    pub(crate) record: PackedRecord,
    /// Where the device writes next.
    pub(crate) used: Spot,
    /// What stands between there and where it reads next, in order. It counts as held.
    pub(crate) again: Vec<Again>,
}

impl PackedRecord {
    /// Takes a region of `entries` over, of a queue of `size` whose descriptors have `flags_at` an index. Where nobody has
    /// used the region, the queue stands at `start`.
    ///
    /// # Errors
    /// It is of another version or size, or says what cannot be.
    pub(crate) fn open(
        cells: Cells,
        entries: u16,
        size: RingSize,
        start: Spot,
        flags_at: impl Fn(u16) -> u16,
    ) -> Result<Opened, Violation> {
        let (free, next) = (Vec::with_capacity(entries.into()), vec![0; entries.into()]);
        let mut record = Self { cells, entries, counter: 0, free, next };
        if record.cells.load16(VERSION_AT) == 0 {
            record.cells.store64(0, 0);
            record.cells.store16(DESC_NUM, entries);
            record.free_all_but(&[]);
            record.set_used(start);
            record.settle(start);
            record.cells.store16(VERSION_AT, VERSION);
            return Ok(Opened { record, used: start, again: Vec::new() });
        }
        let known = record.cells.load16(VERSION_AT) == VERSION;
        if !known || record.cells.load16(DESC_NUM) != entries {
            return Err(WRONG);
        }
        let used = record.finish_batch(size, flags_at)?;
        record.walk_free_list();
        let again = record.held(size)?;
        let held: Vec<u16> = again.iter().flat_map(|again| record.chain(again.taken)).collect();
        if held.len() + record.free.len() != usize::from(entries) {
            record.free_all_but(&held);
            record.cells.store16(OLD_FREE_HEAD, record.free_head());
        }
        Ok(Opened { record, used, again })
    }

    /// Either all of the last batch has been given back, or nothing.
    fn finish_batch(
        &self,
        size: RingSize,
        flags_at: impl Fn(u16) -> u16,
    ) -> Result<Spot, Violation> {
        let spot = |index, wrap| {
            let (index, wrap) = (self.cells.load16(index), self.cells.load8(wrap) != 0);
            (index < size.get()).then_some(Spot { index, wrap }).ok_or(WRONG)
        };
        let (new, old) = (spot(USED_IDX, USED_WRAP)?, spot(OLD_USED_IDX, OLD_USED_WRAP)?);
        if new != old && !old.is_available(flags_at(old.index)) {
            self.cells.store16(OLD_FREE_HEAD, self.cells.load16(FREE_HEAD));
            self.cells.store16(OLD_USED_IDX, new.index);
            self.cells.store8(OLD_USED_WRAP, new.wrap.into());
            return Ok(new);
        }
        self.cells.store16(FREE_HEAD, self.cells.load16(OLD_FREE_HEAD));
        self.set_used(old);
        Ok(old)
    }

    /// Nothing in the free list is in flight.
    fn walk_free_list(&mut self) {
        let mut seen = vec![false; self.entries.into()];
        let mut at = self.cells.load16(FREE_HEAD);
        while let Some(seen) = seen.get_mut(usize::from(at)).filter(|seen| !**seen) {
            *seen = true;
            self.cells.store8(entry(at, INFLIGHT), 0);
            self.free.push(at);
            at = self.cells.load16(entry(at, NEXT));
        }
        self.free.reverse();
    }

    /// What is in flight, oldest first; later ones get later counters.
    fn held(&mut self, size: RingSize) -> Result<Vec<Again>, Violation> {
        let inflight = |&at: &u16| self.cells.load8(entry(at, INFLIGHT)) != 0;
        let counter = |at: u16| self.cells.load64(entry(at, COUNTER));
        let mut heads: Vec<_> =
            (0..self.entries).filter(inflight).map(|at| (counter(at), at)).collect();
        heads.sort_unstable();
        self.counter = heads.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        let mut taken = vec![false; self.entries.into()];
        self.free.iter().for_each(|&at| taken[usize::from(at)] = true);
        let again = heads.iter().map(|&(_, head)| self.again(head, &mut taken));
        let again: Vec<_> = again.collect::<Result<_, _>>()?;
        let total: usize = again.iter().map(|again| again.descs.len()).sum();
        if total > usize::from(size.get()) { Err(WRONG) } else { Ok(again) }
    }

    /// A chain as it was taken. No entry is in two.
    fn again(&mut self, head: u16, seen: &mut [bool]) -> Result<Again, Violation> {
        let num = self.cells.load16(entry(head, NUM));
        let (mut at, mut last, mut descs) = (head, head, Vec::new());
        for number in 1..=num {
            let seen = seen.get_mut(usize::from(at)).filter(|seen| !**seen).ok_or(WRONG)?;
            *seen = true;
            let more = if number < num { flags::DESC_NEXT } else { 0 };
            let flags = self.cells.load16(entry(at, FLAGS)) & !flags::DESC_NEXT | more;
            descs.push(Desc {
                addr: self.cells.load64(entry(at, ADDR)),
                len: self.cells.load32(entry(at, LEN)),
                id: self.cells.load16(entry(at, ID)),
                flags,
            });
            last = at;
            at = self.cells.load16(entry(at, NEXT));
            self.next[usize::from(last)] = at;
        }
        let taken = Taken { entry: head, descs: num, last };
        if num == 0 { Err(WRONG) } else { Ok(Again { taken, descs }) }
    }

    /// The entries of a chain.
    fn chain(&self, taken: Taken) -> impl Iterator<Item = u16> {
        let next = |&at: &u16| self.next.get(usize::from(at)).copied();
        std::iter::successors(Some(taken.entry), next).take(taken.descs.into())
    }

    /// Lists all entries as free that are not `held`.
    fn free_all_but(&mut self, held: &[u16]) {
        let mut busy = vec![false; self.entries.into()];
        held.iter().for_each(|&at| busy[usize::from(at)] = true);
        self.free.clear();
        self.free.extend((0..self.entries).rev().filter(|&at| !busy[usize::from(at)]));
        let mut next = self.entries;
        for &at in &self.free {
            self.cells.store8(entry(at, INFLIGHT), 0);
            self.cells.store16(entry(at, NEXT), next);
            next = at;
        }
        self.cells.store16(FREE_HEAD, next);
    }

    fn free_head(&self) -> u16 {
        self.free.last().copied().unwrap_or(self.entries)
    }

    fn set_used(&self, used: Spot) {
        self.cells.store16(USED_IDX, used.index);
        self.cells.store8(USED_WRAP, used.wrap.into());
    }

    /// The batch is through.
    fn settle(&self, used: Spot) {
        self.cells.store16(OLD_FREE_HEAD, self.free_head());
        self.cells.store16(OLD_USED_IDX, used.index);
        self.cells.store8(OLD_USED_WRAP, used.wrap.into());
    }

    /// A chain is taken out of the ring; `None` where more is held than the region has entries.
    pub(crate) fn take(&mut self, chain: &[Desc]) -> Option<Taken> {
        let left = self.free.len().checked_sub(chain.len())?;
        let &head = self.free.last()?;
        let &last = self.free.get(left)?;
        self.cells.store16(entry(head, NUM), 0);
        self.cells.store64(entry(head, COUNTER), self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.cells.store8(entry(head, INFLIGHT), 1);
        for (desc, &at) in chain.iter().zip(self.free[left..].iter().rev()) {
            self.cells.store64(entry(at, ADDR), desc.addr);
            self.cells.store32(entry(at, LEN), desc.len);
            self.cells.store16(entry(at, FLAGS), desc.flags);
            self.cells.store16(entry(at, ID), desc.id);
        }
        for pair in self.free[left..].windows(2) {
            self.next[usize::from(pair[1])] = pair[0];
        }
        let descs = u16::try_from(chain.len()).ok()?;
        self.cells.store16(entry(head, LAST), last);
        self.cells.store16(entry(head, NUM), descs);
        self.free.truncate(left);
        self.cells.store16(FREE_HEAD, self.free_head());
        self.cells.store16(OLD_FREE_HEAD, self.free_head());
        Some(Taken { entry: head, descs, last })
    }

    /// Chains are about to be given back, the oldest ones; the device will stand at `used`.
    pub(crate) fn prepare(&mut self, batch: impl Iterator<Item = Taken>, used: Spot) {
        batch.for_each(|taken| self.release(taken));
        self.set_used(used);
    }

    /// They are: the driver can see it.
    pub(crate) fn commit(&mut self, batch: impl Iterator<Item = Taken>, used: Spot) {
        for taken in batch {
            self.cells.store8(entry(taken.entry, INFLIGHT), 0);
        }
        self.settle(used);
    }

    /// A chain, the newest one held, stays in the ring as if it had not been taken.
    pub(crate) fn put_back(&mut self, taken: Taken) {
        self.cells.store8(entry(taken.entry, INFLIGHT), 0);
        self.release(taken);
        self.cells.store16(OLD_FREE_HEAD, self.free_head());
    }

    fn release(&mut self, taken: Taken) {
        self.cells.store16(entry(taken.last, NEXT), self.free_head());
        let (kept, mut at) = (self.free.len(), taken.entry);
        for _ in 0..taken.descs {
            self.free.push(at);
            at = self.next[usize::from(at)];
        }
        self.free[kept..].reverse();
        self.cells.store16(FREE_HEAD, taken.entry);
    }
}
