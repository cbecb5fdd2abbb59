//! Feature negotiation: what a device offers, a network function asks for and this driver implements, brought
//! together by a pure function.
//!
//! A bit is accepted only if it was offered and something here acts on it. An offload that was asked for and
//! cannot be had is an error, never silently missing.
#![forbid(unsafe_code)]

use netdev::{Config, MacAddress, Offloads, RingFeatures, RingFormat, RingLimits, StartFailure};

use super::{CONTROL, Features, HARMLESS, HEADER_BYTES, ON_REQUEST, SPEAKING};
use crate::net::HASH_BYTES;
use crate::ring::RingOptions;

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;

/// The format where the configuration leaves the choice and the device has both. A packed ring takes a few more
/// instructions per packet (bench/gates.json) and moves fewer cache lines between the cores. In a loop of both halves,
/// each on a core of its own, it moved 1.6 times the packets (median of 16 interleaved pairs, 0.8 to 4.8, on a busy
/// 2-core EPYC virtual machine, 2026-11-23); `bench`'s versus-dpdk is to confirm that on a quiet one.
const PREFERRED: RingFormat = RingFormat::Packed;

/// Entries of a receive ring, where they are not asked for: few enough for its packets to stay in a cache.
const DEFAULT_RX_RING: u16 = 256;

/// Entries of a transmit ring, where they are not asked for: a peer that pauses finds room for several receive rings
/// behind it, so that a forwarder need not drop.
const DEFAULT_TX_RING: u16 = 1024;

/// What an offload needs of a device, and which further ones come with it.
struct Need {
    offload: Offloads,
    features: Features,
    brings: Offloads,
}

/// The offloads that this driver implements.
const NEEDS: [Need; 12] = [
    Need { offload: Offloads::TX_CHECKSUM, features: Features::CSUM, brings: Offloads::empty() },
    Need {
        offload: Offloads::RX_CHECKSUM,
        features: Features::GUEST_CSUM,
        brings: Offloads::empty(),
    },
    // Who cuts completes the checksums.
    Need {
        offload: Offloads::TX_TSO4,
        features: Features::HOST_TSO4.union(Features::CSUM),
        brings: Offloads::TX_CHECKSUM,
    },
    Need {
        offload: Offloads::TX_TSO6,
        features: Features::HOST_TSO6.union(Features::CSUM),
        brings: Offloads::TX_CHECKSUM,
    },
    Need {
        offload: Offloads::TX_USO,
        features: Features::HOST_USO.union(Features::CSUM),
        brings: Offloads::TX_CHECKSUM,
    },
    // What was merged is larger than any buffer (virtio 1.2, 5.1.6.3.1), and its checksum partial.
    Need {
        offload: Offloads::RX_LRO,
        features: Features::GUEST_TSO4
            .union(Features::GUEST_TSO6)
            .union(Features::GUEST_CSUM)
            .union(Features::MRG_RXBUF),
        brings: Offloads::RX_CHECKSUM.union(Offloads::RX_CHAINS),
    },
    Need {
        offload: Offloads::RX_USO,
        features: Features::GUEST_USO4
            .union(Features::GUEST_USO6)
            .union(Features::GUEST_CSUM)
            .union(Features::MRG_RXBUF),
        brings: Offloads::RX_CHECKSUM.union(Offloads::RX_CHAINS),
    },
    Need {
        offload: Offloads::TX_CHAINS,
        features: Features::INDIRECT_DESC,
        brings: Offloads::empty(),
    },
    Need { offload: Offloads::RX_CHAINS, features: Features::MRG_RXBUF, brings: Offloads::empty() },
    Need {
        offload: Offloads::RX_VLAN_FILTER,
        features: Features::CTRL_VLAN.union(Features::CTRL_VQ),
        brings: Offloads::empty(),
    },
    Need {
        offload: Offloads::RSS_HASH,
        features: Features::HASH_REPORT.union(Features::CTRL_VQ),
        brings: Offloads::empty(),
    },
    Need {
        offload: Offloads::RX_RSS,
        features: Features::RSS.union(Features::CTRL_VQ),
        brings: Offloads::empty(),
    },
];

