//! A front end whose rings outlive their back ends: nothing in them is lost nor comes twice; and back ends that answer
//! `GET_INFLIGHT_FD` as they should not.

mod support;
#[path = "support/user.rs"]
mod user;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use netdev::{Burst, Config, Device, DropCause, Port, RingFormat};
use rustix::fs::{MemfdFlags, memfd_create};
use support::{PATIENCE, Peer, frame, pool, socket_path};
use user::{FORMATS, User, helper_socket, pass, start_helper};
use vhost_user::message::{HEADER_BYTES, Header, Request, VringState, encode, flag};
use vhost_user::{InflightDescription, VhostUserBackend, Violation};

fn back_end(path: &std::path::Path) -> (Port, netdev::Pool) {
    let pool = pool(2048);
    let device = Box::new(VhostUserBackend::listen(path).unwrap());
    (device.start(&Config::default(), &pool).unwrap(), pool)
}

fn frames(first: usize, count: usize) -> Vec<Vec<u8>> {
    (first..first + count).map(|number| frame(number, 60 + number * 37 % 1400)).collect()
}

#[test]
fn frames_in_the_rings_reach_the_next_back_end_once() {
    FORMATS.into_iter().for_each(next_back_end);
}

fn next_back_end(format: RingFormat) {
    let path = socket_path("keeps");
    let mut user = User::keeping(&path, format);
    let mut left: Vec<Vec<u8>> = Vec::new();
    for round in 0..10usize {
        let (mut back, pool) = back_end(&path);
        let deadline = Instant::now() + PATIENCE;
        let (mut arrived, mut idle) = (Vec::new(), Burst::new());
        while !user.port.control.link().up || arrived.len() < left.len() {
            assert!(Instant::now() < deadline, "{} of {}", arrived.len(), left.len());
            user.port.rx[0].rx_burst(&mut idle);
            assert!(idle.is_empty());
            let mut burst = Burst::new();
            back.rx[0].rx_burst(&mut burst);
            arrived.extend(burst.iter().map(|packet| packet.bytes().to_vec()));
        }
        assert_eq!(arrived, left, "{format}, round {round}");
        pass(&mut user.port, &user.pool, &mut back, &frames(round, 300));
        pass(&mut back, &pool, &mut user.port, &frames(round, 300));
        // Nobody takes these any more.
        left = frames(1000 * round, 40);
        for chunk in left.chunks(20) {
            let mut burst: Burst =
                chunk.iter().map(|bytes| user.pool.copy_from(bytes).unwrap()).collect();
            user.port.tx[0].tx_burst(&mut burst);
            assert!(burst.is_empty());
        }
        drop(back);
        let deadline = Instant::now() + PATIENCE;
        while user.port.control.link().up {
            assert!(Instant::now() < deadline);
        }
        // What comes in between is lost, as without a cable.
        let lost = user.port.tx[0].stats().drops[DropCause::LinkDown];
        let mut burst: Burst = (0..5).map(|_| user.pool.copy_from(&[1; 60]).unwrap()).collect();
        assert_eq!(user.port.tx[0].tx_burst(&mut burst), 5);
        assert_eq!(user.port.tx[0].stats().drops[DropCause::LinkDown], lost + 5);
    }
    let User { port, pool, monitor, .. } = user;
    assert_eq!(monitor.violations(), 0);
    drop(port.stop());
    assert_eq!(pool.available(), 2048, "{format}: a buffer leaks");
}

/// Not a test of its own: what the next one starts and kills.
#[test]
fn helper_that_echoes() {
    let Some(path) = helper_socket() else { return };
    let (mut back, _pool) = back_end(&path);
    let mut burst = Burst::new();
    loop {
        back.rx[0].rx_burst(&mut burst);
        back.tx[0].tx_burst(&mut burst);
        burst.clear();
    }
}

