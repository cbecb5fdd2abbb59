//! What is agreed with devices of every kind, and what is refused in which words.

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

/// Bits that nothing here acts on.
const REFUSED: [Features; 16] = [
    Features::GUEST_ECN,
    Features::GUEST_UFO,
    Features::HOST_ECN,
    Features::HOST_UFO,
    Features::NOTIFY_ON_EMPTY,
    Features::ANY_LAYOUT,
    Features::SR_IOV,
    Features::NOTIF_CONFIG_DATA,
    Features::ADMIN_VQ,
    Features::DEVICE_STATS,
    Features::HASH_TUNNEL,
    Features::VQ_NOTF_COAL,
    Features::NOTF_COAL,
    Features::GUEST_HDRLEN,
    Features::RSC_EXT,
    Features::STANDBY,
];

/// What is accepted of a device that offers everything, where everything is asked for.
fn most() -> Features {
    let pairs = Offer { pairs: 2, ..offer(Features::all()) };
    let config = Config {
        offloads: Offloads::all(),
        ring_features: RingFeatures::all(),
        rx_queues: 2,
        tx_queues: 2,
        ..Config::default()
    };
    negotiate(&Offer { mtu: Some(1500), ..pairs }, &config, &POOL).unwrap().features
}

#[test]
fn every_bit_with_a_name_is_accepted_on_request_or_refused() {
    let refused = REFUSED.iter().fold(Features::empty(), |all, bit| all | *bit);
    let accepted = most();
    assert_eq!(accepted & refused, Features::empty());
    let named = Features::all().iter_names().fold(0, |all, (_, bit)| all | bit.bits());
    assert_eq!((accepted | refused).bits(), named);
    assert_eq!(refused.iter_names().count(), REFUSED.len());
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
    let fails = |config: Config, limits: Limits| negotiate(&device, &config, &limits).unwrap_err();
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
    assert_eq!(fails(Config::default(), tight), StartFailure::Headroom { needed: 12, given: 0 });
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
