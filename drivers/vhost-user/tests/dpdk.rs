//! DPDK's testpmd as the peer of both halves, as client and as server: it sends back what it gets, and every
//! frame is compared. Killed and started again, it is served again. Skipped, loudly, where it is not installed.

mod support;
#[path = "support/user.rs"]
mod user;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

use netbuf::PoolConfig;
use netdev::{Burst, Config, Device, Pool, Port, RingFeatures, RingFormat};
use support::{frame, pool, socket_path};
use user::{FORMATS, User, in_format, shared_by_pairs};
use vhost_user::{Preset, VhostUserBackend, VirtioUser};

/// testpmd needs a second or two to start, more on a busy machine.
const START: Duration = Duration::from_secs(60);

/// One testpmd at a time: it takes a core and a few hundred MiB.
static ALONE: Mutex<()> = Mutex::new(());

/// A running testpmd that sends back each frame as it is; killed when dropped.
struct Testpmd(Child);

impl Testpmd {
    fn start(device: &str) -> Self {
        Self::with_queues(device, 1)
    }

    /// What it gets from a queue it sends back into the one of the same number.
    fn with_queues(device: &str, pairs: u16) -> Self {
        let prefix = format!("bw{}", std::process::id());
        let child = Command::new("dpdk-testpmd")
            .args(["--no-huge", "-m", "256", "--no-pci", "--no-telemetry", "--lcores", "0,1"])
            .args(["--file-prefix", &prefix, "--vdev", device])
            .args(["--", "--nb-cores=1", "--forward-mode=io", "--total-num-mbufs=8192"])
            .args([format!("--rxq={pairs}"), format!("--txq={pairs}")])
            // It runs until its standard input has a line.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn installed() -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v dpdk-testpmd"])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        println!("skipped: dpdk-testpmd is not installed");
    }
    found
}

/// Sends `count` frames into a queue, few at a time, and compares what comes back to the one of the same number.
fn echo(port: &mut Port, queue: usize, pool: &Pool, count: usize) {
    let mut idle = Burst::new();
    let deadline = Instant::now() + START;
    while !port.control.link().up {
        assert!(Instant::now() < deadline, "testpmd did not bring the link up");
        port.rx[queue].rx_burst(&mut idle);
        idle.clear();
    }
    // The first frames may be lost while its other ring starts, or come from before: they carry another mark.
    let probe = vec![0xee; 60 + queue];
    let deadline = Instant::now() + START;
    let mut seen = false;
    while !seen {
        assert!(Instant::now() < deadline, "testpmd sends nothing back");
        idle.extend(pool.copy_from(&probe));
        port.tx[queue].tx_burst(&mut idle);
        idle.clear();
        std::thread::sleep(Duration::from_millis(1));
        port.rx[queue].rx_burst(&mut idle);
        seen = idle.iter().any(|packet| packet.bytes() == probe);
        idle.clear();
    }
    let bytes = |number: usize| frame(number + 7 * queue, 60 + number % 1400);
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let (mut sent, mut back) = (0, 0);
    while back < count {
        assert!(Instant::now() < deadline, "{back} of {count} came back");
        while !out.is_full() && sent < count && sent - back < 64 {
            out.push(pool.copy_from(&bytes(sent)).unwrap());
            sent += 1;
        }
        port.tx[queue].tx_burst(&mut out);
        port.rx[queue].rx_burst(&mut arrived);
        for packet in arrived.drain(..) {
            if packet.bytes() != probe {
                assert_eq!(packet.bytes(), bytes(back), "frame {back}");
                back += 1;
            }
        }
    }
}

fn back_end(device: VhostUserBackend, format: RingFormat) -> (Port, Pool) {
    let pool = pool(2048);
    (Box::new(device).start(&in_format(format), &pool).unwrap(), pool)
}

fn await_loss(port: &mut Port) {
    let deadline = Instant::now() + START;
    while port.control.link().up {
        assert!(Instant::now() < deadline, "the loss of testpmd goes unnoticed");
    }
}

