//! One queue is reset and made anew while the others go on (`VIRTIO_F_RING_RESET`; virtio 1.2, 2.6.1).
//!
//! Its ring stays where it is: it may become smaller, and as large again as it was at start.

use netdev::{Burst, Control, QueueMut, RingFeatures, RingLimits, StartFailure};

use super::control::NetControl;
use super::queues::Queues;
use super::running::Live;
use crate::features::{Features, Negotiated, ring_size};
use crate::transport::{Doorbell, DoorbellTransport};

impl<T: DoorbellTransport + 'static> NetControl<T> {
    /// Resets the queue with this number, and puts one of so many entries in its place.
    pub(super) fn remake(
        &mut self,
        number: u16,
        queue: QueueMut<'_>,
        entries: Option<u16>,
    ) -> Result<(), StartFailure> {
        let sends = matches!(queue, QueueMut::Tx(_));
        let Negotiated { rx_queues, tx_queues, .. } = self.negotiated;
        let max = if sends { tx_queues } else { rx_queues };
        if number >= max {
            return Err(StartFailure::Queues { asked: number.saturating_add(1), max });
        }
        let all = 2 * number + u16::from(sends);
        let Some(&Live { entries: before, offset, .. }) = self.live.get(usize::from(all)) else {
            return Err(StartFailure::NoMemory);
        };
        let entries = entries.unwrap_or(before);
        self.check(sends, entries)?;
        self.take_away(all)?;
        let Self { device, negotiated, setup, live, .. } = self;
        let Some(memory) = device.memory.at_least(0) else { return Err(StartFailure::NoMemory) };
        // SAFETY: the device has confirmed the queue's reset. Its ring did nothing from then on (see `Running`), and the
        // new one, of no more entries than the first, lies where that lay.
        let mut queues = unsafe {
            Queues::new(&mut device.transport, (memory, offset), negotiated, setup, live)
        };
        exchange(&mut queues, queue, all, entries)?;
        self.live[usize::from(all)].running.started();
        Ok(())
    }

    /// Whether a queue can be made anew, with so many entries.
    fn check(&mut self, sends: bool, entries: u16) -> Result<(), StartFailure> {
        let Negotiated { features, rx_ring, tx_ring, .. } = self.negotiated;
        if !features.contains(Features::RING_RESET) {
            return Err(StartFailure::RingFeatures(RingFeatures::RING_RESET));
        }
        let max = if sends { tx_ring } else { rx_ring };
        ring_size(Some(entries), RingLimits { min: 1, max }, entries)?;
        let max = u32::from(self.setup.receive.pool.room()) * u32::from(entries);
        let asked = u32::from(self.negotiated.max_ring_frame());
        if !sends && asked > max {
            return Err(StartFailure::MaxFrame { asked, max });
        }
        if self.needs_reset() {
            return Err(StartFailure::Device("it needs a reset as a whole"));
        }
        Ok(())
    }

    /// Resets a queue, so that its buffers can go home. `Err`: it is still the device's.
    fn take_away(&mut self, all: u16) -> Result<(), StartFailure> {
        let running = &self.live[usize::from(all)].running;
        let transport = &mut self.device.transport;
        if !transport.reset_queue(all) {
            running.lost();
            return Err(StartFailure::Device("it does not finish the reset of a queue"));
        }
        if transport.queue_used(all) {
            return Err(StartFailure::Device("it offers to reset a queue and does not"));
        }
        // SAFETY: the device has confirmed the queue's reset.
        unsafe { running.reset() };
        Ok(())
    }
}

/// Puts a new queue in the place of one that was reset, which gives its buffers back as it is dropped.
fn exchange<D: Doorbell + 'static>(
    queues: &mut Queues<'_, D>,
    queue: QueueMut<'_>,
    all: u16,
    entries: u16,
) -> Result<(), StartFailure> {
    match queue {
        QueueMut::Rx(rx) => {
            if let Some(inner) = rx.wrapped() {
                return exchange(queues, QueueMut::Rx(inner), all, entries);
            }
            queues.counters = rx.counters().clone();
            *rx = D::receive_queue(queues, all, entries)?;
            rx.rx_burst(&mut Burst::new());
        }
        QueueMut::Tx(tx) => {
            if let Some(inner) = tx.wrapped() {
                return exchange(queues, QueueMut::Tx(inner), all, entries);
            }
            queues.counters = tx.counters().clone();
            *tx = D::transmit_queue(queues, all, entries)?;
        }
    }
    Ok(())
}
