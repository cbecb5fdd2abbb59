//! Device half: a walk along one descriptor chain, each descriptor read once and checked before it is used.
//!
//! The general way, for every layout that a driver may choose (header and data apart, a buffer per page,
//! indirect tables). A frame in a single descriptor, the usual case, does not come here.

use core::ptr::NonNull;

use super::{Desc, SplitRing, flags};
use crate::memory::MemoryMap;
use crate::raw::read_once;
use crate::ring::frame::{BadChain, Piece, Rest, Walk};

/// The most descriptors that are followed in an indirect table: larger tables are refused, as they are by
/// other device implementations, so that one chain cannot hold up the queue.
const INDIRECT_LIMIT: u16 = 1024;

/// Bytes of a descriptor in an indirect table.
const DESC_BYTES: u32 = 16;

/// Which way the buffers of a chain must point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    DeviceReads,
    DeviceWrites,
}

/// Where descriptors are read from.
#[derive(Clone, Copy)]
enum Table {
    Ring,
    /// Mapped for `16 * left` bytes at the start of the walk.
    Indirect(NonNull<u8>),
}

/// The rest of a chain.
pub(super) struct Chain<'a> {
    ring: SplitRing,
    memory: &'a MemoryMap,
    direction: Direction,
    indirect: bool,
    table: Table,
    next: Option<u16>,
    /// Descriptors in the table: every `next` must be less.
    size: u16,
    /// Descriptors that may still follow: a loop runs out.
    left: u16,
    rest: Rest,
}

impl<'a> Chain<'a> {
    /// The chain whose first descriptor is `head`, which the caller has checked to be less than the ring's size.
    pub(super) fn new(
        ring: SplitRing,
        memory: &'a MemoryMap,
        head: u16,
        direction: Direction,
        indirect: bool,
    ) -> Self {
        let size = ring.size().get();
        Self {
            ring,
            memory,
            direction,
            indirect,
            table: Table::Ring,
            next: Some(head),
            size,
            left: size,
            rest: Rest::default(),
        }
    }

    /// Goes on in an indirect table (virtio 1.2, 2.7.5.3): once, and only where it was negotiated. What the ring
    /// would hold behind such a descriptor is an error.
    fn enter(&mut self, desc: Desc) -> Result<(), BadChain> {
        let allowed = self.indirect
            && matches!(self.table, Table::Ring)
            && desc.flags & flags::DESC_NEXT == 0
            && desc.len > 0
            && desc.len.is_multiple_of(DESC_BYTES);
        let count = u16::try_from(desc.len / DESC_BYTES).unwrap_or(u16::MAX);
        if !allowed || count > INDIRECT_LIMIT {
            return Err(BadChain);
        }
        let table = self.memory.translate_table(desc.addr, desc.len.into()).ok_or(BadChain)?;
        self.table = Table::Indirect(table);
        self.next = Some(0);
        self.size = count;
        self.left = count;
        Ok(())
    }

    fn read(&self, index: u16) -> Desc {
        match self.table {
            Table::Ring => self.ring.desc(index),
            // SAFETY: `index < self.size`, and `enter` translated `16 * size` bytes from `table` on, which the
            // map's maker vouches for; any bytes are valid words.
            Table::Indirect(table) => unsafe {
                let at = table.as_ptr().add(usize::from(index) * DESC_BYTES as usize);
                Desc::from_words(read_once(at), read_once(at.add(8)))
            },
        }
    }
}

impl Walk for Chain<'_> {
    fn next(&mut self) -> Result<Option<Piece>, BadChain> {
        if self.rest.len > 0 {
            return self.rest.next(self.memory).map(Some);
        }
        let Some(index) = self.next else { return Ok(None) };
        if index >= self.size || self.left == 0 {
            return Err(BadChain);
        }
        self.left -= 1;
        let desc = self.read(index);
        if desc.flags & flags::DESC_INDIRECT != 0 {
            self.enter(desc)?;
            return self.next();
        }
        let writable = desc.flags & flags::DESC_WRITE != 0;
        if desc.len == 0 || writable != (self.direction == Direction::DeviceWrites) {
            return Err(BadChain);
        }
        self.next = (desc.flags & flags::DESC_NEXT != 0).then_some(desc.next);
        self.rest = Rest { addr: desc.addr, len: desc.len };
        self.rest.next(self.memory).map(Some)
    }
}
