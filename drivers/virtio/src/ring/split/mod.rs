//! The split virtqueue (virtio 1.2, 2.7).

mod chain;
mod device;
mod device_receive;
mod device_transmit;
mod driver;
mod layout;
#[cfg(target_arch = "x86_64")]
mod wide;

pub use device::{DeviceOptions, HEADER_LEN, Indexes, SplitDevice};
pub(super) use device::{
    ETHERNET_HEADER, HEADER_BYTES, SHORT_HEADER, SHORTEST, Wide, wide as detect,
};
pub(super) use driver::place;
pub use driver::{SplitReceive, SplitTransmit, ring_bytes};
pub use layout::{Desc, RingSize, SplitRing, UsedElem, flags};
