//! Frames against a parser, against a naive oracle that builds each frame anew, and against damage.

use etherparse::{SlicedPacket, TransportSlice};
use netdev::MacAddress;
use proptest::prelude::*;

use super::*;
use crate::stamp::{DATA_MAGIC, PROBE_MAGIC};
use crate::stream::build::set;
use crate::stream::engine::{Engine, Motion};
use crate::stream::layout::{dissect, place, sums};

/// Frames of every protocol, with the fewest bytes that they and a stamp take.
const FRAMES: [(&str, u16); 16] = [
    ("ethernet", 60),
    ("ethernet/ipv4/udp", 60),
    ("ethernet/ipv4", 60),
    ("ethernet/ipv4/tcp", 72),
    ("ethernet/ipv4/icmp", 60),
    ("ethernet/ipv6/udp", 80),
    ("ethernet/ipv6/tcp", 92),
    ("ethernet/ipv6/icmp", 80),
    ("ethernet/arp", 60),
    ("ethernet/vlan(id=5,priority=3)/ipv4/udp", 64),
    ("ethernet/qinq(id=7)/vlan(id=8)/ipv4/udp", 68),
    ("ethernet/mpls(label=100)/mpls(label=200)/ipv4/udp", 68),
    ("ethernet/ipv4/udp/vxlan(vni=77)/ethernet/ipv4/udp", 110),
    ("ethernet/ipv6/udp/vxlan/ethernet/ipv6/tcp", 162),
    ("ethernet/ipv4/gre/ipv4/udp", 84),
    ("ethernet/ipv4/gre/ethernet/ipv4/tcp", 110),
];

struct Built {
    template: Template,
    motions: Vec<Motion>,
}

fn try_build(
    frame: &str,
    sizes: &[u16],
    fields: &[&str],
    how: fn(&mut TemplateConfig<'_>),
) -> Result<Built, String> {
    let frame: FrameSpec = frame.parse()?;
    let fields = fields.iter().map(|field| field.parse()).collect::<Result<Vec<FieldSpec>, _>>()?;
    let mut config = TemplateConfig {
        frame: &frame,
        sizes,
        fields: &fields,
        checksums: &Checksums::Correct,
        coverage: Coverage::WithoutMacs,
        stamped: true,
        source: MacAddress::local(1),
        destination: MacAddress::local(2),
        magic: DATA_MAGIC,
        stream: 1,
        run: 0x5a5a,
    };
    how(&mut config);
    compile(&config).map(|(template, motions)| Built { template, motions })
}

fn build(frame: &str, sizes: &[u16], fields: &[&str]) -> Built {
    try_build(frame, sizes, fields, |_| {}).unwrap()
}

impl Built {
    fn written(&self, shape: usize, sequence: u64, time: u32) -> Vec<u8> {
        let mut engine = Engine::new(self.motions.clone(), None);
        for _ in 0..sequence {
            engine.next();
        }
        let mut frame = vec![0xaa; self.template.size(shape)];
        self.template.write(shape, &mut frame, sequence, time, engine.next());
        frame
    }
}

fn ones_complement(bytes: impl Iterator<Item = u8>) -> u64 {
    let bytes: Vec<u8> = bytes.collect();
    bytes.chunks(2).map(|p| u64::from(p[0]) << 8 | u64::from(*p.get(1).unwrap_or(&0))).sum()
}

/// Every checksum of a frame, computed anew (RFC 1071): whether it is right.
fn checksums_hold(frame: &[u8]) -> Vec<(LayerName, bool)> {
    let layers = dissect(frame);
    let right = |sum: &crate::stream::layout::Sum| {
        let covered = sum.ranges.iter().cloned().flatten().map(|place| frame[place]);
        let total = ones_complement(covered) + sum.constant;
        (sum.kind.name(), folded(total) == 0xffff)
    };
    sums(frame, &layers).iter().map(right).collect()
}

type LayerName = &'static str;

#[test]
fn every_protocol_has_its_layers_and_right_checksums_at_every_size() {
    for (text, least) in FRAMES {
        let sizes: Vec<u16> = (least..least + 20).chain([1514]).collect();
        let built = build(text, &sizes, &[]);
        for shape in 0..sizes.len() {
            let frame = built.written(shape, 12_345, 678);
            let names: Vec<_> = dissect(&frame).iter().map(|layer| layer.kind.name()).collect();
            let wanted: Vec<_> = text.split('/').map(|l| l.split('(').next().unwrap()).collect();
            assert_eq!(names, wanted);
            let sums = checksums_hold(&frame);
            assert!(sums.iter().all(|(_, right)| *right), "{text} {}: {sums:?}", frame.len());
            let stamp = built.template.verify(&frame).expect("intact");
            assert_eq!((stamp.sequence, stamp.time, stamp.run), (12_345, 678, 0x5a5a), "{text}");
        }
        let error = try_build(text, &[least - 1], &[], |_| {}).err();
        assert!(error.is_some_and(|e| e.contains("too short")) || least == 60, "{text}");
    }
}

#[test]
fn an_independent_parser_agrees() {
    for (text, least) in FRAMES {
        let frame = build(text, &[least + 40], &[]).written(0, 3, 4);
        let parsed =
            SlicedPacket::from_ethernet(&frame).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let Some(ip) =
            parsed.net.as_ref().and_then(|net| net.ipv4_ref()).map(|ip| ip.header().to_header())
        else {
            continue;
        };
        assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "{text}");
        match parsed.transport {
            Some(TransportSlice::Udp(udp)) if udp.destination_port() != 4789 => {
                assert_eq!(
                    Ok(udp.checksum()),
                    udp.to_header().calc_checksum_ipv4(&ip, udp.payload())
                );
            }
            Some(TransportSlice::Tcp(tcp)) => {
                assert_eq!(
                    Ok(tcp.checksum()),
                    tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload())
                );
            }
            _ => {}
        }
    }
}

