//! Judging generated frames. The rules, in this order, for a frame that arrives at a port:
//!
//! 1. Its stamp names a stream, and the content checksum and the protocols' checksums are those of a frame of that
//!    stream: it is **intact**. Of another run, it is foreign. At a port where its stream does not end it is
//!    **misdirected**, and counts nowhere else. Else its number decides, by the rules of the
//!    [`tracker`](crate::tracker): received, reordered, duplicated or late.
//! 2. It has the headers of a stream without stamps that ends here, and one of its sizes: **received**; nothing more can
//!    be said.
//! 3. It has the stamp's first words and the headers of a stream that ends here; or else the headers; or else the first
//!    words: **corrupted**, of that stream. Damage in one place leaves the other.
//! 4. It is a probe of the warm-up, which is counted nowhere, or **foreign**.
//!
//! With figures per flow, frame `k` of a stream of `N` flows belongs to flow `k` modulo `N`.

use std::cell::RefCell;
use std::rc::Rc;

use netdev::Burst;

use super::{FlowCounts, Sink, StreamFigures, contiguous};
use crate::board::Seat;
use crate::departures::Departures;
use crate::latency::Arrival;
use crate::observer::SharedLatencySink;
use crate::stamp::{self, Stamp};
use crate::template::Template;
use crate::tracker::{Counts, Tracker};
use crate::window::Place;

/// A stream and where its frames are expected.
pub(crate) struct Expected {
    pub(crate) template: Rc<Template>,
    /// The direction that it belongs to.
    pub(crate) flow: usize,
    /// The port where it ends.
    pub(crate) port: usize,
    /// Flows to keep figures of, one by one; 0: none.
    pub(crate) flows: u64,
}

struct Stream {
    expected: Expected,
    tracker: Tracker,
    flows: Vec<FlowCounts>,
}

/// Hears of the frames that are sampled.
pub(crate) struct Observer {
    pub(crate) departures: Rc<RefCell<Departures>>,
    pub(crate) sink: SharedLatencySink,
    /// Nanoseconds of a moment in cycles.
    pub(crate) nanos: Box<dyn Fn(u64) -> u64>,
}

/// Judges generated frames by their stamps.
pub(crate) struct Stamped {
    /// By the number in the stamp: those of all threads, each as many, in turn.
    streams: Vec<Stream>,
    /// The place of this thread's first stream.
    base: usize,
    /// Streams of each thread.
    each: usize,
    /// This thread, and what all have counted; `None`: there is one thread.
    seat: Option<Seat>,
    /// The stream whose counts have changed since they were published.
    touched: usize,
    /// Whether there is a stream without stamps.
    unstamped: bool,
    foreign: Vec<u64>,
    scratch: Vec<u8>,
    observer: Option<Observer>,
}

impl Stamped {
    /// `streams`: by the number in the stamp, those of all threads.
    pub(crate) fn new(
        streams: Vec<Expected>,
        ports: usize,
        observer: Option<Observer>,
        seat: &Seat,
    ) -> Self {
        let seat = (!seat.is_alone()).then(|| seat.clone());
        let count = streams.len();
        let tracker = |number: usize| match &seat {
            None => Tracker::default(),
            Some(seat) => Tracker::shared(seat.board.streams(count)[number].window.clone()),
        };
        let stream = |(number, expected): (usize, Expected)| {
            let flows =
                vec![FlowCounts::default(); usize::try_from(expected.flows).unwrap_or_default()];
            Stream { expected, tracker: tracker(number), flows }
        };
        let streams: Vec<Stream> = streams.into_iter().enumerate().map(stream).collect();
        let each = count / seat.as_ref().map_or(1, |seat| seat.members);
        Self {
            unstamped: streams.iter().any(|s| !s.expected.template.is_stamped()),
            streams,
            base: each * seat.as_ref().map_or(0, |seat| seat.member),
            each,
            seat,
            touched: 0,
            foreign: vec![0; ports],
            scratch: Vec::with_capacity(1 << 16),
            observer,
        }
    }

    #[inline]
    fn judge(&mut self, port: usize, frame: &[u8], now: u64) {
        let number = Stamp::of(frame).map(|stamp| usize::from(stamp.stream));
        if let Some(number) = number
            && let Some(stream) = self.streams.get(number)
            && let Some(stamp) = stream.expected.template.verify(frame)
        {
            if self.seat.is_some() && number != self.touched {
                self.publish();
                self.touched = number;
            }
            let stream = &mut self.streams[number];
            if stamp.run != stream.expected.template.run() {
                self.foreign[port] += 1;
            } else if stream.expected.port != port {
                stream.tracker.counts.misdirected += 1;
            } else if let Some(sequence) = stream.arrived(stamp, now)
                && let Some(observer) = &self.observer
            {
                observer.arrived(number, sequence, now);
            }
            return;
        }
        self.judge_other(port, frame, now);
    }

