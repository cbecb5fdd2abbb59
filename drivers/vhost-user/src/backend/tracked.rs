//! A ring that runs and whose in-flight chains are recorded: slower than a [`LiveRing`](super::live_ring::LiveRing), and
//! only there where a front end has asked for it.
//!
//! The device half works on a private copy of what the driver has made available, which is at the same time what is
//! recorded as taken and not given back. A call of the device half is one batch of the specification: it ends with one store
//! that shows the driver all of it.

use std::sync::Arc;

use netbuf::{Burst, Pool};
use netdev::{Armed, QueueCounters};
use virtio::memory::MemoryMap;
use virtio::ring::split::RingSize;

use super::live_ring::{Placed, RingOptions, place};
use super::memory_table::MemoryTable;
use super::tracked_packed::TrackedPacked;
use super::tracked_split::TrackedSplit;
use crate::inflight::{Cells, InflightMemory};
use crate::message::VringAddr;
use crate::violation::Violation;

enum Kind {
    Split(TrackedSplit),
    Packed(TrackedPacked),
}

/// Calls the same method of either.
macro_rules! either {
    ($self:ident.$($call:tt)+) => {
        match &mut $self.kind {
            Kind::Split(ring) => ring.$($call)+,
            Kind::Packed(ring) => ring.$($call)+,
        }
    };
}

/// A started and enabled ring with a record.
pub(crate) struct TrackedRing {
    kind: Kind,
    map: MemoryMap,
    /// Keeps everything mapped that `kind` and `map` name.
    _memory: Arc<MemoryTable>,
}

// SAFETY: as for `LiveRing`: addresses in mappings that the value keeps, used by one thread at a time.
unsafe impl Send for TrackedRing {}

impl TrackedRing {
    /// The region of a ring, where it has one.
    ///
    /// # Errors
    /// It is too small for the ring.
    pub(crate) fn region(
        inflight: Option<&Arc<InflightMemory>>,
        packed: bool,
        index: u32,
        size: RingSize,
    ) -> Result<Option<(Cells, u16)>, Violation> {
        let Some(inflight) = inflight else { return Ok(None) };
        let cells = inflight.queue(packed, index, size)?;
        Ok(cells.map(|cells| (cells, inflight.entries())))
    }

    /// As [`LiveRing::start`](super::live_ring::LiveRing::start); what the region says is in flight comes first.
    ///
    /// # Errors
    /// As there; or the region says what cannot be.
    pub(crate) fn start(
        memory: &Arc<MemoryTable>,
        addr: &VringAddr,
        size: RingSize,
        base: Option<u32>,
        options: RingOptions,
        (cells, entries): (Cells, u16),
    ) -> Result<Self, Violation> {
        let kind = match place(memory, addr, size, options.packed)? {
            Placed::Split(ring) => {
                Kind::Split(TrackedSplit::start(ring, base, options.device, cells, entries)?)
            }
            Placed::Packed(ring) => {
                Kind::Packed(TrackedPacked::start(ring, base, options.device, cells, entries)?)
            }
        };
        Ok(Self { kind, map: memory.map()?, _memory: Arc::clone(memory) })
    }

    pub(crate) fn receive(
        &mut self,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> usize {
        let map = &self.map;
        either!(self.batch(|device| device.receive(map, pool, out, counters, port)))
    }

    pub(crate) fn transmit(&mut self, packets: &mut Burst, counters: &QueueCounters) -> usize {
        let map = &self.map;
        either!(self.batch(|device| device.transmit(map, packets, counters)))
    }

    pub(crate) fn should_notify(&mut self) -> bool {
        either!(self.should_notify())
    }

    pub(crate) fn arm(&mut self) -> Armed {
        either!(self.arm())
    }

    /// Stops: what is held stays with the driver. Where the ring stands, as `GET_VRING_BASE` answers.
    pub(crate) fn stop(mut self) -> u32 {
        either!(self.stop())
    }

    pub(crate) fn is_broken(&self) -> bool {
        match &self.kind {
            Kind::Split(ring) => ring.is_broken(),
            Kind::Packed(ring) => ring.is_broken(),
        }
    }
}
