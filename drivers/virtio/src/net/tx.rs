//! A transmit queue: a ring, a doorbell, counters.

use alloc::sync::Arc;

use netdev::{Burst, QueueCounters, TxQueue};

use super::running::Running;
use crate::ring::TransmitRing;
use crate::transport::Doorbell;

/// The transmit queue over any ring and doorbell. Dropped while the device runs, it leaks what is in the ring.
pub(super) struct Sender<R: TransmitRing, D: Doorbell> {
    pub(super) ring: R,
    pub(super) doorbell: D,
    /// Its number.
    pub(super) queue: u16,
    pub(super) counters: Arc<QueueCounters>,
    pub(super) running: Running,
}

impl<R: TransmitRing, D: Doorbell> TxQueue for Sender<R, D> {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        if !self.running.get() {
            return 0;
        }
        let sent = self.ring.transmit(packets, &self.counters);
        if sent.notify {
            self.doorbell.ring(self.ring.notification(self.queue));
            self.counters.notification();
        }
        sent.taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

impl<R: TransmitRing, D: Doorbell> Drop for Sender<R, D> {
    fn drop(&mut self) {
        if self.running.is_reset() {
            // SAFETY: the device was reset and confirmed it (see `Running::reset`).
            unsafe { self.ring.release() };
        }
    }
}
