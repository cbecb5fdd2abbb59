//! Our front end and our back end with each other: real packets, both ways, contents verified; and what
//! happens when either of them goes.

mod support;
#[path = "support/user.rs"]
mod user;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use netdev::{Burst, Config, Device, DropCause, Port, RingFormat};
use support::{PATIENCE, frame, pool, socket_path};
use user::{FORMATS, User, helper_socket, pass, start_helper};
use vhost_user::VhostUserBackend;

fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|number| frame(number, 14 + number * 37 % 1505)).collect()
}

fn start(device: VhostUserBackend) -> (Port, netdev::Pool) {
    let pool = pool(2048);
    (Box::new(device).start(&Config::default(), &pool).unwrap(), pool)
}

fn both_ways(user: &mut User, back: &mut Port, pool: &netdev::Pool, count: usize) {
    pass(&mut user.port, &user.pool, back, &frames(count));
    pass(back, pool, &mut user.port, &frames(count));
}

#[test]
fn the_front_end_connects() {
    FORMATS.into_iter().for_each(the_front_end_connects_with);
}

fn the_front_end_connects_with(format: RingFormat) {
    let path = socket_path("pair");
    let (mut back, pool) = start(VhostUserBackend::listen(&path).unwrap());
    let mut user = User::connect_with(&path, format);
    both_ways(&mut user, &mut back, &pool, 3000);
    let stats = back.rx[0].stats();
    assert_eq!((stats.packets, stats.drops.total()), (3000, 0));
    assert_eq!(user.port.tx[0].stats().packets, 3000);
    assert_eq!(user.port.rx[0].stats().packets, 3000);
    assert_eq!((user.monitor.connections(), user.monitor.violations()), (1, 0));
}

#[test]
fn the_back_end_connects() {
    let path = socket_path("swapped");
    let (mut back, pool) = start(VhostUserBackend::connect(&path).unwrap());
    let mut user = User::listen(&path);
    both_ways(&mut user, &mut back, &pool, 1000);
}

#[test]
fn two_threads_over_split_rings() {
    two_threads(RingFormat::Split);
}

#[test]
fn two_threads_over_packed_rings() {
    two_threads(RingFormat::Packed);
}

fn two_threads(format: RingFormat) {
    const COUNT: usize = 50_000;
    let path = socket_path("threads");
    let finished = AtomicUsize::new(0);
    // Sends its own frames and checks the other's, both numbered by their contents.
    let run = |port: &mut Port, pool: &netdev::Pool| {
        let deadline = Instant::now() + PATIENCE;
        while !port.control.link().up {
            assert!(Instant::now() < deadline, "no link");
            port.rx[0].rx_burst(&mut Burst::new());
        }
        let (mut out, mut arrived) = (Burst::new(), Burst::new());
        let (mut sent, mut received) = (0, 0);
        while sent < COUNT || received < COUNT || !out.is_empty() {
            assert!(Instant::now() < deadline, "{sent} sent, {received} received of {COUNT}");
            while !out.is_full() && sent < COUNT {
                let Some(packet) = pool.copy_from(&frame(sent, 60 + sent % 64)) else { break };
                out.push(packet);
                sent += 1;
            }
            port.tx[0].tx_burst(&mut out);
            port.rx[0].rx_burst(&mut arrived);
            for packet in arrived.drain(..) {
                assert_eq!(packet.bytes(), frame(received, 60 + received % 64));
                received += 1;
            }
        }
        // Who is done stays until the other is, too.
        finished.fetch_add(1, Ordering::AcqRel);
        while finished.load(Ordering::Acquire) < 2 {
            assert!(Instant::now() < deadline, "the other side is not done");
            port.rx[0].rx_burst(&mut arrived);
            assert!(arrived.is_empty(), "one too many");
        }
    };
    // Each end waits for the other's link before it sends, so none is lost.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut back, pool) = start(VhostUserBackend::listen(&path).unwrap());
            run(&mut back, &pool);
            assert_eq!(back.rx[0].stats().packets, COUNT as u64);
        });
        scope.spawn(|| {
            let mut user = User::connect_with(&path, format);
            run(&mut user.port, &user.pool);
            assert_eq!(user.port.rx[0].stats().packets, COUNT as u64);
        });
    });
}

/// A back end that wants one format serves who speaks it and leaves the link down for who does not.
#[test]
fn a_back_end_of_one_format() {
    for (ours, theirs, up) in [
        (RingFormat::Split, RingFormat::Any, true),
        (RingFormat::Packed, RingFormat::Any, true),
        (RingFormat::Packed, RingFormat::Packed, true),
        (RingFormat::Packed, RingFormat::Split, false),
        (RingFormat::Split, RingFormat::Packed, false),
    ] {
        let (path, pool) = (socket_path("format"), pool(2048));
        let device = Box::new(VhostUserBackend::listen(&path).unwrap());
        let mut back = device.start(&user::in_format(ours), &pool).unwrap();
        let mut user = User::connect_with(&path, theirs);
        if up {
            both_ways(&mut user, &mut back, &pool, 100);
            continue;
        }
        let mut burst = Burst::new();
        for _ in 0..10_000 {
            back.rx[0].rx_burst(&mut burst);
            user.port.rx[0].rx_burst(&mut burst);
        }
        assert!(!back.control.link().up, "{ours} {theirs}");
        assert!(burst.is_empty());
    }
}

