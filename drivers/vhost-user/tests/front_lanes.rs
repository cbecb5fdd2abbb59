//! The front end with several pairs of queues, whole and in lanes on threads of their own, over our own back end: whole,
//! in lanes, with too few pairs, killed and there again.

mod support;
#[path = "support/user.rs"]
mod user;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netbuf::{DeviceMemory, PoolConfig};
use netdev::{Burst, Config, Device, Pool, Port, RingFormat, StartError, StartFailure};
use support::{PATIENCE, frame, pool, socket_path};
use user::{FORMATS, in_format, shared_by_pairs};
use vhost_user::{Preset, VhostUserBackend, Violation, VirtioUser};

const SHAPE: PoolConfig = PoolConfig { buffers: 1024, headroom: 128, room: 2048 };

fn pairs(pairs: u16, format: RingFormat) -> Config {
    Config { rx_queues: pairs, tx_queues: pairs, ..in_format(format) }
}

fn back_end(device: VhostUserBackend, pairs_: u16, format: RingFormat) -> (Port, Pool) {
    let pool = pool(2048);
    (Box::new(device).start(&pairs(pairs_, format), &pool).unwrap(), pool)
}

/// Sends back what comes, from each queue to the one of the same number.
fn echo(port: &mut Port, held: &mut [Burst]) {
    for ((rx, tx), held) in port.rx.iter_mut().zip(&mut port.tx).zip(held) {
        rx.rx_burst(held);
        tx.tx_burst(held);
    }
}

/// Sends frames into a queue and compares what comes back to it, until so many have; `meanwhile` runs the other side.
/// Frames may be lost while the link is down or a back end goes: each is sent until it is back.
fn round_trips(
    port: &mut Port,
    queue: usize,
    pool: &Pool,
    seed: usize,
    count: usize,
    mut meanwhile: impl FnMut(),
) {
    let deadline = Instant::now() + PATIENCE;
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let mut back = 0;
    while back < count {
        assert!(Instant::now() < deadline, "{back} of {count} came back");
        let expected = frame(seed + back, 60 + back * 7 % 1400);
        out.extend(pool.copy_from(&expected));
        while !out.is_empty() && Instant::now() < deadline {
            port.tx[queue].tx_burst(&mut out);
            meanwhile();
        }
        // Not long: it may be lost in a back end that has gone. If it is only late, it comes twice, which does no harm.
        for _ in 0..1000 {
            meanwhile();
            if port.rx[queue].rx_burst(&mut arrived) > 0 {
                break;
            }
            std::thread::yield_now();
        }
        for packet in arrived.drain(..) {
            if packet.bytes() == expected {
                back += 1;
            }
        }
    }
}

#[test]
fn one_thread_drives_all_pairs_and_frames_stay_in_theirs() {
    for format in FORMATS {
        let path = socket_path("front-pairs");
        let (mut back, _pool) = back_end(VhostUserBackend::listen(&path).unwrap(), 3, format);
        let mut held = [Burst::new(), Burst::new(), Burst::new()];
        let (shared, rings, mut memory) = shared_by_pairs(3, SHAPE);
        let device = VirtioUser::connect(&path, &[shared], rings).unwrap();
        assert_eq!((device.info().rx_queues, device.info().tx_queues), (3, 3));
        let pool = Pool::new(memory.pop().unwrap(), SHAPE).unwrap();
        let mut port = Box::new(device).start(&pairs(2, format), &pool).unwrap();
        assert_eq!((port.info.rx_queues, port.rx.len(), port.tx.len()), (2, 2, 2));
        for queue in [1, 0, 1] {
            let seed = 1000 * queue;
            round_trips(&mut port, queue, &pool, seed, 200, || echo(&mut back, &mut held));
        }
        let packets = |queue: usize| back.rx[queue].stats().packets;
        assert!(packets(0) >= 200 && packets(1) >= 400 && packets(2) == 0);
        assert!(port.control.link().up);
    }
}

