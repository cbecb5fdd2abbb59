//! What the queues and controls of a running back end share, whatever threads they are on: rings, endpoint, session.
//!
//! Whoever polls looks for control messages every few hundred bursts, sooner while nothing arrives, and at once before
//! sleeping; a look is one system call that does not wait, and is left out where another thread is looking. A message
//! changes a ring under the ring's lock. The packet path takes that lock by one exchange per burst and moves nothing
//! where it is taken. Whoever handles messages waits, at most for a burst, for rings that others work on.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use netbuf::{Burst, Pool};
use netdev::{Armed, DropCause, MacAddress, QueueCounters, WakeSource};

use super::announcement;
use super::offer::Offer;
use super::rings::Rings;
use super::session::{Session, Turn};
use crate::endpoint::Endpoint;
use crate::event::Event;
use crate::monitor::Monitor;
use crate::try_lock::TryLock;

/// Calls that moved packets between two looks for control messages.
pub(crate) const PATIENCE: u32 = 512;
/// How much of [`PATIENCE`] a call uses up that found nothing, with the rings running...
const IDLE: u32 = 4;
/// ...and with none: a handshake has some forty messages.
const DOWN: u32 = 64;

/// Who talks to front ends.
struct Control {
    /// `None` once the port has been stopped.
    endpoint: Option<Endpoint>,
    session: Option<Session>,
    /// What the members agree on; `None` while there is none.
    offer: Option<Offer>,
    /// Started ports: one, or as many as lanes run.
    members: usize,
}

/// Wakes a lane whose control messages another one has handled.
struct Nudge {
    asleep: AtomicBool,
    event: Event,
}

/// The shared state of a back end.
pub(crate) struct Hub {
    rings: Rings,
    control: TryLock<Control>,
    monitor: Monitor,
    pairs: u16,
    /// A guest whose address is to be broadcast, as `SEND_RARP` names it; 0: none.
    announcement: AtomicU64,
    /// For each pair, where pairs are polled by different threads; `None` where no descriptor was left.
    nudges: Vec<Option<Nudge>>,
}

impl Hub {
    /// A back end of so many pairs of queues, all of them polled by one thread.
    pub(crate) fn new(endpoint: Endpoint, pairs: u16, monitor: Monitor) -> Self {
        let control = Control { endpoint: Some(endpoint), session: None, offer: None, members: 0 };
        let control = TryLock::new(control);
        let (rings, announcement) = (Rings::new(pairs), AtomicU64::new(0));
        Self { rings, control, monitor, pairs, announcement, nudges: Vec::new() }
    }

    /// The same, where pairs may be polled by different threads.
    pub(crate) fn for_lanes(endpoint: Endpoint, pairs: u16, monitor: Monitor) -> Self {
        let nudge = || Some(Nudge { asleep: AtomicBool::new(false), event: Event::new().ok()? });
        let nudges = (0..pairs).map(|_| nudge()).collect();
        Self { nudges, ..Self::new(endpoint, pairs, monitor) }
    }

    pub(crate) fn pairs(&self) -> u16 {
        self.pairs
    }

    pub(crate) fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// Starts a port; whether its offer is that of the others.
    pub(crate) fn join(&self, offer: Offer) -> bool {
        let mut control = self.control.lock();
        let agreed = *control.offer.get_or_insert(offer) == offer;
        control.members += usize::from(agreed);
        agreed
    }

    /// Stops a port. With the last one the session ends: its descriptors are closed and its memory unmapped.
    pub(crate) fn leave(&self) {
        let mut control = self.control.lock();
        control.members -= 1;
        if control.members == 0 {
            control.session = None;
            control.offer = None;
            self.rings.clear();
        }
    }

    /// Stops for good; the endpoint goes back to the device.
    pub(crate) fn take_endpoint(&self) -> Option<Endpoint> {
        self.control.lock().endpoint.take()
    }

    /// Frames out of guest transmit ring `ring`: how many, and what the call uses up of [`PATIENCE`].
    #[inline]
    pub(crate) fn receive(
        &self,
        ring: usize,
        pool: &Pool,
        out: &mut Burst,
        counters: &QueueCounters,
        port: u16,
    ) -> (usize, u32) {
        let Some(mut vring) = self.rings.try_lock(ring) else { return (0, IDLE) };
        let Some(live) = &mut vring.live else {
            let got = vring.receive_tracked(pool, out, counters, port);
            return got.map_or((0, DOWN), |got| (got, cost(got)));
        };
        let got = live.receive(pool, out, counters, port);
        vring.notify(counters);
        (got, cost(got))
    }

    /// Frames into guest receive ring `ring`. While it does not run they are taken, dropped and counted.
    #[inline]
    pub(crate) fn transmit(
        &self,
        ring: usize,
        packets: &mut Burst,
        counters: &QueueCounters,
    ) -> (usize, u32) {
        let Some(mut vring) = self.rings.try_lock(ring) else { return (0, IDLE) };
        let Some(live) = &mut vring.live else {
            return match vring.transmit_tracked(packets, counters) {
                Some(sent) => (sent, cost(sent)),
                None => (lose(packets, counters), DOWN),
            };
        };
        let sent = live.transmit(packets, counters);
        vring.notify(counters);
        (sent, cost(sent))
    }