#[test]
fn a_front_end_starts_without_its_back_end() {
    let path = socket_path("alone");
    let mut user = User::connect(&path);
    assert!(!user.port.control.link().up);
    let mut burst: Burst = (0..32).map(|_| user.pool.copy_from(&[1; 60]).unwrap()).collect();
    assert_eq!(user.port.tx[0].tx_burst(&mut burst), 32);
    let stats = user.port.tx[0].stats();
    assert_eq!((stats.packets, stats.drops[DropCause::LinkDown]), (0, 32));
    let (mut back, pool) = start(VhostUserBackend::listen(&path).unwrap());
    both_ways(&mut user, &mut back, &pool, 100);
}

#[test]
fn the_back_end_goes_and_comes_back() {
    let path = socket_path("back-goes");
    let mut user = User::connect(&path);
    for round in 1..=20u64 {
        let (mut back, pool) = start(VhostUserBackend::listen(&path).unwrap());
        both_ways(&mut user, &mut back, &pool, 300);
        // With packets on their way in both directions.
        let mut burst: Burst = (0..32).map(|_| pool.copy_from(&[2; 60]).unwrap()).collect();
        back.tx[0].tx_burst(&mut burst);
        burst.extend((0..32).map(|_| user.pool.copy_from(&[3; 60]).unwrap()));
        user.port.tx[0].tx_burst(&mut burst);
        drop((back, burst));
        let deadline = Instant::now() + PATIENCE;
        while user.port.control.link().up {
            assert!(Instant::now() < deadline);
        }
        // The driver has been stopped and has given everything back; its counters go on.
        assert_eq!(user.pool.available(), 2048);
        assert!(user.port.rx[0].stats().packets >= 300 * round);
        assert_eq!(user.monitor.connections(), round);
    }
}

#[test]
fn the_front_end_goes_and_comes_back() {
    let path = socket_path("front-goes");
    let (mut back, pool) = start(VhostUserBackend::listen(&path).unwrap());
    for _ in 0..20 {
        let mut user = User::connect(&path);
        both_ways(&mut user, &mut back, &pool, 300);
        drop(user);
    }
    assert_eq!(pool.available(), 2048);
}

/// Not a test of its own: what `a_back_end_killed_in_mid_burst` starts and kills.
#[test]
fn helper_back_end_that_echoes() {
    let Some(path) = helper_socket() else { return };
    let (mut back, _pool) = start(VhostUserBackend::listen(&path).unwrap());
    let mut burst = Burst::new();
    loop {
        back.rx[0].rx_burst(&mut burst);
        back.tx[0].tx_burst(&mut burst);
        if burst.is_full() {
            burst.clear();
        }
    }
}

/// Not a test of its own: what `a_front_end_killed_in_mid_burst` starts and kills.
#[test]
fn helper_front_end_that_echoes() {
    let Some(path) = helper_socket() else { return };
    let mut user = User::connect(&path);
    let mut burst = Burst::new();
    loop {
        user.port.rx[0].rx_burst(&mut burst);
        user.port.tx[0].tx_burst(&mut burst);
        if burst.is_full() {
            burst.clear();
        }
    }
}

/// Floods `port` until `count` frames have come back; each must be one that was sent.
fn echo(port: &mut Port, pool: &netdev::Pool, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    let bytes = frame(5, 200);
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let mut back = 0;
    while back < count {
        assert!(Instant::now() < deadline, "{back} of {count} came back");
        while !out.is_full()
            && let Some(packet) = pool.copy_from(&bytes)
        {
            out.push(packet);
        }
        port.tx[0].tx_burst(&mut out);
        back += port.rx[0].rx_burst(&mut arrived);
        for packet in arrived.drain(..) {
            assert_eq!(packet.bytes(), bytes);
        }
    }
}

fn killed_in_mid_burst(helper: &str, path: &Path, port: &mut Port, pool: &netdev::Pool) {
    for _ in 0..5 {
        let mut child = start_helper(helper, path);
        echo(port, pool, 2000);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_back_end_killed_in_mid_burst() {
    let path = socket_path("kill-back");
    let mut user = User::connect(&path);
    killed_in_mid_burst("helper_back_end_that_echoes", &path, &mut user.port, &user.pool);
    assert!(user.monitor.connections() >= 5);
    let _ = std::fs::remove_file(&path);
}

#[test]
fn a_front_end_killed_in_mid_burst() {
    let path = socket_path("kill-front");
    let device = VhostUserBackend::listen(&path).unwrap();
    let monitor = device.monitor();
    let (mut back, pool) = start(device);
    killed_in_mid_burst("helper_front_end_that_echoes", &path, &mut back, &pool);
    assert!(monitor.connections() >= 5);
}

#[test]
fn rings_outside_the_shared_memory_are_refused() {
    let (shared, _, _) = user::shared(netbuf::PoolConfig::default());
    let elsewhere = netbuf::DeviceMemory::from_heap(1 << 16);
    let path = socket_path("outside");
    let refused = vhost_user::VirtioUser::connect(&path, &[shared], vec![elsewhere]).err();
    assert!(matches!(refused, Some(vhost_user::VirtioUserError::RingsNotShared)));
    assert!(user::endpoint_error(Path::new("/")).contains("no socket"));
}