    /// What all threads have counted of a stream.
    fn counts_of(&self, number: usize) -> Counts {
        match &self.seat {
            None => self.streams[number].tracker.counts,
            Some(seat) => seat.board.streams(self.streams.len())[number].counts(),
        }
    }

    /// Lets the other threads read what this one has counted of the stream that changed last.
    #[inline]
    fn publish(&self) {
        if let (Some(seat), Some(stream)) = (&self.seat, self.streams.get(self.touched)) {
            let shared = &seat.board.streams(self.streams.len())[self.touched];
            shared.publish(seat.member, &stream.tracker.counts);
        }
    }

    /// A frame that is not an intact one with a stamp.
    fn judge_other(&mut self, port: usize, frame: &[u8], now: u64) {
        self.publish();
        if stamp::magic(frame) == Some(stamp::PROBE_MAGIC) {
            return;
        }
        if self.unstamped
            && let Some((number, stream)) =
                (0..).zip(&mut self.streams).find(|(_, s)| s.takes_unstamped(port, frame))
        {
            self.touched = number;
            stream.tracker.counts.unique += 1;
            stream.tracker.counts.last_arrival = now;
            return;
        }
        let likeness = |stream: &Stream| {
            let template = &stream.expected.template;
            let (marked, headers) = (template.is_marked(frame), template.has_headers(frame));
            2 * u8::from(headers) + u8::from(marked)
        };
        let stamped = |(_, s): &(usize, &mut Stream)| {
            s.expected.port == port && s.expected.template.is_stamped()
        };
        let candidates = self.streams.iter_mut().enumerate().filter(stamped);
        let best =
            candidates.map(|s| (likeness(s.1), s)).rev().max_by_key(|(likeness, _)| *likeness);
        match best {
            Some((1.., (number, stream))) => {
                self.touched = number;
                stream.tracker.counts.corrupted += 1;
                stream.tracker.counts.last_arrival = now;
            }
            _ => self.foreign[port] += 1,
        }
    }
}

impl Stream {
    /// An intact frame; its number, if it came for the first time.
    #[inline]
    fn arrived(&mut self, stamp: Stamp, now: u64) -> Option<u64> {
        let sequence = self.tracker.extend(stamp.sequence);
        let place = self.tracker.arrived(sequence);
        self.tracker.counts.last_arrival = now;
        if !self.flows.is_empty() {
            self.count_flow(sequence, place);
        }
        matches!(place, Place::Ahead | Place::Behind).then_some(sequence)
    }

    fn count_flow(&mut self, sequence: u64, place: Place) {
        let number = usize::try_from(sequence % self.expected.flows).unwrap_or_default();
        let Some(flow) = self.flows.get_mut(number) else { return };
        match place {
            Place::Ahead | Place::Behind => {
                flow.unique += 1;
                flow.reordered += u64::from(sequence < flow.next);
                flow.next = flow.next.max(sequence + 1);
            }
            Place::Seen => flow.duplicated += 1,
            Place::Below => {}
        }
    }

    fn takes_unstamped(&self, port: usize, frame: &[u8]) -> bool {
        let Expected { template, port: own, .. } = &self.expected;
        !template.is_stamped()
            && *own == port
            && template.has_size(frame.len())
            && template.has_headers(frame)
    }
}

impl Observer {
    fn arrived(&self, stream: usize, sequence: u64, now: u64) {
        let found = self.departures.borrow().find(stream, sequence);
        let Some((stream, kept)) = found else { return };
        let nanos = &self.nanos;
        self.sink.borrow_mut().arrived(&Arrival {
            stream,
            sequence,
            intended: nanos(kept.intended),
            departed: nanos(kept.departed),
            arrived: nanos(now),
        });
    }
}

impl Sink for Stamped {
    fn receive(&mut self, port: usize, frames: &Burst, now: u64) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for packet in frames {
            self.judge(port, contiguous(packet, &mut scratch), now);
        }
        self.scratch = scratch;
        self.publish();
    }

    /// Of this thread's streams, whichever thread heard of their frames.
    fn counts(&self, flow: usize) -> Counts {
        let own = self.base..self.base + self.each;
        let own = own.filter(|&number| self.streams[number].expected.flow == flow);
        own.fold(Counts::default(), |sum, number| sum.and(&self.counts_of(number)))
    }

    fn foreign(&self, port: usize) -> u64 {
        self.foreign[port]
    }

    fn stream(&self, number: usize) -> Option<StreamFigures<'_>> {
        let number = self.base + number;
        let stream = self.streams.get(number)?;
        Some(StreamFigures { counts: self.counts_of(number), flows: &stream.flows })
    }
}
