//! Memory that comes and goes region by region, and a device that is reset, under a scripted front end.

mod support;

use std::os::fd::AsFd;

use netdev::{Burst, DropCause};
use support::{Bench, FEATURES, Guest, Peer, frame};
use vhost_user::Violation;
use vhost_user::message::{MemRegion, Request, encode, flag};

const REPLY_ACK: u64 = 1 << 3;
const RESET_DEVICE: u64 = 1 << 13;
const SLOTS: u64 = 1 << 15;

/// Connected, with these protocol features, and told of no memory.
fn connect(bench: &mut Bench) -> Peer {
    let mut peer = bench.connect();
    let offered = peer.ask(bench, Request::GetProtocolFeatures);
    let wanted = REPLY_ACK | RESET_DEVICE | SLOTS;
    assert_eq!(offered & wanted, wanted);
    peer.send_u64(Request::SetProtocolFeatures, wanted);
    peer
}

fn add(bench: &mut Bench, peer: &mut Peer, guest: &Guest) {
    let slot = guest.region().slot_bytes();
    assert_eq!(peer.acknowledged(bench, Request::AddMemReg, &slot, &[guest.file.as_fd()]), 0);
}

fn remove(bench: &mut Bench, peer: &mut Peer, guest: &Guest) {
    let slot = guest.region().slot_bytes();
    assert_eq!(peer.acknowledged(bench, Request::RemMemReg, &slot, &[]), 0);
}

fn start_rings(bench: &mut Bench, peer: &mut Peer, guest: &Guest) {
    peer.send_u64(Request::SetFeatures, FEATURES);
    for ring in 0..2u8 {
        peer.start_ring(guest, ring);
        peer.send_state(Request::SetVringEnable, ring.into(), 1);
    }
    peer.expect_alive(bench);
}

#[test]
fn regions_come_and_go_under_traffic() {
    let mut bench = Bench::new("slots");
    let (mut guest, other) = (Guest::new(), Guest::of_pair(1));
    let mut peer = connect(&mut bench);
    assert_eq!(peer.ask(&mut bench, Request::GetMaxMemSlots), 8);
    add(&mut bench, &mut peer, &guest);
    start_rings(&mut bench, &mut peer, &guest);
    guest.exchange(&mut bench, 40);
    add(&mut bench, &mut peer, &other);
    guest.exchange(&mut bench, 40);
    remove(&mut bench, &mut peer, &other);
    guest.exchange(&mut bench, 40);
    // Without the rings' own memory they stand still; with it they go on where they stood.
    remove(&mut bench, &mut peer, &guest);
    assert!(!bench.port.control.link().up);
    guest.transmit(&frame(1, 80));
    assert_eq!(bench.poll(), [[0u8; 0]; 0]);
    add(&mut bench, &mut peer, &guest);
    assert_eq!(bench.poll_until(|frames| !frames.is_empty()), [frame(1, 80)]);
    guest.exchange(&mut bench, 40);
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn slots_that_cannot_be_end_the_connection() {
    let mut bench = Bench::new("bad-slots");
    let guest = Guest::new();
    let good = guest.region();
    let too_many = |bench: &mut Bench, peer: &mut Peer| {
        for slot in 0..9 {
            let region = Guest::of_pair(slot).region();
            let message = encode(Request::AddMemReg as u32, flag::NEED_REPLY, &region.slot_bytes());
            peer.send_raw(&message, &[guest.file.as_fd()]);
            if slot < 8 {
                peer.reply(bench, Request::AddMemReg);
            }
        }
    };
    bench.expect(Violation::Value(Request::AddMemReg), |bench, peer| {
        peer.send_u64(Request::SetProtocolFeatures, SLOTS | REPLY_ACK);
        too_many(bench, peer);
    });
    let unknown = MemRegion { size: good.size / 2, ..good };
    let wraps = MemRegion { guest_address: u64::MAX - 10, ..good };
    let long = MemRegion { size: good.size + 4096, ..good };
    let count = |request, count| Violation::Descriptors { request, count };
    let file = guest.file.as_fd();
    for (why, request, region, fds) in [
        (Violation::Value(Request::RemMemReg), Request::RemMemReg, unknown, vec![]),
        (Violation::RegionOverlap, Request::AddMemReg, unknown, vec![file]),
        (Violation::RegionShape, Request::AddMemReg, wraps, vec![file]),
        (Violation::RegionShape, Request::AddMemReg, MemRegion { size: 0, ..good }, vec![file]),
        (count(Request::AddMemReg, 0), Request::AddMemReg, good, vec![]),
        (count(Request::AddMemReg, 2), Request::AddMemReg, good, vec![file, file]),
    ] {
        bench.expect(why, |bench, peer| {
            peer.send_u64(Request::SetProtocolFeatures, SLOTS | REPLY_ACK);
            add(bench, peer, &guest);
            peer.send(request, &region.slot_bytes(), &fds);
        });
    }
    bench.expect(Violation::RegionBeyondFile, |_, peer| {
        peer.send_u64(Request::SetProtocolFeatures, SLOTS);
        peer.send(Request::AddMemReg, &long.slot_bytes(), &[file]);
    });
}

#[test]
fn what_is_told_once_per_pair_of_queues_is_done_once() {
    let mut bench = Bench::new("again");
    let mut peer = connect(&mut bench);
    let mut guest = Guest::new();
    (0..4).for_each(|_| add(&mut bench, &mut peer, &guest));
    start_rings(&mut bench, &mut peer, &guest);
    guest.exchange(&mut bench, 40);
    for _ in 0..4 {
        let slot = guest.region().slot_bytes();
        assert_eq!(peer.acknowledged(&mut bench, Request::RemMemReg, &slot, &[]), 0);
    }
    assert!(!bench.port.control.link().up);
    (0..4).for_each(|_| add(&mut bench, &mut peer, &guest));
    guest.exchange(&mut bench, 40);
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn requests_need_their_features() {
    let mut bench = Bench::new("no-slots");
    for request in
        [Request::ResetDevice, Request::GetMaxMemSlots, Request::AddMemReg, Request::RemMemReg]
    {
        bench.expect_quickly(Violation::NotNegotiated(request), |_, peer| {
            peer.send(request, &[], &[]);
        });
    }
}

#[test]
fn a_reset_device_is_set_up_again_on_the_same_connection() {
    let mut bench = Bench::new("reset");
    let mut peer = connect(&mut bench);
    for _ in 0..3 {
        let mut guest = Guest::new();
        add(&mut bench, &mut peer, &guest);
        start_rings(&mut bench, &mut peer, &guest);
        guest.exchange(&mut bench, 40);
        assert_eq!(peer.acknowledged(&mut bench, Request::ResetDevice, &[], &[]), 0);
        assert!(!bench.port.control.link().up);
        let lost = bench.port.tx[0].stats().drops[DropCause::LinkDown];
        let mut burst: Burst = bench.pool.copy_from(&[1; 60]).into_iter().collect();
        bench.port.tx[0].tx_burst(&mut burst);
        assert_eq!(bench.port.tx[0].stats().drops[DropCause::LinkDown], lost + 1);
        // Nothing of before is there: a start needs all of it again.
        peer.send_event(Request::SetVringKick, 0, &guest.kicks[0]);
        peer.send_state(Request::SetVringEnable, 0, 1);
        peer.expect_alive(&mut bench);
        assert!(!bench.port.control.link().up);
        peer.stop_ring(&mut bench, 0);
    }
    assert_eq!((bench.monitor.connections(), bench.monitor.violations()), (1, 0));
}
