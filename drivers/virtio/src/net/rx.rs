//! A receive queue: a ring, a doorbell, counters.

use alloc::sync::Arc;

use netdev::{Armed, Burst, QueueCounters, RxQueue, WakeSource};

use super::queues::Own;
use crate::ring::{Pace, ReceiveRing};
use crate::transport::Doorbell;

/// The receive queue over any ring and doorbell. Dropped while the device runs, it leaks the posted buffers.
pub(super) struct Receiver<R: ReceiveRing, D: Doorbell> {
    pub(super) ring: R,
    pub(super) own: Own<D>,
    /// How often the ring is looked at.
    pub(super) pace: Pace,
    /// What wakes a sleeper, if anything does.
    pub(super) wake: Option<WakeSource>,
}

impl<R: ReceiveRing, D: Doorbell> RxQueue for Receiver<R, D> {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        if !self.own.running.get() || !self.pace.is_due() {
            return 0;
        }
        let received = self.ring.receive(out, &self.own.counters);
        self.pace.found(received, out.is_full());
        if self.ring.refill() {
            self.own.doorbell.ring(self.ring.notification(self.own.queue));
            if self.own.running.is_started() {
                self.own.counters.notification();
            }
        }
        received
    }

    fn arm(&mut self) -> Armed {
        // Whoever would sleep has waited enough.
        self.pace = Pace::default();
        if self.wake.is_none() || !self.own.running.get() {
            Armed::Unsupported
        } else if self.ring.arm() {
            Armed::Armed
        } else {
            Armed::PacketsPending
        }
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        self.wake.into_iter().for_each(each);
    }

    fn is_broken(&self) -> bool {
        self.ring.is_broken()
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.own.counters
    }
}

impl<R: ReceiveRing, D: Doorbell> Drop for Receiver<R, D> {
    fn drop(&mut self) {
        if self.own.running.is_reset() {
            // SAFETY: the device was reset and confirmed it (see `Running::reset`).
            unsafe { self.ring.release() };
        }
    }
}
