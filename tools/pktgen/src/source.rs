//! Sources: where the frames of a direction come from.

use netdev::{Burst, Pool};

use crate::capture::Capture;
use crate::pacer::Pacer;
use crate::template::Template;

/// Makes the frames of one direction, in order, as they fall due.
pub trait Source {
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
}

/// One template, over and over.
#[derive(Clone, Debug)]
pub struct Generated {
    template: Template,
    made: u64,
    limit: u64,
}

impl Generated {
    /// At most `limit` frames of `template`; `None`: no limit.
    pub fn new(template: Template, limit: Option<u64>) -> Self {
        Self { template, made: 0, limit: limit.unwrap_or(u64::MAX) }
    }
}

impl Source for Generated {
    #[inline]
    fn fill(&mut self, out: &mut Burst, pool: &Pool, pacer: &mut Pacer, now: u64, stamp: u32) {
        pacer.limit(now, 1);
        while !out.is_full() && self.made < self.limit && pacer.is_due(now) {
            let Some(mut packet) = pool.alloc() else { return };
            let Some(bytes) = packet.append(self.template.size()) else { return };
            self.template.write(bytes, self.made, stamp);
            out.push(packet);
            self.made += 1;
            pacer.spend(1);
        }
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn is_exhausted(&self) -> bool {
        self.made >= self.limit
    }
}

/// A capture's frames, from the first to the last and again.
#[derive(Clone, Debug)]
pub struct Replayed {
    capture: Capture,
    /// The next frame in the capture.
    position: usize,
    /// Frames that were taken from the capture, too large ones included.
    played: u64,
    made: u64,
    limit: u64,
    max_frame: usize,
    by_bytes: bool,
    oversize: u64,
}

impl Replayed {
    /// `limit` frames of `capture`, looping; `None`: no limit. Frames of more than `max_frame` bytes are passed over
    /// and counted. `by_bytes`: the pacer counts bytes, not frames.
    pub fn new(capture: Capture, limit: Option<u64>, max_frame: usize, by_bytes: bool) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self { capture, position: 0, played: 0, made: 0, limit, max_frame, by_bytes, oversize: 0 }
    }

    /// The next frame that fits; skips at most one round of the capture.
    fn next_fitting(&mut self) -> Option<usize> {
        for _ in 0..self.capture.frames().len() {
            if self.played >= self.limit {
                return None;
            }
            let len = self.capture.frames()[self.position].len();
            if len <= self.max_frame {
                return Some(len);
            }
            self.oversize += 1;
            self.step();
        }
        self.limit = self.played;
        None
    }

    fn step(&mut self) {
        self.played += 1;
        self.position += 1;
        if self.position == self.capture.frames().len() {
            self.position = 0;
        }
    }
}

impl Source for Replayed {
    fn fill(&mut self, out: &mut Burst, pool: &Pool, pacer: &mut Pacer, now: u64, _stamp: u32) {
        pacer.limit(now, if self.by_bytes { 64 } else { 1 });
        while !out.is_full() && pacer.is_due(now) {
            let Some(len) = self.next_fitting() else { return };
            let Some(mut packet) = pool.alloc() else { return };
            let Some(bytes) = packet.append(len) else { return };
            bytes.copy_from_slice(&self.capture.frames()[self.position]);
            out.push(packet);
            self.step();
            self.made += 1;
            pacer.spend(if self.by_bytes { u32::try_from(len).unwrap_or(u32::MAX) } else { 1 });
        }
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn is_exhausted(&self) -> bool {
        self.played >= self.limit
    }

    fn oversize(&self) -> u64 {
        self.oversize
    }
}
