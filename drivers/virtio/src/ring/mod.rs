//! Virtqueues: each format in a folder of its own, with the driver half and the device half side by side.

mod assembly;
mod command;
mod copy_in;
mod copy_out;
mod device;
mod driver;
mod frame;
mod header;
mod options;
mod outgoing;
mod pace;
pub mod packed;
mod request;
pub mod split;
mod table;
mod window;

pub(crate) use command::CommandRing;
pub use device::DeviceHalf;
pub use driver::{
    Addresses, Header, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup, Transmitted,
};
pub use options::RingOptions;
pub use pace::Pace;
pub use table::table_bytes;
