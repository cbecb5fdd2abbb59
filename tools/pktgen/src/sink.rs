//! Sinks: what becomes of the frames that come back.

use netdev::{Burst, Netbuf};

use crate::stamp;
use crate::template::Template;
use crate::tracker::{Counts, Tracker};

/// Judges the frames that ports receive.
pub trait Sink {
    /// `made` frames of direction `flow` have been handed to its port or wait for it.
    fn offered(&mut self, flow: usize, made: u64) {
        let _ = (flow, made);
    }

    /// Judges what `port` received at `now`.
    fn receive(&mut self, port: usize, frames: &Burst, now: u64);

    /// The figures of a direction.
    fn counts(&self, flow: usize) -> Counts;

    /// Frames that `port` received and that are nobody's.
    fn foreign(&self, port: usize) -> u64;
}

/// A frame's bytes in one piece; `scratch` is where a frame of several buffers is put together.
#[inline]
pub fn contiguous<'a>(packet: &'a Netbuf, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if packet.is_chained() { join(packet, scratch) } else { packet.bytes() }
}

#[cold]
fn join<'a>(packet: &Netbuf, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let len = packet.len();
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    let copied = packet.copy_to(scratch);
    &scratch[..copied]
}

/// One direction's template and where its frames are expected.
struct Stream {
    template: Template,
    port: usize,
    tracker: Tracker,
}

/// Judges generated frames by their stamps.
pub struct Stamped {
    /// By direction, which is also the stream's number.
    streams: Vec<Stream>,
    foreign: Vec<u64>,
    scratch: Vec<u8>,
}

impl Stamped {
    /// `streams`: for each direction, by stream number, its template and the port it goes to.
    pub fn new(streams: impl IntoIterator<Item = (Template, usize)>, ports: usize) -> Self {
        let streams = streams
            .into_iter()
            .map(|(template, port)| Stream { template, port, tracker: Tracker::default() })
            .collect();
        Self { streams, foreign: vec![0; ports], scratch: Vec::with_capacity(1 << 16) }
    }

    #[inline]
    fn judge(streams: &mut [Stream], foreign: &mut u64, port: usize, frame: &[u8], now: u64) {
        let number = frame.first_chunk().map(|head| usize::from(stamp::Stamp::read(head).stream));
        if let Some(stream) = number.and_then(|number| streams.get_mut(number))
            && let Some(stamp) = stream.template.verify(frame)
        {
            if !stream.template.same_run(frame) {
                *foreign += 1;
            } else if stream.port == port {
                stream.tracker.arrived(stamp.sequence);
                stream.tracker.counts.last_arrival = now;
            } else {
                stream.tracker.counts.misdirected += 1;
            }
            return;
        }
        Self::judge_damaged(streams, foreign, port, frame, now);
    }

    /// A damaged frame belongs to a direction that ends at this port and that it resembles.
    #[cold]
    fn judge_damaged(
        streams: &mut [Stream],
        foreign: &mut u64,
        port: usize,
        frame: &[u8],
        now: u64,
    ) {
        let owner = streams.iter_mut().find(|s| s.port == port && s.template.resembles(frame));
        match owner {
            Some(stream) => {
                stream.tracker.counts.corrupted += 1;
                stream.tracker.counts.last_arrival = now;
            }
            None if stamp::magic(frame) == Some(stamp::PROBE_MAGIC) => {}
            None => *foreign += 1,
        }
    }
}

impl Sink for Stamped {
    fn receive(&mut self, port: usize, frames: &Burst, now: u64) {
        let Self { streams, foreign, scratch } = self;
        for packet in frames {
            Self::judge(streams, &mut foreign[port], port, contiguous(packet, scratch), now);
        }
    }

    fn counts(&self, flow: usize) -> Counts {
        self.streams[flow].tracker.counts
    }

    fn foreign(&self, port: usize) -> u64 {
        self.foreign[port]
    }
}

/// Counts frames and nothing else: a replay without comparison.
pub struct Counted {
    /// For each port, the direction that ends there.
    flow_into: Vec<Option<usize>>,
    counts: Vec<Counts>,
    foreign: Vec<u64>,
}

impl Counted {
    /// `flow_into`: for each port, the direction that ends there.
    pub fn new(flow_into: Vec<Option<usize>>) -> Self {
        let ports = flow_into.len();
        Self { flow_into, counts: vec![Counts::default(); ports], foreign: vec![0; ports] }
    }
}

impl Sink for Counted {
    fn receive(&mut self, port: usize, frames: &Burst, now: u64) {
        let probes = frames
            .iter()
            .filter(|packet| stamp::magic(packet.bytes()) == Some(stamp::PROBE_MAGIC))
            .count();
        let arrived = (frames.len() - probes) as u64;
        match self.flow_into[port] {
            Some(flow) if arrived > 0 => {
                self.counts[flow].unique += arrived;
                self.counts[flow].last_arrival = now;
            }
            Some(_) => {}
            None => self.foreign[port] += arrived,
        }
    }

    fn counts(&self, flow: usize) -> Counts {
        self.counts[flow]
    }

    fn foreign(&self, port: usize) -> u64 {
        self.foreign[port]
    }
}
