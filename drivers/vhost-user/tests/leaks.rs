//! Thousands of bad connections leave nothing behind: descriptors, mappings and memory are counted for the
//! whole process, so this file has one test.

mod support;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use support::{Bench, FEATURES, Guest, Peer};
use vhost_user::message::{MemRegion, Request};

/// Of each case.
const CONNECTIONS: usize = 10_000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A name, and what the peer does before it leaves.
type Case<'a> = (&'static str, Box<dyn Fn(&mut Peer) + 'a>);

fn cases<'a>(guest: &'a Guest, spare: &'a [OwnedFd]) -> Vec<Case<'a>> {
    let fds: Vec<BorrowedFd<'_>> = spare.iter().map(AsFd::as_fd).collect();
    let few = fds[..8].to_vec();
    let table = MemRegion::table_bytes(&[guest.region()]);
    let two = MemRegion::table_bytes(&[guest.region(), guest.region()]);
    let (table, early) = (table.clone(), table);
    let memory = guest.file.as_fd();
    vec![
        ("nothing", Box::new(|_| {})),
        ("half a header", Box::new(|peer| peer.write(&[1, 0, 0]))),
        ("253 descriptors", Box::new(move |peer| peer.send(Request::SetMemTable, &[0; 8], &fds))),
        ("8 where none belong", Box::new(move |peer| peer.send(Request::SetOwner, &[], &few))),
        (
            "descriptors with half a message",
            Box::new(move |peer| peer.send_raw(&[5, 0, 0, 0, 1, 0, 0], &[memory])),
        ),
        (
            "overlapping regions",
            Box::new(move |peer| peer.send(Request::SetMemTable, &two, &[memory, memory])),
        ),
        (
            "running rings",
            Box::new(move |peer| {
                peer.send_u64(Request::SetFeatures, FEATURES & !(1 << 30));
                peer.send(Request::SetMemTable, &early, &[memory]);
                for ring in 0..2u8 {
                    let at = usize::from(ring);
                    peer.send_event(Request::SetVringCall, ring.into(), &guest.calls[at]);
                    peer.send_event(Request::SetVringErr, ring.into(), &guest.errors[at]);
                    peer.start_ring(guest, ring);
                }
            }),
        ),
        (
            "tables and events replaced",
            Box::new(move |peer| {
                for _ in 0..4 {
                    peer.send(Request::SetMemTable, &table, &[memory]);
                    peer.send_event(Request::SetVringKick, 0, &guest.kicks[0]);
                    peer.send_event(Request::SetVringCall, 0, &guest.calls[0]);
                }
            }),
        ),
    ]
}

#[test]
fn nothing_is_left_behind() {
    let mut bench = Bench::new("leaks");
    let guest = Guest::new();
    let spare: Vec<OwnedFd> =
        (0..253).map(|_| OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).collect();
    for (name, case) in cases(&guest, &spare) {
        let round = |bench: &mut Bench| {
            let mut peer = bench.connect();
            case(&mut peer);
            // What was sent is read before the next connection is taken.
            drop(peer);
        };
        for _ in 0..20 {
            round(&mut bench);
        }
        bench.poll();
        let before = (descriptors(), mappings(), resident_kib());
        for _ in 0..CONNECTIONS {
            round(&mut bench);
        }
        bench.poll();
        let after = (descriptors(), mappings(), resident_kib());
        println!("{name}: descriptors, mappings, KiB: {before:?} -> {after:?}");
        assert_eq!(before.0, after.0, "{name}: descriptors");
        // The allocator may split or join its own.
        assert!(after.1 <= before.1 + 4, "{name}: mappings {before:?} {after:?}");
        assert!(after.2 <= before.2 + 2048, "{name}: resident memory {before:?} {after:?}");
        assert!(bench.monitor.connections() > 0);
    }
    bench.serve_a_good_one();
}
