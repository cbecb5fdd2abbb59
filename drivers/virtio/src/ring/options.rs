//! What was negotiated that a ring, of either format and in either half, acts on.
#![forbid(unsafe_code)]

use netdev::Offloads;

/// The negotiated features of one ring. The default is a ring without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingOptions {
    /// `VIRTIO_F_EVENT_IDX`: notifications by index instead of by flag.
    pub event_idx: bool,
    /// `VIRTIO_F_INDIRECT_DESC`: a descriptor may name a table of descriptors.
    pub indirect: bool,
    /// `VIRTIO_F_IN_ORDER`: the device uses buffers in the order in which they were made available.
    pub in_order: bool,
    /// `VIRTIO_NET_F_MRG_RXBUF`: a frame may span several of the driver's receive buffers.
    pub mergeable: bool,
    /// What the header in front of a frame may ask for or say.
    pub offloads: Offloads,
}

impl RingOptions {
    /// No feature.
    pub const NONE: Self = Self {
        event_idx: false,
        indirect: false,
        in_order: false,
        mergeable: false,
        offloads: Offloads::empty(),
    };

    /// Notifications by index, nothing else.
    pub const EVENT_IDX: Self = Self { event_idx: true, ..Self::NONE };

    /// Tables of descriptors, nothing else.
    pub const INDIRECT: Self = Self { indirect: true, ..Self::NONE };
}
