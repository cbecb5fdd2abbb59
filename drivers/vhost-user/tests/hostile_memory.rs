//! Front ends that break the rules about memory and rings (part B of the catalogue, "Memory" and "Rings").

mod support;

use std::os::fd::{AsFd, OwnedFd};

use netdev::{Burst, DropCause};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use support::{Bench, FEATURES, GUEST, Guest, Peer, USER};
use vhost_user::Violation;
use vhost_user::message::{MemRegion, Request, VringAddr};

fn file(bytes: u64) -> OwnedFd {
    let file = memfd_create("hostile", MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, bytes).unwrap();
    file
}

fn region(guest_address: u64, size: u64, user_address: u64, mmap_offset: u64) -> MemRegion {
    MemRegion { guest_address, size, user_address, mmap_offset }
}

#[test]
fn zero_nine_and_countless_regions() {
    let mut bench = Bench::new("count");
    for regions in [0u64, 9, u32::MAX.into()] {
        for size in [8, 40, 264] {
            let mut table = vec![0; size];
            table[..8].copy_from_slice(&regions.to_le_bytes());
            let why = Violation::Size { request: Request::SetMemTable, size };
            bench.expect_quickly(why, |_, peer| peer.send(Request::SetMemTable, &table, &[]));
        }
    }
    bench.serve_a_good_one();
}

