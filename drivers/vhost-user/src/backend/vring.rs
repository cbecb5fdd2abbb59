//! What the front end has told about one ring, in whatever order it did.
//!
//! A ring runs once everything that it needs is there: features, memory, size, addresses, a kick descriptor
//! (or the word that there is none), and that it is enabled. QEMU enables a ring long before it has any of
//! the others. `SET_VRING_KICK` starts it: the specification waits for a first kick, but the front ends that
//! poll never send one.

use std::sync::Arc;

use netbuf::{Burst, Pool};
use netdev::{Armed, QueueCounters};
use virtio::ring::split::RingSize;

use super::live_ring::{LiveRing, RingOptions};
use super::memory_table::MemoryTable;
use super::tracked::TrackedRing;
use crate::event::Event;
use crate::inflight::InflightMemory;
use crate::message::VringAddr;
use crate::violation::Violation;

/// One ring of a session.
#[derive(Default)]
pub(crate) struct Vring {
    pub(crate) size: Option<RingSize>,
    pub(crate) addr: Option<VringAddr>,
    /// Where to start, as `SET_VRING_BASE` says it; `None`: where fresh rings do. While the ring runs, the live
    /// ring knows better.
    base: Option<u32>,
    /// Between `SET_VRING_KICK` and `GET_VRING_BASE`.
    started: bool,
    kick: Option<Event>,
    pub(crate) call: Option<Event>,
    pub(crate) err: Option<Event>,
    /// `None`: never said; then it depends on the features.
    pub(crate) enabled: Option<bool>,
    /// It runs, and nothing is recorded.
    pub(crate) live: Option<LiveRing>,
    /// It runs, and what is in flight is recorded: `live` is `None`.
    tracked: Option<Box<TrackedRing>>,
    /// It has run with the present record: what is known here is better than what stands there.
    recorded: bool,
    reported: bool,
}

impl Vring {
    /// Whether the ring is between its start and its stop: size, base and features are fixed.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// `SET_VRING_KICK`: starts the ring; a second one replaces the descriptor.
    pub(crate) fn start(&mut self, kick: Option<Event>) {
        self.kick = kick;
        self.started = true;
    }

    /// `GET_VRING_BASE`: stops the ring and answers where it stands.
    pub(crate) fn stop(&mut self) -> u32 {
        self.pause();
        self.started = false;
        self.kick = None;
        self.base.unwrap_or(0)
    }

    /// `RESET_DEVICE`: stops the ring and forgets what was told of it, but for its events.
    pub(crate) fn reset(&mut self) {
        let (call, err) = (self.call.take(), self.err.take());
        *self = Self { call, err, ..Self::default() };
    }

    /// Stops processing; [`resume`](Self::resume) goes on where it was.
    pub(crate) fn pause(&mut self) {
        if let Some(live) = self.live.take() {
            self.base = Some(live.base());
        }
        if let Some(tracked) = self.tracked.take() {
            self.base = Some(tracked.stop());
        }
    }

    /// `SET_VRING_BASE`.
    pub(crate) fn set_base(&mut self, base: u32) {
        self.base = Some(base);
    }

    /// The record lies in other memory from now on.
    pub(crate) fn set_record(&mut self) {
        self.pause();
        self.recorded = false;
    }

    /// Starts processing if everything is there, or stops it if something no longer is.
    ///
    /// # Errors
    /// [`Violation::RingAddress`], [`Violation::RingBase`]: everything is there, but the addresses or the base
    /// cannot be.
    pub(crate) fn resume(
        &mut self,
        memory: Option<&Arc<MemoryTable>>,
        options: Option<RingOptions>,
        enabled_unless_told: bool,
        inflight: Option<&Arc<InflightMemory>>,
    ) -> Result<(), Violation> {
        let wanted = self.started && self.enabled.unwrap_or(enabled_unless_told);
        let (true, Some(memory), Some(options), Some(size), Some(addr)) =
            (wanted, memory, options, self.size, self.addr)
        else {
            self.pause();
            return Ok(());
        };
        if self.runs() {
            return Ok(());
        }
        match TrackedRing::region(inflight, options.packed, addr.index, size)? {
            Some(region) => {
                let (cells, entries) = region;
                if self.recorded {
                    cells.forget();
                }
                let region = (cells, entries);
                let ring = TrackedRing::start(memory, &addr, size, self.base, options, region);
                self.tracked = Some(Box::new(ring?));
                self.recorded = true;
            }
            None => {
                let live = LiveRing::start(memory, &addr, size, self.base, options);
                self.live = Some(live?);
            }
        }
        self.reported = false;
        Ok(())
    }

    /// Whether frames go through it.
    pub(crate) fn runs(&self) -> bool {
        self.live.is_some() || self.tracked.is_some()
    }

    /// As [`LiveRing::receive`], with a record; `None` where the ring does not run.
    #[cold]
    pub(crate) fn receive_tracked(
        &mut self,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> Option<usize> {
        let got = self.tracked.as_mut()?.receive(pool, out, counters, port);
        self.notify_tracked(counters);
        Some(got)
    }

    /// As [`LiveRing::transmit`], with a record; `None` where the ring does not run.
    #[cold]
    pub(crate) fn transmit_tracked(
        &mut self,
        packets: &mut Burst,
        counters: &QueueCounters,
    ) -> Option<usize> {
        let taken = self.tracked.as_mut()?.transmit(packets, counters);
        self.notify_tracked(counters);
        Some(taken)
    }

    fn notify_tracked(&mut self, counters: &QueueCounters) {
        let wanted = self.tracked.as_mut().is_some_and(|ring| ring.should_notify());
        if let Some(call) = self.call.as_ref().filter(|_| wanted) {
            call.signal();
            counters.notification();
        }
    }

    /// Wakes the driver if it asked for that.
    #[inline]
    pub(crate) fn notify(&mut self, counters: &QueueCounters) {
        let Some(live) = &mut self.live else { return };
        if live.should_notify()
            && let Some(call) = &self.call
        {
            call.signal();
            counters.notification();
        }
    }

    /// Asks for a kick; see [`netdev::RxQueue::arm`].
    pub(crate) fn arm(&mut self) -> Armed {
        if let (Some(tracked), Some(kick)) = (&mut self.tracked, &self.kick) {
            kick.drain();
            return tracked.arm();
        }
        match (&mut self.live, &self.kick) {
            (Some(live), Some(kick)) => {
                kick.drain();
                live.arm()
            }
            (Some(_), None) => Armed::Unsupported,
            (None, _) if self.tracked.is_some() => Armed::Unsupported,
            // Nothing can come before a control message does.
            (None, _) => Armed::Armed,
        }
    }

    /// What the driver kicks.
    pub(crate) fn kick(&self) -> Option<&Event> {
        self.kick.as_ref()
    }

    /// Whether the driver has broken the ring's rules beyond repair.
    pub(crate) fn is_broken(&self) -> bool {
        self.live.as_ref().is_some_and(LiveRing::is_broken)
            || self.tracked.as_ref().is_some_and(|ring| ring.is_broken())
    }

    /// Tells the front end, once, that its ring is broken.
    pub(crate) fn report_if_broken(&mut self) {
        if self.reported || !self.is_broken() {
            return;
        }
        self.reported = true;
        if let Some(err) = &self.err {
            err.signal();
        }
    }
}
