//! The packed virtqueue (virtio 1.2, 2.8): one ring of descriptors, which both sides write.
//!
//! Sizes are powers of two here, as they are for split rings. The format allows others, but no device that we
//! know asks for one, and so a wrap counter is one bit of a free-running position.

mod chain;
mod device;
mod device_receive;
mod device_transmit;
mod driver;
mod layout;
pub(super) mod pair;
mod position;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use device::PackedDevice;
pub(super) use driver::place;
pub use driver::{PackedReceive, PackedTransmit, ring_bytes};
pub use layout::{Desc, Event, PackedRing, flags};
