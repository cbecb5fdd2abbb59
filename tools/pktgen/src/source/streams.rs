//! Several streams into one direction, each at its own pace.
//!
//! Of the streams that are due, the one goes that is due longest. Streams without a limit go when no other is due, in
//! turn, by their weights. With a single stream, which is the usual case, there is nothing to choose.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use netdev::{BURST, Burst, Pool};

use super::Source;
use crate::Rate;
use crate::departures::Departures;
use crate::latency::Omission;
use crate::observer::SharedLatencySink;
use crate::pacer::Pacer;
use crate::stream::engine::Engine;
use crate::stream::size::Picker;
use crate::template::Template;

/// What a rate counts of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// One.
    Frame,
    /// Its bytes, and so many more.
    Bytes(u32),
}

impl Cost {
    pub(crate) fn of(rate: Rate) -> Self {
        match rate {
            Rate::Max | Rate::Packets(_) => Self::Frame,
            Rate::Bits(_) => Self::Bytes(0),
            Rate::Line(_) => Self::Bytes(Rate::LINE_OVERHEAD),
        }
    }

    #[inline]
    fn units(self, bytes: usize) -> u32 {
        match self {
            Self::Frame => 1,
            Self::Bytes(more) => u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(more),
        }
    }
}

/// A stream that is being sent.
pub(crate) struct ActiveStream {
    /// Its number, of the run's streams.
    pub(crate) number: usize,
    pub(crate) template: Rc<Template>,
    pub(crate) engine: Engine,
    pub(crate) picker: Picker,
    pub(crate) pacer: Pacer,
    pub(crate) cost: Cost,
    pub(crate) weight: u32,
    pub(crate) limit: u64,
    pub(crate) made: u64,
    pub(crate) given_up: u64,
}

impl ActiveStream {
    /// Makes the next frame; `false`, and nothing made, without a buffer.
    #[inline]
    fn make(&mut self, out: &mut Burst, pool: &Pool, stamp: u32) -> bool {
        let Some(mut packet) = pool.alloc() else { return false };
        let shape = self.picker.next();
        let size = self.template.size(shape);
        let Some(bytes) = packet.append(size) else { return false };
        self.template.write(shape, bytes, self.made, stamp, self.engine.next());
        out.push(packet);
        self.made += 1;
        self.pacer.spend(self.cost.units(size));
        true
    }

    /// Makes the frames of one size that are due, up to `most`: as many as the pool has buffers for.
    #[inline]
    fn make_burst(&mut self, out: &mut Burst, pool: &Pool, most: usize, now: u64, stamp: u32) {
        let cost = self.cost.units(self.template.size(0));
        let before = self.pacer;
        let due = self.pacer.spend_due(now, cost, most);
        let first = out.len();
        let made = pool.alloc_burst_to_fill(out, due);
        if made < due {
            self.pacer = before;
            self.pacer.spend_due(now, cost, made);
        }
        self.template.write_burst(&mut out[first..], self.made, stamp, &mut self.engine);
        self.made += made as u64;
    }

    #[inline]
    fn is_done(&self) -> bool {
        self.made >= self.limit
    }

    #[inline]
    fn catch_up(&mut self, now: u64) {
        self.pacer.limit(now, self.cost.units(self.template.size(0)));
    }
}

/// Where the times of sampled frames go.
pub(crate) struct Times {
    pub(crate) direction: usize,
    pub(crate) departures: Rc<RefCell<Departures>>,
    pub(crate) sink: SharedLatencySink,
    /// Nanoseconds of a moment in cycles.
    pub(crate) nanos: Box<dyn Fn(u64) -> u64>,
}

/// The streams of one direction.
pub(crate) struct Streams {
    streams: Vec<ActiveStream>,
    /// Limited streams by when they are due, the first on top.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Unlimited streams: place in `streams`, and credit of the weighted round robin.
    unlimited: Vec<(usize, i64)>,
    /// Places in `streams` of the frames made last, the newest last, as many as a burst can hold.
    recent: VecDeque<u16>,
    times: Option<Times>,
    made: u64,
    limit: u64,
}

impl Streams {
    /// At most `limit` frames in all.
    pub(crate) fn new(
        streams: Vec<ActiveStream>,
        limit: Option<u64>,
        times: Option<Times>,
    ) -> Self {
        Self {
            streams,
            due: BinaryHeap::new(),
            unlimited: Vec::new(),
            recent: VecDeque::with_capacity(2 * BURST),
            times,
            made: 0,
            limit: limit.unwrap_or(u64::MAX),
        }
    }

