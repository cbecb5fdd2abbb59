//! The tap: a wrapper that shows every frame received and sent to a [`FrameSink`].
//!
//! It exists so that any port can be captured without its driver knowing. What is shown as sent is what the
//! inner queue took, and only that: frames are copied aside before the call and shown after it.
//!
//! Deliberately absent: files and their formats, which need an operating system. A hosted tool implements
//! [`FrameSink`] with a pcap writer.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use arrayvec::ArrayVec;
use netbuf::{BURST, Burst, Netbuf};

use crate::layer::{self, Layer, Place};
use crate::{Armed, Device, QueueCounters, RxQueue, TimeSource, TxQueue, WakeSource};

/// Which way a frame went, seen from the network function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Out of a receive queue.
    Received,
    /// Into a transmit queue.
    Sent,
}

/// Where and when a frame was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Received or sent.
    pub direction: Direction,
    /// The port's number, from its `Config`.
    pub port: u16,
    /// The queue's number within its direction.
    pub queue: u16,
    /// From the [`TimeSource`] that the tap was made with, normally in nanoseconds; one value per burst.
    pub timestamp: u64,
}

/// What a tap shows frames to.
pub trait FrameSink {
    /// One frame, whole: L2 header included, FCS excluded. Called on the packet path: be quick.
    fn frame(&mut self, sighting: &Sighting, bytes: &[u8]);
}

/// Every closure of the right shape is a sink.
impl<F: FnMut(&Sighting, &[u8])> FrameSink for F {
    fn frame(&mut self, sighting: &Sighting, bytes: &[u8]) {
        self(sighting, bytes);
    }
}

/// A sink that several queues share.
pub type SharedSink = Rc<RefCell<dyn FrameSink>>;

/// Puts a tap around `device`. Every queue shows its frames to `sink`.
pub fn wrap(device: Box<dyn Device>, sink: SharedSink, time: TimeSource) -> Box<dyn Device> {
    layer::wrap(device, Tap { sink, time })
}

struct Tap {
    sink: SharedSink,
    time: TimeSource,
}

impl Layer for Tap {
    fn rx(&self, inner: Box<dyn RxQueue>, place: Place) -> Box<dyn RxQueue> {
        let outlet = self.outlet(Direction::Received, place);
        Box::new(TapRx { inner, outlet, scratch: scratch(place, 1) })
    }

    fn tx(&self, inner: Box<dyn TxQueue>, place: Place) -> Box<dyn TxQueue> {
        let outlet = self.outlet(Direction::Sent, place);
        let max_frame = usize::try_from(place.max_frame).unwrap_or(usize::MAX);
        Box::new(TapTx { inner, outlet, staged: scratch(place, BURST), max_frame })
    }
}

impl Tap {
    fn outlet(&self, direction: Direction, place: Place) -> Outlet {
        let Place { port, queue, .. } = place;
        let sighting = Sighting { direction, port, queue, timestamp: 0 };
        Outlet { sink: self.sink.clone(), time: self.time.clone(), sighting }
    }
}

/// Room for `frames` frames of the largest size, so that the path never allocates.
fn scratch(place: Place, frames: usize) -> Vec<u8> {
    let largest = usize::try_from(place.max_frame).unwrap_or(usize::MAX);
    Vec::with_capacity(largest.saturating_mul(frames))
}

/// One queue's way to the sink.
struct Outlet {
    sink: SharedSink,
    time: TimeSource,
    sighting: Sighting,
}

impl Outlet {
    fn show<'a>(&mut self, frames: impl Iterator<Item = &'a [u8]>) {
        self.sighting.timestamp = (self.time)();
        let mut sink = self.sink.borrow_mut();
        for frame in frames {
            sink.frame(&self.sighting, frame);
        }
    }
}

/// A receive queue under a tap.
struct TapRx {
    inner: Box<dyn RxQueue>,
    outlet: Outlet,
    scratch: Vec<u8>,
}

impl RxQueue for TapRx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let before = out.len();
        let received = self.inner.rx_burst(out);
        let fresh = &out[before..];
        if fresh.iter().any(Netbuf::is_chained) {
            for packet in fresh {
                self.scratch.clear();
                append(&mut self.scratch, packet);
                self.outlet.show(core::iter::once(&self.scratch[..]));
            }
        } else if !fresh.is_empty() {
            self.outlet.show(fresh.iter().map(Netbuf::bytes));
        }
        received
    }

    fn arm(&mut self) -> Armed {
        self.inner.arm()
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        self.inner.wake_sources(each);
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn wrapped(&mut self) -> Option<&mut Box<dyn RxQueue>> {
        Some(&mut self.inner)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        self.inner.counters()
    }
}

/// A transmit queue under a tap.
struct TapTx {
    inner: Box<dyn TxQueue>,
    outlet: Outlet,
    /// The burst's frames, one after the other.
    staged: Vec<u8>,
    max_frame: usize,
}

impl TapTx {
    /// Copies the frames aside; where each ends. A frame beyond `max_frame` is never sent and has no bytes.
    fn stage(&mut self, packets: &Burst) -> ArrayVec<usize, BURST> {
        self.staged.clear();
        packets
            .iter()
            .map(|packet| {
                if packet.len() <= self.max_frame {
                    append(&mut self.staged, packet);
                }
                self.staged.len()
            })
            .collect()
    }
}

impl TxQueue for TapTx {
    /// A frame that the inner queue takes only to drop it (an offload that was not negotiated) is shown as
    /// sent; one beyond `max_frame` is not.
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let ends = self.stage(packets);
        let taken = self.inner.tx_burst(packets);
        if taken > 0 {
            let starts = core::iter::once(0).chain(ends.iter().copied());
            let frames =
                starts.zip(&ends).take(taken).map(|(start, &end)| &self.staged[start..end]);
            self.outlet.show(frames.filter(|frame| !frame.is_empty()));
        }
        taken
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn wrapped(&mut self) -> Option<&mut Box<dyn TxQueue>> {
        Some(&mut self.inner)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        self.inner.counters()
    }
}

fn append(bytes: &mut Vec<u8>, packet: &Netbuf) {
    for segment in packet.segments() {
        bytes.extend_from_slice(segment);
    }
}
