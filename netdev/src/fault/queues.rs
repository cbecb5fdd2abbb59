//! The queues of a faulty device.
//!
//! Their counters are their own: what the network function saw move, with the inner queue's drops and
//! notifications carried over and the injected losses under [`DropCause::Injected`].

use alloc::boxed::Box;
use alloc::sync::Arc;

use netbuf::Burst;

use super::injector::Injector;
use crate::{Armed, DropCause, QueueCounters, QueueStats, RxQueue, TxQueue, WakeSource};

/// Own counters that follow an inner queue's drops and notifications.
#[derive(Default)]
struct Ledger {
    own: Arc<QueueCounters>,
    seen: QueueStats,
}

impl Ledger {
    /// Carries over what is new; the packets and bytes that the inner queue has moved since.
    fn follow(&mut self, inner: &QueueCounters) -> (u64, u64) {
        let now = inner.snapshot();
        for &cause in DropCause::ALL {
            let fresh = now.drops[cause] - self.seen.drops[cause];
            if fresh > 0 {
                self.own.dropped(cause, fresh);
            }
        }
        for _ in self.seen.notifications..now.notifications {
            self.own.notification();
        }
        let moved = (now.packets - self.seen.packets, now.bytes - self.seen.bytes);
        self.seen = now;
        moved
    }

    fn injected(&self, lost: u64) {
        if lost > 0 {
            self.own.dropped(DropCause::Injected, lost);
        }
    }
}

pub(super) struct FaultRx {
    inner: Box<dyn RxQueue>,
    injector: Injector,
    ledger: Ledger,
}

impl FaultRx {
    pub(super) fn new(inner: Box<dyn RxQueue>, injector: Injector) -> Self {
        Self { inner, injector, ledger: Ledger::default() }
    }
}

impl RxQueue for FaultRx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let now = self.injector.poll();
        // With packets waiting to leave, the inner queue rests: `out` may be too small for both.
        if self.injector.backlog() < out.remaining_capacity() {
            let mut fresh = Burst::new();
            self.inner.rx_burst(&mut fresh);
            let lost = fresh.drain(..).map(|packet| self.injector.admit(packet, now)).sum();
            self.ledger.injected(lost);
            self.ledger.follow(self.inner.counters());
        }
        let (packets, bytes) = self.injector.drain(out);
        if packets > 0 {
            self.ledger.own.burst(packets, bytes);
        }
        packets
    }

    /// Packets that are held back count as pending: only polling brings them out.
    fn arm(&mut self) -> Armed {
        if self.injector.is_empty() { self.inner.arm() } else { Armed::PacketsPending }
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
        &self.ledger.own
    }
}

pub(super) struct FaultTx {
    inner: Box<dyn TxQueue>,
    injector: Injector,
    ledger: Ledger,
}

impl FaultTx {
    pub(super) fn new(inner: Box<dyn TxQueue>, injector: Injector) -> Self {
        Self { inner, injector, ledger: Ledger::default() }
    }

    /// Hands what may leave to the inner queue, until it or the backlog is exhausted. Always calls it at
    /// least once, so that it can reclaim.
    fn flush(&mut self) {
        loop {
            let mut burst = Burst::new();
            self.injector.drain(&mut burst);
            self.inner.tx_burst(&mut burst);
            let refused = !burst.is_empty();
            self.injector.put_back(&mut burst);
            if refused || self.injector.backlog() == 0 {
                break;
            }
        }
        let (packets, bytes) = self.ledger.follow(self.inner.counters());
        if packets > 0 {
            self.ledger.own.burst(usize::try_from(packets).unwrap_or(usize::MAX), bytes);
        }
    }
}

impl TxQueue for FaultTx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let now = self.injector.poll();
        self.flush();
        if packets.is_empty() || self.injector.backlog() > 0 || self.injector.plays_full() {
            return 0;
        }
        let taken = packets.len();
        let lost = packets.drain(..).map(|packet| self.injector.admit(packet, now)).sum();
        self.ledger.injected(lost);
        self.flush();
        taken
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn wrapped(&mut self) -> Option<&mut Box<dyn TxQueue>> {
        Some(&mut self.inner)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.ledger.own
    }
}