/// Fields of a frame with most things in it, and ranges for them.
const FIELDS: [&str; 12] = [
    "ethernet.source=inc:02:00:00:00:00:01-02:00:00:00:01:ff/3",
    "vlan.id=inc:1-4094/7",
    "vlan.priority=random:0-7",
    "ipv4.source=dec:10.0.0.1-10.0.255.254/17",
    "ipv4.destination=random:192.168.0.0-192.168.255.255@5",
    "ipv4.ttl=list:1,64,255",
    "ipv4.dscp=inc:0-63",
    "ipv4#2.source=random:10.0.0.0-10.255.255.255@9",
    "udp.source=inc:1-65535/101",
    "vxlan.vni=random:0-16777215@3",
    "udp#2.destination=dec:1-65535/11",
    "ethernet#2.destination=random:0-281474976710655@4",
];

proptest! {
    /// The oracle: the frame as it is built, each value set by itself, the checksums computed anew.
    #[test]
    fn patched_frames_are_those_that_are_built_anew(
        chosen in prop::collection::vec(any::<bool>(), 12), size in 114u16..200, sequence in 0u64..500, time in any::<u32>(),
        whole in any::<bool>(),
    ) {
        const TEXT: &str = "ethernet/vlan/ipv4/udp/vxlan/ethernet/ipv4/udp";
        let fields: Vec<&str> = FIELDS.iter().zip(&chosen).filter(|(_, c)| **c).map(|(f, _)| *f).collect();
        let how: fn(&mut TemplateConfig<'_>) = if whole { |c| c.coverage = Coverage::Whole } else { |_| {} };
        let built = try_build(TEXT, &[size], &fields, how).unwrap();
        let frame = built.written(0, sequence, time);

        let mut engine = Engine::new(built.motions.clone(), None);
        for _ in 0..sequence {
            engine.next();
        }
        let values = engine.next().to_vec();
        let mut expected = try_build(TEXT, &[size], &[], how).unwrap().written(0, sequence, time);
        for (field, value) in fields.iter().zip(values) {
            let name = field.split('=').next().unwrap();
            let place = place(&dissect(&expected), name).unwrap();
            set(&mut expected, place, u128::from(value)).unwrap();
        }
        // But for the checksums the two are equal; and those are right.
        let layers = dissect(&frame);
        let mut checks: Vec<usize> = sums(&frame, &layers).iter().flat_map(|s| [s.at, s.at + 1]).collect();
        checks.extend(frame.len() - 4..frame.len());
        for place in (0..frame.len()).filter(|place| !checks.contains(place)) {
            prop_assert_eq!(frame[place], expected[place], "byte {}", place);
        }
        for (layer, right) in checksums_hold(&frame) {
            prop_assert!(right, "{}", layer);
        }
        let stamp = built.template.verify(&frame).expect("intact");
        prop_assert_eq!(u64::from(stamp.sequence), sequence);
        prop_assert!(built.template.has_headers(&frame));
    }

    #[test]
    fn every_damaged_byte_is_noticed_and_the_frame_still_known(
        which in 0..FRAMES.len(), more in 0u16..70, place in any::<prop::sample::Index>(), change in 1u8.., whole in any::<bool>(),
    ) {
        let how: fn(&mut TemplateConfig<'_>) = if whole { |c| c.coverage = Coverage::Whole } else { |_| {} };
        let (text, least) = FRAMES[which];
        let built = try_build(text, &[least + more], &[], how).unwrap();
        let mut frame = built.written(0, 7, 9);
        let place = place.index(frame.len());
        frame[place] ^= change;
        let free = !whole && place < 12;
        prop_assert_eq!(built.template.verify(&frame).is_some(), free, "{} byte {}", text, place);
        prop_assert!(built.template.resembles(&frame));
    }
}

#[test]
fn longer_or_shorter_is_damaged_too() {
    let built = build("ethernet/ipv4/udp", &[64, 70], &[]);
    let mut frame = built.written(0, 1, 2);
    frame.push(0);
    assert!(built.template.verify(&frame).is_none() && built.template.resembles(&frame));
    frame.truncate(63);
    assert!(built.template.verify(&frame).is_none() && built.template.resembles(&frame));
    frame.truncate(20);
    assert!(!built.template.resembles(&frame), "too short to be known");
    let mut other = built.written(1, 1, 2);
    other.truncate(64);
    assert!(built.template.verify(&other).is_none(), "the length of another size");
}

#[test]
fn others_frames_are_not_ours_and_those_of_another_run_are_told() {
    let data = build("ethernet/ipv4/udp", &[64], &[]).template;
    let other = |how| try_build("ethernet/ipv4/udp", &[64], &[], how).unwrap().written(0, 3, 4);
    let probe = other(|config| config.magic = PROBE_MAGIC);
    assert!(data.verify(&probe).is_none() && !data.resembles(&probe));
    let stream = other(|config| config.stream = 2);
    assert!(data.verify(&stream).is_none() && !data.resembles(&stream));
    for run in [0, 1, 0xffff] {
        let how: fn(&mut TemplateConfig<'_>) = match run {
            0 => |c| c.run = 0,
            1 => |c| c.run = 1,
            _ => |c| c.run = 0xffff,
        };
        assert_eq!(data.verify(&other(how)).map(|stamp| stamp.run), Some(run));
    }
    assert!(!data.resembles(&[0xff; 64]) && !data.resembles(&[]));
}

#[test]
fn wrong_checksums_are_wrong_and_the_others_right() {
    let wrong = |config: &mut TemplateConfig<'_>| {
        static UDP: std::sync::LazyLock<Checksums> =
            std::sync::LazyLock::new(|| "wrong:udp".parse().unwrap());
        config.checksums = &UDP;
    };
    let built = try_build("ethernet/ipv4/udp", &[64], &["udp.source=inc:1-60000"], wrong).unwrap();
    for sequence in 0..3000 {
        let frame = built.written(0, sequence, 5);
        assert_eq!(checksums_hold(&frame), [("udp", false), ("ipv4", true)]);
        assert!(built.template.verify(&frame).is_some(), "wrong as it was sent is intact");
        assert_ne!(frame[40..42], [0, 0], "zero would say that there is none");
    }
}

#[test]
fn a_frame_without_stamp_and_fields_never_changes() {
    let built =
        try_build("ethernet/ipv4/tcp(flags=2)", &[60], &[], |config| config.stamped = false)
            .unwrap();
    let frame = built.written(0, 0, 0);
    assert_eq!(frame, built.written(0, 99, 98));
    assert!(checksums_hold(&frame).iter().all(|(_, right)| *right));
    assert_eq!(frame[47], 2, "SYN");
    assert!(built.template.verify(&frame).is_none() && built.template.has_headers(&frame));
}

#[test]
fn addresses_of_ipv6_vary_in_their_lowest_bits() {
    let built =
        build("ethernet/ipv6/udp", &[80], &["ipv6.source=inc:2001:db8::1-2001:db8::ffff:ffff"]);
    let frame = built.written(0, 300, 0);
    let source: [u8; 16] = frame[22..38].try_into().unwrap();
    assert_eq!(
        std::net::Ipv6Addr::from(source),
        "2001:db8::12d".parse::<std::net::Ipv6Addr>().unwrap()
    );
    assert!(checksums_hold(&frame)[0].1);
    let error =
        try_build("ethernet/ipv6/udp", &[80], &["ipv6.source=inc:2001:db8::-2001:db9::"], |_| {});
    assert!(error.err().unwrap().contains("lowest 48 bits"));
}

#[test]
fn bytes_become_frames_with_named_fields() {
    let plain = build("ethernet/ipv4/udp", &[90], &[]).written(0, 0, 0);
    let digits: String = plain.iter().map(|byte| format!("{byte:02x}")).collect();
    let built = build(
        &format!("hex:{digits}"),
        &[90],
        &["ipv4.source=inc:1.2.3.4-1.2.3.9", "@50+2=inc:0-999"],
    );
    let frame = built.written(0, 2, 0);
    assert_eq!((&frame[26..30], &frame[50..52]), (&[1, 2, 3, 6][..], &[0, 2][..]));
    assert!(checksums_hold(&frame).iter().all(|(_, right)| *right));
    assert!(built.template.verify(&frame).is_some());
}

#[test]
fn fields_that_cannot_be_are_refused_in_words() {
    for (field, words) in [
        ("tcp.source=1", "has no layer tcp; it has ethernet, ipv4, udp"),
        ("udp#2.source=1", "no layer udp#2"),
        ("udp.port=1", "accepted: source, destination"),
        ("udp=1", "accepted: LAYER.FIELD"),
        ("udp.source=65536", "does not fit 16 bits"),
        ("udp.source=inc:0-65536", "does not fit 16 bits"),
        ("ipv4.dscp=inc:0-64", "does not fit 6 bits"),
        ("@60+4=inc:0-9", "in its stamp"),
        ("@9999+2=1", "beyond the end"),
        ("@40+2=inc:0-9", "is a checksum"),
        ("@32+4=inc:0-9", "crosses the border"),
        ("@10+9=1", "accepted: @OFFSET+WIDTH"),
    ] {
        let error = try_build("ethernet/ipv4/udp", &[64], &[field], |_| {}).err().expect(field);
        assert!(error.contains(words), "{field}: {error}");
    }
    let twice = ["udp.source=inc:1-9", "@34+1=inc:1-9"];
    let error = try_build("ethernet/ipv4/udp", &[64], &twice, |_| {}).err().unwrap();
    assert!(error.contains("two fields vary"), "{error}");
    let sizes: Vec<u16> = (60..=30_000).collect();
    assert!(
        try_build("ethernet/ipv4/udp", &sizes, &[], |_| {})
            .err()
            .unwrap()
            .contains("too many to keep")
    );
}
