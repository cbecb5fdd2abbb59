//! vhost-user: a virtio device or driver in another process, over a socket and shared memory.
//!
//! Three parts, one protocol:
//! - the codec ([`message`], [`channel`]): framing, descriptors, typed requests;
//! - [`VhostUserBackend`]: the *device* half, as a [`netdev::Device`]. QEMU's virtio-net or DPDK's virtio-user
//!   is its peer;
//! - [`VhostUserFrontend`]: the *driver* half, as a transport for virtio-net, and [`VirtioUser`], which is both
//!   as a device that survives its peer.
//!
//! Nothing that a peer says or writes is trusted; what it may do wrong is [`Violation`], and costs it the
//! connection, never us the process. Control messages are handled on the polling threads, between bursts: there is no
//! thread of our own, and nobody on the packet path waits for a lock. The back end comes apart into lanes
//! ([`netdev::Device::split`]), one pair of queues each, that share the connection and are polled by different threads.
//!
//! Deliberately absent: live migration, which needs every write to a guest's memory in a log (`VHOST_F_LOG_ALL`, LOG_SHMFD:
//! neither is offered, and `SET_LOG_BASE` and `SET_LOG_FD` end the connection), and post-copy; devices other than network.

mod backend;
pub mod channel;
pub mod endpoint;
pub mod event;
mod frontend;
mod inflight;
mod mapping;
pub mod message;
mod monitor;
mod preset;
mod request;
mod sigbus;
mod try_lock;
mod violation;

pub use backend::VhostUserBackend;
pub use endpoint::{Endpoint, EndpointError};
pub use frontend::{EventDoorbell, SharedMemory, VhostUserFrontend, VirtioUser, VirtioUserError};
pub use inflight::InflightDescription;
pub use monitor::Monitor;
pub use preset::Preset;
pub use violation::Violation;

use netdev::MacAddress;

/// A local address that is the same for the same path (FNV-1a), so that each socket has its own.
fn mac_of(path: &std::path::Path) -> MacAddress {
    let hash = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    MacAddress::local(hash)
}