#[test]
fn queues_come_in_pairs_and_not_more_than_there_are_rings_for() {
    let start = |rx_queues, tx_queues| {
        let (shared, rings, mut memory) = shared_by_pairs(2, SHAPE);
        let device = VirtioUser::connect(socket_path("never"), &[shared], rings).unwrap();
        let pool = Pool::new(memory.pop().unwrap(), SHAPE).unwrap();
        let config = Config { rx_queues, tx_queues, ..Config::default() };
        Box::new(device).start(&config, &pool).map(drop).map_err(|error| error.reason)
    };
    assert_eq!(start(2, 1), Err(StartFailure::QueuePairs { rx: 2, tx: 1 }));
    assert_eq!(start(3, 3), Err(StartFailure::Queues { asked: 3, max: 2 }));
    assert_eq!(start(0, 0), Err(StartFailure::Queues { asked: 0, max: 2 }));
    assert_eq!(start(2, 2), Ok(()));
}

#[test]
fn a_back_end_with_too_few_pairs_is_refused_and_one_with_enough_is_taken() {
    let path = socket_path("too-few");
    let (mut back, pool_of_one) =
        back_end(VhostUserBackend::listen(&path).unwrap(), 1, RingFormat::Any);
    let (shared, rings, mut memory) = shared_by_pairs(2, SHAPE);
    let device = VirtioUser::connect(&path, &[shared], rings).unwrap();
    let monitor = device.monitor();
    let pool = Pool::new(memory.pop().unwrap(), SHAPE).unwrap();
    let mut port = Box::new(device).start(&pairs(2, RingFormat::Any), &pool).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while monitor.violations() == 0 {
        assert!(Instant::now() < deadline, "nothing happens");
        assert!(!port.control.link().up);
        back.rx[0].rx_burst(&mut Burst::new());
    }
    assert_eq!(monitor.last_end(), Some(Violation::QueuePairs { needed: 2, offered: 1 }));
    drop((back, pool_of_one));
    let (mut back, _pool) = back_end(VhostUserBackend::listen(&path).unwrap(), 2, RingFormat::Any);
    let mut held = [Burst::new(), Burst::new()];
    round_trips(&mut port, 1, &pool, 1, 100, || echo(&mut back, &mut held));
}

fn lane_port(
    lane: Box<dyn Device + Send>,
    memory: DeviceMemory,
    format: RingFormat,
) -> (Port, Pool) {
    let pool = Pool::new(memory, SHAPE).unwrap();
    (lane.start(&in_format(format), &pool).unwrap(), pool)
}

