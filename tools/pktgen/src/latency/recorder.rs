//! The recorder: latencies of all streams, of each frame or one in so many.

use super::report::{Clocks, LatencyReport};
use super::stream::StreamRecorder;
use super::{Arrival, Histogram};

/// Streams that are told apart. Those above are passed over and their frames counted: memory has a bound.
pub const MAX_STREAMS: usize = 64;

/// Which frames are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// One frame in so many, by sequence number; 1: each.
    one_in: u64,
    /// Only this stream.
    only: Option<usize>,
}

impl Sampling {
    /// Each stamped frame.
    pub const ALL: Self = Self { one_in: 1, only: None };

    /// One stamped frame in `one_in` of each stream; 0 counts as 1.
    pub const fn one_in(one_in: u64) -> Self {
        Self { one_in: if one_in == 0 { 1 } else { one_in }, only: None }
    }

    /// Each frame of one stream, dedicated to this: the others carry the load.
    pub const fn dedicated(stream: usize) -> Self {
        Self { one_in: 1, only: Some(stream) }
    }

    /// Whether the frame is measured.
    #[inline]
    pub fn takes(&self, stream: usize, sequence: u64) -> bool {
        self.has(stream) && (self.one_in == 1 || sequence.is_multiple_of(self.one_in))
    }

    fn has(&self, stream: usize) -> bool {
        self.only.is_none_or(|only| only == stream)
    }
}

/// Frames that were due and given up, because the port had no room or the generator was late for too long.
///
/// Whoever sends at a fixed rate would have sent them, and they would have waited: leaving them out is the coordinated
/// omission that the corrected latency is to be free of. Each is charged the time from when it was due to when frames
/// left again, which is the least it would have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Omission {
    /// The stream.
    pub stream: usize,
    /// When the first of them was due, in nanoseconds.
    pub first: u64,
    /// Nanoseconds between two of them.
    pub interval: u64,
    /// How many.
    pub count: u64,
    /// When frames left again, in nanoseconds.
    pub resumed: u64,
}

/// Records latencies per stream in bounded memory.
#[derive(Clone, Debug)]
pub struct Recorder {
    streams: Vec<StreamRecorder>,
    /// The number of the first stream in `streams`.
    base: usize,
    sampling: Sampling,
    clocks: Clocks,
    passed_over: u64,
}

impl Recorder {
    /// A recorder of streams `0..streams`, as far as `sampling` has them and there is room
    /// ([`MAX_STREAMS`]).
    pub fn new(streams: usize, sampling: Sampling, clocks: Clocks) -> Self {
        let (base, count) = match sampling.only {
            Some(only) => (only, usize::from(only < streams)),
            None => (0, streams.min(MAX_STREAMS)),
        };
        let streams = vec![StreamRecorder::default(); count];
        Self { streams, base, sampling, clocks, passed_over: 0 }
    }

    /// A frame came back intact, for the first time, at the right port.
    #[inline]
    pub fn observe(&mut self, arrival: &Arrival) {
        if !self.sampling.takes(arrival.stream, arrival.sequence) {
            return;
        }
        match self.streams.get_mut(arrival.stream.wrapping_sub(self.base)) {
            Some(stream) => stream.observe(arrival),
            None => self.passed_over += 1,
        }
    }

    /// Frames were given up.
    pub fn omit(&mut self, omission: &Omission) {
        if !self.sampling.has(omission.stream) {
            return;
        }
        match self.streams.get_mut(omission.stream.wrapping_sub(self.base)) {
            Some(stream) => stream.omit(omission, self.sampling.one_in),
            None => self.passed_over += omission.count / self.sampling.one_in,
        }
    }

    /// A few percentiles of the corrected latency so far, for each stream of which a frame came: its number, and they.
    pub fn so_far(&self) -> Vec<(usize, crate::TickLatency)> {
        let streams = self.streams.iter().map(StreamRecorder::corrected).zip(self.base..);
        let known = streams.filter(|(histogram, _)| !histogram.is_empty());
        let few = |(histogram, number): (&Histogram, usize)| {
            let [p50, p99, p99_9] = histogram.percentiles([50.0, 99.0, 99.9]);
            (number, crate::TickLatency { p50, p99, p99_9, max: histogram.max() })
        };
        known.map(few).collect()
    }

    /// Adds what `other`, a recorder of the same streams on another thread, has heard.
    pub fn merge(&mut self, other: &Self) {
        self.streams.iter_mut().zip(&other.streams).for_each(|(own, other)| own.merge(other));
        self.passed_over += other.passed_over;
    }

