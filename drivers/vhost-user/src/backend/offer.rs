//! What our back end offers to a front end: only what it does.

use netdev::{Config, Offloads, RingFeatures, RingFormat};
use virtio::features::Features;
use virtio::ring::RingOptions;

use crate::message::{feature, protocol};

/// The offer of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// What the port was asked to do.
    offloads: Offloads,
}

/// What each offload of the port lets a front end accept, beside checksums in the same direction, on which it rests
/// (virtio 1.2, 5.1.3.1). What the port receives the driver sends: it calls the port's `RX` its own `HOST`.
const CUTTING: [(Offloads, Features); 5] = [
    (Offloads::RX_LRO, Features::HOST_TSO4.union(Features::HOST_TSO6)),
    (Offloads::RX_USO, Features::HOST_USO),
    (Offloads::TX_TSO4, Features::GUEST_TSO4),
    (Offloads::TX_TSO6, Features::GUEST_TSO6),
    (Offloads::TX_USO, Features::GUEST_USO4.union(Features::GUEST_USO6)),
];

/// The same of checksums.
const CHECKSUMS: [(Offloads, Features); 2] =
    [(Offloads::RX_CHECKSUM, Features::CSUM), (Offloads::TX_CHECKSUM, Features::GUEST_CSUM)];

/// What is received larger than any buffer.
const MERGED: Offloads = Offloads::RX_LRO.union(Offloads::RX_USO);

/// The checksum offload that a cutting one rests on.
const fn basis(cutting: Offloads) -> Offloads {
    let receives = cutting.intersects(MERGED);
    if receives { Offloads::RX_CHECKSUM } else { Offloads::TX_CHECKSUM }
}

impl Offer {
    /// What the rings can do.
    pub(crate) const RING_FEATURES: RingFeatures = RingFeatures::EVENT_IDX
        .union(RingFeatures::INDIRECT)
        .union(RingFeatures::IN_ORDER)
        .union(RingFeatures::MERGEABLE);

    /// What the port can do.
    pub(crate) const OFFLOADS: Offloads = Offloads::all().difference(Self::WITHOUT);

    /// What a back end has no say in: front ends keep their control queue to themselves.
    const WITHOUT: Offloads =
        Offloads::RSS_HASH.union(Offloads::RX_RSS).union(Offloads::RX_VLAN_FILTER);

    /// What we offer for frames up to `max_frame`.
    pub(crate) fn new(queue_pairs: u16, max_frame: u16, config: &Config) -> Self {
        let ring_format = config.ring_format;
        let packed = match ring_format {
            RingFormat::Split => Features::empty(),
            _ => Features::RING_PACKED,
        };
        let several = if queue_pairs > 1 { Features::MQ } else { Features::empty() };
        Self {
            // QEMU passes `host_mtu=` on only where the back end has MTU.
            features: (Features::VERSION_1
                | Features::of_ring(Self::RING_FEATURES - config.ring_features_off)
                | Self::offloading(config.offloads)
                | Features::MTU
                | several
                | packed)
                .bits()
                | feature::PROTOCOL_FEATURES,
            protocol: protocol::MQ
                | protocol::REPLY_ACK
                | protocol::RARP
                | protocol::MTU
                | protocol::STATUS
                | protocol::INFLIGHT_SHMFD
                | protocol::RESET_DEVICE
                | protocol::CONFIGURE_MEM_SLOTS,
            queue_pairs,
            max_frame,
            ring_format,
            offloads: config.offloads,
        }
    }

    /// What of `asked` cannot be had: a merged frame is larger than any buffer, and so needs chains.
    pub(crate) fn missing(asked: Offloads) -> Offloads {
        let chains = asked.contains(Offloads::RX_CHAINS);
        let missing = asked - Self::OFFLOADS;
        if chains { missing } else { missing | asked & MERGED }
    }

    /// The bits that offer these.
    fn offloading(offloads: Offloads) -> Features {
        let cutting = CUTTING.iter().filter(|(offload, _)| offloads.contains(*offload));
        let needed = cutting.clone().fold(offloads, |all, (offload, _)| all | basis(*offload));
        let checksums = CHECKSUMS.iter().filter(|(offload, _)| needed.contains(*offload));
        checksums.chain(cutting).fold(Features::empty(), |all, (_, bits)| all | *bits)
    }

    /// What `features`, as a front end accepted them, mean for its rings.
    pub(crate) fn ring_options(&self, features: Features) -> RingOptions {
        // (Chains are the port's alone.)
        let ours = self.offloads & (Offloads::RX_CHAINS | Offloads::TX_CHAINS);
        let checksums = CHECKSUMS.iter().filter(|(_, bits)| features.contains(*bits));
        let checksums = checksums.fold(Offloads::empty(), |all, (offload, _)| all | *offload);
        let cutting = CUTTING.iter().filter(|(offload, bits)| {
            checksums.contains(basis(*offload)) && features.intersects(*bits)
        });
        let offloads = cutting.fold(ours | checksums, |all, (offload, _)| all | *offload);
        RingOptions { offloads, ..features.ring_options() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(offloads: Offloads) -> Offer {
        Offer::new(1, 1518, &Config { offloads, ..Config::default() })
    }

    /// Who accepts all that is offered gets what was asked for, and who accepts nothing gets nothing.
    #[test]
    fn each_offload_is_offered_where_it_was_asked_for_with_what_it_rests_on() {
        let bits = |offloads| Features::from_bits_retain(offer(offloads).features);
        let none = bits(Offloads::empty());
        for (asked, offered) in [
            (Offloads::RX_CHECKSUM, Features::CSUM),
            (Offloads::TX_CHECKSUM, Features::GUEST_CSUM),
            (Offloads::RX_LRO, Features::CSUM | Features::HOST_TSO4 | Features::HOST_TSO6),
            (Offloads::RX_USO, Features::CSUM | Features::HOST_USO),
            (Offloads::TX_TSO4, Features::GUEST_CSUM | Features::GUEST_TSO4),
            (Offloads::TX_TSO6, Features::GUEST_CSUM | Features::GUEST_TSO6),
            (Offloads::TX_USO, Features::GUEST_CSUM | Features::GUEST_USO4 | Features::GUEST_USO6),
            (Offloads::RX_CHAINS | Offloads::TX_CHAINS, Features::empty()),
        ] {
            assert_eq!(bits(asked) - none, offered, "{asked}");
            let offer = offer(asked);
            assert!(offer.ring_options(bits(asked)).offloads.contains(asked), "{asked}");
            let refused = offer.ring_options(none).offloads;
            assert_eq!(refused, asked & (Offloads::RX_CHAINS | Offloads::TX_CHAINS));
            // Cutting without checksums is not to be accepted (virtio 1.2, 5.1.3.1).
            let alone = bits(asked) - Features::CSUM - Features::GUEST_CSUM;
            assert_eq!(offer.ring_options(alone).offloads, refused, "{asked}");
        }
    }

    #[test]
    fn merged_frames_are_not_to_be_had_without_chains() {
        assert_eq!(Offer::missing(MERGED | Offloads::TX_USO), MERGED);
        assert_eq!(Offer::missing(Offer::OFFLOADS), Offloads::empty());
        assert_eq!(Offer::missing(Offloads::all()), Offer::WITHOUT);
    }
}
