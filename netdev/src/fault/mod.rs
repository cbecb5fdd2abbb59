//! The fault injector: a wrapper that loses, duplicates, reorders, corrupts and delays packets, and plays a
//! full ring, all from a seed, and counts exactly what it did.
//!
//! Every packet suffers at most one fault, so that what a receiver should find can be computed from
//! [`FaultCounts`]. The same seed and the same sequence of calls give the same faults.
//!
//! Deliberately absent: faults of the link or of the ring protocol (drivers/virtio's device half breaks the
//! rules), and faults at a byte rate.

mod injector;
mod queues;
mod random;

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;

use crate::layer::{self, Layer, Place};
use crate::{Device, Direction, RxQueue, TimeSource, TxQueue};

use injector::Injector;
use queues::{FaultRx, FaultTx};

/// What befalls the packets of one direction. The rates are packets per million; together at most a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Lost.
    pub loss: u32,
    /// Delivered twice in a row. Needs a buffer of the port's pool; without one the packet passes once.
    pub duplication: u32,
    /// Held back until [`reorder_distance`](Self::reorder_distance) later packets have passed.
    pub reordering: u32,
    /// Later packets that overtake a reordered one; at least 1.
    pub reorder_distance: u16,
    /// One bit flipped, at a random place from [`corrupt_from`](Self::corrupt_from) on.
    pub corruption: u32,
    /// Bytes at the start of a frame that corruption spares. The default, 14, keeps the Ethernet header whole
    /// and the packet on its way. Frames without a byte beyond pass unharmed.
    pub corrupt_from: u16,
    /// Held back for [`delay_ticks`](Self::delay_ticks). Packets that are not delayed overtake.
    pub delay: u32,
    /// Ticks of the time source, or polls of the queue where there is none.
    pub delay_ticks: u64,
    /// Ticks after which a reordered packet passes though too few have overtaken it, so that the last packets
    /// of a stream do not stay for ever.
    pub reorder_patience: u64,
    /// Transmit calls per million that begin a stretch in which the ring plays full.
    pub stall: u32,
    /// Transmit calls in such a stretch.
    pub stall_calls: u32,
}

impl Default for Faults {
    /// None.
    fn default() -> Self {
        Self {
            loss: 0,
            duplication: 0,
            reordering: 0,
            reorder_distance: 1,
            corruption: 0,
            corrupt_from: 14,
            delay: 0,
            delay_ticks: 1,
            reorder_patience: 1000,
            stall: 0,
            stall_calls: 16,
        }
    }
}

/// Faults for both directions of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// The same seed, the same faults. Each queue has a stream of its own.
    pub seed: u64,
    /// For received packets.
    pub rx: Faults,
    /// For sent packets.
    pub tx: Faults,
}

impl FaultPlan {
    /// Whether the plan can be carried out.
    ///
    /// # Errors
    /// [`ImpossiblePlan`] where the rates of a direction exceed a million together.
    pub fn check(self) -> Result<CheckedPlan, ImpossiblePlan> {
        for faults in [&self.rx, &self.tx] {
            let rates = [
                faults.loss,
                faults.duplication,
                faults.reordering,
                faults.corruption,
                faults.delay,
            ];
            let total = rates.iter().map(|&rate| u64::from(rate)).sum();
            if total > MILLION {
                return Err(ImpossiblePlan { per_million: total });
            }
        }
        Ok(CheckedPlan(self))
    }
}

/// A [`FaultPlan`] that can be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckedPlan(FaultPlan);

const MILLION: u64 = 1_000_000;

/// The rates of a direction exceed a million together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImpossiblePlan {
    /// Their sum.
    pub per_million: u64,
}

impl fmt::Display for ImpossiblePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a packet suffers at most one fault: rates of {} per million are more than all packets",
            self.per_million
        )
    }
}

impl core::error::Error for ImpossiblePlan {}

/// What was injected into one direction, over all its queues: what happened, not what was intended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Packets that came in.
    pub packets: u64,
    /// Packets lost.
    pub lost: u64,
    /// Extra copies delivered.
    pub duplicated: u64,
    /// Packets delivered after a later one (as RFC 4737 counts; corrupted ones do not count as later), held
    /// back or delayed.
    pub reordered: u64,
    /// Packets delivered with one bit flipped.
    pub corrupted: u64,
    /// Packets held back for a time.
    pub delayed: u64,
    /// Transmit calls that took nothing because the ring played full.
    pub refusals: u64,
    /// Packets that were inside when their queue was dropped: lost with it.
    pub abandoned: u64,
}

/// Reads the counts of a wrapped device; stays valid after stop.
#[derive(Clone, Debug, Default)]
pub struct FaultReport {
    rx: Rc<Cell<FaultCounts>>,
    tx: Rc<Cell<FaultCounts>>,
}

impl FaultReport {
    /// What was done to received packets.
    pub fn rx(&self) -> FaultCounts {
        self.rx.get()
    }

    /// What was done to sent packets.
    pub fn tx(&self) -> FaultCounts {
        self.tx.get()
    }
}

/// Puts a fault injector around `device`. `time` drives delays; without it time is counted in polls.
pub fn wrap(
    device: Box<dyn Device>,
    plan: CheckedPlan,
    time: Option<TimeSource>,
) -> (Box<dyn Device>, FaultReport) {
    let report = FaultReport::default();
    let layer = FaultLayer { plan: plan.0, time, report: report.clone() };
    (layer::wrap(device, layer), report)
}

struct FaultLayer {
    plan: FaultPlan,
    time: Option<TimeSource>,
    report: FaultReport,
}

impl FaultLayer {
    fn injector(&self, direction: Direction, place: Place) -> Injector {
        let (faults, counts, stream) = match direction {
            Direction::Received => (self.plan.rx, &self.report.rx, 0),
            Direction::Sent => (self.plan.tx, &self.report.tx, 1 << 16),
        };
        let random = random::Random::new(self.plan.seed, stream | u64::from(place.queue));
        Injector::new(faults, random, place.pool, self.time.clone(), counts.clone())
    }
}

impl Layer for FaultLayer {
    fn rx(&self, inner: Box<dyn RxQueue>, place: Place) -> Box<dyn RxQueue> {
        Box::new(FaultRx::new(inner, self.injector(Direction::Received, place)))
    }

    fn tx(&self, inner: Box<dyn TxQueue>, place: Place) -> Box<dyn TxQueue> {
        Box::new(FaultTx::new(inner, self.injector(Direction::Sent, place)))
    }
}
