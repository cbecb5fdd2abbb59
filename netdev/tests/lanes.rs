//! A loopback taken apart: each lane on a thread of its own, with a pool of its own.

use netbuf::{DeviceMemory, PoolConfig};
use netdev::trace::BurstLog;
use netdev::{
    Burst, Config, Device, Pool, StartError, StartFailure, call_counter, loopback, trace,
};

const FRAMES: u32 = 2000;

fn pool() -> Pool {
    let config = PoolConfig { buffers: 600, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

fn frame(lane: u8, number: u32) -> Vec<u8> {
    let mut frame = vec![lane; 60];
    frame[20..24].copy_from_slice(&number.to_le_bytes());
    frame
}

/// Starts the lane, twice, and has it loop frames; each must come back on the same lane, whole and in order.
fn run(lane: u8, mut device: Box<dyn Device>) {
    let pool = pool();
    for _ in 0..2 {
        let mut port = device.start(&Config::default(), &pool).unwrap();
        let (mut sent, mut back) = (0, 0);
        let (mut out, mut arrived) = (Burst::new(), Burst::new());
        while back < FRAMES {
            while !out.is_full() && sent < FRAMES {
                out.push(pool.copy_from(&frame(lane, sent)).unwrap());
                sent += 1;
            }
            port.tx[0].tx_burst(&mut out);
            port.rx[0].rx_burst(&mut arrived);
            for packet in arrived.drain(..) {
                assert_eq!(packet.bytes(), frame(lane, back));
                back += 1;
            }
        }
        device = port.stop();
        assert_eq!(pool.available(), 600);
    }
}

#[test]
fn lanes_run_on_threads_of_their_own() {
    let lanes = loopback::device().split(4).unwrap();
    let run = |(number, lane): (u8, Box<dyn Device + Send>)| move || run(number, lane);
    std::thread::scope(|scope| {
        for lane in (0..).zip(lanes) {
            scope.spawn(run(lane));
        }
    });
}

fn refusal(device: Box<dyn Device>, pairs: u16) -> StartFailure {
    match device.split(pairs) {
        Ok(lanes) => panic!("{} lanes", lanes.len()),
        Err(StartError { reason, .. }) => reason,
    }
}

#[test]
fn a_lane_has_one_pair_and_is_its_only_lane() {
    let lane = || -> Box<dyn Device> { loopback::device().split(2).unwrap().pop().unwrap() };
    assert_eq!(lane().split(1).unwrap().len(), 1);
    assert_eq!(refusal(lane(), 2), StartFailure::Lanes { asked: 2, max: 1 });
    let two = Config { tx_queues: 2, ..Config::default() };
    let error = lane().start(&two, &pool()).unwrap_err();
    assert_eq!(error.reason, StartFailure::Queues { asked: 2, max: 1 });
}

#[test]
fn what_is_bound_to_one_core_does_not_come_apart() {
    let bound = StartFailure::Lanes { asked: 2, max: 0 };
    assert_eq!(refusal(loopback::pair().0, 2), bound);
    let traced = trace::wrap(loopback::device(), BurstLog::new(4), call_counter());
    assert_eq!(refusal(traced, 2), bound);
    assert!(bound.to_string().contains("one core"));
}
