//! `SEND_RARP`: a front end has its guest announced; our back end receives the broadcast in the guest's place, and our
//! front end asks for it when its caller does.

mod support;
#[path = "support/user.rs"]
mod user;

use std::time::Instant;

use netdev::{Armed, Burst, Config, Device, MacAddress, Unsupported};
use support::{Bench, Guest, PATIENCE, Peer, frame, pool, socket_path};
use user::{User, pass};
use vhost_user::message::Request;
use vhost_user::{VhostUserBackend, Violation};

const RARP: u64 = 1 << 2;
/// The address 02:11:22:33:44:55 in the first six bytes.
const PAYLOAD: u64 = 0x5544_3322_1102;

/// What a switch has to see (RFC 903), byte by byte.
fn broadcast(mac: [u8; 6]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
    frame.extend(mac);
    frame.extend([0; 4]);
    frame.extend(mac);
    frame.resize(60, 0);
    frame
}

fn connect(bench: &mut Bench) -> (Peer, Guest) {
    let guest = Guest::new();
    let mut peer = bench.connect();
    assert_eq!(peer.ask(bench, Request::GetProtocolFeatures) & RARP, RARP);
    peer.start_like_dpdk(bench, &guest);
    (peer, guest)
}

#[test]
fn a_guest_is_announced_once_and_traffic_goes_on() {
    let mut bench = Bench::new("rarp");
    let (mut peer, mut guest) = connect(&mut bench);
    for asked in 1..=3 {
        // (What stands behind the address means nothing.)
        let payload = (PAYLOAD | 0xdead << 48).to_le_bytes();
        peer.send(Request::SendRarp, &payload, &[]);
        let frames = bench.poll_until(|frames| !frames.is_empty());
        assert_eq!(frames, [broadcast([2, 0x11, 0x22, 0x33, 0x44, 0x55])]);
        assert_eq!(bench.monitor.announcements(), asked);
        assert_eq!(bench.poll(), [[0u8; 0]; 0]);
        guest.exchange(&mut bench, 20);
    }
    let stats = bench.port.rx[0].stats();
    assert_eq!((stats.packets, stats.drops.total()), (3 + 3 * 20, 0));
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn who_would_sleep_receives_it_first() {
    let mut bench = Bench::new("rarp-sleep");
    let (mut peer, _guest) = connect(&mut bench);
    peer.send(Request::SendRarp, &PAYLOAD.to_le_bytes(), &[]);
    let deadline = Instant::now() + PATIENCE;
    while bench.monitor.announcements() == 0 {
        assert!(Instant::now() < deadline);
        let _ = bench.port.rx[0].arm();
    }
    assert_eq!(bench.port.rx[0].arm(), Armed::PacketsPending);
    let mut burst = Burst::new();
    assert_eq!(bench.port.rx[0].rx_burst(&mut burst), 1);
    assert_eq!(bench.port.rx[0].arm(), Armed::Armed);
}

#[test]
fn without_a_buffer_it_waits_for_one() {
    let mut bench = Bench::new("rarp-empty");
    let (mut peer, _guest) = connect(&mut bench);
    let mut held: Vec<_> = std::iter::from_fn(|| bench.pool.alloc()).collect();
    peer.send(Request::SendRarp, &PAYLOAD.to_le_bytes(), &[]);
    peer.expect_alive(&mut bench);
    assert_eq!(bench.poll(), [[0u8; 0]; 0]);
    held.pop();
    assert_eq!(bench.poll_until(|frames| !frames.is_empty()).len(), 1);
}

#[test]
fn addresses_that_no_port_has() {
    let mut bench = Bench::new("rarp-bad");
    for payload in [0, 0xffff_ffff_ffff, 0x0000_0000_0001, 0xffff << 48] {
        bench.expect_quickly(Violation::Value(Request::SendRarp), |_, peer| {
            peer.send_u64(Request::SetProtocolFeatures, RARP);
            peer.send_u64(Request::SendRarp, payload);
        });
    }
    let request = Request::SendRarp;
    for size in [0, 6, 7, 9] {
        bench.expect_quickly(Violation::Size { request, size }, |_, peer| {
            peer.send_u64(Request::SetProtocolFeatures, RARP);
            peer.send(request, &vec![2; size], &[]);
        });
    }
    bench.expect(Violation::NotNegotiated(request), |_, peer| {
        peer.send_u64(request, PAYLOAD);
    });
    assert_eq!(bench.monitor.announcements(), 0);
}

#[test]
fn our_front_end_asks_our_back_end() {
    let path = socket_path("rarp-pair");
    let mut user = User::connect(&path);
    let nobody = Err(Unsupported("announcements: there is no peer that takes SEND_RARP"));
    assert_eq!(user.port.control.announce(), nobody);
    let pool = pool(1024);
    let device = Box::new(VhostUserBackend::listen(&path).unwrap());
    let monitor = device.monitor();
    let mut back = device.start(&Config::default(), &pool).unwrap();
    let frames: Vec<_> = (0..100).map(|number| frame(number, 60)).collect();
    pass(&mut user.port, &user.pool, &mut back, &frames);
    assert_eq!(user.port.control.announce(), Ok(()));
    let MacAddress(mac) = user.port.info.mac;
    let (mut burst, deadline) = (Burst::new(), Instant::now() + PATIENCE);
    while back.rx[0].rx_burst(&mut burst) == 0 {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(burst[0].bytes(), broadcast(mac));
    assert_eq!(monitor.announcements(), 1);
    // The other way there is nobody to ask.
    assert!(back.control.announce().is_err());
}
