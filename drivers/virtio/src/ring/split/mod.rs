//! The split virtqueue (virtio 1.2, 2.7).

mod layout;

pub use layout::{Desc, RingSize, SplitRing, UsedElem, flags};