    /// The features that the front end has accepted.
    pub(crate) fn feature_bits(&self) -> Option<u64> {
        self.control.lock().session.as_ref()?.features()
    }

    /// Takes the next connection if there is none, and handles what its peer has sent, unless another thread does.
    #[cold]
    pub(crate) fn look(&self) -> Turn {
        let Some(mut control) = self.control.try_lock() else { return Turn::Busy };
        let turn = self.turn(&mut control);
        drop(control);
        if turn == Turn::Busy {
            self.wake_others();
        }
        turn
    }

    fn turn(&self, control: &mut Control) -> Turn {
        let Some(offer) = control.offer else { return Turn::Idle };
        if control.session.is_none() {
            let Some(socket) = control.endpoint.as_mut().and_then(Endpoint::poll) else {
                return Turn::Idle;
            };
            self.monitor.connected();
            control.session = Some(Session::new(socket, offer));
        }
        let turn = control.session.as_mut().map(|session| session.turn(&self.rings));
        if let Some(mac) = control.session.as_mut().and_then(Session::take_announcement) {
            self.announce_later(mac);
            self.monitor.announced();
        }
        match turn {
            Some(Ok(turn)) => turn,
            Some(Err(why)) => {
                control.session = None;
                self.rings.clear();
                self.monitor.ended(why);
                // The next front end may be waiting.
                Turn::Busy
            }
            None => Turn::Idle,
        }
    }

    /// Has the next receive queue that looks broadcast a guest's address.
    pub(crate) fn announce_later(&self, mac: MacAddress) {
        self.announcement.store(announcement::payload(mac), Ordering::Relaxed);
    }

    /// The guest that is to be announced now; once.
    pub(crate) fn take_announcement(&self) -> Option<MacAddress> {
        announcement::address(self.announcement.swap(0, Ordering::Relaxed))
    }

    /// Whether there is one.
    pub(crate) fn has_announcement(&self) -> bool {
        self.announcement.load(Ordering::Relaxed) != 0
    }

    /// Tells the front end, once, that a ring of its is broken; else looks for its messages.
    #[cold]
    pub(crate) fn look_from(&self, ring: usize) {
        if let Some(mut vring) = self.rings.try_lock(ring) {
            vring.report_if_broken();
        }
        let _ = self.look();
    }

    /// Whether both rings of a pair run.
    pub(crate) fn is_up(&self, pair: u16) -> bool {
        let runs = |ring| self.rings.lock(ring).is_ok_and(|ring| ring.runs());
        let first = 2 * u32::from(pair);
        runs(first) && runs(first + 1)
    }

    /// Readies guest transmit ring `ring` for sleep; see [`netdev::RxQueue::arm`].
    pub(crate) fn arm(&self, ring: usize) -> Armed {
        if let Some(nudge) = self.nudge(ring) {
            nudge.event.drain();
            nudge.asleep.store(true, Ordering::SeqCst);
        }
        // What was handled may have changed a ring that was armed before.
        if self.look() == Turn::Busy {
            return Armed::PacketsPending;
        }
        let Some(control) = self.control.try_lock() else { return Armed::PacketsPending };
        if !self.nudges.is_empty() && self.nudge(ring).is_none() {
            return Armed::Unsupported;
        }
        let Some(session) = &control.session else {
            let wakes = control.endpoint.as_ref().is_some_and(|endpoint| endpoint.wake().is_some());
            return if wakes { Armed::Armed } else { Armed::Unsupported };
        };
        if session.is_sending() {
            return Armed::Unsupported;
        }
        drop(control);
        self.rings.try_lock(ring).map_or(Armed::PacketsPending, |mut vring| vring.arm())
    }

    /// What to sleep on: the front end's messages and the ring's kick, or else the next front end.
    pub(crate) fn wake_sources(&self, ring: usize, each: &mut dyn FnMut(WakeSource)) {
        let mut add = |fd: BorrowedFd<'_>| each(WakeSource::Fd(fd.as_raw_fd()));
        if let Some(nudge) = self.nudge(ring) {
            add(nudge.event.as_fd());
        }
        let control = self.control.lock();
        match &control.session {
            Some(session) => add(session.socket()),
            None => {
                control.endpoint.as_ref().and_then(Endpoint::wake).into_iter().for_each(&mut add)
            }
        }
        drop(control);
        let vring = u32::try_from(ring).ok().and_then(|ring| self.rings.lock(ring).ok());
        vring.iter().filter_map(|vring| vring.kick()).for_each(|kick| add(kick.as_fd()));
    }

    fn nudge(&self, ring: usize) -> Option<&Nudge> {
        self.nudges.get(ring / 2)?.as_ref()
    }

    /// What has happened may concern lanes that sleep on what was there before.
    fn wake_others(&self) {
        for nudge in self.nudges.iter().flatten() {
            if nudge.asleep.swap(false, Ordering::SeqCst) {
                nudge.event.signal();
            }
        }
    }
}

/// What a call uses up of [`PATIENCE`] that moved so many packets.
#[inline]
const fn cost(moved: usize) -> u32 {
    if moved > 0 { 1 } else { IDLE }
}

#[cold]
fn lose(packets: &mut Burst, counters: &QueueCounters) -> usize {
    let lost = packets.len();
    if lost > 0 {
        counters.dropped(DropCause::LinkDown, lost as u64);
        packets.clear();
    }
    lost
}
