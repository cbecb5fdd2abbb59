//! Watches streams for gaps: how many frames never came after some moment, and when the last of them was due.
//!
//! A frame that is overtaken counts as a gap, though it may still come: on a device that reorders, recovery takes
//! longer here than it does in truth.

use std::time::Duration;

use crate::latency::{Arrival, MAX_STREAMS, Omission};
use crate::observer::LatencySink;

/// What is known of one stream. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stream {
    /// One more than the highest number that came; 0: none has.
    next: u64,
    /// When the frame with the highest number was due.
    last_due: u64,
    /// The time between its frames.
    interval: u64,
    /// The moment that counts.
    moment: u64,
    /// Missing frames that were due after the moment.
    pub(super) missing: u64,
    /// How long after the moment the last of them was due.
    pub(super) last: u64,
}

/// Watches streams for gaps; those above [`MAX_STREAMS`] are passed over.
#[derive(Debug)]
pub(super) struct Gaps {
    /// The time between a stream's frames.
    interval: u64,
    /// From a stream's first frame to the moment that counts.
    after: u64,
    streams: Vec<Stream>,
}

impl Gaps {
    /// Watches streams of `rate` frames per second, for what is missing `after` their start.
    pub(super) fn new(rate: u64, after: Duration) -> Self {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self { interval: 1_000_000_000 / rate.max(1), after, streams: Vec::new() }
    }

    /// Stream `number`, of which `sent` frames left.
    pub(super) fn stream(&self, number: usize, sent: u64) -> Stream {
        let mut stream = self.streams.get(number).copied().unwrap_or_default();
        if stream.next > 0 && sent > stream.next {
            // Those behind the last that came are missing too.
            let due = stream.last_due + stream.interval.saturating_mul(sent - stream.next + 1);
            stream.note(sent, due);
        }
        stream
    }
}

impl LatencySink for Gaps {
    fn arrived(&mut self, arrival: &Arrival) {
        if arrival.stream >= MAX_STREAMS {
            return;
        }
        if arrival.stream >= self.streams.len() {
            self.streams.resize(arrival.stream + 1, Stream::default());
        }
        let stream = &mut self.streams[arrival.stream];
        if stream.next == 0 {
            stream.interval = self.interval;
            let start =
                arrival.intended.saturating_sub(self.interval.saturating_mul(arrival.sequence));
            stream.moment = start.saturating_add(self.after);
        }
        stream.note(arrival.sequence, arrival.intended);
    }

    fn omitted(&mut self, _omission: &Omission) {}
}

impl Stream {
    /// The frame with number `sequence`, which was due at `due`, came (or would have been the first not to be sent).
    fn note(&mut self, sequence: u64, due: u64) {
        if sequence < self.next {
            return;
        }
        let last = due.saturating_sub(self.interval);
        if sequence > self.next && last > self.moment {
            let fit = 1 + (last - self.moment - 1) / self.interval.max(1);
            self.missing += fit.min(sequence - self.next);
            self.last = last - self.moment;
        }
        (self.next, self.last_due) = (sequence + 1, due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of 10 Mpps that begins at 1 ms; the moment is 3 µs later, which is when frame 30 is due.
    fn watch(sequences: impl IntoIterator<Item = u64>, sent: u64) -> (u64, u64) {
        let mut gaps = Gaps::new(10_000_000, Duration::from_micros(3));
        for sequence in sequences {
            let due = 1_000_000 + 100 * sequence;
            gaps.arrived(&Arrival {
                stream: 3,
                sequence,
                intended: due,
                departed: due,
                arrived: due,
            });
        }
        assert_eq!(gaps.stream(0, 5), Stream::default());
        let stream = gaps.stream(3, sent);
        (stream.missing, stream.last)
    }

    #[test]
    fn what_is_missing_after_the_moment_is_counted_and_the_last_is_timed() {
        assert_eq!(watch(0..50, 50), (0, 0));
        assert_eq!(watch((0..50).filter(|n| !(10..20).contains(n)), 50), (0, 0), "before");
        assert_eq!(watch((0..50).filter(|n| !(20..36).contains(n)), 50), (5, 500), "31 to 35");
        assert_eq!(watch((0..50).filter(|n| *n != 33 && *n != 40), 50), (2, 1_000));
        assert_eq!(watch(5..50, 50), (0, 0), "the start is known without the first frames");
        assert_eq!(watch(0..50, 55), (5, 2_400), "the tail is missing too");
        assert_eq!(watch([0, 40, 20, 41], 42), (9, 900), "an overtaken frame stays missing");
    }

    #[test]
    fn streams_without_number_are_passed_over() {
        let mut gaps = Gaps::new(1, Duration::ZERO);
        let far = Arrival { stream: usize::MAX, sequence: 0, intended: 0, departed: 0, arrived: 0 };
        gaps.arrived(&far);
        assert!(gaps.streams.is_empty());
    }
}
