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
const NEEDS: [Need; 11] = [
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offer(features: Features) -> Offer {
        Offer {
            features,
            mac: None,
            mtu: None,
            pairs: 1,
            rx_ring: RingLimits { min: 1, max: 1024 },
            tx_ring: RingLimits { min: 1, max: 64 },
        }
    }

    const POOL: Limits = Limits { headroom: 128, room: 2048 };

    #[test]
    fn the_usual_device() {
        let all = Features::all();
        let got = negotiate(&offer(all), &Config::default(), &POOL).unwrap();
        assert_eq!(got.features, HARMLESS | CONTROL | Features::RING_PACKED);
        assert_eq!(got.control, Some(2));
        assert_eq!(got.ring_format, RingFormat::Packed);
        assert_eq!((got.rx_ring, got.tx_ring, got.max_frame), (256, 64, 2048));
    }

    #[test]
    fn a_legacy_device_is_refused() {
        let legacy = offer(Features::all() - Features::VERSION_1);
        let failure = negotiate(&legacy, &Config::default(), &POOL).unwrap_err();
        assert!(matches!(failure, StartFailure::Device(text) if text.contains("VERSION_1")));
    }

    #[test]
    fn offloads_that_cannot_be_had_are_named() {
        for need in &NEEDS {
            let config = Config { offloads: need.offload, ..Config::default() };
            let got = negotiate(&offer(Features::all()), &config, &POOL).unwrap();
            assert!(got.features.contains(need.features), "{}", need.offload);
            assert_eq!(got.offloads, need.offload | need.brings);
            for bit in need.features.iter() {
                let failure = negotiate(&offer(Features::all() - bit), &config, &POOL).unwrap_err();
                assert_eq!(failure, StartFailure::Offloads(need.offload), "without {bit:?}");
            }
        }
        // A hash takes room from the frame, in a buffer and in front of it.
        let config = Config { offloads: Offloads::RSS_HASH, ..Config::default() };
        let got = negotiate(&offer(Features::all()), &config, &POOL).unwrap();
        assert_eq!((got.max_frame, got.max_ring_frame()), (2040, 2048));
        let tight = Limits { headroom: 19, room: 2048 };
        let failure = negotiate(&offer(Features::all()), &config, &tight).unwrap_err();
        assert_eq!(failure, StartFailure::Headroom { needed: 20, given: 19 });
    }

    #[test]
    fn an_offload_and_a_ban_on_what_it_needs() {
        let config = Config {
            offloads: Offloads::RX_CHAINS | Offloads::TX_CHECKSUM,
            ring_features_off: RingFeatures::MERGEABLE,
            ..Config::default()
        };
        let failure = negotiate(&offer(Features::all()), &config, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::Offloads(Offloads::RX_CHAINS));
    }

    #[test]
    fn what_costs_something_is_had_on_request() {
        let all = RingFeatures::IN_ORDER
            | RingFeatures::MERGEABLE
            | RingFeatures::INDIRECT
            | RingFeatures::EVENT_IDX
            | RingFeatures::NOTIFICATION_DATA
            | RingFeatures::ACCESS_PLATFORM
            | RingFeatures::RING_RESET;
        assert_eq!(all, RingFeatures::all());
        let config = Config { ring_features: all, ..Config::default() };
        let got = negotiate(&offer(Features::all()), &config, &POOL).unwrap();
        assert_eq!(got.features.ring_features(), all);
        assert!(got.headers_speak());
    }

    #[test]
    fn jumbo_frames_need_chains() {
        let device = Offer { mtu: Some(9000), ..offer(Features::all()) };
        let jumbo = Config { max_frame: Some(9014), ..Config::default() };
        let failure = negotiate(&device, &jumbo, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::MaxFrame { asked: 9014, max: 2048 });
        let chains = Config { offloads: Offloads::RX_CHAINS, ..jumbo };
        let got = negotiate(&device, &chains, &POOL).unwrap();
        assert_eq!(got.max_frame, 9014);
        assert!(got.features.contains(Features::MTU | Features::MRG_RXBUF));
        // The whole ring does not hold such a frame.
        let small = Config { rx_ring: Some(4), ..chains };
        let failure = negotiate(&device, &small, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::MaxFrame { asked: 9014, max: 8192 });
    }

    #[test]
    fn the_ring_format_is_chosen_or_refused() {
        use RingFormat::{Any, Packed, Split};
        let (both, old) = (offer(Features::all()), offer(Features::all() - Features::RING_PACKED));
        for (device, asked, chosen) in [
            (both, Any, Ok(PREFERRED)),
            (both, Split, Ok(Split)),
            (both, Packed, Ok(Packed)),
            (old, Any, Ok(Split)),
            (old, Split, Ok(Split)),
            (old, Packed, Err(StartFailure::RingFormat(Packed))),
        ] {
            let config = Config { ring_format: asked, ..Config::default() };
            let got = negotiate(&device, &config, &POOL);
            assert_eq!(got.map(|got| got.ring_format), chosen, "{asked}");
            if let Ok(got) = got {
                let packed = got.features.contains(Features::RING_PACKED);
                assert_eq!(packed, got.ring_format == Packed);
            }
        }
    }

    #[test]
    fn an_mtu_is_accepted_only_with_buffers_for_it() {
        let base = offer(Features::all());
        for (mtu, accepted, frame) in [
            (68, true, 82),
            (1500, true, 1514),
            (2034, true, 2048),
            (2035, false, 2048),
            (65535, false, 2048),
        ] {
            let device = Offer { mtu: Some(mtu), ..base };
            let got = negotiate(&device, &Config::default(), &POOL).unwrap();
            assert_eq!(got.features.contains(Features::MTU), accepted, "{mtu}");
            assert_eq!(u32::from(got.max_frame), frame, "{mtu}");
        }
        let device = Offer { mtu: Some(1500), ..base };
        let config = Config { max_frame: Some(1515), ..Config::default() };
        let failure = negotiate(&device, &config, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::MaxFrame { asked: 1515, max: 1514 });
    }

    #[test]
    fn queues_rings_and_headroom_have_limits() {
        let device = offer(Features::all());
        let fails =
            |config: Config, limits: Limits| negotiate(&device, &config, &limits).unwrap_err();
        let none = Config { rx_queues: 0, ..Config::default() };
        assert_eq!(fails(none, POOL), StartFailure::Queues { asked: 0, max: 1 });
        let two = Config { tx_queues: 2, ..Config::default() };
        assert_eq!(fails(two, POOL), StartFailure::Queues { asked: 2, max: 1 });
        let four = Offer { pairs: 4, ..device };
        let failure = negotiate(&four, &two, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::QueuePairs { rx: 1, tx: 2 });
        let three = Config { rx_queues: 3, ..two };
        let got = negotiate(&four, &three, &POOL).unwrap();
        assert_eq!((got.rx_queues, got.tx_queues, got.control), (3, 2, Some(8)));
        assert!(got.features.contains(Features::MQ));
        for asked in [0, 3, 2048] {
            let ring = Config { rx_ring: Some(asked), ..Config::default() };
            assert_eq!(fails(ring, POOL), StartFailure::RingSize { asked, min: 1, max: 1024 });
        }
        let tight = Limits { headroom: 0, ..POOL };
        assert_eq!(
            fails(Config::default(), tight),
            StartFailure::Headroom { needed: 12, given: 0 }
        );
    }

    /// An eighth of the bits.
    fn few() -> impl Strategy<Value = u32> {
        any::<[u32; 3]>().prop_map(|[one, two, three]| one & two & three)
    }

    proptest! {
        #[test]
        fn nothing_is_accepted_that_was_not_offered(
            bits in (any::<u64>(), any::<u64>()).prop_map(|(one, two)| one | two),
            mtu in any::<Option<u16>>(),
            asked in any::<Option<u32>>(),
            room in 1u16..,
            offloads in few().prop_map(Offloads::from_bits_truncate),
            on in few().prop_map(RingFeatures::from_bits_truncate),
            off in few().prop_map(RingFeatures::from_bits_truncate),
        ) {
            let device = Offer { mtu, ..offer(Features::from_bits_retain(bits)) };
            let config = Config {
                max_frame: asked,
                offloads,
                ring_features: on,
                ring_features_off: off,
                ..Config::default()
            };
            let limits = Limits { headroom: 128, room };
            if let Ok(got) = negotiate(&device, &config, &limits) {
                prop_assert!(device.features.contains(got.features));
                let base = HARMLESS | CONTROL | ON_REQUEST | Features::MTU | Features::RING_PACKED;
                let implemented = NEEDS.iter().fold(base, |all, need| all | need.features);
                prop_assert!(implemented.contains(got.features));
                let ring_features = got.features.ring_features();
                prop_assert!(ring_features.contains(on) && !ring_features.intersects(off));
                prop_assert!(got.offloads.contains(offloads));
                prop_assert_eq!(got.features.consistent(), got.features);
                prop_assert_eq!(got.offloads - possible(got.features), Offloads::empty());
                let packed = got.features.contains(Features::RING_PACKED);
                prop_assert_eq!(packed, got.ring_format == RingFormat::Packed);
                prop_assert!(got.features.contains(Features::VERSION_1));
                let chains = got.offloads.contains(Offloads::RX_CHAINS);
                prop_assert!(chains || got.max_frame <= room);
                prop_assert!(u32::from(got.max_frame) <= device.max_frame());
                if let Some(asked) = asked {
                    prop_assert_eq!(u32::from(got.max_frame), asked);
                }
            }
        }
    }
}
