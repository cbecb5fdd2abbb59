//! A transmit queue: a ring, a doorbell, counters.

use alloc::sync::Arc;

use netdev::{Burst, QueueCounters, TxQueue};

use super::queues::Own;
use crate::ring::TransmitRing;
use crate::transport::Doorbell;

/// The transmit queue over any ring and doorbell. Dropped while the device runs, it leaks what is in the ring.
pub(super) struct Sender<R: TransmitRing, D: Doorbell> {
    pub(super) ring: R,
    pub(super) own: Own<D>,
}

impl<R: TransmitRing, D: Doorbell> TxQueue for Sender<R, D> {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        if !self.own.running.get() {
            return 0;
        }
        let sent = self.ring.transmit(packets, &self.own.counters);
        if sent.notify {
            self.own.doorbell.ring(self.ring.notification(self.own.queue));
            self.own.counters.notification();
        }
        sent.taken
    }

    fn is_broken(&self) -> bool {
        self.ring.is_broken()
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.own.counters
    }
}

impl<R: TransmitRing, D: Doorbell> Drop for Sender<R, D> {
    fn drop(&mut self) {
        if self.own.running.is_reset() {
            // SAFETY: the device was reset and confirmed it (see `Running::reset`).
            unsafe { self.ring.release() };
        }
    }
}