#[test]
fn regions_that_cannot_be() {
    let mut bench = Bench::new("shapes");
    let page = 4096;
    let good = region(0, page, 0, 0);
    let memory = file(4 * page);
    for (other, why) in [
        (region(page, 0, page, 0), Violation::RegionShape),
        (region(u64::MAX, page, page, 0), Violation::RegionShape),
        (region(page, page, u64::MAX - 1, 0), Violation::RegionShape),
        (region(page, page, page, u64::MAX - 1), Violation::RegionShape),
        (region(page, u64::MAX, page, 0), Violation::RegionShape),
        (region(page - 1, page, page, 0), Violation::RegionOverlap),
        (region(page, page, page - 1, 0), Violation::RegionOverlap),
        (region(0, page, 0, 0), Violation::RegionOverlap),
        (region(page, 4 * page + 1, page, 0), Violation::RegionBeyondFile),
        (region(page, page, page, 3 * page + 1), Violation::RegionBeyondFile),
        (region(page, page, page, 1 << 62), Violation::RegionBeyondFile),
    ] {
        let table = MemRegion::table_bytes(&[good, other]);
        bench.expect_quickly(why, |_, peer| {
            peer.send(Request::SetMemTable, &table, &[memory.as_fd(), memory.as_fd()]);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn memory_that_is_no_file() {
    let mut bench = Bench::new("kinds");
    let (read, _write) = rustix::pipe::pipe().unwrap();
    let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
    let device = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
    let table = MemRegion::table_bytes(&[region(0, 4096, 0, 0)]);
    for fd in [read.as_fd(), directory.as_fd(), device.as_fd()] {
        bench.expect_quickly(Violation::DescriptorKind(Request::SetMemTable), |_, peer| {
            peer.send(Request::SetMemTable, &table, &[fd]);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn a_file_truncated_during_traffic() {
    let mut bench = Bench::new("truncated");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 20);
    guest.post(64);
    let before = bench.monitor.violations();
    // From here on the guest itself must not look at its memory.
    ftruncate(&guest.file, 0).unwrap();
    let mut burst: Burst = (0..32).map(|_| bench.pool.copy_from(&[1; 60]).unwrap()).collect();
    bench.port.tx[0].tx_burst(&mut burst);
    drop(burst);
    assert_eq!(bench.end(before), Violation::MemoryTruncated);
    assert_eq!(bench.pool.available(), 1024);
    bench.serve_a_good_one();
}

#[test]
fn a_file_truncated_before_the_rings_start() {
    let mut bench = Bench::new("truncated-early");
    let guest = Guest::new();
    let before = bench.monitor.violations();
    let mut peer = bench.connect();
    peer.send_u64(Request::SetFeatures, 1 << 32);
    let table = MemRegion::table_bytes(&[guest.region()]);
    peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
    peer.expect_alive(&mut bench);
    ftruncate(&guest.file, 4096).unwrap();
    peer.start_ring(&guest, 0);
    peer.start_ring(&guest, 1);
    assert_eq!(bench.end(before), Violation::MemoryTruncated);
    bench.serve_a_good_one();
}

#[test]
fn a_table_that_takes_the_rings_memory_away() {
    let mut bench = Bench::new("taken");
    let mut guest = Guest::new();
    let memory = file(4096);
    bench.expect(Violation::RingAddress(0), |bench, peer| {
        peer.start_like_qemu(bench, &guest);
        guest.exchange(bench, 20);
        let table = MemRegion::table_bytes(&[region(GUEST, 4096, USER + (1 << 40), 0)]);
        peer.send(Request::SetMemTable, &table, &[memory.as_fd()]);
    });
}

/// Everything that a ring needs but what the test is about.
fn prepare(peer: &mut Peer, guest: &Guest) {
    peer.send_u64(Request::SetFeatures, FEATURES);
    let table = MemRegion::table_bytes(&[guest.region()]);
    peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
    peer.send_state(Request::SetVringEnable, 0, 1);
    peer.send_state(Request::SetVringEnable, 1, 1);
}

#[test]
fn ring_sizes_that_cannot_be() {
    let mut bench = Bench::new("num");
    for size in [0, 3, 257, 32769, 65536, u32::MAX] {
        bench.expect_quickly(Violation::RingSize(size), |_, peer| {
            peer.send_state(Request::SetVringNum, 0, size);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn ring_indexes_that_cannot_be() {
    let mut bench = Bench::new("index");
    for index in [2, 255, 257, 0x1_0000, u32::MAX] {
        for request in [
            Request::SetVringNum,
            Request::SetVringBase,
            Request::GetVringBase,
            Request::SetVringEnable,
        ] {
            bench.expect_quickly(Violation::RingIndex(index.into()), |_, peer| {
                peer.send_state(request, index, 1);
            });
        }
        bench.expect_quickly(Violation::RingIndex(index.into()), |_, peer| {
            let addr = VringAddr { index, flags: 0, desc: 0, used: 0, avail: 0, log: 0 };
            peer.send(Request::SetVringAddr, &addr.to_bytes(), &[]);
        });
    }
    for value in [2u64, 0x102, 0x1_0000, 0x201, u64::MAX] {
        for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
            let guest = Guest::new();
            let before = bench.monitor.violations();
            let mut peer = bench.connect();
            let fds = [guest.kicks[0].as_fd()];
            let count = usize::from(value & 0x100 == 0);
            peer.send(request, &value.to_le_bytes(), &fds[..count]);
            let why = bench.end(before);
            assert!(matches!(why, Violation::RingIndex(_)), "{request:?} {value:#x}: {why}");
        }
    }
    bench.serve_a_good_one();
}

#[test]
fn ring_addresses_that_cannot_be() {
    let mut bench = Bench::new("address");
    let guest = Guest::new();
    let good = guest.addresses(0);
    let end = USER + guest.region().size;
    for (what, addr) in [
        ("desc misaligned", VringAddr { desc: good.desc + 8, ..good }),
        ("avail misaligned", VringAddr { avail: good.avail + 1, ..good }),
        ("used misaligned", VringAddr { used: good.used + 2, ..good }),
        ("desc outside", VringAddr { desc: 0x1000, ..good }),
        ("avail outside", VringAddr { avail: u64::MAX - 1, ..good }),
        ("used outside", VringAddr { used: end, ..good }),
        ("desc past the end", VringAddr { desc: end - 256 * 16 + 16, ..good }),
        ("avail past the end", VringAddr { avail: end - 518 + 2, ..good }),
        ("used past the end", VringAddr { used: end - 2054 + 2, ..good }),
        ("guest address instead", VringAddr { desc: GUEST, ..good }),
    ] {
        println!("{what}");
        bench.expect_quickly(Violation::RingAddress(0), |_, peer| {
            prepare(peer, &guest);
            peer.send_state(Request::SetVringNum, 0, 256);
            peer.send(Request::SetVringAddr, &addr.to_bytes(), &[]);
            peer.send_event(Request::SetVringKick, 0, &guest.kicks[0]);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn parts_of_a_ring_on_top_of_each_other() {
    // Legal to map, and only the guest's own loss: nothing of ours is harmed.
    let mut bench = Bench::new("overlap");
    let guest = Guest::new();
    let mut peer = bench.connect();
    prepare(&mut peer, &guest);
    for ring in 0..2u8 {
        let mut addr = guest.addresses(ring);
        addr.avail = addr.desc;
        addr.used = addr.desc;
        peer.send_state(Request::SetVringNum, ring.into(), 256);
        peer.send(Request::SetVringAddr, &addr.to_bytes(), &[]);
        peer.send_event(Request::SetVringKick, ring.into(), &guest.kicks[usize::from(ring)]);
    }
    peer.expect_alive(&mut bench);
    for _ in 0..100 {
        bench.poll();
        let mut burst: Burst = (0..32).map(|_| bench.pool.copy_from(&[9; 60]).unwrap()).collect();
        bench.port.tx[0].tx_burst(&mut burst);
    }
    drop(peer);
    bench.poll();
    assert_eq!(bench.pool.available(), 1024);
    bench.serve_a_good_one();
}

#[test]
fn changed_while_running() {
    let mut bench = Bench::new("running");
    for (request, num) in [(Request::SetVringNum, 128), (Request::SetVringBase, 7)] {
        let mut guest = Guest::new();
        bench.expect_quickly(Violation::RingRunning(1), |bench, peer| {
            peer.start_like_qemu(bench, &guest);
            guest.exchange(bench, 10);
            peer.send_state(request, 1, num);
        });
    }
    let mut guest = Guest::new();
    bench.expect_quickly(Violation::RingRunning(0), |bench, peer| {
        peer.start_like_qemu(bench, &guest);
        guest.exchange(bench, 10);
        peer.send_u64(Request::SetFeatures, FEATURES);
        peer.expect_alive(bench);
        peer.send_u64(Request::SetFeatures, FEATURES | 1 << 29);
    });
    bench.serve_a_good_one();
}

#[test]
fn impossible_values() {
    let mut bench = Bench::new("values");
    bench.expect_quickly(Violation::RingBase(0x1_0000), |_, peer| {
        peer.send_u64(Request::SetFeatures, FEATURES);
        peer.send_state(Request::SetVringBase, 0, 0x1_0000);
    });
    bench.expect_quickly(Violation::Value(Request::SetVringEnable), |_, peer| {
        peer.send_state(Request::SetVringEnable, 0, 2);
    });
    bench.expect_quickly(Violation::Value(Request::SetVringAddr), |_, peer| {
        let addr = VringAddr { index: 0, flags: 1, desc: 0, used: 0, avail: 0, log: u64::MAX };
        peer.send(Request::SetVringAddr, &addr.to_bytes(), &[]);
    });
    for mtu in [0u64, 67, 65536, u64::MAX] {
        bench.expect_quickly(Violation::Value(Request::NetSetMtu), |_, peer| {
            peer.send_u64(Request::SetProtocolFeatures, 1 << 4);
            peer.send_u64(Request::NetSetMtu, mtu);
        });
    }
    bench.serve_a_good_one();
}

/// Of a packed ring: an index beyond it, in either half, or the base of a split ring that comes before the
/// features say what it is.
#[test]
fn ring_bases_that_do_not_suit_the_format() {
    const PACKED: u64 = 1 << 34;
    let mut bench = Bench::new("base");
    for (features, base) in [
        (FEATURES | PACKED, 0x8100),
        (FEATURES | PACKED, 0x7fff),
        (FEATURES | PACKED, 0x8100_8000),
        (FEATURES | PACKED, u32::MAX),
        (FEATURES, 0x8000_8000),
    ] {
        let guest = Guest::new();
        bench.expect_quickly(Violation::RingBase(base), |_, peer| {
            let table = MemRegion::table_bytes(&[guest.region()]);
            peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
            peer.send_state(Request::SetVringEnable, 0, 1);
            peer.send_state(Request::SetVringNum, 0, 256);
            peer.send_state(Request::SetVringBase, 0, base);
            peer.send_u64(Request::SetFeatures, features);
            peer.send(Request::SetVringAddr, &guest.addresses(0).to_bytes(), &[]);
            peer.send_event(Request::SetVringKick, 0, &guest.kicks[0]);
        });
    }
    bench.serve_a_good_one();
}

/// `GET_VRING_BASE` says where a packed ring stands: both indexes, with their wrap counters.
#[test]
fn a_packed_ring_answers_where_it_stands() {
    let mut bench = Bench::new("stands");
    for (base, answer) in [
        (0x8000_8000, 0x8000_8000),
        (0x8005_8005, 0x8005_8005),
        (0x0007, 0x0007_0007),
        (0x8009, 0x8009_8009),
        (0x8003_8004, 0x8003_8004),
    ] {
        let (mut peer, mut guest) = (bench.connect(), Guest::new());
        guest.base = [base; 2];
        peer.send_u64(Request::SetFeatures, FEATURES | 1 << 34);
        let table = MemRegion::table_bytes(&[guest.region()]);
        peer.send(Request::SetMemTable, &table, &[guest.file.as_fd()]);
        for ring in [0, 1] {
            peer.send_state(Request::SetVringEnable, ring.into(), 1);
            peer.start_ring(&guest, ring);
        }
        assert_eq!(peer.stop_ring(&mut bench, 0), answer);
        assert_eq!(peer.stop_ring(&mut bench, 1), answer);
    }
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn double_start_and_kick_before_everything() {
    let mut bench = Bench::new("double");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    for _ in 0..3 {
        peer.send_event(Request::SetVringKick, 0, &guest.kicks[0]);
    }
    assert_eq!(peer.stop_ring(&mut bench, 0), 0);
    assert_eq!(peer.stop_ring(&mut bench, 0), 0);
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 20);
    for _ in 0..3 {
        peer.send_event(Request::SetVringKick, 1, &guest.kicks[1]);
    }
    guest.exchange(&mut bench, 20);
}

#[test]
fn avail_index_too_far_ahead_breaks_the_ring_until_it_is_restarted() {
    let mut bench = Bench::new("ahead");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    guest.exchange(&mut bench, 20);
    guest.ring(1).store_avail_index(20 + 257);
    bench.poll_until(|_| rustix::io::read(&guest.errors[1], &mut [0; 8]).is_ok());
    assert_eq!(bench.port.rx[0].stats().drops[DropCause::RingBroken], 1);
    assert_eq!(peer.stop_ring(&mut bench, 1), 20);
    guest.ring(1).store_avail_index(20);
    guest.base[1] = 20;
    peer.start_ring(&guest, 1);
    guest.exchange(&mut bench, 20);
}

#[test]
fn descriptors_outside_memory_cost_their_frames_only() {
    let mut bench = Bench::new("descriptors");
    let mut guest = Guest::new();
    let mut peer = bench.connect();
    peer.start_like_qemu(&mut bench, &guest);
    let end = GUEST + guest.region().size;
    let bad = [(0, 72), (u64::MAX, 72), (end, 72), (end - 71, 72), (GUEST, u32::MAX), (USER, 72)];
    for (addr, len) in bad {
        guest.transmit_raw(virtio::ring::split::Desc { addr, len, flags: 0, next: 0 });
    }
    guest.exchange(&mut bench, 40);
    assert_eq!(bench.port.rx[0].stats().drops.total(), bad.len() as u64);
    assert_eq!(bench.monitor.violations(), 0);
}
