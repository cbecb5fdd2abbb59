//! The back end and the orders in which real front ends speak, message by message.

mod support;

use std::os::fd::AsFd;

use netdev::{Armed, Burst, DropCause, WakeSource};
use support::{Bench, FEATURES, Guest, USER, pool};
use vhost_user::message::{MemRegion, Request, VRING_NO_FD, encode, flag};

#[test]
fn qemu_7_2_order() {
    let mut bench = Bench::new("qemu");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    assert!(!bench.port.control.link().up);
    peer.start_like_qemu(&mut bench, &guest);
    peer.expect_alive(&mut bench);
    assert!(bench.port.control.link().up);
    guest.exchange(&mut bench, 200);
    guest.exchange(&mut bench, 200);
    // The guest stops: both rings are asked where they stand, and stop.
    assert_eq!(peer.stop_ring(&mut bench, 0), 400);
    assert_eq!(peer.stop_ring(&mut bench, 1), 400);
    assert!(!bench.port.control.link().up);
    drop(peer);
    bench.poll();
    assert_eq!(bench.monitor.violations(), 0);
    let stats = bench.port.rx[0].stats();
    assert_eq!((stats.packets, stats.drops.total()), (400, 0));
}

#[test]
fn dpdk_22_11_order() {
    let mut bench = Bench::new("dpdk");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_dpdk(&mut bench, &guest);
    guest.exchange(&mut bench, 100);
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn a_front_end_without_protocol_features_is_enabled_from_the_start() {
    let mut bench = Bench::new("plain");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.send(Request::SetOwner, &[], &[]);
    peer.send_u64(Request::SetFeatures, 1 << 32);
    let table = MemRegion::table_bytes(&[guest.region()]);
    peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
    peer.start_ring(&guest, 0);
    peer.start_ring(&guest, 1);
    guest.exchange(&mut bench, 10);
}

#[test]
fn any_order_of_a_rings_messages() {
    let mut bench = Bench::new("order");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    for ring in 0..2u8 {
        let index = u32::from(ring);
        peer.send_event(Request::SetVringKick, ring.into(), &guest.kicks[usize::from(ring)]);
        peer.send(Request::SetVringAddr, &guest.addresses(ring).to_bytes(), &[]);
        peer.send_state(Request::SetVringEnable, index, 1);
    }
    let table = MemRegion::table_bytes(&[guest.region()]);
    peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
    peer.expect_alive(&mut bench);
    assert!(!bench.port.control.link().up, "sizes and features are missing");
    // Stopped, sized, started again: a started ring's size is fixed.
    for ring in 0..2u8 {
        assert_eq!(peer.stop_ring(&mut bench, ring.into()), 0);
        peer.start_ring(&guest, ring);
    }
    peer.expect_alive(&mut bench);
    assert!(!bench.port.control.link().up, "features are missing");
    for ring in 0..2 {
        peer.stop_ring(&mut bench, ring);
    }
    peer.send_u64(Request::SetFeatures, FEATURES);
    for ring in 0..2 {
        peer.start_ring(&guest, ring);
    }
    guest.exchange(&mut bench, 10);
}

#[test]
fn a_legacy_driver_gets_no_link() {
    let mut bench = Bench::new("legacy");
    let guest = Guest::new();
    let mut peer = bench.connect();
    peer.send_u64(Request::SetFeatures, 0);
    let table = MemRegion::table_bytes(&[guest.region()]);
    peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
    peer.start_ring(&guest, 0);
    peer.start_ring(&guest, 1);
    peer.expect_alive(&mut bench);
    assert!(!bench.port.control.link().up);
}

#[test]
fn rings_go_on_where_they_stopped() {
    let mut bench = Bench::new("restart");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    for round in 1..=5u32 {
        guest.exchange(&mut bench, 200);
        for ring in 0..2u8 {
            let base = peer.stop_ring(&mut bench, ring.into());
            assert_eq!(base, 200 * round);
            assert_eq!(peer.stop_ring(&mut bench, ring.into()), base, "stopped twice");
            guest.base[usize::from(ring)] = base;
            peer.start_ring(&guest, ring);
        }
    }
}

#[test]
fn base_0xffff_wraps() {
    let mut bench = Bench::new("wrap");
    let mut guest = Guest::new();
    guest.base = [0xffff; 2];
    guest.avail = [0xffff; 2];
    guest.used = [0xffff; 2];
    for ring in 0..2 {
        guest.ring(ring).store_avail_index(0xffff);
        guest.ring(ring).store_used_index(0xffff);
    }
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 50);
    assert_eq!(peer.stop_ring(&mut bench, 1), 49);
}

#[test]
fn disabled_rings_rest_and_go_on() {
    let mut bench = Bench::new("disable");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 20);
    peer.send_state(Request::SetVringEnable, 1, 0);
    peer.expect_alive(&mut bench);
    guest.transmit(&[7; 60]);
    assert!(bench.poll().is_empty());
    peer.send_state(Request::SetVringEnable, 1, 1);
    assert_eq!(bench.poll_until(|frames| !frames.is_empty()), [[7; 60]]);
    guest.exchange(&mut bench, 20);
}

