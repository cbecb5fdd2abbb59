//! virtio: rings (driver half and device half), feature negotiation, transports, and the virtio-net driver.
//!
//! Nothing that the peer can write is trusted: ids, lengths and indices are checked against private shadow
//! state before use, and a lying peer loses packets (counted), never memory.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

#[cfg(target_arch = "x86_64")]
mod avx2;
mod checks;
pub mod features;
pub mod memory;
pub mod net;
mod raw;
pub mod ring;
pub mod transport;