/// Those of [`NEEDS`] that a device with `features` does.
pub(super) fn possible(features: Features) -> Offloads {
    NEEDS
        .iter()
        .filter(|need| features.contains(need.features))
        .fold(Offloads::empty(), |all, need| all | need.offload)
}

/// Most buffers of one received frame (see assembly.rs).
const MOST_BUFFERS: u32 = 256;

/// What a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Offered bits.
    pub features: Features,
    /// Its address, if it states one that a port can have.
    pub mac: Option<MacAddress>,
    /// Its IP MTU in bytes, if it states one.
    pub mtu: Option<u16>,
    /// Pairs of queues.
    pub pairs: u16,
    /// Sizes of a receive ring.
    pub rx_ring: RingLimits,
    /// Sizes of a transmit ring.
    pub tx_ring: RingLimits,
}

/// What the receive buffers allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in front of a frame.
    pub headroom: u16,
    /// Bytes of a frame in one buffer, L2 header included, FCS excluded.
    pub room: u16,
}

/// What both sides agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Accepted bits.
    pub features: Features,
    /// Offloads in force.
    pub offloads: Offloads,
    /// Largest frame in bytes, L2 header included, FCS excluded.
    pub max_frame: u16,
    /// The rings' format: split or packed.
    pub ring_format: RingFormat,
    /// Entries of a receive ring.
    pub rx_ring: u16,
    /// Entries of a transmit ring.
    pub tx_ring: u16,
    /// Receive queues in use.
    pub rx_queues: u16,
    /// Transmit queues in use; not more.
    pub tx_queues: u16,
    /// The number of the control queue, if there is one.
    pub control: Option<u16>,
}

impl Negotiated {
    /// What a ring acts on.
    pub fn ring_options(&self) -> RingOptions {
        RingOptions { offloads: self.offloads, ..self.features.ring_options() }
    }

    /// Largest frame as rings see it, in bytes: behind the hash, where one is reported, is the frame.
    pub(crate) fn max_ring_frame(&self) -> u16 {
        self.max_frame.saturating_add(self.hash_bytes())
    }

    /// Bytes of hash between a header and its frame.
    pub(crate) fn hash_bytes(&self) -> u16 {
        if self.offloads.contains(Offloads::RSS_HASH) { HASH_BYTES } else { 0 }
    }

    /// Whether the device may say something of a received frame in its header.
    pub fn headers_speak(&self) -> bool {
        self.features.intersects(SPEAKING)
    }
}

impl Offer {
    /// Largest frame that the device can be asked for, in bytes, L2 header included, FCS excluded. A device
    /// that states no MTU takes whatever fits a buffer.
    pub fn max_frame(&self) -> u32 {
        u32::from(self.mtu.unwrap_or(u16::MAX)) + ETHERNET
    }

    /// Formats that the rings can have: always split, unless something says otherwise.
    pub fn ring_format(&self) -> RingFormat {
        if self.features.contains(Features::RING_PACKED) {
            RingFormat::Any
        } else {
            RingFormat::Split
        }
    }

    /// Features of the rings that can be had.
    pub fn ring_features(&self) -> RingFeatures {
        self.features.usable_ring_features()
    }

    /// Offloads that can be had.
    pub fn offloads(&self) -> Offloads {
        self.features.offloads()
    }
}

