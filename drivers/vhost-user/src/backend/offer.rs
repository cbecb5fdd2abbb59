//! What our back end offers to a front end: only what it does.

use netdev::{Config, RingFeatures, RingFormat};
use virtio::features::Features;

use crate::message::{feature, protocol};

/// The offer of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Virtio features.
    pub(crate) features: u64,
    /// Protocol features.
    pub(crate) protocol: u64,
    /// Pairs of a receive and a transmit ring.
    pub(crate) queue_pairs: u16,
    /// Largest frame, in bytes, L2 header included, FCS excluded.
    pub(crate) max_frame: u16,
    /// What the rings can be.
    pub(crate) ring_format: RingFormat,
}

impl Offer {
    /// What the rings can do.
    pub(crate) const RING_FEATURES: RingFeatures =
        RingFeatures::EVENT_IDX.union(RingFeatures::INDIRECT);

    /// What we offer for frames up to `max_frame`.
    pub(crate) fn new(queue_pairs: u16, max_frame: u16, config: &Config) -> Self {
        let ring_format = config.ring_format;
        let packed = match ring_format {
            RingFormat::Split => Features::empty(),
            _ => Features::RING_PACKED,
        };
        Self {
            // QEMU passes `host_mtu=` on only where the back end has MTU.
            features: (Features::VERSION_1
                | Features::of_ring(Self::RING_FEATURES - config.ring_features_off)
                | Features::MTU
                | packed)
                .bits()
                | feature::PROTOCOL_FEATURES,
            protocol: protocol::MQ | protocol::REPLY_ACK | protocol::MTU | protocol::STATUS,
            queue_pairs,
            max_frame,
            ring_format,
        }
    }
}
