//! Device half: a walk along one chain of a packed ring, each descriptor read once and checked before it is
//! used.
//!
//! The general way, for every layout that a driver may choose; a frame in a single descriptor, the usual case,
//! does not come here. A chain lies in consecutive descriptors, so even one that breaks a rule must be walked
//! to its end ([`Chain::finish`]): where it ends the next one starts.

use core::ptr::NonNull;

use super::layout::{PackedRing, Word, flags};
use super::position;
use crate::memory::MemoryMap;
use crate::raw::read_once;
use crate::ring::frame::{BadChain, Piece, Rest, Walk};

/// The most descriptors that are followed in an indirect table: larger tables are refused, as they are by
/// other device implementations, so that one chain cannot hold up the queue.
const INDIRECT_LIMIT: u32 = 1024;

/// Bytes of a descriptor in an indirect table.
const DESC_BYTES: u32 = 16;

/// A chain that was walked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walked {
    /// The buffer's name: the last descriptor's (virtio 1.2, 2.8.6).
    pub(super) id: u16,
    /// Descriptors of the ring that it took.
    pub(super) descs: u16,
}

/// Which way the buffers of a chain must point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    DeviceReads,
    DeviceWrites,
}

/// The rest of an indirect table.
#[derive(Clone, Copy)]
struct Table {
    /// Mapped for `16 * left` bytes.
    next: NonNull<u8>,
    left: u32,
}

/// The rest of a chain.
pub(super) struct Chain<'a> {
    ring: PackedRing,
    memory: &'a MemoryMap,
    direction: Direction,
    indirect: bool,
    table: Option<Table>,
    head: u32,
    /// Descriptors of the ring read so far.
    read: u16,
    id: u16,
    /// The descriptor read last has NEXT.
    goes_on: bool,
    rest: Rest,
}

impl<'a> Chain<'a> {
    /// The chain whose first descriptor stands at position `head`, where the caller has found it available.
    pub(super) fn new(
        ring: PackedRing,
        memory: &'a MemoryMap,
        head: u32,
        direction: Direction,
        indirect: bool,
    ) -> Self {
        Self {
            ring,
            memory,
            direction,
            indirect,
            table: None,
            head,
            read: 0,
            id: 0,
            goes_on: true,
            rest: Rest::default(),
        }
    }

    /// Reads on to where the chain ends in the ring. `Err` where it does not end: nobody can say where the next
    /// one starts.
    pub(super) fn finish(mut self) -> Result<Walked, BadChain> {
        while self.goes_on {
            self.step()?;
        }
        Ok(Walked { id: self.id, descs: self.read })
    }

    /// Reads the next descriptor of the ring. Those behind the head were made available before it was.
    fn step(&mut self) -> Result<(u64, Word), BadChain> {
        let (at, size) = (self.head.wrapping_add(self.read.into()), self.ring.size());
        if self.read >= size.get() {
            return Err(BadChain);
        }
        let slot = self.ring.slot(position::place(at, size));
        let word = slot.word();
        self.read += 1;
        self.id = word.id();
        self.goes_on = word.flags() & flags::DESC_NEXT != 0;
        Ok((slot.addr(), word))
    }

    fn piece(&mut self, addr: u64, word: Word) -> Result<Piece, BadChain> {
        let (len, writable) = (word.len(), word.flags() & flags::DESC_WRITE != 0);
        if len == 0 || writable != (self.direction == Direction::DeviceWrites) {
            return Err(BadChain);
        }
        self.rest = Rest { addr, len };
        self.rest.next(self.memory)
    }

    /// Goes on in an indirect table (virtio 1.2, 2.8.7): only where it was negotiated, and not in front of more.
    fn enter(&mut self, addr: u64, word: Word) -> Result<(), BadChain> {
        let len = word.len();
        let allowed = self.indirect && !self.goes_on && len > 0 && len.is_multiple_of(DESC_BYTES);
        if !allowed || len / DESC_BYTES > INDIRECT_LIMIT {
            return Err(BadChain);
        }
        let next = self.memory.translate_table(addr, len.into()).ok_or(BadChain)?;
        self.table = Some(Table { next, left: len / DESC_BYTES });
        Ok(())
    }
}

impl Walk for Chain<'_> {
    fn next(&mut self) -> Result<Option<Piece>, BadChain> {
        if self.rest.len > 0 {
            return self.rest.next(self.memory).map(Some);
        }
        loop {
            if let Some(table) = &mut self.table {
                if table.left == 0 {
                    return Ok(None);
                }
                let at = table.next.as_ptr();
                // SAFETY: `left` descriptors are mapped from `next` on, so at least the one that is read, and
                // the sum is at most one past them.
                let (addr, word) = unsafe {
                    table.next = table.next.add(DESC_BYTES as usize);
                    (read_once(at), Word(read_once(at.add(8))))
                };
                table.left -= 1;
                // NEXT is reserved there (virtio 1.2, 2.8.7).
                if word.flags() & flags::DESC_INDIRECT != 0 {
                    return Err(BadChain);
                }
                return self.piece(addr, word).map(Some);
            }
            if !self.goes_on {
                return Ok(None);
            }
            let (addr, word) = self.step()?;
            if word.flags() & flags::DESC_INDIRECT == 0 {
                return self.piece(addr, word).map(Some);
            }
            self.enter(addr, word)?;
        }
    }
}
