//! Virtqueues: each format in a folder of its own, with the driver half and the device half side by side.

mod driver;
pub mod split;

pub use driver::{
    Addresses, Header, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup, Transmitted,
};
