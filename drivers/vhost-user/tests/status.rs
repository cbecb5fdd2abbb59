//! The device status (virtio 1.2, 2.1) as our back end keeps it, under a scripted front end. What our front end makes of a
//! back end's is in hostile_back_end.rs.

mod support;

use support::{Bench, FEATURES, Guest, Peer};
use vhost_user::Violation;
use vhost_user::message::Request;

const STATUS: u64 = 1 << 16;
/// ACKNOWLEDGE and DRIVER; and with FEATURES_OK; and with DRIVER_OK.
const DRIVER: u64 = 3;
const AGREED: u64 = 11;
const RUNNING: u64 = 15;
const NEEDS_RESET: u64 = 64;

/// Writes a status; what is read afterwards.
fn write(bench: &mut Bench, peer: &mut Peer, status: u64) -> u64 {
    peer.send_u64(Request::SetStatus, status);
    peer.ask(bench, Request::GetStatus)
}

fn connect(bench: &mut Bench) -> Peer {
    let mut peer = bench.connect();
    assert_eq!(peer.ask(bench, Request::GetProtocolFeatures) & STATUS, STATUS);
    peer.send_u64(Request::SetProtocolFeatures, STATUS);
    assert_eq!(peer.ask(bench, Request::GetStatus), 0);
    peer
}

#[test]
fn features_ok_stands_for_features_that_the_device_can_work_with() {
    let mut bench = Bench::new("features-ok");
    let mut peer = connect(&mut bench);
    // None; those of a legacy driver; good ones.
    assert_eq!(write(&mut bench, &mut peer, AGREED), DRIVER);
    peer.send_u64(Request::SetFeatures, FEATURES & !(1 << 32));
    assert_eq!(write(&mut bench, &mut peer, AGREED), DRIVER);
    peer.send_u64(Request::SetFeatures, FEATURES);
    assert_eq!(write(&mut bench, &mut peer, AGREED), AGREED);
    assert_eq!(write(&mut bench, &mut peer, RUNNING), RUNNING);
    // FAILED is the driver's to say.
    assert_eq!(write(&mut bench, &mut peer, RUNNING | 128), RUNNING | 128);
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn zero_stops_the_rings_and_forgets_the_features() {
    let mut bench = Bench::new("status-zero");
    let mut peer = connect(&mut bench);
    for _ in 0..3 {
        let mut guest = Guest::new();
        peer.start_pairs(&[&guest], FEATURES);
        assert_eq!(write(&mut bench, &mut peer, RUNNING), RUNNING);
        guest.exchange(&mut bench, 40);
        assert_eq!(write(&mut bench, &mut peer, 0), 0);
        assert!(!bench.port.control.link().up);
        assert_eq!(write(&mut bench, &mut peer, AGREED), DRIVER);
        assert_eq!(write(&mut bench, &mut peer, 0), 0);
    }
    assert_eq!((bench.monitor.connections(), bench.monitor.violations()), (1, 0));
}

#[test]
fn a_broken_ring_needs_a_reset_and_nothing_else_does() {
    let mut bench = Bench::new("needs-reset");
    let mut peer = connect(&mut bench);
    let guest = Guest::new();
    peer.start_pairs(&[&guest], FEATURES);
    // The driver cannot say it.
    assert_eq!(write(&mut bench, &mut peer, RUNNING | NEEDS_RESET), RUNNING);
    // More entries than the ring has.
    guest.ring(1).store_avail_index(1000);
    bench.poll();
    assert_eq!(peer.ask(&mut bench, Request::GetStatus), RUNNING | NEEDS_RESET);
    assert_eq!(write(&mut bench, &mut peer, 0), 0);
    let mut guest = Guest::new();
    peer.start_pairs(&[&guest], FEATURES);
    assert_eq!(write(&mut bench, &mut peer, RUNNING), RUNNING);
    guest.exchange(&mut bench, 40);
}

#[test]
fn statuses_that_cannot_be() {
    let mut bench = Bench::new("status-bad");
    for status in [0x100, u64::from(u32::MAX), u64::MAX] {
        bench.expect_quickly(Violation::Value(Request::SetStatus), |_, peer| {
            peer.send_u64(Request::SetProtocolFeatures, STATUS);
            peer.send_u64(Request::SetStatus, status);
        });
    }
    for request in [Request::SetStatus, Request::GetStatus] {
        bench.expect_quickly(Violation::NotNegotiated(request), |_, peer| {
            peer.send_u64(request, 1);
        });
    }
    let request = Request::GetStatus;
    bench.expect_quickly(Violation::Size { request, size: 8 }, |_, peer| {
        peer.send_u64(Request::SetProtocolFeatures, STATUS);
        peer.send_u64(request, 0);
    });
    bench.expect(Violation::Size { request: Request::SetStatus, size: 1 }, |_, peer| {
        peer.send_u64(Request::SetProtocolFeatures, STATUS);
        peer.send(Request::SetStatus, &[1], &[]);
    });
}
