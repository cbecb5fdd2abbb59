//! Memory for a device's rings: how much a start needs, and where it comes from.
#![forbid(unsafe_code)]

use netbuf::DeviceMemory;
use netdev::{Offloads, RingFormat};

use crate::features::Negotiated;
use crate::ring::split::RingSize;
use crate::ring::{CommandRing, packed, split, table_bytes};

/// Where the rings of a device lie: in memory that was given with the device, or that is taken when it starts, when it
/// is known how much it needs.
pub struct RingMemory {
    piece: Option<DeviceMemory>,
    source: fn(usize) -> Option<DeviceMemory>,
}

impl RingMemory {
    /// Takes a piece of so many bytes from `source` whenever a start needs more than the last piece has. Pieces are
    /// never given back.
    pub fn from_source(source: fn(usize) -> Option<DeviceMemory>) -> Self {
        Self { piece: None, source }
    }

    /// At least `bytes` of memory.
    pub(super) fn at_least(&mut self, bytes: usize) -> Option<&DeviceMemory> {
        if self.piece.as_ref().is_none_or(|piece| piece.len() < bytes) {
            self.piece = Some((self.source)(bytes)?);
        }
        self.piece.as_ref()
    }
}

impl From<DeviceMemory> for RingMemory {
    fn from(memory: DeviceMemory) -> Self {
        Self { piece: Some(memory), source: |_| None }
    }
}

impl Negotiated {
    /// Bytes of device memory that all rings take. `None` where a ring has no possible size.
    pub fn ring_bytes(&self) -> Option<usize> {
        let (rx, tx) = (RingSize::new(self.rx_ring.into())?, RingSize::new(self.tx_ring.into())?);
        let rings = match self.ring_format {
            RingFormat::Packed => packed::ring_bytes(rx) + packed::ring_bytes(tx),
            _ => split::ring_bytes(rx) + split::ring_bytes(tx),
        };
        let pairs = usize::from(self.rx_queues) * (rings + self.tables(tx));
        Some(pairs + if self.control.is_some() { CommandRing::BYTES } else { 0 })
    }

    /// Bytes of the tables behind a transmit ring of `size` entries.
    pub(super) fn tables(&self, size: RingSize) -> usize {
        if self.offloads.contains(Offloads::TX_CHAINS) { table_bytes(size) } else { 0 }
    }
}
