//! Virtqueues: each format in a folder of its own, with the driver half and the device half side by side.

mod device;
mod driver;
mod frame;
mod options;
pub mod packed;
pub mod split;
mod window;

pub use device::DeviceHalf;
pub use driver::{
    Addresses, Header, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup, Transmitted,
};
pub use options::RingOptions;
