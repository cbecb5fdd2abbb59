//! Cycles per packet of each half by itself, in one thread: driver half and device half in turns over the same ring.
//!
//! No second core and no line that moves between two: what the software costs, not what two cores can do. The
//! contents of every point are verified.

use netbuf::{BURST, Burst};
use netdev::QueueCounters;
use plat_linux::Clock;

use crate::frames;
use crate::guest::{packet_of, same_packet};
use crate::pair::Halves;
use crate::statistics::median;

/// Packets of a chunk, over which the work that is done now and then (refill, reclaim) evens out.
const CHUNK: usize = 4096;

/// What goes through the rings of a queue at a time.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Packets; more than [`BURST`] go in several calls.
    pub burst: usize,
    /// Their sizes in bytes, in turns (18 up to what a pair carries).
    pub sizes: &'a [usize],
}

/// How one call costs when it moves nothing: reading the clock twice.
pub fn clock_cost(clock: &Clock) -> u64 {
    let costs = (0..1000).map(|_| {
        let start = clock.now();
        clock.now().saturating_sub(start)
    });
    costs.min().unwrap_or(0)
}

/// Cycles per packet of the four halves ([`Halves::names`]): medians over `chunks` chunks of some thousand packets, after
/// one that warms up. The pairs are queues that one core serves in turns.
///
/// # Panics
/// A packet is lost or not what it was.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn per_packet(queues: &mut [Box<dyn Halves>], load: Load<'_>, chunks: usize) -> [f64; 4] {
    let (clock, counters) = (Clock::new(), QueueCounters::default());
    let cost = clock_cost(&clock);
    let mut bursts: Vec<_> = queues.iter().map(|pair| new_bursts(pair.as_ref(), load)).collect();
    let per_round = load.burst * queues.len();
    let rounds = CHUNK.div_ceil(per_round);
    let mut figures: [Vec<f64>; 4] = Default::default();
    for chunk in 0..=chunks {
        let mut cycles = [0; 4];
        for _ in 0..rounds {
            for (half, sum) in cycles.iter_mut().enumerate() {
                for (pair, bursts) in queues.iter_mut().zip(&mut bursts) {
                    for burst in bursts {
                        let start = clock.now();
                        pair.work(half, burst, &counters);
                        *sum += clock.now().saturating_sub(start).saturating_sub(cost);
                    }
                }
            }
        }
        if chunk > 0 {
            let packets = (rounds * per_round) as f64;
            figures.iter_mut().zip(cycles).for_each(|(all, sum)| all.push(sum as f64 / packets));
        }
    }
    bursts.into_iter().for_each(|bursts| verify(bursts, load));
    figures.map(|all| median(&all).unwrap_or(f64::NAN))
}

/// The test frames of a load.
fn test_frames(load: Load<'_>) -> Vec<Vec<u8>> {
    let sizes = load.sizes.iter().cycle();
    (0..).zip(sizes).take(load.burst).map(|(number, &size)| frames::frame(number, size)).collect()
}

/// Test frames, as full bursts and a rest.
fn new_bursts(pair: &dyn Halves, load: Load<'_>) -> Vec<Burst> {
    let (pool, _) = pair.pools();
    let frames = test_frames(load);
    let bursts = frames.chunks(BURST);
    bursts.map(|part| part.iter().filter_map(|frame| packet_of(&pool, frame)).collect()).collect()
}

fn verify(bursts: Vec<Burst>, load: Load<'_>) {
    let packets: Vec<_> = bursts.iter().flatten().collect();
    let frames = test_frames(load);
    assert_eq!(packets.len(), frames.len(), "packets were lost");
    packets.into_iter().zip(&frames).for_each(|(packet, frame)| same_packet(packet, frame));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::{JumboPair, PackedJumboPair, PackedPair, Pair};

    fn assert_figures(queues: &mut [Box<dyn Halves>], burst: usize, sizes: &[usize]) {
        let cycles = per_packet(queues, Load { burst, sizes }, 2);
        assert!(cycles.iter().all(|cycles| cycles.is_finite()), "{burst} x {sizes:?}: {cycles:?}");
    }

    #[test]
    fn every_burst_and_frame_size_has_figures() {
        let mut split: Vec<Box<dyn Halves>> = vec![Box::new(Pair::deep())];
        let mut packed: Vec<Box<dyn Halves>> = vec![Box::new(PackedPair::packed_deep())];
        for queues in [&mut split, &mut packed] {
            for (burst, size) in [(1, 64), (32, 1518), (33, 64), (256, 64)] {
                assert_figures(queues, burst, &[size]);
            }
            assert_figures(queues, 32, &[64, 64, 570, 1518]);
        }
    }

    #[test]
    fn several_queues_and_frames_over_several_buffers_have_figures() {
        let mut queues: Vec<Box<dyn Halves>> =
            vec![Box::new(JumboPair::jumbo()), Box::new(PackedJumboPair::packed_jumbo())];
        assert_figures(&mut queues, 32, &[9000]);
        assert_figures(&mut queues, 32, &[64]);
    }
}
