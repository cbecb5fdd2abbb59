//! Feature negotiation: what a device offers, a network function asks for and this driver implements, brought
//! together by a pure function.
//!
//! A bit is accepted only if it was offered and something here acts on it. An offload that was asked for and
//! cannot be had is an error, never silently missing.
#![forbid(unsafe_code)]

use bitflags::bitflags;
use netdev::{Config, MacAddress, Offloads, RingFeatures, RingFormat, RingLimits, StartFailure};

use crate::ring::RingOptions;

bitflags! {
    /// Feature bits of a network device (virtio 1.2, 5.1.3 and 6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// The device completes partial checksums on transmit.
        const CSUM = 1 << 0;
        /// The driver handles partial checksums on receive.
        const GUEST_CSUM = 1 << 1;
        /// The driver can switch receive offloads while the device runs.
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        /// The device states an MTU.
        const MTU = 1 << 3;
        /// The device has an address.
        const MAC = 1 << 5;
        /// The driver takes merged TCP over IPv4.
        const GUEST_TSO4 = 1 << 7;
        /// The driver takes merged TCP over IPv6.
        const GUEST_TSO6 = 1 << 8;
        /// The device cuts TCP over IPv4.
        const HOST_TSO4 = 1 << 11;
        /// The device cuts TCP over IPv6.
        const HOST_TSO6 = 1 << 12;
        /// A received frame may span several buffers.
        const MRG_RXBUF = 1 << 15;
        /// The device states whether the link is up.
        const STATUS = 1 << 16;
        /// The device has a control queue.
        const CTRL_VQ = 1 << 17;
        /// The control queue sets promiscuous and all-multicast mode, and address filters.
        const CTRL_RX = 1 << 18;
        /// The control queue sets VLAN filters.
        const CTRL_VLAN = 1 << 19;
        /// The control queue sets further receive modes.
        const CTRL_RX_EXTRA = 1 << 20;
        /// The device asks the driver to announce itself.
        const GUEST_ANNOUNCE = 1 << 21;
        /// The device has several pairs of queues.
        const MQ = 1 << 22;
        /// The control queue sets the device's address.
        const CTRL_MAC_ADDR = 1 << 23;
        /// A descriptor may name a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// Notifications are suppressed by index.
        const EVENT_IDX = 1 << 29;
        /// Not a legacy device.
        const VERSION_1 = 1 << 32;
        /// The platform limits or translates the device's addresses.
        const ACCESS_PLATFORM = 1 << 33;
        /// The device has packed rings.
        const RING_PACKED = 1 << 34;
        /// The device completes in order.
        const IN_ORDER = 1 << 35;
        /// A doorbell carries the ring's index.
        const NOTIFICATION_DATA = 1 << 38;
        /// One ring can be reset by itself.
        const RING_RESET = 1 << 40;
        /// The driver takes merged UDP over IPv4.
        const GUEST_USO4 = 1 << 54;
        /// The driver takes merged UDP over IPv6.
        const GUEST_USO6 = 1 << 55;
        /// The device cuts UDP.
        const HOST_USO = 1 << 56;
        /// The device reports the hash of a received packet.
        const HASH_REPORT = 1 << 57;
        /// The device spreads receive packets over its queues by a hash.
        const RSS = 1 << 60;
        /// Other bits exist.
        const _ = !0;
    }
}

impl Features {
    /// What of these a ring acts on. `offloads` is left for the caller: what the header of a frame may say is another
    /// in each direction.
    pub fn ring_options(self) -> RingOptions {
        RingOptions {
            event_idx: self.contains(Self::EVENT_IDX),
            indirect: self.contains(Self::INDIRECT_DESC),
            in_order: self.contains(Self::IN_ORDER),
            mergeable: self.contains(Self::MRG_RXBUF),
            offloads: Offloads::empty(),
        }
    }

    /// The same as [`netdev`] names them.
    pub fn ring_features(self) -> RingFeatures {
        RING_FEATURES
            .iter()
            .filter(|(bit, _)| self.contains(*bit))
            .fold(RingFeatures::empty(), |all, (_, feature)| all | *feature)
    }

    /// Those of them that this driver acts on.
    pub fn usable_ring_features(self) -> RingFeatures {
        (self & HARMLESS).ring_features()
    }

    /// The bits that stand for `features`.
    pub fn of_ring(features: RingFeatures) -> Self {
        RING_FEATURES
            .iter()
            .filter(|(_, feature)| features.contains(*feature))
            .fold(Self::empty(), |all, (bit, _)| all | *bit)
    }
}

/// Features of a ring, and their bits.
const RING_FEATURES: [(Features, RingFeatures); 7] = [
    (Features::IN_ORDER, RingFeatures::IN_ORDER),
    (Features::MRG_RXBUF, RingFeatures::MERGEABLE),
    (Features::INDIRECT_DESC, RingFeatures::INDIRECT),
    (Features::EVENT_IDX, RingFeatures::EVENT_IDX),
    (Features::NOTIFICATION_DATA, RingFeatures::NOTIFICATION_DATA),
    (Features::ACCESS_PLATFORM, RingFeatures::ACCESS_PLATFORM),
    (Features::RING_RESET, RingFeatures::RING_RESET),
];

