//! Comparing what comes back with the capture that was played, frame by frame.
//!
//! A replayed frame has no stamp, so it is known by its contents. The rules, in this order, for a frame that arrives:
//!
//! 1. It equals the next expected frame, or one of the [`AHEAD`] after it that have been sent: those in between are
//!    missing.
//! 2. It equals a missing one: **reordered**.
//! 3. It equals one of the last [`AHEAD`] that arrived: **duplicated**.
//! 4. It has the length of the next expected frame, or one of those after it, or of a missing one: that one,
//!    **corrupted**.
//! 5. It is **foreign**.
//!
//! What stays missing is lost. Where a capture holds the same frame twice, a duplicate of the first that comes before
//! the second is taken for the second. Where MAC addresses may change, the first 12 bytes are not compared.

use std::collections::VecDeque;

use netdev::Burst;

use crate::capture::Capture;
use crate::sink::{Sink, contiguous};
use crate::stamp;
use crate::tracker::Counts;

/// How many frames ahead of, or behind, the expected one are looked at.
pub const AHEAD: u64 = 1024;

/// Compares each direction with the capture.
pub struct Compared {
    flow_into: Vec<Option<usize>>,
    directions: Vec<Comparison>,
    foreign: Vec<u64>,
    scratch: Vec<u8>,
}

impl Compared {
    /// `flow_into`: for each port, the direction that ends there. Frames of more than `max_frame` bytes were not
    /// sent; the first `skip` bytes of a frame are not compared.
    pub fn new(
        capture: &Capture,
        flow_into: Vec<Option<usize>>,
        max_frame: usize,
        skip: usize,
    ) -> Self {
        let frames: Vec<usize> = (0..capture.frames().len())
            .filter(|&n| capture.frames()[n].len() <= max_frame)
            .collect();
        let comparison = Comparison::new(capture.clone(), frames, skip);
        let directions = flow_into.iter().map(|_| comparison.clone()).collect();
        let foreign = vec![0; flow_into.len()];
        Self { flow_into, directions, foreign, scratch: Vec::with_capacity(1 << 16) }
    }
}

impl Sink for Compared {
    fn offered(&mut self, flow: usize, made: u64) {
        self.directions[flow].sent = made;
    }

    fn receive(&mut self, port: usize, frames: &Burst, now: u64) {
        for packet in frames {
            let frame = contiguous(packet, &mut self.scratch);
            let known =
                self.flow_into[port].is_some_and(|flow| self.directions[flow].arrived(frame, now));
            let probe = stamp::magic(frame) == Some(stamp::PROBE_MAGIC);
            self.foreign[port] += u64::from(!known && !probe);
        }
    }

    fn counts(&self, flow: usize) -> Counts {
        self.directions[flow].counts
    }

    fn foreign(&self, port: usize) -> u64 {
        self.foreign[port]
    }
}

#[derive(Clone)]
struct Comparison {
    capture: Capture,
    /// Which of the capture's frames are played.
    playlist: Vec<usize>,
    skip: usize,
    /// Frames sent so far.
    sent: u64,
    /// Numbers below `counts.next` that have not come, at most [`AHEAD`].
    missing: VecDeque<u64>,
    counts: Counts,
}

impl Comparison {
    fn new(capture: Capture, playlist: Vec<usize>, skip: usize) -> Self {
        let ahead = usize::try_from(AHEAD).unwrap_or_default();
        Self {
            capture,
            playlist,
            skip,
            sent: 0,
            missing: VecDeque::with_capacity(ahead),
            counts: Counts::default(),
        }
    }

    /// The frame that was sent as number `number`.
    fn sent_frame(&self, number: u64) -> &[u8] {
        let index = usize::try_from(number % self.playlist.len() as u64).unwrap_or_default();
        &self.capture.frames()[self.playlist[index]]
    }

