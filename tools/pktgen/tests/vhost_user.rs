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
