//! Cycles per packet of each half by itself, in one thread: driver half and device half in turns over the same ring.
//!
//! No second core and no line that moves between two: what the software costs, not what two cores can do. The
//! contents of every point are verified.

use netbuf::{BURST, Burst};
use netdev::QueueCounters;
use plat_linux::Clock;

use crate::frames;
use crate::guest::same_packets;
use crate::pair::Halves;
use crate::statistics::median;

/// Packets of a chunk, over which the work that is done now and then (refill, reclaim) evens out.
const CHUNK: usize = 4096;

/// How one call costs when it moves nothing: reading the clock twice.
pub fn clock_cost(clock: &Clock) -> u64 {
    let costs = (0..1000).map(|_| {
        let start = clock.now();
        clock.now().saturating_sub(start)
    });
    costs.min().unwrap_or(0)
}

/// Cycles per packet of the four halves ([`Halves::names`]): medians over `chunks` chunks of some thousand packets.
/// `burst` packets of `size` bytes (18 to 2048) go together, in calls of at most [`BURST`].
///
/// # Panics
/// A packet is lost or not what it was.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn per_packet(pair: &mut dyn Halves, burst: usize, size: usize, chunks: usize) -> [f64; 4] {
    let (clock, counters) = (Clock::new(), QueueCounters::default());
    let cost = clock_cost(&clock);
    let mut bursts = new_bursts(pair, burst, size);
    let rounds = CHUNK.div_ceil(burst);
    let mut figures: [Vec<f64>; 4] = Default::default();
    for chunk in 0..=chunks {
        let mut cycles = [0; 4];
        for _ in 0..rounds {
            round(pair, &mut bursts, &counters, &clock, cost, &mut cycles);
        }
        // (The first warms up.)
        if chunk > 0 {
            let packets = (rounds * burst) as f64;
            figures.iter_mut().zip(cycles).for_each(|(all, sum)| all.push(sum as f64 / packets));
        }
    }
    verify(&mut bursts, size);
    figures.map(|all| median(&all).unwrap_or(f64::NAN))
}

fn round(
    pair: &mut dyn Halves,
    bursts: &mut [Burst],
    counters: &QueueCounters,
    clock: &Clock,
    cost: u64,
    cycles: &mut [u64; 4],
) {
    for (half, sum) in cycles.iter_mut().enumerate() {
        for burst in bursts.iter_mut() {
            let start = clock.now();
            pair.work(half, burst, counters);
            *sum += clock.now().saturating_sub(start).saturating_sub(cost);
        }
    }
}

/// Test frames, as full bursts and a rest.
fn new_bursts(pair: &dyn Halves, packets: usize, size: usize) -> Vec<Burst> {
    let (pool, _) = pair.pools();
    let numbers: Vec<u32> = (0..).take(packets).collect();
    let frame = |&number: &u32| pool.copy_from(&frames::frame(number, size));
    let bursts = numbers.chunks(BURST).map(|part| part.iter().filter_map(frame).collect());
    bursts.collect()
}

fn verify(bursts: &mut [Burst], size: usize) {
    let mut first = 0;
    for burst in bursts {
        let count = u32::try_from(burst.len()).unwrap_or(0);
        assert!(count > 0, "a burst was lost");
        same_packets(burst, first..first + count, size);
        first += count;
        burst.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Pair;

    #[test]
    fn every_burst_and_frame_size_has_figures() {
        let pairs: [Box<dyn Halves>; 2] = [Box::new(Pair::new()), Box::new(Pair::packed())];
        for mut pair in pairs {
            for (burst, size) in [(1, 64), (32, 1518), (33, 64), (256, 64)] {
                let cycles = per_packet(pair.as_mut(), burst, size, 2);
                assert!(
                    cycles.iter().all(|cycles| cycles.is_finite()),
                    "{burst} x {size}: {cycles:?}"
                );
            }
        }
    }
}
