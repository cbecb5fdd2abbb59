//! The virtio network driver (virtio 1.2, 5.1): a [`netdev::Device`] over any transport.
//!
//! ```text
//! VirtioNet --start--> Port { rx: [Receiver<ring, doorbell>], tx: [Sender<ring, doorbell>], control }
//!     ^--------------------------------- stop ------------------------------------------------'
//! ```
//!
//! One pair of queues over split or packed rings, one descriptor per packet, polled. The ring's format and the header
//! are types, chosen in `bring_up`; the queues know neither the transport nor its registers.
//!
//! Deliberately absent: offloads, control queue, several pairs and mergeable buffers (each is a further file),
//! and interrupts but for [`netdev::RxQueue::arm`] where the transport can wake a sleeper.

mod bring_up;
mod config_space;
mod control;
mod device;
mod header;
mod running;
mod rx;
mod tx;

pub use device::{OpenError, VirtioNet};
pub use header::{PlainHeader, SpeakingHeader};
