//! Memory is bounded whatever a run's length: a run of many frames takes no more than one of few.
//!
//! All bookkeeping is on: figures per flow, the latency of each frame, and a path that loses, duplicates and reorders.
//! What is looked at is the memory that the process occupies, after a first run has touched everything that has a
//! bound. A single test, because the tests of one file share their process.

use std::ops::ControlFlow;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::fault::{self, FaultPlan, Faults};
use netdev::loopback;
use pktgen::latency::Sampling;
use pktgen::{Options, Rate, Runner, StreamSpec};

/// Frames of the first run: more than any window or ring remembers.
const FEW: u64 = 200_000;
/// Frames of the long one.
const MANY: u64 = 1_000_000;
/// Bytes that the process may grow by: a word per frame would be four times that.
const GROWTH: u64 = 2 << 20;

/// Bytes that the process occupies.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
}

fn options(count: u64) -> Options {
    let fields = vec!["ipv4.source=inc:10.0.0.1-10.0.3.232".parse().unwrap()];
    let stream = StreamSpec { fields, flows: Some(1000), per_flow: true, ..StreamSpec::default() };
    Options {
        rate: Rate::Max,
        count: Some(count),
        streams: vec![stream],
        latency: Some(Sampling::ALL),
        ..Options::default()
    }
}

#[test]
fn a_long_run_takes_no_more_memory_than_a_short_one() {
    let rx = Faults {
        loss: 1_000,
        duplication: 1_000,
        reordering: 1_000,
        reorder_distance: 50,
        ..Faults::default()
    };
    let plan = FaultPlan { seed: 7, rx, ..FaultPlan::default() };
    let (device, _) = fault::wrap(loopback::device(), plan.check().unwrap(), None);
    let config = PoolConfig { buffers: 8192, ..PoolConfig::default() };
    let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap();
    let mut runner =
        Runner::with_devices(vec![("one".into(), device)], pool, options(FEW)).unwrap();
    let mut run = |count: u64| {
        runner.set_options(options(count)).unwrap();
        let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
        let direction = &report.directions[0];
        assert_eq!(direction.sent, count);
        assert!(direction.lost > 0 && direction.duplicated > 0 && direction.reordered > 0);
        assert!(report.latency.is_some() && report.streams[0].flows.is_some());
    };
    run(FEW);
    let before = resident();
    run(MANY);
    let after = resident();
    println!("{before} bytes after {FEW} frames, {after} after {MANY} more");
    assert!(after.saturating_sub(before) < GROWTH, "from {before} to {after} bytes");
}
