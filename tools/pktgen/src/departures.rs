//! When sampled frames were due and when they left, kept until they come back, in bounded memory.
//!
//! The source writes, the sink reads; both run in one thread. A frame that comes back after [`KEPT`] later ones of its
//! stream has left no trace: it is late, and has no latency.

use std::collections::VecDeque;

use crate::latency::Sampling;

/// Frames of a stream whose departure is kept.
const KEPT: usize = 1 << 16;

/// Times of one frame, in cycles.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Departure {
    sequence: u64,
    pub(crate) intended: u64,
    /// 0: it has not left.
    pub(crate) departed: u64,
}

/// The departures of a run's streams.
#[derive(Debug)]
pub(crate) struct Departures {
    sampling: Sampling,
    /// By stream; empty until one of its frames is sampled.
    rings: Vec<Vec<Departure>>,
    /// By direction: frames that were made and have not left.
    waiting: Vec<VecDeque<(usize, u64)>>,
}

impl Departures {
    pub(crate) fn new(sampling: Sampling, streams: usize, directions: usize) -> Self {
        Self {
            sampling,
            rings: vec![Vec::new(); streams],
            waiting: vec![VecDeque::with_capacity(64); directions],
        }
    }

    pub(crate) fn made(&mut self, direction: usize, stream: usize, sequence: u64, intended: u64) {
        self.waiting[direction].push_back((stream, sequence));
        if self.sampling.takes(stream, sequence) {
            let ring = &mut self.rings[stream];
            if ring.is_empty() {
                ring.resize(KEPT, Departure::default());
            }
            ring[slot(sequence)] = Departure { sequence, intended, departed: 0 };
        }
    }

    /// The port took the `count` oldest frames of a direction.
    pub(crate) fn departed(&mut self, direction: usize, count: usize, now: u64) {
        for _ in 0..count {
            let Some((stream, sequence)) = self.waiting[direction].pop_front() else { return };
            if let Some(kept) = self.rings[stream].get_mut(slot(sequence))
                && kept.sequence == sequence
            {
                kept.departed = now;
            }
        }
    }

    /// The times of a sampled frame.
    pub(crate) fn find(&self, stream: usize, sequence: u64) -> Option<Departure> {
        let kept = self.rings[stream].get(slot(sequence))?;
        let known = kept.sequence == sequence && kept.departed != 0;
        (known && self.sampling.takes(stream, sequence)).then_some(*kept)
    }
}

fn slot(sequence: u64) -> usize {
    usize::try_from(sequence).unwrap_or_default() % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departure_is_found_until_it_is_too_old() {
        let mut departures = Departures::new(Sampling::one_in(2), 2, 1);
        for sequence in 0..10 {
            departures.made(0, 1, sequence, 100 + sequence);
        }
        departures.departed(0, 5, 7);
        let found = departures.find(1, 4).map(|d| (d.intended, d.departed));
        assert_eq!(found, Some((104, 7)));
        assert!(departures.find(1, 3).is_none(), "not sampled");
        assert!(departures.find(1, 6).is_none(), "has not left");
        assert!(departures.find(0, 4).is_none(), "of another stream");
        departures.made(0, 1, 4 + KEPT as u64, 0);
        assert!(departures.find(1, 4).is_none(), "too old");
    }
}
