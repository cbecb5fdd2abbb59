//! The contract between a network function and a driver: bursts of packets in, bursts of packets out.
//!
//! A driver offers a [`Device`]. Starting it with a [`Config`] and a [`Pool`] gives a [`Port`]: its receive
//! and transmit queues and its controls. A queue exists only after start, so nothing can be received
//! before; stopping takes the queues away and gives the device back.
//!
//! Beside the contract stand what every user of it shares: the [`loopback`] devices, the wrappers [`tap`],
//! [`trace`] and [`fault`] (devices around a device), the [`conformance`] suite that every driver must pass,
//! and the way here from [`unikraft`].
//!
//! Deliberately absent: any driver, any platform, any protocol, and `Result` on the packet path: what
//! cannot be delivered is counted under a named [`DropCause`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod conformance;
pub mod fault;
pub mod loopback;
pub mod tap;
pub mod trace;
pub mod unikraft;

mod config;
mod control;
mod counters;
mod device;
mod error;
mod info;
mod layer;
mod mac;
mod queue;

pub use config::Config;
pub use control::{Control, Link, Rss, RxMode, Unsupported};
pub use counters::{DropCause, Drops, QueueCounters, QueueStats};
pub use device::{Device, Port};
pub use error::{StartError, StartFailure};
pub use info::{Info, Offloads, RingFeatures, RingFormat, RingLimits};
pub use layer::{TimeSource, call_counter};
pub use mac::{MacAddress, ParseMacError};
pub use netbuf::{BURST, Burst, Netbuf, Pool};
pub use queue::{Armed, QueueMut, RxQueue, TxQueue, WakeSource};
pub use tap::Direction;
