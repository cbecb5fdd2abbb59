//! Sinks: what becomes of the frames that come back.

mod stamped;

use netdev::{Burst, Netbuf};

use crate::stamp;
use crate::tracker::Counts;

pub(crate) use stamped::{Expected, Observer, Stamped};

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

    /// The figures of a stream, by its number; `None` where there are no streams.
    fn stream(&self, number: usize) -> Option<StreamFigures<'_>> {
        let _ = number;
        None
    }
}

/// What a sink knows of a stream.
pub struct StreamFigures<'a> {
    /// What became of its frames.
    pub counts: Counts,
    /// The same per flow, where that was asked for: by the flow's number.
    pub flows: &'a [FlowCounts],
}

/// What became of a flow's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounts {
    /// Numbers that arrived intact, each counted once.
    pub unique: u64,
    /// Intact arrivals of a number that had arrived.
    pub duplicated: u64,
    /// Of the unique ones, those that another one of the same flow had overtaken.
    pub reordered: u64,
    /// One more than the highest number that arrived; 0: none has.
    pub next: u64,
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
