//! Keeps a started device alive while its peers come and go.
//!
//! Looks for the peer every few hundred bursts, sooner while nothing moves; a look is one system call that
//! does not wait. The driver knows nothing of all this. Its counters begin anew with each start; those of the
//! device go on: they follow at every look, and whenever [`stats`](netdev::RxQueue::stats) is asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netdev::{
    Armed, Burst, Config, Device, DropCause, Link, Pool, Port, QueueCounters, QueueStats,
    StartError,
};

use super::lane::{Lane, Place};
use crate::event::Event;

/// Calls that moved packets between two looks for the peer; see the back end's.
const PATIENCE: u32 = 512;
const IDLE: u32 = 4;
const DOWN: u32 = 64;

/// How long a start that failed is not tried again.
const RETRY: Duration = Duration::from_millis(50);

pub(super) enum State {
    /// The driver runs.
    Up(Port),
    /// There is no peer; the driver and its rings wait for the next one.
    Waiting(Port),
    /// There is no peer.
    Down(Box<dyn Device>),
    /// Neither, for the moment.
    Stopped,
}

/// Counters that go on while those of the driver begin anew.
#[derive(Default)]
pub(super) struct Follower {
    pub(super) counters: Arc<QueueCounters>,
    seen: QueueStats,
}

impl Follower {
    /// Follows counters that have just begun; what the start itself counted is not the caller's doing.
    fn begin(&mut self, now: QueueStats) {
        self.seen = now;
    }

    fn follow(&mut self, now: QueueStats) {
        self.counters.follow(&self.seen, &now);
        self.seen = now;
    }
}

/// What the queues and controls of a started device share.
pub(super) struct Healer {
    pub(super) place: Place,
    pub(super) state: State,
    /// Wakes this thread when the peer has come or gone, which another one may have noticed.
    pub(super) nudge: Arc<Event>,
    /// The receive queue's.
    call: Arc<Event>,
    config: Config,
    pool: Pool,
    patience: u32,
    /// Not before then is a start tried that has failed.
    retry: Option<Instant>,
    pub(super) rx: Follower,
    pub(super) tx: Follower,
}

impl Healer {
    /// The features in force while the driver runs.
    pub(super) fn feature_bits(&self) -> Option<u64> {
        self.place.line.lock().feature_bits()
    }

    /// A device that has just been started, with or without its driver.
    pub(super) fn new(place: Place, state: State, config: &Config, pool: &Pool) -> Self {
        let (nudge, call) = {
            let pair = &place.line.lock().pairs[place.pair];
            (Arc::clone(&pair.nudge), Arc::clone(&pair.queues[0].call))
        };
        let mut healer = Self {
            place,
            state,
            nudge,
            call,
            config: *config,
            pool: *pool,
            patience: 0,
            retry: None,
            rx: Follower::default(),
            tx: Follower::default(),
        };
        healer.begin();
        healer
    }

    #[inline]
    pub(super) fn receive(&mut self, out: &mut Burst) -> usize {
        let (got, cost) = match &mut self.state {
            State::Up(port) => {
                let got = port.rx[0].rx_burst(out);
                (got, if got > 0 { 1 } else { IDLE })
            }
            _ => (0, DOWN),
        };
        self.spend(cost);
        got
    }

    #[inline]
    pub(super) fn transmit(&mut self, packets: &mut Burst) -> usize {
        let (taken, cost) = match &mut self.state {
            State::Up(port) => {
                let taken = port.tx[0].tx_burst(packets);
                (taken, if taken > 0 { 1 } else { IDLE })
            }
            _ => (self.lose(packets), DOWN),
        };
        self.spend(cost);
        taken
    }

    #[cold]
    fn lose(&mut self, packets: &mut Burst) -> usize {
        let lost = packets.len();
        if lost > 0 {
            self.tx.counters.dropped(DropCause::LinkDown, lost as u64);
            packets.clear();
        }
        lost
    }