/// Two lanes of ours on two threads over two lanes of a back end on two others; the back end goes and comes back, whole.
#[test]
fn lanes_on_threads_survive_their_back_end() {
    for format in FORMATS {
        let path = socket_path("front-lanes");
        let (shared, rings, memory) = shared_by_pairs(2, SHAPE);
        let device = VirtioUser::connect(&path, &[shared], rings).unwrap();
        let monitor = device.monitor();
        let lanes = Box::new(device).split(2).unwrap();
        let served = AtomicBool::new(false);
        let served = &served;
        std::thread::scope(|scope| {
            let run = |lane, memory, seed| {
                let (mut port, pool) = lane_port(lane, memory, format);
                // (However unfairly the cores are given to them, each lane has frames for as long as there are back ends.)
                while !served.load(Ordering::Relaxed) {
                    round_trips(&mut port, 0, &pool, seed, 50, || {});
                }
                round_trips(&mut port, 0, &pool, seed, 300, || {});
            };
            let threads: Vec<_> = (lanes.into_iter().zip(memory).enumerate())
                .map(|(at, (lane, memory))| scope.spawn(move || run(lane, memory, 5000 * at)))
                .collect();
            for _ in 0..2 {
                let back = VhostUserBackend::listen(&path).unwrap();
                serve_in_lanes(back, format, 300, &|at| threads[at].is_finished());
            }
            served.store(true, Ordering::Relaxed);
            let (mut back, _pool) = back_end(VhostUserBackend::listen(&path).unwrap(), 2, format);
            let mut held = [Burst::new(), Burst::new()];
            while !threads.iter().all(|thread| thread.is_finished()) {
                echo(&mut back, &mut held);
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert!(monitor.connections() >= 3);
    }
}

/// Echoes from two threads until each has seen so many frames, or whoever sends it any has `finished`: one lane can be
/// through before the other has got far.
fn serve_in_lanes(
    back: VhostUserBackend,
    format: RingFormat,
    count: u64,
    finished: &(dyn Fn(usize) -> bool + Sync),
) {
    let deadline = Instant::now() + PATIENCE;
    let done = [AtomicBool::new(false), AtomicBool::new(false)];
    std::thread::scope(|scope| {
        for (at, lane) in Box::new(back).split(2).unwrap().into_iter().enumerate() {
            let done = &done;
            scope.spawn(move || {
                let mut port = lane.start(&in_format(format), &pool(512)).unwrap();
                let mut held = [Burst::new()];
                while !done.iter().all(|done| done.load(Ordering::Relaxed)) {
                    assert!(Instant::now() < deadline, "a lane sees nothing");
                    echo(&mut port, &mut held);
                    if port.rx[0].stats().packets >= count || finished(at) {
                        done[at].store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn a_device_comes_apart_once_and_before_it_runs() {
    let (shared, rings, mut memory) = shared_by_pairs(2, SHAPE);
    let device = VirtioUser::connect(socket_path("apart"), &[shared], rings).unwrap();
    let refused = |device: Box<dyn Device>, pairs| match device.split(pairs) {
        Err(StartError { device, reason }) => (device, reason),
        Ok(lanes) => panic!("{} lanes", lanes.len()),
    };
    let (device, reason) = refused(Box::new(device), 3);
    assert_eq!(reason, StartFailure::Lanes { asked: 3, max: 2 });
    let pool = Pool::new(memory.pop().unwrap(), SHAPE).unwrap();
    let device = device.start(&pairs(2, RingFormat::Any), &pool).unwrap().stop();
    assert_eq!(device.info().rx_queues, 2);
    let (device, reason) = refused(device, 2);
    assert_eq!(reason, StartFailure::Lanes { asked: 2, max: 0 });
    // Whole it runs again, with more or fewer queues.
    let device = device.start(&pairs(1, RingFormat::Any), &pool).unwrap().stop();
    assert_eq!(device.start(&pairs(2, RingFormat::Any), &pool).unwrap().rx.len(), 2);
}

/// What a preset decides holds at each start, in both roles and in lanes, whatever the configuration says.
#[test]
fn presets_hold_at_each_start() {
    let preset = Preset { pairs: Some(2), packed: Some(true), ..Preset::default() };
    let path = socket_path("preset");
    let back = VhostUserBackend::listen(&path).unwrap().with_preset(preset);
    let (shared, rings, mut memory) = shared_by_pairs(3, SHAPE);
    let user = VirtioUser::connect(&path, &[shared], rings).unwrap().with_preset(preset);
    let memory = memory.pop().unwrap();
    let pools = [pool(2048), Pool::new(memory, SHAPE).unwrap()];
    let devices: [Box<dyn Device>; 2] = [Box::new(back), Box::new(user)];
    for (mut device, pool) in devices.into_iter().zip(pools) {
        for _ in 0..2 {
            assert_eq!((device.info().rx_queues, device.info().tx_queues), (2, 2));
            let three = device.start(&pairs(3, RingFormat::Any), &pool).map(drop).unwrap_err();
            assert_eq!(three.reason, StartFailure::Queues { asked: 3, max: 2 });
            let port = three.device.start(&pairs(2, RingFormat::Split), &pool).unwrap();
            assert_eq!(port.info.ring_format, RingFormat::Packed);
            device = port.stop();
        }
    }
    let lanes = VhostUserBackend::listen(socket_path("preset-lanes")).unwrap();
    let lane = Box::new(lanes.with_preset(preset)).split(2).unwrap().remove(1);
    let port = lane.start(&Config::default(), &pool(512)).unwrap();
    assert_eq!(port.info.ring_format, RingFormat::Packed);
    let port = port.stop().start(&Config::default(), &pool(512)).unwrap();
    assert_eq!(port.info.ring_format, RingFormat::Packed);
}
