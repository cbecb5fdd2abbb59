//! Micro-benchmarks by the clock: pool, burst, each half of each ring format, header edits, checksum.
//!
//! Times are per burst of 32 packets. On a shared machine they are for comparing two runs that follow one another,
//! and nothing fails by them: what is gated are instructions (`--bin gates`). Contents are verified outside of
//! what is timed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bench::edits::{
    measured_checksum, measured_swap, measured_write, partial_burst, verify_checksums,
};
use bench::frames;
use bench::gates::new_pool;
use bench::guest::same_packets;
use bench::pair::{Halves, Pair};
use bench::versus::traffic::{Flows, looks_right};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use netbuf::{BURST, Burst, Pool, free_burst};
use netdev::QueueCounters;

fn test_burst(pool: &Pool, size: usize) -> Burst {
    let frames = (0u32..).take(BURST).map(|number| frames::frame(number, size));
    frames.filter_map(|frame| pool.copy_from(&frame)).collect()
}

fn numbers() -> std::ops::Range<u32> {
    0..u32::try_from(BURST).unwrap_or(0)
}

fn pool(criterion: &mut Criterion) {
    let pool = new_pool(256);
    let mut burst = Burst::new();
    criterion.bench_function("pool: allocate and free", |bencher| {
        bencher.iter(|| {
            pool.alloc_burst(&mut burst, BURST);
            free_burst(black_box(&mut burst));
        });
    });
    assert_eq!(pool.available(), 256);
}

fn burst(criterion: &mut Criterion) {
    let pool = new_pool(256);
    let (mut from, mut to) = (test_burst(&pool, 64), Burst::new());
    criterion.bench_function("burst: move packet by packet", |bencher| {
        bencher.iter(|| {
            to.extend(black_box(&mut from).drain(..));
            std::mem::swap(&mut from, &mut to);
        });
    });
    same_packets(&from, numbers(), 64);
}

/// A round trip through all four halves, of which one is timed.
fn rings(criterion: &mut Criterion) {
    let pairs: [Box<dyn Halves>; 2] = [Box::new(Pair::new()), Box::new(Pair::packed())];
    for mut pair in pairs {
        let (counters, pool) = (QueueCounters::default(), pair.pools().0);
        for (timed, name) in pair.names().into_iter().enumerate() {
            let mut burst = test_burst(&pool, 64);
            criterion.bench_function(name, |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut total = Duration::ZERO;
                    for _ in 0..rounds {
                        for half in 0..4 {
                            let start = (half == timed).then(Instant::now);
                            pair.work(half, &mut burst, &counters);
                            total += start.map_or(Duration::ZERO, |start| start.elapsed());
                        }
                    }
                    total
                });
            });
            same_packets(&burst, numbers(), 64);
        }
    }
}

fn headers(criterion: &mut Criterion) {
    let pool = new_pool(256);
    let mut burst = test_burst(&pool, 64);
    let mut swaps = 0u64;
    criterion.bench_function("headers: swap addresses", |bencher| {
        bencher.iter(|| {
            measured_swap(black_box(&mut burst));
            swaps += 1;
        });
    });
    if !swaps.is_multiple_of(2) {
        measured_swap(&mut burst);
    }
    same_packets(&burst, numbers(), 64);
    free_burst(&mut burst);
    let mut flows = Flows::new(64);
    criterion.bench_function("headers: allocate, write Ethernet, IPv4 and UDP, free", |bencher| {
        bencher.iter(|| {
            free_burst(black_box(&mut burst));
            pool.alloc_burst(&mut burst, BURST);
            measured_write(&mut flows, &mut burst);
        });
    });
    assert_eq!(burst.len(), BURST);
    assert!(burst.iter().all(|packet| looks_right(packet.bytes(), 64)));
    free_burst(&mut burst);
}

/// Each call needs a partial checksum, so that only it is timed.
fn checksum(criterion: &mut Criterion) {
    let pool = new_pool(256);
    for size in [64, 1494] {
        let name = format!("checksum: complete partial ones, {size} B frames");
        criterion.bench_function(&name, |bencher| {
            let burst = || partial_burst(&pool, size, 0);
            bencher.iter_batched_ref(burst, measured_checksum, BatchSize::PerIteration);
        });
        let mut burst = partial_burst(&pool, size, 7);
        measured_checksum(&mut burst);
        verify_checksums(&burst, 7);
    }
}

criterion_group! {
    name = micro;
    config = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500));
    targets = pool, burst, rings, headers, checksum
}
criterion_main!(micro);
