//! The virtio network driver (virtio 1.2, 5.1): a [`netdev::Device`] over any transport.
//!
//! ```text
//! VirtioNet --start--> Port { rx: [Receiver<ring, doorbell>], tx: [Sender<ring, doorbell>], control }
//!     ^--------------------------------- stop ------------------------------------------------'
//! ```
//!
//! Pairs of queues over split or packed rings, polled. The ring's format and the header are types, chosen at start in
//! `queues.rs`; the queues know neither the transport nor its registers.
//!
//! Deliberately absent: interrupts but for [`netdev::RxQueue::arm`] where the transport can wake a sleeper.

mod bring_up;
mod config_space;
mod control;
mod control_queue;
mod device;
mod hash;
mod header;
mod queues;
mod reset;
mod ring_memory;
mod running;
mod rx;
mod tx;

pub use device::{OpenError, VirtioNet};
pub(crate) use hash::HASH_BYTES;
pub use hash::HashReceiver;
pub use header::{PlainHeader, SpeakingHeader};
pub(crate) use queues::Queues;
pub use ring_memory::RingMemory;