/// Smallest MTU that a device may state (virtio 1.2, 5.1.4.1).
pub const MIN_MTU: u16 = 68;

/// Bytes of the header in front of each frame (virtio 1.2, 5.1.6).
pub const HEADER_BYTES: u16 = 12;

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

/// Offloads that this driver implements. None yet.
const IMPLEMENTED: Offloads = Offloads::empty();

/// Bits that are accepted wherever they are offered: what each asks of a driver is done here.
const HARMLESS: Features = Features::VERSION_1
    .union(Features::MAC)
    .union(Features::STATUS)
    .union(Features::EVENT_IDX)
    // Device addresses equal pointers, on every platform that Barewire runs on.
    .union(Features::ACCESS_PLATFORM);

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
}

impl Negotiated {
    /// What a ring acts on.
    pub fn ring_options(&self) -> RingOptions {
        RingOptions { offloads: self.offloads, ..self.features.ring_options() }
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
        IMPLEMENTED
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
    for asked in [config.rx_queues, config.tx_queues] {
        if asked == 0 || asked > offer.pairs {
            return Err(StartFailure::Queues { asked, max: offer.pairs });
        }
    }
    let missing = config.offloads.difference(offer.offloads());
    if !missing.is_empty() {
        return Err(StartFailure::Offloads(missing));
    }
    let rx_ring = ring_size(config.rx_ring, offer.rx_ring, DEFAULT_RX_RING)?;
    let tx_ring = ring_size(config.tx_ring, offer.tx_ring, DEFAULT_TX_RING)?;
    if limits.headroom < HEADER_BYTES {
        return Err(StartFailure::Headroom { needed: HEADER_BYTES, given: limits.headroom });
    }
    let max_frame = max_frame(offer, config, limits)?;
    let mut features = offer.features & HARMLESS;
    features -= Features::of_ring(config.ring_features_off);
    let missing = config.ring_features - features.ring_features();
    if !missing.is_empty() {
        return Err(StartFailure::RingFeatures(missing));
    }
    let ring_format = ring_format(offer, config)?;
    if ring_format == RingFormat::Packed {
        features |= Features::RING_PACKED;
    }
    // Who accepts an MTU promises buffers for it (virtio 1.2, 5.1.4.2).
    if offer.mtu.is_some() && u32::from(limits.room) >= offer.max_frame() {
        features |= offer.features & Features::MTU;
    }
    let offloads = config.offloads;
    Ok(Negotiated { features, offloads, max_frame, ring_format, rx_ring, tx_ring })
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

fn ring_size(asked: Option<u16>, limits: RingLimits, usual: u16) -> Result<u16, StartFailure> {
    let RingLimits { min, max } = limits;
    let size = asked.unwrap_or(max.min(usual));
    if size.is_power_of_two() && (min..=max).contains(&size) {
        Ok(size)
    } else {
        Err(StartFailure::RingSize { asked: size, min, max })
    }
}

/// What was asked for, if device and buffers allow it; else what the device says, as far as a buffer holds it.
fn max_frame(offer: &Offer, config: &Config, limits: &Limits) -> Result<u16, StartFailure> {
    let most = offer.max_frame().min(limits.room.into());
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
        assert_eq!(got.features, HARMLESS | Features::RING_PACKED);
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
        let config = Config { offloads: Offloads::TX_CHECKSUM, ..Config::default() };
        let failure = negotiate(&offer(Features::all()), &config, &POOL).unwrap_err();
        assert_eq!(failure, StartFailure::Offloads(Offloads::TX_CHECKSUM));
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

    proptest! {
        #[test]
        fn nothing_is_accepted_that_was_not_offered(
            bits in any::<u64>(),
            mtu in any::<Option<u16>>(),
            asked in any::<Option<u32>>(),
            room in 1u16..,
        ) {
            let device = Offer { mtu, ..offer(Features::from_bits_retain(bits)) };
            let config = Config { max_frame: asked, ..Config::default() };
            let limits = Limits { headroom: 128, room };
            if let Ok(got) = negotiate(&device, &config, &limits) {
                prop_assert!(device.features.contains(got.features));
                let implemented = HARMLESS | Features::MTU | Features::RING_PACKED;
                prop_assert!(implemented.contains(got.features));
                let packed = got.features.contains(Features::RING_PACKED);
                prop_assert_eq!(packed, got.ring_format == RingFormat::Packed);
                prop_assert!(got.features.contains(Features::VERSION_1));
                prop_assert!(got.max_frame <= room);
                prop_assert!(u32::from(got.max_frame) <= device.max_frame());
                if let Some(asked) = asked {
                    prop_assert_eq!(u32::from(got.max_frame), asked);
                }
            }
        }
    }
}