#[test]
fn a_memory_table_is_replaced_during_traffic() {
    let mut bench = Bench::new("replace");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    for round in 0..50u64 {
        guest.exchange(&mut bench, 10);
        guest.transmit(&[1; 60]);
        // The same memory, seen at the same user address, with a second region behind it.
        let extra = MemRegion {
            guest_address: 0x1000_0000 + (round << 20),
            size: 4096,
            user_address: USER + 0x1000_0000,
            mmap_offset: 8192,
        };
        let table = MemRegion::table_bytes(&[guest.region(), extra]);
        let fds = [guest.file.as_fd(), guest.file.as_fd()];
        assert_eq!(peer.acknowledged(&mut bench, Request::SetMemTable, &table, &fds), 0);
        bench.poll();
    }
    guest.exchange(&mut bench, 10);
}

#[test]
fn acknowledgements_are_given_where_asked_for() {
    let mut bench = Bench::new("acknowledge");
    let mut peer = bench.connect();
    peer.send_u64(Request::SetProtocolFeatures, 1 << 3 | 1 << 4);
    assert_eq!(peer.acknowledged(&mut bench, Request::SetOwner, &[], &[]), 0);
    let mtu = 9000u64.to_le_bytes();
    assert_eq!(peer.acknowledged(&mut bench, Request::NetSetMtu, &mtu, &[]), 0);
    // A refusal is said, too, before the connection ends.
    let before = bench.monitor.violations();
    assert_eq!(peer.acknowledged(&mut bench, Request::NetSetMtu, &[0; 8], &[]), 1);
    bench.end(before);
}

#[test]
fn packets_for_nobody_are_taken_and_counted() {
    let mut bench = Bench::new("nobody");
    let mut burst: Burst = (0..32).map(|_| bench.pool.copy_from(&[1; 60]).unwrap()).collect();
    assert_eq!(bench.port.tx[0].tx_burst(&mut burst), 32);
    let stats = bench.port.tx[0].stats();
    assert_eq!((stats.packets, stats.drops[DropCause::LinkDown]), (0, 32));
    assert_eq!(bench.pool.available(), 1024);
    // With a link, but no buffer of the guest's, they stay with the caller.
    let guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    peer.expect_alive(&mut bench);
    burst.extend((0..32).map(|_| bench.pool.copy_from(&[1; 60]).unwrap()));
    assert_eq!(bench.port.tx[0].tx_burst(&mut burst), 0);
    assert_eq!(burst.len(), 32);
}

#[test]
fn an_armed_queue_is_woken_by_a_kick() {
    let mut bench = Bench::new("arm");
    let sources = |bench: &Bench| {
        let mut fds = Vec::new();
        bench.port.rx[0].wake_sources(&mut |source| match source {
            WakeSource::Fd(fd) => fds.push(fd),
            WakeSource::Vector(_) => panic!("a process has no vectors"),
        });
        fds
    };
    assert_eq!(bench.port.rx[0].arm(), Armed::Armed);
    assert_eq!(sources(&bench).len(), 1, "the listening socket");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    peer.expect_alive(&mut bench);
    assert_eq!(sources(&bench).len(), 2, "the connection and the kick");
    assert_eq!(guest.ring(1).used_flags(), 1, "a polling device wants no kicks");
    assert_eq!(bench.port.rx[0].arm(), Armed::Armed);
    assert_eq!(guest.ring(1).used_flags(), 0, "an armed one does");
    guest.transmit(&[3; 60]);
    assert_eq!(bench.port.rx[0].arm(), Armed::PacketsPending);
    assert_eq!(bench.poll_until(|frames| !frames.is_empty()), [[3; 60]]);
    assert_eq!(guest.ring(1).used_flags(), 1, "polling disarms");
    // A request that arrived while arming is handled before the sleep.
    peer.send_raw(&encode(Request::SetOwner as u32, flag::NEED_REPLY, &[]), &[]);
    assert_eq!(bench.port.rx[0].arm(), Armed::PacketsPending, "it may have changed what was armed");
    assert_eq!(bench.port.rx[0].arm(), Armed::Armed);
    peer.reply(&mut bench, Request::SetOwner);
    // Without a kick descriptor there is nothing to sleep on.
    peer.stop_ring(&mut bench, 1);
    peer.send_u64(Request::SetVringKick, 1 | VRING_NO_FD);
    peer.expect_alive(&mut bench);
    assert_eq!(bench.port.rx[0].arm(), Armed::Unsupported);
}

#[test]
fn the_driver_is_called_when_it_wants_to_be() {
    let mut bench = Bench::new("call");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_dpdk(&mut bench, &guest);
    let calls = |guest: &Guest, ring: usize| {
        let mut count = [0; 8];
        rustix::io::read(&guest.calls[ring], &mut count).map_or(0, |_| u64::from_le_bytes(count))
    };
    guest.exchange(&mut bench, 10);
    assert!(calls(&guest, 0) > 0 && calls(&guest, 1) > 0);
    for ring in 0..2 {
        guest.ring(ring).set_avail_flags(1);
    }
    guest.exchange(&mut bench, 10);
    assert_eq!((calls(&guest, 0), calls(&guest, 1)), (0, 0));
    assert!(bench.port.rx[0].stats().notifications > 0);
}

#[test]
fn stopping_gives_the_device_back() {
    let mut bench = Bench::new("stop");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 10);
    let Bench { port, path, monitor, .. } = bench;
    let device = port.stop();
    assert!(path.exists());
    let pool = pool(1024);
    let port = device.start(&netdev::Config::default(), &pool).unwrap();
    let mut bench = Bench { port, pool, path: path.clone(), monitor };
    bench.serve_a_good_one();
    drop(bench);
    assert!(!path.exists(), "the socket file goes with the device");
}
