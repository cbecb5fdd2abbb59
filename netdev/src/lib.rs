//! The contract between a network function and a driver: bursts of packets in, bursts of packets out.
//!
//! A driver offers a [`Device`]. Starting it with a [`Config`] and a [`Pool`] gives a [`Port`]: its receive
//! and transmit queues and its controls. A queue exists only after start, so nothing can be received
//! before; stopping takes the queues away and gives the device back.
//!
//! Deliberately absent: any driver, any platform, any protocol, and `Result` on the packet path: what
//! cannot be delivered is counted under a named [`DropCause`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod counters;
mod device;
mod error;
mod info;
mod mac;
mod queue;

pub use config::Config;
pub use counters::{DropCause, Drops, QueueCounters, QueueStats};
pub use device::{Control, Device, Link, Port, Unsupported, WakeSource};
pub use error::{StartError, StartFailure};
pub use info::{Info, Offloads, RingLimits};
pub use mac::{MacAddress, ParseMacError};
pub use netbuf::{BURST, Burst, Netbuf, Pool};
pub use queue::{Armed, RxQueue, TxQueue};
