//! Packet memory: a [`Pool`] of fixed-size buffers, the owning handle [`Netbuf`] and the [`Burst`].
//!
//! A pool is carved once out of device-visible memory and belongs to one core. A [`Netbuf`] is an
//! 8-byte handle that owns a packet: dropping it gives the buffer back to its pool, so a full ring, an
//! early return or a panic in a test leaks nothing. A packet larger than one buffer is a chain.
//!
//! ```text
//!  private memory                device-visible memory (stride: an odd number of cache lines)
//!  +-----------------+           +--------------------+----------------------------------+
//!  | header (1 line) |---room--->| headroom 128 B     | frame, from a line boundary on   |
//!  +-----------------+           +--------------------+----------------------------------+
//!                                       virtio header ^ the last 12 bytes of the line before
//! ```
//!
//! The header (lengths, chain link, offload metadata) lies apart from the packet bytes, in memory that
//! no device sees: a peer that maps packet memory can damage packets, never the handles that own them.
//!
//! Deliberately absent: reference-counted clones (copy, or redesign the stage that needs one),
//! allocation after start, and any knowledge of a device.
//!
//! ```
//! use netbuf::{Burst, DeviceMemory, Pool, PoolConfig};
//!
//! let config = PoolConfig { buffers: 64, ..PoolConfig::default() };
//! let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config)?;
//! let mut packet = pool.copy_from(b"destination....payload").expect("an empty pool would say None");
//! packet.push(4).expect("128 bytes of headroom").copy_from_slice(b"tag.");
//! assert_eq!(packet.bytes(), b"tag.destination....payload");
//! let mut burst = Burst::new();
//! burst.push(packet);
//! drop(burst); // the buffer is back in its pool
//! assert_eq!(pool.available(), 64);
//! # Ok::<(), netbuf::PoolError>(())
//! ```
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod chain;
mod checksum;
mod code;
mod detached;
mod header;
mod memory;
mod meta;
mod packet;
pub mod pair;
mod pool;
pub mod prefetch;

pub use chain::{Segments, SegmentsMut};
pub use detached::Detached;
pub use memory::DeviceMemory;
pub use meta::{Checksum, Gso, GsoKind};
pub use packet::{Netbuf, Template};
pub use pool::{PlainFrom, Pool, PoolConfig, PoolError, PoolStats, free_burst};

/// The most packets that one burst holds.
pub const BURST: usize = 32;

/// Up to [`BURST`] packets, in order. Moves with its packets; dropping it frees them.
pub type Burst = arrayvec::ArrayVec<Netbuf, BURST>;

/// Bytes of a cache line on every machine that Barewire runs on.
pub const CACHE_LINE: usize = 64;