#[test]
fn back_ends_killed_in_mid_burst_leave_no_buffer_behind() {
    for format in FORMATS {
        let path = socket_path("keeps-killed");
        let mut user = User::keeping(&path, format);
        for _ in 0..6 {
            let _ = std::fs::remove_file(&path);
            let mut child = start_helper("helper_that_echoes", &path);
            let deadline = Instant::now() + PATIENCE;
            let (mut out, mut arrived, mut back) = (Burst::new(), Burst::new(), 0);
            while back < 2000 {
                assert!(Instant::now() < deadline, "{format}: {back} came back");
                while !out.is_full()
                    && let Some(packet) = user.pool.copy_from(&frame(5, 200))
                {
                    out.push(packet);
                }
                user.port.tx[0].tx_burst(&mut out);
                back += user.port.rx[0].rx_burst(&mut arrived);
                for packet in arrived.drain(..) {
                    assert_eq!(packet.bytes(), frame(5, 200));
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(user.monitor.connections() >= 6);
        let stats = [user.port.rx[0].stats(), user.port.tx[0].stats()];
        assert!(stats.iter().all(|stats| stats.drops[DropCause::RingBroken] == 0), "{stats:?}");
        let User { port, pool, .. } = user;
        drop(port.stop());
        assert_eq!(pool.available(), 2048, "{format}: a buffer leaks");
        let _ = std::fs::remove_file(path);
    }
}

/// A driver that is stopped and started has fresh rings, and so a fresh record.
#[test]
fn a_stopped_port_starts_with_fresh_rings() {
    for format in FORMATS {
        let path = socket_path("keeps-restart");
        let mut user = User::keeping(&path, format);
        for _ in 0..3 {
            let (mut back, pool) = back_end(&path);
            pass(&mut user.port, &user.pool, &mut back, &frames(0, 100));
            let User { port, pool: own, monitor, shared } = user;
            let device = port.stop();
            assert_eq!(own.available(), 2048);
            let port = device.start(&user::in_format(format), &own).unwrap();
            user = User { port, pool: own, monitor, shared };
            pass(&mut user.port, &user.pool, &mut back, &frames(0, 100));
            pass(&mut back, &pool, &mut user.port, &frames(0, 100));
        }
    }
}

/// A back end by hand on a thread of its own: answers all there is, and `GET_INFLIGHT_FD` with this.
fn answer(listener: UnixListener, told: &[u8], fds: usize) {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut peer = Peer { stream };
    let mut header = [0; HEADER_BYTES];
    while peer.stream.read_exact(&mut header).is_ok() {
        let Header { request, size, .. } = Header::parse(&header);
        let mut payload = vec![0; usize::try_from(size).unwrap()];
        peer.stream.read_exact(&mut payload).unwrap();
        let number: u64 = match Request::from_code(request) {
            Some(Request::GetFeatures) => 1 << 32 | 1 << 30,
            Some(Request::GetProtocolFeatures) => 1 << 12,
            Some(Request::GetVringBase) => {
                let state = VringState::parse(&payload).unwrap();
                peer.send_raw(&encode(request, flag::REPLY, &state.to_bytes()), &[]);
                continue;
            }
            Some(Request::GetInflightFd) => {
                let asked = InflightDescription::parse(&payload).unwrap();
                assert_eq!((asked.num_queues, asked.mmap_size), (2, 0));
                let file = |_| memfd_create("inflight", MemfdFlags::CLOEXEC).unwrap();
                let files: Vec<OwnedFd> = (0..fds).map(file).collect();
                let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
                let told = if told.is_empty() { payload } else { told.to_vec() };
                peer.send_raw(&encode(request, flag::REPLY, &told), &files);
                continue;
            }
            _ => continue,
        };
        peer.send_raw(&encode(request, flag::REPLY, &number.to_le_bytes()), &[]);
    }
}

#[test]
fn answers_that_make_no_sense() {
    let good =
        InflightDescription { mmap_size: 64, mmap_offset: 0, num_queues: 2, queue_size: 256 };
    let bytes = |told: InflightDescription| told.to_bytes().to_vec();
    for (told, fds) in [
        (bytes(good), 0),
        (bytes(good), 2),
        (bytes(InflightDescription { mmap_size: 0, ..good }), 1),
        (bytes(InflightDescription { num_queues: 3, ..good }), 1),
        (bytes(InflightDescription { queue_size: 1, ..good }), 1),
        (vec![0; 8], 1),
        (vec![0; 25], 1),
    ] {
        let path = socket_path("keeps-fake");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| answer(listener, &told, fds));
            let mut user = User::keeping(&path, RingFormat::Split);
            let deadline = Instant::now() + PATIENCE;
            let why = Some(Violation::BadReply(Request::GetInflightFd));
            while user.monitor.last_end() != why {
                assert!(Instant::now() < deadline, "{told:?} {fds}: {:?}", user.monitor.last_end());
                user.port.rx[0].rx_burst(&mut Burst::new());
            }
        });
        std::fs::remove_file(&path).unwrap();
    }
}

/// A back end that has no memory for a record is one like any other.
#[test]
fn no_record_at_all() {
    let path = socket_path("keeps-none");
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| answer(listener, &[], 0));
        let mut user = User::keeping(&path, RingFormat::Split);
        let deadline = Instant::now() + PATIENCE;
        while !user.port.control.link().up {
            assert!(Instant::now() < deadline, "{:?}", user.monitor.last_end());
            user.port.rx[0].rx_burst(&mut Burst::new());
        }
        drop(user.port.stop());
    });
    std::fs::remove_file(&path).unwrap();
}
