//! Virtqueues: each format in a folder of its own, with the driver half and the device half side by side.

pub mod split;