    /// The figures so far.
    pub fn report(&self) -> LatencyReport {
        let streams = self.streams.iter().zip(self.base..);
        LatencyReport {
            sampled_one_in: self.sampling.one_in,
            clocks: self.clocks,
            streams: streams.map(|(stream, number)| stream.report(number)).collect(),
            passed_over: self.passed_over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(stream: usize, sequence: u64) -> Arrival {
        let intended = sequence * 1_000;
        Arrival { stream, sequence, intended, departed: intended + 10, arrived: intended + 510 }
    }

    #[test]
    fn sampling_takes_one_in_so_many_and_a_dedicated_stream_only_its_own() {
        for (sampling, expected) in [
            (Sampling::ALL, vec![1000, 1000, 1000]),
            (Sampling::one_in(0), vec![1000, 1000, 1000]),
            (Sampling::one_in(8), vec![125, 125, 125]),
            (Sampling::dedicated(1), vec![1000]),
            (Sampling::dedicated(7), vec![]),
        ] {
            let mut recorder = Recorder::new(3, sampling, Clocks::One);
            (0..3).for_each(|s| (0..1000).for_each(|n| recorder.observe(&frame(s, n))));
            let report = recorder.report();
            let counts: Vec<_> = report.streams.iter().map(|s| s.uncorrected.count).collect();
            assert_eq!(counts, expected, "{sampling:?}");
            assert_eq!(report.passed_over, 0);
        }
        let mut recorder = Recorder::new(3, Sampling::dedicated(2), Clocks::One);
        recorder.observe(&frame(2, 0));
        assert_eq!(recorder.report().streams[0].stream, 2);
    }

    #[test]
    fn streams_beyond_the_bound_are_counted_and_not_kept() {
        let mut recorder = Recorder::new(usize::MAX, Sampling::ALL, Clocks::One);
        recorder.observe(&frame(MAX_STREAMS - 1, 0));
        recorder.observe(&frame(MAX_STREAMS, 0));
        recorder.observe(&frame(usize::MAX, 0));
        let report = recorder.report();
        assert_eq!((report.streams.len(), report.passed_over), (MAX_STREAMS, 2));
    }

    #[test]
    fn an_omission_is_charged_frame_by_frame_however_long() {
        for count in [1, 3, 1024, 1025, 1_000_000] {
            let mut recorder = Recorder::new(1, Sampling::ALL, Clocks::One);
            let resumed = 5 + count * 1000;
            let omission = Omission { stream: 0, first: 5, interval: 1000, count, resumed };
            recorder.omit(&omission);
            let report = recorder.report();
            let corrected = &report.streams[0].corrected;
            assert_eq!((corrected.count, report.streams[0].omitted), (count, count));
            assert_eq!(report.streams[0].uncorrected.count, 0);
            // Frame i waits (count - i) intervals: half of them on average.
            let mean = 500.0 * (count + 1) as f64;
            assert!(
                (corrected.mean_ns / mean - 1.0).abs() < 0.01,
                "{count}: {}",
                corrected.mean_ns
            );
            let longest = (count * 1000) as f64;
            assert!((corrected.max_ns as f64 / longest - 1.0).abs() < 0.003, "{count}");
        }
    }

    #[test]
    fn the_worst_stream_is_shown_while_it_runs() {
        let mut recorder = Recorder::new(3, Sampling::ALL, Clocks::One);
        assert_eq!(recorder.so_far(), Vec::new());
        (0..1000).for_each(|n| recorder.observe(&frame(0, n)));
        recorder.observe(&Arrival {
            stream: 2,
            sequence: 0,
            intended: 0,
            departed: 0,
            arrived: 99,
        });
        let so_far = recorder.so_far();
        assert_eq!(so_far.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 2]);
        let worst = so_far[0].1.worse(so_far[1].1);
        let report = recorder.report();
        let first = &report.streams[0].corrected;
        assert_eq!((worst.p50, worst.max), (first.at(50.0).unwrap(), first.max_ns));
        assert_eq!(worst.p99_9, first.at(99.9).unwrap());
    }

    #[test]
    fn a_clock_that_goes_backwards_is_counted() {
        let mut recorder = Recorder::new(1, Sampling::ALL, Clocks::One);
        recorder.observe(&Arrival { stream: 0, sequence: 0, intended: 9, departed: 9, arrived: 8 });
        let report = recorder.report();
        assert_eq!((report.streams[0].backwards, report.streams[0].uncorrected.max_ns), (1, 0));
    }
}