    /// One stream, nothing to record: the fast path.
    #[inline]
    fn fill_one(&mut self, out: &mut Burst, pool: &Pool, now: u64, stamp: u32) {
        let [stream] = &mut self.streams[..] else { return };
        stream.catch_up(now);
        let before = stream.made;
        let room = (out.remaining_capacity() as u64).min(stream.limit - stream.made);
        let room = room.min(self.limit - self.made);
        if stream.picker.is_fixed() {
            let most = usize::try_from(room).unwrap_or(BURST);
            stream.make_burst(out, pool, most, now, stamp);
        } else {
            let end = before + room;
            while stream.made < end && stream.pacer.is_due(now) && stream.make(out, pool, stamp) {}
        }
        self.made += stream.made - before;
    }

    fn fill_many(&mut self, out: &mut Burst, pool: &Pool, now: u64, stamp: u32) {
        while !out.is_full() && self.made < self.limit {
            let Some(place) = self.choose(now) else { return };
            let stream = &mut self.streams[place];
            let (due, sequence, number) = (stream.pacer.due(), stream.made, stream.number);
            let made = stream.make(out, pool, stamp);
            if !stream.pacer.is_unlimited() && !stream.is_done() {
                self.due.push(Reverse((stream.pacer.due(), place)));
            }
            if !made {
                return;
            }
            self.made += 1;
            if self.recent.len() >= BURST {
                self.recent.pop_front();
            }
            self.recent.push_back(u16::try_from(place).unwrap_or_default());
            if let Some(times) = &self.times {
                let unlimited = stream.pacer.is_unlimited();
                let due = if unlimited { now } else { due };
                let when = (due, now);
                times.departures.borrow_mut().made(times.direction, number, sequence, when);
            }
        }
    }

    /// The stream whose turn it is; it is taken off the heap.
    fn choose(&mut self, now: u64) -> Option<usize> {
        if let Some(Reverse((due, place))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            self.give_up_old(place, now);
            return Some(place);
        }
        let streams = &self.streams;
        self.unlimited.retain(|&(place, _)| !streams[place].is_done());
        let total: i64 = self.unlimited.iter().map(|&(p, _)| i64::from(streams[p].weight)).sum();
        for (place, credit) in &mut self.unlimited {
            *credit += i64::from(streams[*place].weight);
        }
        let (place, credit) =
            self.unlimited.iter_mut().max_by_key(|(place, c)| (*c, Reverse(*place)))?;
        *credit -= total;
        Some(*place)
    }

    fn give_up_old(&mut self, place: usize, now: u64) {
        let stream = &mut self.streams[place];
        let (first, before) = (stream.pacer.due(), stream.pacer.skipped());
        stream.catch_up(now);
        let count = stream.pacer.skipped() - before;
        if let (Some(times), 1..) = (&self.times, count) {
            let nanos = &times.nanos;
            let (from, to) = (nanos(first), nanos(stream.pacer.due()));
            times.sink.borrow_mut().omitted(&Omission {
                stream: stream.number,
                first: from,
                interval: to.saturating_sub(from) / count,
                count,
                resumed: nanos(now),
            });
        }
    }
}

impl Source for Streams {
    fn start(&mut self, now: u64) {
        self.due.clear();
        self.unlimited.clear();
        for (place, stream) in self.streams.iter_mut().enumerate() {
            stream.pacer.start(now);
            if stream.pacer.is_unlimited() {
                self.unlimited.push((place, 0));
            } else {
                self.due.push(Reverse((now, place)));
            }
        }
    }

    #[inline]
    fn fill(&mut self, out: &mut Burst, pool: &Pool, _pacer: &mut Pacer, now: u64, stamp: u32) {
        if self.streams.len() == 1 && self.times.is_none() {
            self.fill_one(out, pool, now, stamp);
        } else {
            self.fill_many(out, pool, now, stamp);
        }
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn is_exhausted(&self) -> bool {
        self.made >= self.limit || self.streams.iter().all(ActiveStream::is_done)
    }

    fn skipped(&self) -> u64 {
        self.streams.iter().map(|stream| stream.pacer.skipped()).sum()
    }

    fn departed(&mut self, count: usize, now: u64) {
        if let Some(times) = &self.times {
            times.departures.borrow_mut().departed(times.direction, count, now);
        }
    }

    fn give_up(&mut self, count: usize) {
        if let [stream] = &mut self.streams[..] {
            stream.given_up += count as u64;
            return;
        }
        for _ in 0..count {
            let Some(place) = self.recent.pop_back() else { return };
            self.streams[usize::from(place)].given_up += 1;
        }
    }

    fn streams(&self) -> Vec<(usize, u64, u64)> {
        let figures = |s: &ActiveStream| (s.number, s.made - s.given_up, s.pacer.skipped());
        self.streams.iter().map(figures).collect()
    }
}
