//! What the queues and controls of a running back end share: the endpoint, the session, the turn-taking.
//!
//! All of it lives on the polling thread. Control messages are looked for every few hundred bursts, sooner
//! while nothing arrives, and at once before sleeping; a look is one system call that does not wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use netbuf::{Burst, Pool};
use netdev::{Armed, DropCause, QueueCounters, WakeSource};

use super::offer::Offer;
use super::session::Session;
use crate::endpoint::Endpoint;
use crate::monitor::Monitor;
use crate::violation::Violation;

/// Calls that moved packets between two looks for control messages.
const PATIENCE: u32 = 512;
/// How much of [`PATIENCE`] a call uses up that found nothing, with the rings running...
const IDLE: u32 = 4;
/// ...and with none: a handshake has some forty messages.
const DOWN: u32 = 64;

/// The shared state of a started back end.
pub(crate) struct Shared {
    /// `None` once the port has been stopped.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) session: Option<Session>,
    pub(crate) monitor: Monitor,
    pub(crate) offer: Offer,
    patience: u32,
}

impl Shared {
    /// A back end that waits for its first front end.
    pub(crate) fn new(endpoint: Endpoint, offer: Offer, monitor: Monitor) -> Self {
        Self { endpoint: Some(endpoint), session: None, monitor, offer, patience: 0 }
    }

    /// Frames out of guest transmit ring `ring`.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        ring: usize,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> usize {
        let mut cost = DOWN;
        let mut got = 0;
        if let Some(vring) = self.session.as_mut().and_then(|session| session.rings.get_mut(ring))
            && let Some(live) = &mut vring.live
        {
            got = live.receive(pool, out, counters, port);
            vring.notify(counters);
            cost = if got > 0 { 1 } else { IDLE };
        }
        self.spend(cost);
        got
    }

    /// Frames into guest receive ring `ring`. While it does not run they are taken, dropped and counted.
    #[inline]
    pub(crate) fn transmit(
        &mut self,
        ring: usize,
        packets: &mut Burst,
        counters: &QueueCounters,
    ) -> usize {
        if let Some(vring) = self.session.as_mut().and_then(|session| session.rings.get_mut(ring))
            && let Some(live) = &mut vring.live
        {
            let sent = live.transmit(packets, counters);
            vring.notify(counters);
            self.spend(if sent > 0 { 1 } else { IDLE });
            return sent;
        }
        let lost = packets.len();
        if lost > 0 {
            counters.dropped(DropCause::LinkDown, lost as u64);
            packets.clear();
        }
        self.spend(DOWN);
        lost
    }

    #[inline]
    fn spend(&mut self, cost: u32) {
        match self.patience.checked_sub(cost) {
            Some(left) => self.patience = left,
            None => {
                let _ = self.control();
            }
        }
    }

    /// Takes the next connection if there is none, and handles what its peer has sent; whether there is
    /// more to do.
    #[cold]
    pub(crate) fn control(&mut self) -> bool {
        self.patience = PATIENCE;
        if self.session.is_none() {
            let Some(socket) = self.endpoint.as_mut().and_then(Endpoint::poll) else {
                return false;
            };
            self.monitor.connected();
            self.session = Some(Session::new(socket, self.offer));
        }
        match self.session.as_mut().map(Session::turn) {
            Some(Ok(more)) => more,
            Some(Err(why)) => {
                self.end(why);
                // The next front end may be waiting.
                true
            }
            None => false,
        }
    }

    /// Ends the session: its descriptors are closed and its memory unmapped.
    fn end(&mut self, why: Violation) {
        self.session = None;
        self.monitor.ended(why);
    }

    /// Stops for good; the endpoint goes back to the device.
    pub(crate) fn stop(&mut self) -> Option<Endpoint> {
        self.session = None;
        self.endpoint.take()
    }

    /// Readies guest transmit ring `ring` for sleep; see [`netdev::RxQueue::arm`].
    pub(crate) fn arm(&mut self, ring: usize) -> Armed {
        if self.control() {
            return Armed::PacketsPending;
        }
        let Some(session) = &mut self.session else {
            let wakes = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.wake().is_some());
            return if wakes { Armed::Armed } else { Armed::Unsupported };
        };
        if session.is_sending() {
            return Armed::Unsupported;
        }
        session.rings.get_mut(ring).map_or(Armed::Unsupported, super::vring::Vring::arm)
    }

    /// What to sleep on: the front end's messages and its kicks, or else the next front end.
    pub(crate) fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        let mut add = |fd: BorrowedFd<'_>| each(WakeSource::Fd(fd.as_raw_fd()));
        match &self.session {
            Some(session) => {
                add(session.socket());
                let transmit_rings = session.rings.iter().skip(1).step_by(2);
                transmit_rings.filter_map(|ring| ring.kick()).for_each(|kick| add(kick.as_fd()));
            }
            None => {
                if let Some(fd) = self.endpoint.as_ref().and_then(Endpoint::wake) {
                    add(fd);
                }
            }
        }
    }
}