    fn is(&self, number: u64, frame: &[u8]) -> bool {
        let sent = self.sent_frame(number);
        sent.len() == frame.len() && sent.get(self.skip..) == frame.get(self.skip..)
    }

    /// Judges a frame; whether it is one of ours.
    fn arrived(&mut self, frame: &[u8], now: u64) -> bool {
        if self.playlist.is_empty() {
            return false;
        }
        let known = self.place(frame);
        if known {
            self.counts.last_arrival = now;
        }
        known
    }

    fn place(&mut self, frame: &[u8]) -> bool {
        let next = self.counts.next;
        let ahead = next..self.sent.min(next + AHEAD);
        let behind = next.saturating_sub(AHEAD)..next;
        if let Some(number) = ahead.clone().find(|&n| self.is(n, frame)) {
            self.advance(number);
            self.counts.unique += 1;
        } else if let Some(place) = self.missing.iter().position(|&n| self.is(n, frame)) {
            self.missing.remove(place);
            self.counts.unique += 1;
            self.counts.reordered += 1;
        } else if behind.rev().any(|n| self.is(n, frame)) {
            self.counts.duplicated += 1;
        } else if let Some(number) =
            ahead.clone().find(|&n| self.sent_frame(n).len() == frame.len())
        {
            self.advance(number);
            self.counts.corrupted += 1;
        } else if let Some(place) =
            self.missing.iter().position(|&n| self.sent_frame(n).len() == frame.len())
        {
            self.missing.remove(place);
            self.counts.corrupted += 1;
        } else {
            return false;
        }
        true
    }

    /// `number` has come; those before it are missing.
    fn advance(&mut self, number: u64) {
        for skipped in self.counts.next..number {
            if self.missing.len() as u64 == AHEAD {
                self.missing.pop_front();
            }
            self.missing.push_back(skipped);
        }
        self.counts.next = number + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten frames of different lengths and contents, all sent.
    fn comparison(skip: usize) -> Comparison {
        let frames = (0..10u8).map(|n| vec![n; 60 + usize::from(n)]);
        let mut comparison =
            Comparison::new(Capture::from_frames(frames).unwrap(), (0..10).collect(), skip);
        comparison.sent = 10;
        comparison
    }

    fn play(comparison: &mut Comparison, frames: &[&[u8]]) -> (u64, u64, u64, u64, u64) {
        let foreign = frames.iter().filter(|frame| !comparison.arrived(frame, 1)).count();
        let counts = comparison.counts;
        (counts.unique, counts.reordered, counts.duplicated, counts.corrupted, foreign as u64)
    }

    #[test]
    fn every_rule_once() {
        let frame = |n: u8| vec![n; 60 + usize::from(n)];
        let mut damaged = frame(5);
        damaged[40] ^= 1;
        let stranger = vec![99; 100];
        let order = [frame(0), frame(2), frame(1), frame(2), frame(3), damaged, stranger, frame(7)];
        let order: Vec<&[u8]> = order.iter().map(|f| &f[..]).collect();
        let mut comparison = comparison(0);
        assert_eq!(play(&mut comparison, &order), (5, 1, 1, 1, 1));
        assert_eq!(comparison.counts.lost(10), 4, "frames 4, 6, 8 and 9");
        assert_eq!(comparison.counts.missing(), 2, "frames 4 and 6");
    }

    #[test]
    fn rewritten_macs_are_equal_only_where_they_may_change() {
        let mut frame = vec![0; 60];
        frame[..12].fill(0xee);
        assert_eq!(play(&mut comparison(12), &[&frame]), (1, 0, 0, 0, 0));
        assert_eq!(play(&mut comparison(0), &[&frame]), (0, 0, 0, 1, 0));
    }

    #[test]
    fn a_frame_that_was_not_sent_yet_is_not_expected() {
        let mut comparison = comparison(0);
        comparison.sent = 1;
        let second = vec![1; 61];
        assert_eq!(play(&mut comparison, &[&second]), (0, 0, 0, 0, 1));
    }
}