/// testpmd appears, is killed, appears again, three times.
fn comes_and_goes(port: &mut Port, pool: &Pool, path: &Path, device: &str, testpmd_listens: bool) {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..3 {
        let testpmd = Testpmd::start(device);
        echo(port, 0, pool, 5000);
        // Killed with frames on their way.
        let mut burst: Burst = (0..32).map(|_| pool.copy_from(&[1; 60]).unwrap()).collect();
        port.tx[0].tx_burst(&mut burst);
        drop((testpmd, burst));
        await_loss(port);
        if testpmd_listens {
            // DPDK does not start on a socket file that it has left behind.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[test]
fn virtio_user_connects_to_our_back_end() {
    let path = socket_path("dpdk-a");
    let (mut port, pool) = back_end(VhostUserBackend::listen(&path).unwrap(), RingFormat::Split);
    let device = format!("net_virtio_user0,path={},queues=1,queue_size=256", path.display());
    comes_and_goes(&mut port, &pool, &path, &device, false);
}

#[test]
fn our_back_end_connects_to_virtio_user() {
    let path = socket_path("dpdk-b");
    let (mut port, pool) = back_end(VhostUserBackend::connect(&path).unwrap(), RingFormat::Split);
    let device =
        format!("net_virtio_user0,path={},queues=1,queue_size=1024,server=1", path.display());
    comes_and_goes(&mut port, &pool, &path, &device, true);
}

#[test]
fn our_front_end_connects_to_vhost() {
    let path = socket_path("dpdk-c");
    let mut user = User::connect_with(&path, RingFormat::Split);
    let device = format!("net_vhost0,iface={},queues=1", path.display());
    comes_and_goes(&mut user.port, &user.pool, &path, &device, true);
}

#[test]
fn vhost_connects_to_our_front_end() {
    let path = socket_path("dpdk-d");
    let mut user = User::listen_with(&path, RingFormat::Split);
    let device = format!("net_vhost0,iface={},queues=1,client=1", path.display());
    comes_and_goes(&mut user.port, &user.pool, &path, &device, false);
}

/// DPDK's packed path without mergeable buffers and out of order.
const PACKED: &str = "packed_vq=1,mrg_rxbuf=0,in_order=0";

/// Its packed path with all of that. (What it does in a split ring unless it is told otherwise.)
const PACKED_IN_ORDER: &str = "packed_vq=1,mrg_rxbuf=1,in_order=1";

#[test]
fn virtio_user_connects_to_our_back_end_packed() {
    let path = socket_path("dpdk-e");
    let (mut port, pool) = back_end(VhostUserBackend::listen(&path).unwrap(), RingFormat::Packed);
    let device =
        format!("net_virtio_user0,path={},queues=1,queue_size=256,{PACKED}", path.display());
    comes_and_goes(&mut port, &pool, &path, &device, false);
}

#[test]
fn our_back_end_connects_to_virtio_user_packed() {
    let path = socket_path("dpdk-f");
    let (mut port, pool) = back_end(VhostUserBackend::connect(&path).unwrap(), RingFormat::Packed);
    let device = format!(
        "net_virtio_user0,path={},queues=1,queue_size=1024,server=1,{PACKED_IN_ORDER}",
        path.display()
    );
    comes_and_goes(&mut port, &pool, &path, &device, true);
}

#[test]
fn our_front_end_connects_to_vhost_packed() {
    let path = socket_path("dpdk-g");
    let mut user = User::connect_with(&path, RingFormat::Packed);
    let device = format!("net_vhost0,iface={},queues=1", path.display());
    comes_and_goes(&mut user.port, &user.pool, &path, &device, true);
}

#[test]
fn vhost_connects_to_our_front_end_packed() {
    let path = socket_path("dpdk-h");
    let mut user = User::listen_with(&path, RingFormat::Packed);
    let device = format!("net_vhost0,iface={},queues=1,client=1", path.display());
    comes_and_goes(&mut user.port, &user.pool, &path, &device, false);
}

/// Two pairs of queues, polled by one thread.
#[test]
fn two_pairs_on_one_thread() {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for format in FORMATS {
        let (path, pool) = (socket_path("dpdk-i"), pool(4096));
        let config = Config { rx_queues: 2, tx_queues: 2, ..in_format(format) };
        let device = Box::new(VhostUserBackend::listen(&path).unwrap());
        let mut port = device.start(&config, &pool).unwrap();
        let _testpmd = Testpmd::with_queues(&two_pairs(&path, format), 2);
        for queue in [0, 1, 0] {
            echo(&mut port, queue, &pool, 2000);
        }
        let [first, second] = [0, 1].map(|queue| port.rx[queue].stats().packets);
        assert!(first >= 4000 && (2000..4000).contains(&second), "{first} and {second}");
    }
}

/// Two lanes, each with a pair on a thread of its own; testpmd is killed under both and comes again.
#[test]
fn two_lanes_on_two_threads() {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for format in FORMATS {
        let path = socket_path("dpdk-j");
        let lanes = Box::new(VhostUserBackend::listen(&path).unwrap()).split(2).unwrap();
        let turn = Barrier::new(3);
        let run = |lane: Box<dyn Device>| {
            let pool = pool(2048);
            let mut port = lane.start(&in_format(format), &pool).unwrap();
            for _ in 0..2 {
                turn.wait();
                echo(&mut port, 0, &pool, 5000);
                turn.wait();
                await_loss(&mut port);
            }
            drop(port.stop());
            assert_eq!(pool.available(), 2048);
        };
        std::thread::scope(|scope| {
            for lane in lanes {
                scope.spawn(|| run(lane));
            }
            for _ in 0..2 {
                let testpmd = Testpmd::with_queues(&two_pairs(&path, format), 2);
                turn.wait();
                turn.wait();
                drop(testpmd);
            }
        });
    }
}

fn two_pairs(path: &Path, format: RingFormat) -> String {
    let packed = u8::from(format == RingFormat::Packed);
    format!("net_virtio_user0,path={},queues=2,queue_size=256,packed_vq={packed}", path.display())
}

/// Our driver with two pairs over testpmd's vhost, whole and then in lanes on two threads.
#[test]
fn our_front_end_has_two_pairs() {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for format in FORMATS {
        let (path, shape) = (socket_path("dpdk-k"), PoolConfig::default());
        let (shared, rings, mut memory) = shared_by_pairs(2, shape);
        let device = Box::new(VirtioUser::listen(&path, &[shared], rings).unwrap());
        let pool = Pool::new(memory.pop().unwrap(), shape).unwrap();
        let config = Config { rx_queues: 2, tx_queues: 2, ..in_format(format) };
        let mut port = device.start(&config, &pool).unwrap();
        let vhost = format!("net_vhost0,iface={},queues=2,client=1", path.display());
        let testpmd = Testpmd::with_queues(&vhost, 2);
        for queue in [0, 1, 0] {
            echo(&mut port, queue, &pool, 2000);
        }
        drop((port, testpmd));

        let path = socket_path("dpdk-l");
        let (shared, rings, memory) = shared_by_pairs(2, shape);
        let device = Box::new(VirtioUser::listen(&path, &[shared], rings).unwrap());
        let lanes = device.split(2).unwrap();
        let vhost = format!("net_vhost0,iface={},queues=2,client=1", path.display());
        let _testpmd = Testpmd::with_queues(&vhost, 2);
        std::thread::scope(|scope| {
            for (lane, memory) in lanes.into_iter().zip(memory) {
                scope.spawn(move || {
                    let pool = Pool::new(memory, shape).unwrap();
                    let mut port = lane.start(&in_format(format), &pool).unwrap();
                    echo(&mut port, 0, &pool, 5000);
                });
            }
        });
    }
}

/// As `queues=2` says it on a command line.
const TWO_PAIRS: Preset = Preset {
    pairs: Some(2),
    queue_size: None,
    packed: None,
    on: RingFeatures::empty(),
    off: RingFeatures::empty(),
};

fn two_queues(format: RingFormat) -> Config {
    Config { rx_queues: 2, tx_queues: 2, ..in_format(format) }
}

/// testpmd listens, appears, is killed, and appears again; each time both pairs carry frames.
fn two_pairs_come_and_go(port: &mut Port, pool: &Pool, path: &Path, device: &str) {
    for _ in 0..2 {
        let before = [0, 1].map(|queue| port.rx[queue].stats().packets);
        let testpmd = Testpmd::with_queues(device, 2);
        for queue in [0, 1, 0, 1] {
            echo(port, queue, pool, 2000);
        }
        let after = [0, 1].map(|queue| port.rx[queue].stats().packets);
        let both = before.iter().zip(after).all(|(before, after)| after - before >= 4000);
        assert!(both, "{before:?}, then {after:?}");
        drop(testpmd);
        await_loss(port);
        let _ = std::fs::remove_file(path);
    }
}

#[test]
fn our_back_end_with_two_pairs_connects_to_virtio_user() {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for format in FORMATS {
        let (path, pool) = (socket_path("dpdk-m"), pool(4096));
        let device = VhostUserBackend::connect(&path).unwrap().with_preset(TWO_PAIRS);
        let mut port = Box::new(device).start(&two_queues(format), &pool).unwrap();
        let device = format!("{},server=1", two_pairs(&path, format));
        two_pairs_come_and_go(&mut port, &pool, &path, &device);
        drop(port.stop());
        assert_eq!(pool.available(), 4096);
    }
}

#[test]
fn our_front_end_with_two_pairs_connects_to_vhost() {
    if !installed() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for format in FORMATS {
        let (path, shape) = (socket_path("dpdk-n"), PoolConfig::default());
        let (shared, rings, mut memory) = shared_by_pairs(2, shape);
        let device = VirtioUser::connect(&path, &[shared], rings).unwrap().with_preset(TWO_PAIRS);
        let pool = Pool::new(memory.pop().unwrap(), shape).unwrap();
        let available = pool.available();
        let mut port = Box::new(device).start(&two_queues(format), &pool).unwrap();
        let vhost = format!("net_vhost0,iface={},queues=2", path.display());
        two_pairs_come_and_go(&mut port, &pool, &path, &vhost);
        drop(port.stop());
        assert_eq!(pool.available(), available);
    }
}
