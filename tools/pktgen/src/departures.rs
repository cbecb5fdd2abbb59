//! When sampled frames were due and when they left, kept until they come back, in bounded memory.
//!
//! The source writes, the sink reads; with several threads, the sinks of all of them. A frame that comes back after
//! [`KEPT`] later ones of its stream has left no trace: it is late, and has no latency.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::latency::Sampling;

/// Frames of a stream whose departure is kept.
const KEPT: usize = 1 << 16;

/// Times of one frame, in cycles.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Departure {
    pub(crate) intended: u64,
    /// 0: it has not left.
    pub(crate) departed: u64,
}

/// The departures of a stream's frames. One thread writes; any may read.
#[derive(Debug)]
pub(crate) struct Ring(Box<[Slot]>);

#[derive(Debug, Default)]
struct Slot {
    /// One more than the frame's number; 0 while the slot is being written.
    owner: AtomicU64,
    intended: AtomicU64,
    departed: AtomicU64,
}

impl Default for Ring {
    fn default() -> Self {
        Self((0..KEPT).map(|_| Slot::default()).collect())
    }
}

impl Ring {
    fn made(&self, sequence: u64, times: Departure) {
        let slot = &self.0[place(sequence)];
        slot.owner.store(0, Ordering::Release);
        // (Release: who sees one of these sees that the slot is being written.)
        slot.intended.store(times.intended, Ordering::Release);
        slot.departed.store(times.departed, Ordering::Release);
        slot.owner.store(sequence + 1, Ordering::Release);
    }

    fn departed(&self, sequence: u64, now: u64) {
        let slot = &self.0[place(sequence)];
        if slot.owner.load(Ordering::Relaxed) == sequence + 1 {
            slot.departed.store(now, Ordering::Release);
        }
    }

    /// The times of a frame, if they are still kept.
    fn find(&self, sequence: u64) -> Option<Departure> {
        let slot = &self.0[place(sequence)];
        let owned = || slot.owner.load(Ordering::Acquire) == sequence + 1;
        if !owned() {
            return None;
        }
        let (intended, departed) =
            (slot.intended.load(Ordering::Acquire), slot.departed.load(Ordering::Acquire));
        // Written meanwhile for another frame, the times may be that one's.
        owned().then_some(Departure { intended, departed })
    }
}

/// The departures of a run's streams.
#[derive(Debug)]
pub(crate) struct Departures {
    sampling: Sampling,
    /// By the number in the stamp; empty until one of its frames is sampled.
    rings: Vec<Arc<OnceLock<Ring>>>,
    /// Streams of each thread.
    streams: usize,
    /// The first stream of this thread.
    base: usize,
    /// By direction: frames that were made and have not left.
    waiting: Vec<VecDeque<(usize, u64)>>,
    /// Whether another thread may hear of a frame before this one has noted that it left: then it is taken to have left
    /// when it was made, until that is noted.
    provisional: bool,
}

impl Departures {
    /// `rings`: of the streams of all threads, `streams` each, of which those from `base` on are this one's.
    pub(crate) fn new(
        sampling: Sampling,
        rings: Vec<Arc<OnceLock<Ring>>>,
        (base, streams): (usize, usize),
        directions: usize,
    ) -> Self {
        let provisional = rings.len() > streams;
        let waiting = vec![VecDeque::with_capacity(64); directions];
        Self { sampling, rings, streams, base, waiting, provisional }
    }

    /// Frame number `sequence` of this thread's `stream` was made at `now`.
    pub(crate) fn made(
        &mut self,
        direction: usize,
        stream: usize,
        sequence: u64,
        (intended, now): (u64, u64),
    ) {
        self.waiting[direction].push_back((stream, sequence));
        if self.sampling.takes(stream, sequence) {
            let ring = self.rings[self.base + stream].get_or_init(Ring::default);
            let departed = if self.provisional { now } else { 0 };
            ring.made(sequence, Departure { intended, departed });
        }
    }

    /// The port took the `count` oldest frames of a direction.
    pub(crate) fn departed(&mut self, direction: usize, count: usize, now: u64) {
        for _ in 0..count {
            let Some((stream, sequence)) = self.waiting[direction].pop_front() else { return };
            if self.sampling.takes(stream, sequence)
                && let Some(ring) = self.rings[self.base + stream].get()
            {
                ring.departed(sequence, now);
            }
        }
    }

    /// The times of a sampled frame whose stamp names `stream`, and the stream's number at its thread.
    pub(crate) fn find(&self, stream: usize, sequence: u64) -> Option<(usize, Departure)> {
        let own = stream % self.streams.max(1);
        if !self.sampling.takes(own, sequence) {
            return None;
        }
        let kept = self.rings.get(stream)?.get()?.find(sequence)?;
        (kept.departed != 0).then_some((own, kept))
    }
}

fn place(sequence: u64) -> usize {
    usize::try_from(sequence).unwrap_or_default() % KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rings(count: usize) -> Vec<Arc<OnceLock<Ring>>> {
        (0..count).map(|_| Arc::default()).collect()
    }

    #[test]
    fn a_departure_is_found_until_it_is_too_old() {
        let mut departures = Departures::new(Sampling::one_in(2), rings(2), (0, 2), 1);
        for sequence in 0..10 {
            departures.made(0, 1, sequence, (100 + sequence, 1));
        }
        departures.departed(0, 5, 7);
        let found = departures.find(1, 4).map(|(s, d)| (s, d.intended, d.departed));
        assert_eq!(found, Some((1, 104, 7)));
        assert!(departures.find(1, 3).is_none(), "not sampled");
        assert!(departures.find(1, 6).is_none(), "has not left");
        assert!(departures.find(0, 4).is_none(), "of another stream");
        departures.made(0, 1, 4 + KEPT as u64, (0, 1));
        assert!(departures.find(1, 4).is_none(), "too old");
    }

    #[test]
    fn another_threads_departures_are_found_by_the_stamp() {
        let rings = rings(4);
        let mut second = Departures::new(Sampling::ALL, rings.clone(), (2, 2), 1);
        let first = Departures::new(Sampling::ALL, rings, (0, 2), 1);
        second.made(0, 1, 9, (50, 60));
        let found = first.find(3, 9).map(|(s, d)| (s, d.intended, d.departed));
        assert_eq!(found, Some((1, 50, 60)), "on its way, and not yet noted");
        second.departed(0, 1, 70);
        assert_eq!(first.find(3, 9).map(|(_, d)| d.departed), Some(70));
    }
}