/// Brings `offer` and `config` together.
///
/// # Errors
/// What stands in the way, in the order in which it would be found on the wire: the device's version first.
pub fn negotiate(
    offer: &Offer,
    config: &Config,
    limits: &Limits,
) -> Result<Negotiated, StartFailure> {
    if !offer.features.contains(Features::VERSION_1) {
        return Err(StartFailure::Device("a legacy device: VIRTIO_F_VERSION_1 is not offered"));
    }
    let (rx_queues, tx_queues) = (config.rx_queues, config.tx_queues);
    for asked in [rx_queues, tx_queues] {
        if asked == 0 || asked > offer.pairs {
            return Err(StartFailure::Queues { asked, max: offer.pairs });
        }
    }
    if tx_queues > rx_queues {
        return Err(StartFailure::QueuePairs { rx: rx_queues, tx: tx_queues });
    }
    let allowed = offer.features.consistent() - Features::of_ring(config.ring_features_off);
    let missing = config.offloads - possible(allowed);
    if !missing.is_empty() {
        return Err(StartFailure::Offloads(missing));
    }
    let (mut features, offloads) = accept(allowed, config);
    let missing = config.ring_features - features.ring_features();
    if !missing.is_empty() {
        return Err(StartFailure::RingFeatures(missing));
    }
    let rx_ring = ring_size(config.rx_ring, offer.rx_ring, DEFAULT_RX_RING)?;
    let tx_ring = ring_size(config.tx_ring, offer.tx_ring, DEFAULT_TX_RING)?;
    let hash = if offloads.contains(Offloads::RSS_HASH) { HASH_BYTES } else { 0 };
    let header = HEADER_BYTES + hash;
    if limits.headroom < header {
        return Err(StartFailure::Headroom { needed: header, given: limits.headroom });
    }
    let room = if offloads.contains(Offloads::RX_CHAINS) {
        u32::from(limits.room) * u32::from(rx_ring).min(MOST_BUFFERS)
    } else {
        limits.room.into()
    };
    // (A hash lies where a frame begins: net/hash.rs.)
    let room = room.saturating_sub(hash.into());
    let max_frame = max_frame(offer, config, room)?;
    let ring_format = ring_format(offer, config)?;
    if ring_format == RingFormat::Packed {
        features |= Features::RING_PACKED;
    }
    // Who accepts an MTU promises buffers for it (virtio 1.2, 5.1.4.2).
    if offer.mtu.is_some() && room >= offer.max_frame() {
        features |= offer.features & Features::MTU;
    }
    let control = control_queue(features, offer.pairs);
    Ok(Negotiated {
        features,
        offloads,
        max_frame,
        ring_format,
        rx_ring,
        tx_ring,
        rx_queues,
        tx_queues,
        control,
    })
}

/// Bits to accept of those that are `allowed`, but for the rings' format and the MTU, and the offloads in force.
fn accept(allowed: Features, config: &Config) -> (Features, Offloads) {
    let mut wanted = HARMLESS | CONTROL | (Features::of_ring(config.ring_features) & ON_REQUEST);
    if config.rx_queues > 1 {
        wanted |= Features::MQ;
    }
    let mut offloads = config.offloads;
    for need in NEEDS.iter().filter(|need| config.offloads.contains(need.offload)) {
        wanted |= need.features;
        offloads |= need.brings;
    }
    (allowed & wanted, offloads)
}

/// The number of the control queue: behind all pairs that the device has, or behind the one pair of a device that is
/// not told that there may be several (virtio 1.2, 5.1.2).
fn control_queue(features: Features, pairs: u16) -> Option<u16> {
    let pairs = if features.has_pairs() { pairs } else { 1 };
    if features.contains(Features::CTRL_VQ) { pairs.checked_mul(2) } else { None }
}

/// The format to be in force.
fn ring_format(offer: &Offer, config: &Config) -> Result<RingFormat, StartFailure> {
    match (config.ring_format, offer.ring_format()) {
        (RingFormat::Any, RingFormat::Any) => Ok(PREFERRED),
        (RingFormat::Any, only) => Ok(only),
        (asked, offered) if offered == RingFormat::Any || offered == asked => Ok(asked),
        (asked, _) => Err(StartFailure::RingFormat(asked)),
    }
}

/// So many entries as are `asked` for, or as are `usual`, if a ring can have them.
pub(crate) fn ring_size(
    asked: Option<u16>,
    limits: RingLimits,
    usual: u16,
) -> Result<u16, StartFailure> {
    let RingLimits { min, max } = limits;
    let size = asked.unwrap_or(max.min(usual));
    if size.is_power_of_two() && (min..=max).contains(&size) {
        Ok(size)
    } else {
        Err(StartFailure::RingSize { asked: size, min, max })
    }
}

/// What was asked for, if the device and `room` bytes allow it; else what the device says, as far as these hold it.
fn max_frame(offer: &Offer, config: &Config, room: u32) -> Result<u16, StartFailure> {
    let most = offer.max_frame().min(room).min(u16::MAX.into());
    let frame = config.max_frame.unwrap_or(most);
    match u16::try_from(frame) {
        Ok(fits) if (ETHERNET..=most).contains(&frame) => Ok(fits),
        _ => Err(StartFailure::MaxFrame { asked: frame, max: most }),
    }
}

#[cfg(test)]
mod tests;
