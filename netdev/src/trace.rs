//! The tracer: a wrapper that notes every burst in a ring of the last N, to be read when something went wrong.
//!
//! A [`BurstLog`] is of fixed size and keeps the newest; noting a burst is a store. Polls that found nothing
//! and sends of nothing are not noted: they would push out what matters.
//!
//! Deliberately absent: the packets themselves (that is the [`tap`](crate::tap)) and printing.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use arrayvec::ArrayVec;
use netbuf::{BURST, Burst, Netbuf};

use crate::layer::{self, Layer, Place};
use crate::{Armed, Device, Direction, QueueCounters, RxQueue, TimeSource, TxQueue, WakeSource};

/// One burst that moved, or was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstEvent {
    /// From the [`TimeSource`] that the tracer was made with, after the call.
    pub timestamp: u64,
    /// Received or sent.
    pub direction: Direction,
    /// The port's number, from its `Config`.
    pub port: u16,
    /// The queue's number within its direction.
    pub queue: u16,
    /// Packets that could have moved: room in the receiver's burst, or packets offered to transmit.
    pub offered: u16,
    /// Packets that moved. Zero only on transmit: the ring was full.
    pub packets: u16,
    /// Bytes of those that moved, L2 headers included, FCS excluded.
    pub bytes: u32,
}

/// The newest burst events, at most as many as it was made for.
#[derive(Debug)]
pub struct BurstLog {
    events: Vec<BurstEvent>,
    capacity: usize,
    total: u64,
    oldest: usize,
}

impl BurstLog {
    /// A log of the last `capacity` events (at least one), to be shared by any number of ports of one core.
    pub fn new(capacity: usize) -> SharedLog {
        let capacity = capacity.max(1);
        let events = Vec::with_capacity(capacity);
        Rc::new(RefCell::new(Self { events, capacity, total: 0, oldest: 0 }))
    }

    /// The events that are still there, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &BurstEvent> {
        let (newer, older) = self.events.split_at(self.oldest);
        older.iter().chain(newer)
    }

    /// Events ever noted, those included that were overwritten.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Notes one event, over the oldest where the log is full.
    pub fn note(&mut self, event: BurstEvent) {
        self.total += 1;
        if self.events.len() < self.capacity {
            self.events.push(event);
        } else {
            self.events[self.oldest] = event;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }
}

/// A log that several queues share.
pub type SharedLog = Rc<RefCell<BurstLog>>;

/// Puts a tracer around `device`. Every queue notes its bursts in `log`.
pub fn wrap(device: Box<dyn Device>, log: SharedLog, time: TimeSource) -> Box<dyn Device> {
    layer::wrap(device, Trace { log, time })
}

struct Trace {
    log: SharedLog,
    time: TimeSource,
}

impl Layer for Trace {
    fn rx(&self, inner: Box<dyn RxQueue>, place: Place) -> Box<dyn RxQueue> {
        Box::new(TraceRx { inner, pen: self.pen(Direction::Received, place) })
    }

    fn tx(&self, inner: Box<dyn TxQueue>, place: Place) -> Box<dyn TxQueue> {
        Box::new(TraceTx { inner, pen: self.pen(Direction::Sent, place) })
    }
}

impl Trace {
    fn pen(&self, direction: Direction, place: Place) -> Pen {
        Pen { log: self.log.clone(), time: self.time.clone(), direction, place }
    }
}

/// One queue's way to the log.
struct Pen {
    log: SharedLog,
    time: TimeSource,
    direction: Direction,
    place: Place,
}

impl Pen {
    fn note(&self, offered: usize, packets: usize, bytes: u64) {
        self.log.borrow_mut().note(BurstEvent {
            timestamp: (self.time)(),
            direction: self.direction,
            port: self.place.port,
            queue: self.place.queue,
            // A burst holds at most `BURST` packets; their bytes saturate where chains are absurdly long.
            offered: u16::try_from(offered).unwrap_or(u16::MAX),
            packets: u16::try_from(packets).unwrap_or(u16::MAX),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        });
    }
}

/// A receive queue under a tracer.
struct TraceRx {
    inner: Box<dyn RxQueue>,
    pen: Pen,
}

impl RxQueue for TraceRx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let (before, room) = (out.len(), out.remaining_capacity());
        let received = self.inner.rx_burst(out);
        if received > 0 {
            let bytes = out[before..].iter().map(|packet| packet.len() as u64).sum();
            self.pen.note(room, received, bytes);
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

/// A transmit queue under a tracer.
struct TraceTx {
    inner: Box<dyn TxQueue>,
    pen: Pen,
}

impl TxQueue for TraceTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let lengths: ArrayVec<usize, BURST> = packets.iter().map(Netbuf::len).collect();
        let taken = self.inner.tx_burst(packets);
        if !lengths.is_empty() {
            let bytes = lengths.iter().take(taken).map(|&len| len as u64).sum();
            self.pen.note(lengths.len(), taken, bytes);
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