    #[inline]
    fn spend(&mut self, cost: u32) {
        match self.patience.checked_sub(cost) {
            Some(left) => self.patience = left,
            None => self.check(),
        }
    }

    /// Looks for the peer; stops the driver if it has gone, starts it if it is back.
    #[cold]
    pub(super) fn check(&mut self) {
        self.patience = PATIENCE;
        self.follow();
        let (ready, lost, kept) = {
            // Whoever is at it may wait for the peer.
            let Some(mut line) = self.place.line.try_lock() else { return };
            line.poll();
            let (pair, broken) = (self.place.pair, self.is_broken());
            if broken {
                line.abandon();
            }
            (line.is_ready(), line.pairs[pair].is_lost(), !broken && line.can_resume(pair))
        };
        let was_down = matches!(self.state, State::Down(_));
        let waiting = self.retry.is_some_and(|retry| Instant::now() < retry);
        self.state = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Up(port) if lost && kept => State::Waiting(port),
            State::Waiting(port) if ready => self.resume(port),
            State::Up(port) if lost => State::Down(self.stop_driver(port)),
            State::Down(device) if ready && !waiting => self.start_driver(device),
            other => other,
        };
        if was_down {
            self.begin();
        }
    }

    /// The driver's view of the link.
    pub(super) fn link(&mut self) -> Link {
        self.check();
        match &mut self.state {
            State::Up(port) => port.control.link(),
            _ => Link::default(),
        }
    }

    /// Whether a ring stands still for good. The driver's own counters say so, and begin anew with it.
    fn is_broken(&self) -> bool {
        let State::Up(port) = &self.state else { return false };
        [port.rx[0].stats(), port.tx[0].stats()]
            .iter()
            .any(|stats| stats.drops[DropCause::RingBroken] > 0)
    }

    fn start_driver(&mut self, device: Box<dyn Device>) -> State {
        match device.start(&self.config, &self.pool) {
            Ok(port) => {
                self.retry = None;
                State::Up(port)
            }
            Err(StartError { device, .. }) => {
                self.retry = Some(Instant::now() + RETRY);
                State::Down(device)
            }
        }
    }

    /// Goes on with the rings as they are, or else with fresh ones.
    fn resume(&mut self, port: Port) -> State {
        let resumed = self.place.line.lock().resume(self.place.pair);
        match resumed {
            Some(true) => State::Up(port),
            Some(false) => State::Down(self.stop_driver(port)),
            None => State::Waiting(port),
        }
    }

    /// Stops the driver; what is left can be started again.
    pub(super) fn into_lane(mut self) -> Lane {
        let driver = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Up(port) | State::Waiting(port) => self.stop_driver(port),
            State::Down(driver) => driver,
            State::Stopped => {
                unreachable!("between the two only while a function of this file runs")
            }
        };
        Lane { driver, place: self.place }
    }

    fn stop_driver(&mut self, port: Port) -> Box<dyn Device> {
        self.rx.follow(port.rx[0].stats());
        self.tx.follow(port.tx[0].stats());
        port.stop()
    }

    fn begin(&mut self) {
        if let State::Up(port) = &self.state {
            self.rx.begin(port.rx[0].stats());
            self.tx.begin(port.tx[0].stats());
        }
    }

    pub(super) fn follow(&mut self) {
        if let State::Up(port) = &self.state {
            self.rx.follow(port.rx[0].stats());
            self.tx.follow(port.tx[0].stats());
        }
    }

    pub(super) fn arm(&mut self) -> Armed {
        self.nudge.drain();
        self.check();
        let Some(wakes) = self.place.line.try_lock().map(|line| line.wake().is_some()) else {
            return Armed::PacketsPending;
        };
        match &mut self.state {
            State::Up(port) => {
                self.call.drain();
                port.rx[0].arm()
            }
            State::Down(_) | State::Waiting(_) if self.retry.is_none() && wakes => Armed::Armed,
            _ => Armed::Unsupported,
        }
    }
}
