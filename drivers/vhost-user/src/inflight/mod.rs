//! Memory that outlives a back end and says what it had taken and not given back: the specification's "Inflight I/O
//! tracking", as `GET_INFLIGHT_FD` and `SET_INFLIGHT_FD` carry it.
//!
//! One region for each queue, side by side. Whoever shares the memory may write it: every value is checked before use, and
//! what is read during traffic is kept privately. The stores are made in the specification's order, each a release: at
//! whatever instruction a back end is killed, its successor finds a prefix of them.

mod cells;
mod memory;
#[cfg(test)]
mod model;
mod packed;
mod split;

pub(crate) use self::cells::Cells;
pub(crate) use self::memory::InflightMemory;
pub(crate) use self::packed::{Opened, PackedRecord, Spot, Taken};
pub(crate) use self::split::SplitRecord;

/// The only version of the regions; a zero stands in memory that nobody has used.
const VERSION: u16 = 1;

/// Where the version stands, in a region of either format.
const VERSION_AT: usize = 8;

/// Regions start at multiples of this, as in other implementations.
const ALIGNMENT: usize = 64;

/// Bytes of a queue's region.
pub(crate) fn queue_bytes(packed: bool, queue_size: u16) -> usize {
    let (head, entry) =
        if packed { (packed::HEAD, packed::ENTRY) } else { (split::HEAD, split::ENTRY) };
    (head + entry * usize::from(queue_size)).next_multiple_of(ALIGNMENT)
}

/// Payload of `GET_INFLIGHT_FD` and `SET_INFLIGHT_FD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflightDescription {
    /// Bytes of all regions.
    pub mmap_size: u64,
    /// Where they start in the file, in bytes.
    pub mmap_offset: u64,
    /// Queues that have a region.
    pub num_queues: u16,
    /// Most entries of such a queue.
    pub queue_size: u16,
}

impl InflightDescription {
    /// Bytes of the payload: the fields, and what C puts behind them.
    pub const BYTES: usize = 24;

    /// Reads the payload; `None` unless it has exactly 24 bytes, or 20 without the padding.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if !matches!(bytes.len(), 20 | Self::BYTES) {
            return None;
        }
        let quad = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            mmap_size: quad(0)?,
            mmap_offset: quad(8)?,
            num_queues: half(16),
            queue_size: half(18),
        })
    }

    /// The payload's bytes.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.mmap_size.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.mmap_offset.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.num_queues.to_le_bytes());
        bytes[18..20].copy_from_slice(&self.queue_size.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_survives_a_round_trip_and_other_sizes_are_refused() {
        let whole = InflightDescription {
            mmap_size: 1 << 40,
            mmap_offset: 64,
            num_queues: 2,
            queue_size: 1 << 15,
        };
        let bytes = whole.to_bytes();
        assert_eq!(InflightDescription::parse(&bytes), Some(whole));
        assert_eq!(InflightDescription::parse(&bytes[..20]), Some(whole));
        for size in (0..64).filter(|size| ![20, 24].contains(size)) {
            assert_eq!(InflightDescription::parse(&vec![0; size]), None);
        }
    }

    /// The structures of the specification as C lays them out.
    #[test]
    fn regions_have_the_sizes_that_other_implementations_have() {
        assert_eq!(queue_bytes(false, 256), 4096 + 64);
        assert_eq!(queue_bytes(true, 256), 8192 + 64);
        assert_eq!(queue_bytes(false, 1), 64);
        assert_eq!(queue_bytes(true, 1), 64);
    }
}
