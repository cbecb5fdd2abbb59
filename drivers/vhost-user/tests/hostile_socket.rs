//! Front ends that break the rules of the protocol: each case ends the connection for a named reason, and the
//! next front end is served as ever. (The catalogue of untrusted peers, part B, "Socket".)

mod support;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use support::{Bench, FEATURES, Guest};
use vhost_user::Violation;
use vhost_user::message::{MemRegion, Request, VRING_NO_FD, encode, flag};

const OWNER: Request = Request::SetOwner;

fn header(request: u32, flags: u32, size: u32) -> Vec<u8> {
    [request, flags, size].iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn fds(count: usize) -> Vec<OwnedFd> {
    (0..count).map(|_| OwnedFd::from(std::fs::File::open("/dev/null").unwrap())).collect()
}

fn borrowed(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

#[test]
fn short_header_then_close() {
    let mut bench = Bench::new("short");
    for length in 1..12 {
        bench.expect_quickly(Violation::ClosedMidMessage, |_, peer| {
            peer.write(&header(1, 1, 0)[..length]);
            peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn header_then_close() {
    let mut bench = Bench::new("header");
    for length in [12, 13, 19] {
        bench.expect_quickly(Violation::ClosedMidMessage, |_, peer| {
            peer.write(&encode(Request::SetFeatures as u32, 0, &[0; 8])[..length]);
            peer.stream.shutdown(std::net::Shutdown::Both).unwrap();
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn one_byte_at_a_time() {
    let mut bench = Bench::new("bytes");
    let mut peer = bench.connect();
    for _ in 0..20 {
        for byte in encode(Request::GetFeatures as u32, 0, &[]) {
            peer.write(&[byte]);
            bench.poll();
        }
        assert_eq!(peer.reply(&mut bench, Request::GetFeatures).len(), 8);
        for byte in encode(Request::SetFeatures as u32, 0, &FEATURES.to_le_bytes()) {
            peer.write(&[byte]);
            bench.poll();
        }
        peer.expect_alive(&mut bench);
    }
}

#[test]
fn descriptors_may_come_with_any_byte() {
    let mut bench = Bench::new("late-fd");
    let guest = Guest::new();
    let table = MemRegion::table_bytes(&[guest.region()]);
    let message = encode(Request::SetMemTable as u32, 0, &table);
    let mut peer = bench.connect();
    for at in 0..message.len() {
        peer.write(&message[..at]);
        bench.poll();
        peer.send_raw(&message[at..=at], &[guest.file.as_fd()]);
        peer.write(&message[at + 1..]);
        peer.expect_alive(&mut bench);
    }
}

#[test]
fn size_beyond_the_maximum() {
    let mut bench = Bench::new("size");
    for size in [281, 0xffff, 1 << 31, u32::MAX] {
        bench.expect_quickly(Violation::TooLarge(size), |_, peer| {
            peer.write(&header(Request::SetMemTable as u32, 1, size));
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn size_that_does_not_match_the_request() {
    let mut bench = Bench::new("mismatch");
    for &request in Request::ALL {
        for size in [1usize, 7, 9, 39, 41, 280] {
            let before = bench.monitor.violations();
            let mut peer = bench.connect();
            peer.send_u64(Request::SetProtocolFeatures, 1 << 16 | 1 << 15 | 1 << 13 | 0b1_1001);
            peer.send(request, &vec![0; size], &[]);
            let why = bench.end(before);
            let expected = match why {
                Violation::Size { request: of, size: bytes } => of == request && bytes == size,
                Violation::NotNegotiated(of) => of == request,
                _ => false,
            };
            assert!(expected, "{request:?} of {size} bytes: {why}");
        }
    }
    bench.serve_a_good_one();
}

#[test]
fn unknown_request() {
    let mut bench = Bench::new("unknown");
    for code in [0, 41, 100, u32::MAX] {
        bench.expect_quickly(Violation::UnknownRequest(code), |_, peer| {
            peer.write(&header(code, 1, 0));
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn requests_that_were_not_offered() {
    let mut bench = Bench::new("not-offered");
    for request in [
        Request::SetLogBase,
        Request::SetLogFd,
        Request::SetBackendReqFd,
        Request::IotlbMsg,
        Request::SetVringEndian,
        Request::GetConfig,
        Request::SetConfig,
        Request::VringKick,
    ] {
        bench.expect_quickly(Violation::NotNegotiated(request), |_, peer| {
            peer.send(request, &[0xff; 16], &[]);
        });
    }
    // Offered, but not negotiated.
    for request in [
        Request::GetQueueNum,
        Request::SendRarp,
        Request::NetSetMtu,
        Request::GetStatus,
        Request::GetInflightFd,
        Request::SetInflightFd,
    ] {
        bench.expect_quickly(Violation::NotNegotiated(request), |_, peer| {
            peer.send(request, &[], &[]);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn wrong_version() {
    let mut bench = Bench::new("version");
    for flags in [0, 2, 3] {
        bench.expect_quickly(Violation::Version(flags), |_, peer| {
            peer.write(&header(1, flags, 0));
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn reserved_flags_and_reply_bit() {
    let mut bench = Bench::new("flags");
    for flags in [1 | flag::REPLY, 0x11, 0x8000_0001, !2] {
        bench.expect_quickly(Violation::Flags(flags), |_, peer| {
            peer.write(&header(OWNER as u32, flags, 0));
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn descriptors_where_none_belong() {
    let mut bench = Bench::new("fds");
    let some = fds(8);
    for count in [1, 8] {
        for request in [OWNER, Request::GetFeatures, Request::SetVringNum, Request::SetLogBase] {
            let why = Violation::Descriptors { request, count };
            bench.expect_quickly(why, |_, peer| {
                peer.send(request, &[0; 8], &borrowed(&some[..count]));
            });
        }
    }
    bench.serve_a_good_one();
}

#[test]
fn descriptor_missing_or_too_many() {
    let mut bench = Bench::new("missing");
    let some = fds(2);
    for request in [Request::SetVringKick, Request::SetVringCall, Request::SetVringErr] {
        for (value, count) in [(0, 0), (0, 2), (VRING_NO_FD, 1), (VRING_NO_FD | 1, 2)] {
            let why = Violation::Descriptors { request, count };
            bench.expect_quickly(why, |_, peer| {
                peer.send(request, &u64::to_le_bytes(value), &borrowed(&some[..count]));
            });
        }
    }
    let guest = Guest::new();
    let table = MemRegion::table_bytes(&[guest.region()]);
    for count in [0, 2] {
        let why = Violation::Descriptors { request: Request::SetMemTable, count };
        bench.expect_quickly(why, |_, peer| {
            peer.send(Request::SetMemTable, &table, &borrowed(&some[..count]));
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn nine_and_253_descriptors() {
    let mut bench = Bench::new("many-fds");
    let some = fds(253);
    for count in [9, 16, 17, 253] {
        bench.expect_quickly(Violation::DescriptorsTruncated, |_, peer| {
            peer.send(Request::SetMemTable, &[0; 8], &borrowed(&some[..count]));
        });
    }
    // Trickled: three with each byte.
    bench.expect(Violation::DescriptorsTruncated, |_, peer| {
        for byte in header(OWNER as u32, 1, 0) {
            peer.send_raw(&[byte], &borrowed(&some[..3]));
        }
    });
}

#[test]
fn events_that_are_no_eventfds() {
    let mut bench = Bench::new("no-event");
    let (read, _write) = rustix::pipe::pipe().unwrap();
    let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
    for fd in [read.as_fd(), directory.as_fd()] {
        bench.expect_quickly(Violation::DescriptorKind(Request::SetVringCall), |_, peer| {
            peer.send(Request::SetVringCall, &[0; 8], &[fd]);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn features_never_offered() {
    let mut bench = Bench::new("features");
    for bit in [0u64, 7, 11, 26, 40, 63] {
        bench.expect_quickly(Violation::Features(1 << bit), |_, peer| {
            peer.send_u64(Request::SetFeatures, FEATURES | 1 << bit);
        });
    }
    for bit in [1u64, 9, 11, 63] {
        bench.expect_quickly(Violation::ProtocolFeatures(1 << bit), |_, peer| {
            peer.send_u64(Request::SetProtocolFeatures, 1 << bit);
        });
    }
    bench.serve_a_good_one();
}

#[test]
fn a_peer_that_never_reads_replies() {
    let mut bench = Bench::new("deaf");
    let mut peer = bench.connect();
    peer.stream.set_nonblocking(true).unwrap();
    let question = encode(Request::GetFeatures as u32, 0, &[]);
    let mut asked = 0;
    // Until both directions are full: nothing here may block or grow.
    let mut refused = 0;
    while refused < 100 {
        match std::io::Write::write(&mut peer.stream, &question) {
            Ok(count) => {
                assert_eq!(count, question.len(), "a stream socket takes small writes whole");
                asked += 1;
                refused = 0;
            }
            Err(_) => refused += 1,
        }
        bench.poll();
        assert!(asked < 1_000_000, "the back end swallows everything");
    }
    // It goes on once the replies are read.
    for _ in 0..asked {
        assert_eq!(peer.reply(&mut bench, Request::GetFeatures).len(), 8);
    }
    assert_eq!(bench.monitor.violations(), 0);
}

#[test]
fn connects_twice_at_once() {
    let mut bench = Bench::new("twice");
    let mut guest = Guest::new();
    let mut first = bench.connect();
    first.start_like_qemu(&mut bench, &guest);
    let mut second = support::Peer { stream: UnixStream::connect(&bench.path).unwrap() };
    second.send(Request::GetFeatures, &[], &[]);
    guest.exchange(&mut bench, 40);
    assert_eq!(bench.monitor.connections(), 1, "the second waits");
    drop(first);
    assert_eq!(second.reply(&mut bench, Request::GetFeatures).len(), 8);
    assert_eq!(bench.monitor.connections(), 2);
}

#[test]
fn reconnects_a_thousand_times() {
    let mut bench = Bench::new("thousand");
    for round in 0..1000u32 {
        let mut guest = Guest::new();
        let mut peer = bench.connect();
        if round % 2 == 0 {
            peer.start_like_qemu(&mut bench, &guest);
        } else {
            peer.start_like_dpdk(&mut bench, &guest);
        }
        guest.exchange(&mut bench, 2);
    }
    bench.poll();
    assert_eq!((bench.monitor.connections(), bench.monitor.violations()), (1000, 0));
    assert_eq!(bench.pool.available(), 1024);
}
