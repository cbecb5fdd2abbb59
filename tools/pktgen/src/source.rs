//! Sources: where the frames of a direction come from. (Those of a capture: [`playback`](crate::playback).)

mod streams;

use netdev::{Burst, Pool};

use crate::pacer::Pacer;

pub(crate) use streams::{ActiveStream, Cost, Streams, Times};

/// Makes the frames of one direction, in order, as they fall due.
pub trait Source {
    /// The first frame is due at `now`. For sources that have their own pacers.
    fn start(&mut self, now: u64) {
        let _ = now;
    }

    /// Appends the frames that are due at `now` to `out`, as far as it has room and the pool has buffers.
    /// `stamp` is the time for their stamps.
    fn fill(&mut self, out: &mut Burst, pool: &Pool, pacer: &mut Pacer, now: u64, stamp: u32);

    /// Frames made so far; the number of the next.
    fn made(&self) -> u64;

    /// Whether there will be no more.
    fn is_exhausted(&self) -> bool;

    /// Frames that were passed over because no port takes them.
    fn oversize(&self) -> u64 {
        0
    }

    /// Frames that were due and given up, besides those that the direction's pacer counts.
    fn skipped(&self) -> u64 {
        0
    }

    /// The port took the `count` oldest frames that were made and not taken yet.
    fn departed(&mut self, count: usize, now: u64) {
        let _ = (count, now);
    }

    /// The `count` frames made last will never be taken.
    fn give_up(&mut self, count: usize) {
        let _ = count;
    }

    /// For each stream, by its number: frames that were made and not given up, and frames that were skipped.
    fn streams(&self) -> Vec<(usize, u64, u64)> {
        Vec::new()
    }
}
