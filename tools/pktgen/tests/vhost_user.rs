//! The real ports: a vhost-user back end and a virtio-user front end on one socket, in one thread, so that each is
//! the other's peer.

use std::ops::ControlFlow;
use std::time::Duration;

use pktgen::{Capture, FrameSize, Options, PortSpec, Rate, Replay, Report, Runner};

/// `server`: which of the two listens.
fn ports(name: &str, back_end_listens: bool) -> [PortSpec; 2] {
    let socket = std::env::temp_dir().join(format!("pktgen-{}-{name}", std::process::id()));
    let (a, b) = if back_end_listens { (",server", "") } else { ("", ",server") };
    let socket = socket.display();
    [format!("vhost-user:{socket}{a}"), format!("virtio-user:{socket}{b}")]
        .map(|spec| spec.parse().unwrap())
}

fn run(ports: &[PortSpec], options: Options) -> Report {
    let mut runner = Runner::open(ports, options).unwrap();
    let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
    println!("{report}");
    report
}

#[test]
fn frames_go_both_ways_through_the_rings_whoever_listens() {
    for (name, back_end_listens) in [("back", true), ("front", false)] {
        for size in [60, 64, 1518] {
            let size = FrameSize::new(size).unwrap();
            let options = Options {
                size,
                rate: Rate::Packets(500_000),
                count: Some(20_000),
                ..Options::default()
            };
            let report = run(&ports(name, back_end_listens), options);
            assert!(report.is_clean(), "{report}");
            assert!(report.directions.iter().all(|d| d.received == 20_000), "{report}");
        }
    }
}

/// Nothing is said of queues on the ports: the driver's side has as many as there are threads, or as are asked for.
#[test]
fn each_thread_or_each_queue_has_a_pair_of_its_own() {
    let cores = plat_linux::allowed_cores().unwrap();
    let options =
        Options { rate: Rate::Packets(100_000), count: Some(10_001), ..Options::default() };
    let one_thread = Options { queues: 2, ..options.clone() };
    let mut all = vec![("queues", one_thread)];
    match cores[..] {
        [a, b, ..] => all.push(("cores", Options { cores: vec![a, b], ..options })),
        _ => println!("skipped: two threads need two cores, and there is one"),
    }
    for (name, options) in all {
        for back_end_listens in [true, false] {
            let ports = ports(name, back_end_listens);
            let report = run(&ports, options.clone());
            for d in &report.directions {
                assert_eq!((d.sent, d.received), (10_001, 10_001), "{report}");
            }
            // One thread sends a stream through both queues in turn: one may run ahead of the other.
            let harmless = ["lost==0", "duplicated==0", "corrupted==0", "misdirected==0"];
            report.expect(&harmless).unwrap();
            assert!(report.is_clean() || options.queues == 2, "{report}");
            assert_eq!(report.ports[1].name, ports[1].to_string(), "named as it was named");
        }
    }
}

/// VERSION_1 and RING_PACKED (virtio 1.2, section 6).
const VERSION_1: u64 = 1 << 32;
const RING_PACKED: u64 = 1 << 34;

#[test]
fn a_report_has_the_feature_bits_that_both_ends_agreed_on() {
    for (name, packed) in [("split-bits", 0), ("packed-bits", 1)] {
        let mut ports = ports(name, true);
        ports[1] = format!("{},packed_vq={packed}", ports[1]).parse().unwrap();
        let report = run(&ports, Options { count: Some(100), ..Options::default() });
        for port in &report.ports {
            let bits = port.feature_bits.as_ref().and_then(|text| text.strip_prefix("0x")).unwrap();
            let bits = u64::from_str_radix(bits, 16).unwrap();
            assert_eq!(bits & VERSION_1, VERSION_1, "{port:?}");
            assert_eq!(bits & RING_PACKED != 0, packed == 1, "{port:?}");
        }
    }
    let report = pktgen::Offer::at("max").count(10).through(&["discard"]).unwrap();
    assert_eq!(report.ports[0].feature_bits, None);
}

#[test]
fn an_option_that_leaves_a_core_without_a_queue_is_a_usage_error() {
    for role in ["vhost-user", "virtio-user"] {
        let port: PortSpec = format!("{role}:/nonexistent/socket,queues=1").parse().unwrap();
        let options = Options { cores: vec![0, 1], ..Options::default() };
        let error = Runner::open(&[port], options).err().expect("refused");
        assert!(error.is_usage(), "{error}");
        assert!(error.to_string().contains("accepted: queues=2 or more"), "{error}");
    }
}

#[test]
fn as_fast_as_possible_loses_nothing_between_two_rings() {
    let options = Options {
        rate: Rate::Max,
        duration: Some(Duration::from_millis(300)),
        ..Options::default()
    };
    let report = run(&ports("max", true), options);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_replayed_capture_with_large_frames_comes_back_or_is_named() {
    let frames = (0..200u16).map(|n| {
        let mut frame = vec![0x55; 60 + 20 * usize::from(n)];
        frame[20..22].copy_from_slice(&n.to_be_bytes());
        frame
    });
    let replay = Replay { capture: Capture::from_frames(frames).unwrap(), compare: true };
    let report =
        run(&ports("replay", true), Options { replay: Some(replay), ..Options::default() });
    for d in &report.directions {
        let unsent: u64 = d.not_sent.values().sum();
        assert_eq!(
            (d.received + unsent, d.lost, d.corrupted, d.reordered),
            (200, 0, 0, 0),
            "{report}"
        );
    }
}
