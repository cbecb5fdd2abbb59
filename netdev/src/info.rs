//! What a device is and can do.

use core::fmt;

use bitflags::bitflags;

use crate::MacAddress;

bitflags! {
    /// Work that a device can take off the network function.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Offloads: u32 {
        /// Completes partial TCP and UDP checksums on transmit.
        const TX_CHECKSUM = 1 << 0;
        /// Verifies TCP and UDP checksums on receive, or delivers them partial.
        const RX_CHECKSUM = 1 << 1;
        /// Cuts TCP over IPv4 on transmit.
        const TX_TSO4 = 1 << 2;
        /// Cuts TCP over IPv6 on transmit.
        const TX_TSO6 = 1 << 3;
        /// Cuts UDP on transmit.
        const TX_USO = 1 << 4;
        /// Delivers merged TCP segments.
        const RX_LRO = 1 << 5;
        /// Delivers the receive-side-scaling hash.
        const RSS_HASH = 1 << 6;
        /// Sends packets of more than one segment.
        const TX_CHAINS = 1 << 7;
        /// Receives frames larger than a buffer, as chains.
        const RX_CHAINS = 1 << 8;
        /// Delivers, of frames with a VLAN tag, only those of VLANs that `Control::set_vlan` lets pass.
        const RX_VLAN_FILTER = 1 << 9;
        /// Spreads received packets over the queues as `Control::set_rss` says.
        const RX_RSS = 1 << 10;
        /// Delivers UDP datagrams of one flow as one packet ([`GsoKind::UdpL4`](netbuf::GsoKind::UdpL4)).
        const RX_USO = 1 << 11;
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("none") } else { bitflags::parser::to_writer(self, f) }
    }
}

/// Sizes that a ring can have, in entries; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Fewest entries.
    pub min: u16,
    /// Most entries.
    pub max: u16,
}

/// The layout of a virtio ring (virtio 1.2, 2.7 and 2.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RingFormat {
    /// Asked for: whichever the driver finds better. Offered: either. In force: the device has no such rings.
    #[default]
    Any,
    /// Three tables: descriptors, and what either side has done with them.
    Split,
    /// One ring of descriptors that both sides write.
    Packed,
}

impl fmt::Display for RingFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Split => "split",
            Self::Packed => "packed",
        })
    }
}

bitflags! {
    /// What a virtio ring can do beside moving one buffer per frame (virtio 1.2, 6). Devices without such rings have none.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct RingFeatures: u32 {
        /// Buffers are used in the order in which they were made available (`VIRTIO_F_IN_ORDER`).
        const IN_ORDER = 1 << 0;
        /// A received frame may span several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
        const MERGEABLE = 1 << 1;
        /// A descriptor may name a table of descriptors (`VIRTIO_F_INDIRECT_DESC`).
        const INDIRECT = 1 << 2;
        /// Notifications are suppressed by index (`VIRTIO_F_EVENT_IDX`).
        const EVENT_IDX = 1 << 3;
        /// A doorbell carries the ring's index (`VIRTIO_F_NOTIFICATION_DATA`).
        const NOTIFICATION_DATA = 1 << 4;
        /// The platform limits or translates the device's addresses (`VIRTIO_F_ACCESS_PLATFORM`).
        const ACCESS_PLATFORM = 1 << 5;
        /// One ring can be reset by itself (`VIRTIO_F_RING_RESET`).
        const RING_RESET = 1 << 6;
    }
}

impl fmt::Display for RingFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("none") } else { bitflags::parser::to_writer(self, f) }
    }
}

/// A device's identity, limits and offers; of a started port: what is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The driver, such as `virtio-net`.
    pub driver: &'static str,
    /// The device's own address.
    pub mac: MacAddress,
    /// Largest frame, in bytes, L2 header included, FCS excluded.
    pub max_frame: u32,
    /// Bytes of headroom that the driver needs in front of a frame on transmit.
    pub headroom: u16,
    /// Receive queues that can be had (started: that are there).
    pub rx_queues: u16,
    /// Transmit queues that can be had (started: that are there).
    pub tx_queues: u16,
    /// Receive rings.
    pub rx_ring: RingLimits,
    /// Transmit rings.
    pub tx_ring: RingLimits,
    /// What the rings can be (started: what they are).
    pub ring_format: RingFormat,
    /// What the rings can do (started: what they do).
    pub ring_features: RingFeatures,
    /// Offloads offered (started: negotiated).
    pub offloads: Offloads,
}
