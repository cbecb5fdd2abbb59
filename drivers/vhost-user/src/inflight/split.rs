//! The region of a split queue (`QueueRegionSplit`).
//!
//! Chains are given back in the order in which they were taken, so the list of the last batch is laid ahead: it starts at
//! the oldest chain that is held and goes on in order. However many of them the used index says are back, the list's first
//! ones are those.
#![forbid(unsafe_code)]

use super::{Cells, VERSION, VERSION_AT};
use crate::message::Request;
use crate::violation::Violation;

/// Bytes in front of the entries.
pub(super) const HEAD: usize = 16;
/// Bytes of an entry.
pub(super) const ENTRY: usize = 16;

const DESC_NUM: usize = 10;
const LAST_BATCH_HEAD: usize = 12;
const USED_IDX: usize = 14;

const INFLIGHT: usize = 0;
const NEXT: usize = 6;
const COUNTER: usize = 8;

const fn entry(head: u16, field: usize) -> usize {
    HEAD + ENTRY * head as usize + field
}

/// What is recorded of a split queue.
pub(crate) struct SplitRecord {
    cells: Cells,
    entries: u16,
    counter: u64,
    /// The chain that was taken last, while any is held.
    newest: Option<u16>,
}

impl SplitRecord {
    /// Takes a region of `entries` over, of a queue whose used ring stands at `used`: the chains that are to be submitted
    /// again, in order. They count as held.
    ///
    /// # Errors
    /// It is of another version or size.
    pub(crate) fn open(
        cells: Cells,
        entries: u16,
        used: u16,
    ) -> Result<(Self, Vec<u16>), Violation> {
        let mut record = Self { cells, entries, counter: 0, newest: None };
        if record.cells.load16(VERSION_AT) == 0 {
            record.cells.store64(0, 0);
            record.cells.store16(DESC_NUM, entries);
            record.cells.store16(USED_IDX, used);
            record.cells.store16(VERSION_AT, VERSION);
            return Ok((record, Vec::new()));
        }
        let known = record.cells.load16(VERSION_AT) == VERSION;
        if !known || record.cells.load16(DESC_NUM) != entries {
            return Err(Violation::Value(Request::SetInflightFd));
        }
        record.finish_batch(used);
        let heads = record.held();
        heads.iter().for_each(|&head| record.link(head));
        Ok((record, heads))
    }

    /// The used index may have been published, and no more: the chains that it speaks of are back.
    fn finish_batch(&self, used: u16) {
        let batch = used.wrapping_sub(self.cells.load16(USED_IDX));
        let mut head = self.cells.load16(LAST_BATCH_HEAD);
        for _ in 0..batch.min(self.entries) {
            if head >= self.entries {
                break;
            }
            self.cells.store8(entry(head, INFLIGHT), 0);
            head = self.cells.load16(entry(head, NEXT));
        }
        self.cells.store16(USED_IDX, used);
    }

    /// What is in flight, oldest first; later ones get later counters.
    fn held(&mut self) -> Vec<u16> {
        let counter = |head: u16| self.cells.load64(entry(head, COUNTER));
        let inflight = |&head: &u16| self.cells.load8(entry(head, INFLIGHT)) != 0;
        let mut held: Vec<_> =
            (0..self.entries).filter(inflight).map(|head| (counter(head), head)).collect();
        held.sort_unstable();
        self.counter = held.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        held.into_iter().map(|(_, head)| head).collect()
    }

    fn link(&mut self, head: u16) {
        match self.newest.replace(head) {
            Some(before) => self.cells.store16(entry(before, NEXT), head),
            None => self.cells.store16(LAST_BATCH_HEAD, head),
        }
    }

    /// A chain is taken out of the avail ring. A `head` beyond the region names none.
    pub(crate) fn take(&mut self, head: u16) {
        if head >= self.entries {
            return;
        }
        self.cells.store64(entry(head, COUNTER), self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.cells.store8(entry(head, INFLIGHT), 1);
        self.link(head);
    }

    /// Chains are back, the oldest ones, of which the used index `used` has told the driver; `oldest` is now the oldest.
    pub(crate) fn give_back(
        &mut self,
        heads: impl Iterator<Item = u16>,
        used: u16,
        oldest: Option<u16>,
    ) {
        self.clear(heads);
        // In this order: until the indexes are equal, the list is that of this batch.
        self.cells.store16(USED_IDX, used);
        match oldest.filter(|&head| head < self.entries) {
            Some(oldest) => self.cells.store16(LAST_BATCH_HEAD, oldest),
            None => self.newest = None,
        }
    }

    /// All that is held stays in the avail ring, as if it had not been taken.
    pub(crate) fn put_back(&mut self, heads: impl Iterator<Item = u16>) {
        self.clear(heads);
        self.newest = None;
    }

    fn clear(&self, heads: impl Iterator<Item = u16>) {
        for head in heads.filter(|&head| head < self.entries) {
            self.cells.store8(entry(head, INFLIGHT), 0);
        }
    }
}
