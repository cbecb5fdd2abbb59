//! One thread, both halves of two split rings: the driver half sends, the device half takes the frames and sends
//! them back, the driver half receives. The stable benchmark: no second core, no cache line that moves. It
//! shows what the software costs, not what two cores can do.

use std::time::{Duration, Instant};

use bench::environment::Environment;
use bench::frames;
use bench::gates::PER_BURST;
use bench::pair::Pair;
use clap::Parser;
use netbuf::{BURST, Burst, free_burst};
use netdev::QueueCounters;
use virtio::ring::{ReceiveRing, TransmitRing};

/// Driver half and device half of a split ring in one thread: Mpps and cycles per packet and direction
#[derive(Parser)]
struct Options {
    /// Bytes of a frame, L2 header included, FCS excluded
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(18..=2048))]
    size: u16,
    /// Trials
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    trials: u16,
    /// Milliseconds of a trial
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    milliseconds: u64,
}

fn main() {
    let options = Options::parse();
    let mut pair = Pair::new();
    let counters: [QueueCounters; 4] = Default::default();
    verify(&mut pair, options.size.into(), &counters);
    let mut rates = Vec::new();
    for _ in 0..=options.trials {
        rates.push(trial(&mut pair, &options, &counters));
    }
    rates.remove(0); // warm-up
    rates.sort_by(|one, two| one.mpps.total_cmp(&two.mpps));
    let middle = &rates[rates.len() / 2];
    println!("{:?}", Environment::here());
    println!(
        "single thread, split ring, {} B frames, bursts of {BURST}: {:.1} Mpps round trips (median of {}; min \
         {:.1}, max {:.1}), {:.0} TSC cycles per round trip: driver transmit + receive, device receive + transmit",
        options.size,
        middle.mpps,
        rates.len(),
        rates[0].mpps,
        rates[rates.len() - 1].mpps,
        middle.cycles
    );
}

struct Rate {
    mpps: f64,
    cycles: f64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn trial(pair: &mut Pair, options: &Options, counters: &[QueueCounters; 4]) -> Rate {
    let mut burst = pool_burst(pair, options.size.into());
    let (start, cycles) = (Instant::now(), tsc());
    let mut packets = 0;
    while start.elapsed() < Duration::from_millis(options.milliseconds) {
        for _ in 0..256 {
            round_trip(pair, &mut burst, counters);
            packets += burst.len();
        }
    }
    let (seconds, cycles) = (start.elapsed().as_secs_f64(), tsc() - cycles);
    assert_eq!(burst.len(), BURST, "packets were lost");
    free_burst(&mut burst);
    Rate { mpps: packets as f64 / seconds / 1e6, cycles: cycles as f64 / packets as f64 }
}

/// A burst goes to the device and comes back.
fn round_trip(pair: &mut Pair, burst: &mut Burst, counters: &[QueueCounters; 4]) {
    pair.driver_tx.transmit(burst, &counters[0]);
    pair.device_rx.receive(&pair.map, &pair.host_pool, burst, &counters[1], 0);
    pair.device_tx.transmit(&pair.map, burst, &counters[2]);
    pair.driver_rx.receive(burst, &counters[3]);
    let _ = pair.driver_rx.refill();
}

fn pool_burst(pair: &Pair, size: usize) -> Burst {
    let frames = (0..PER_BURST.into()).map(|number| frames::frame(number, size));
    frames.map(|frame| pair.guest_pool.copy_from(&frame).expect("enough buffers")).collect()
}

/// The twin of the trials, whose contents are looked at.
fn verify(pair: &mut Pair, size: usize, counters: &[QueueCounters; 4]) {
    let mut burst = pool_burst(pair, size);
    for _ in 0..1000 {
        round_trip(pair, &mut burst, counters);
        bench::guest::same_packets(&burst, 0..PER_BURST.into(), size);
    }
    free_burst(&mut burst);
}

#[cfg(target_arch = "x86_64")]
fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has the counter, and user programs may read it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
fn tsc() -> u64 {
    0
}
