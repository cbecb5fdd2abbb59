//! What a network function asks of a device.

use crate::{Offloads, RingFeatures, RingFormat};

/// How to start a device. `Config::default()` is one queue each way, the driver's own ring sizes and no
/// offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number that received packets carry as [`Netbuf::port`](netbuf::Netbuf::port).
    pub port: u16,
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Entries of each receive ring; `None`: the device's own size, at most 256.
    pub rx_ring: Option<u16>,
    /// Entries of each transmit ring; `None`: the device's own size, at most 1,024.
    pub tx_ring: Option<u16>,
    /// The layout of the rings; start fails where it cannot be had. Devices without virtio rings pass over it.
    pub ring_format: RingFormat,
    /// What the rings must do; start fails without. What is named neither here nor in
    /// [`ring_features_off`](Self::ring_features_off) is the driver's choice.
    pub ring_features: RingFeatures,
    /// What the rings must not do, though the device offers it.
    pub ring_features_off: RingFeatures,
    /// Offloads that must be had; start fails without them.
    pub offloads: Offloads,
    /// Largest frame to receive and send, in bytes, L2 header included, FCS excluded; `None`: what the
    /// device says, as far as one buffer of the pool holds it.
    pub max_frame: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 0,
            rx_queues: 1,
            tx_queues: 1,
            rx_ring: None,
            tx_ring: None,
            ring_format: RingFormat::Any,
            ring_features: RingFeatures::empty(),
            ring_features_off: RingFeatures::empty(),
            offloads: Offloads::empty(),
            max_frame: None,
        }
    }
}
