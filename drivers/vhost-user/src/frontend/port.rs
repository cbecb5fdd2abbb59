//! The virtio-net driver over a front end, as a device that survives its peer.
//!
//! A bus device is there as long as the machine; the process at the other end of a socket comes and goes.
//! This device can be started without a peer, notices between bursts when it has gone, stops the driver
//! (which takes its buffers back), and starts it again on the same rings once a peer is there. Meanwhile the
//! link is down: what is sent is taken, dropped and counted as
//! [`DropCause::LinkDown`](netdev::DropCause::LinkDown).
//!
//! The driver knows nothing of all this. Its counters begin anew with each start; those of this device go on:
//! they follow at every look for the peer, and whenever [`stats`](netdev::RxQueue::stats) is asked.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netbuf::DeviceMemory;
use netdev::{
    Armed, Burst, Config, Control, Device, DropCause, Info, Link, MacAddress, Pool, Port,
    QueueCounters, QueueStats, RxQueue, StartError, StartFailure, TxQueue, WakeSource,
};
use virtio::features::{Limits, Offer, negotiate};
use virtio::net::VirtioNet;

use super::line::Line;
use super::{SharedMemory, VhostUserFrontend};
use crate::endpoint::EndpointError;
use crate::monitor::Monitor;

/// Calls that moved packets between two looks for the peer; see the back end's.
const PATIENCE: u32 = 512;
const IDLE: u32 = 4;
const DOWN: u32 = 64;

/// How long a start that failed is not tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Why there is no device.
#[derive(Debug)]
#[non_exhaustive]
pub enum VirtioUserError {
    /// The socket cannot be had.
    Endpoint(EndpointError),
    /// The rings' memory does not lie in the memory that is shared with the peer.
    RingsNotShared,
    /// The driver refuses the device.
    Device(StartFailure),
}

impl fmt::Display for VirtioUserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(error) => error.fmt(f),
            Self::RingsNotShared => {
                f.write_str("the memory for the rings is not among the memory to be shared")
            }
            Self::Device(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for VirtioUserError {}

impl From<EndpointError> for VirtioUserError {
    fn from(error: EndpointError) -> Self {
        Self::Endpoint(error)
    }
}

/// A virtio-net device in another process, not running.
pub struct VirtioUser {
    device: Box<dyn Device>,
    line: Rc<RefCell<Line>>,
    /// Bytes of memory that the rings can take.
    ring_memory: usize,
}

impl VirtioUser {
    /// A device whose back end listens at `path`, now or later.
    ///
    /// `memory` is what the back end maps; it holds `rings` (see
    /// [`VirtioNet::ring_bytes`]) and the pool that the device will be started with.
    ///
    /// # Errors
    /// See [`VirtioUserError`].
    pub fn connect(
        path: impl AsRef<Path>,
        memory: &[SharedMemory],
        rings: DeviceMemory,
    ) -> Result<Self, VirtioUserError> {
        Self::new(VhostUserFrontend::connect(path, memory)?, memory, rings)
    }

    /// A device whose back end connects to `path`; else as [`connect`](Self::connect).
    ///
    /// # Errors
    /// See [`VirtioUserError`].
    pub fn listen(
        path: impl AsRef<Path>,
        memory: &[SharedMemory],
        rings: DeviceMemory,
    ) -> Result<Self, VirtioUserError> {
        Self::new(VhostUserFrontend::listen(path, memory)?, memory, rings)
    }

    fn new(
        transport: VhostUserFrontend,
        memory: &[SharedMemory],
        rings: DeviceMemory,
    ) -> Result<Self, VirtioUserError> {
        if !memory.iter().any(|memory| contains(memory, &rings)) {
            return Err(VirtioUserError::RingsNotShared);
        }
        let line = Rc::clone(&transport.line);
        let ring_memory = rings.len();
        let device = VirtioNet::new(transport, rings)
            .map_err(|error| VirtioUserError::Device(error.reason))?;
        Ok(Self { device: Box::new(device), line, ring_memory })
    }

    /// Gives the device an address; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(self, mac: MacAddress) -> Self {
        self.line.borrow_mut().mac = mac;
        self
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.line.borrow().monitor.clone()
    }

    /// What would be in force if the peer were there, or why not even then.
    fn expect(&self, config: &Config, pool: &Pool) -> Result<Info, StartFailure> {
        let offered = self.info();
        let features = self.line.borrow().device_features();
        let offer = Offer {
            features: virtio::features::Features::from_bits_retain(features),
            mac: Some(offered.mac),
            mtu: None,
            pairs: offered.rx_queues,
            rx_ring: offered.rx_ring,
            tx_ring: offered.tx_ring,
        };
        let limits = Limits { headroom: pool.headroom(), room: pool.room() };
        let agreed = negotiate(&offer, config, &limits)?;
        let bytes = VirtioNet::<VhostUserFrontend>::ring_bytes(agreed.rx_ring, agreed.tx_ring);
        if bytes.is_none_or(|bytes| bytes > self.ring_memory) {
            return Err(StartFailure::NoMemory);
        }
        let (needed, available) = (agreed.rx_ring.into(), pool.available());
        if available < needed {
            return Err(StartFailure::PoolTooSmall { needed, available });
        }
        Ok(Info { max_frame: agreed.max_frame.into(), offloads: agreed.offloads, ..offered })
    }
}

fn contains(memory: &SharedMemory, rings: &DeviceMemory) -> bool {
    let offset = rings.base().addr().get().wrapping_sub(memory.base.addr().get());
    offset <= memory.len && rings.len() <= memory.len - offset
}

impl Device for VirtioUser {
    fn info(&self) -> Info {
        Info { driver: "virtio-user", mac: self.line.borrow().mac, ..self.device.info() }
    }

    fn start(mut self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        self.line.borrow_mut().poll();
        let ready = self.line.borrow().is_ready();
        let (info, state) = if ready {
            match self.device.start(config, pool) {
                Ok(port) => (Info { driver: "virtio-user", ..port.info }, State::Up(port)),
                Err(StartError { device, reason }) => {
                    self.device = device;
                    return Err(StartError { device: self, reason });
                }
            }
        } else {
            match self.expect(config, pool) {
                Ok(info) => (info, State::Down(self.device)),
                Err(reason) => return Err(StartError { device: self, reason }),
            }
        };
        let mut healer = Healer {
            line: self.line,
            ring_memory: self.ring_memory,
            state,
            config: *config,
            pool: *pool,
            patience: 0,
            retry: None,
            rx: Follower::default(),
            tx: Follower::default(),
        };
        healer.begin();
        let (rx, tx) = (Arc::clone(&healer.rx.counters), Arc::clone(&healer.tx.counters));
        let healer = Rc::new(RefCell::new(healer));
        let mac = info.mac;
        Ok(Port {
            info,
            rx: vec![Box::new(Rx { healer: Rc::clone(&healer), counters: rx })],
            tx: vec![Box::new(Tx { healer: Rc::clone(&healer), counters: tx })],
            control: Box::new(Controls { healer, mac }),
        })
    }
}

enum State {
    /// The driver runs.
    Up(Port),
    /// There is no peer.
    Down(Box<dyn Device>),
    /// The port was stopped; what is left of it does nothing.
    Stopped,
}

/// Counters that go on while those of the driver begin anew.
#[derive(Default)]
struct Follower {
    counters: Arc<QueueCounters>,
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
struct Healer {
    line: Rc<RefCell<Line>>,
    ring_memory: usize,
    state: State,
    config: Config,
    pool: Pool,
    patience: u32,
    /// Not before then is a start tried that has failed.
    retry: Option<Instant>,
    rx: Follower,
    tx: Follower,
}

impl Healer {
    #[inline]
    fn receive(&mut self, out: &mut Burst) -> usize {
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
    fn transmit(&mut self, packets: &mut Burst) -> usize {
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
    fn check(&mut self) {
        self.patience = PATIENCE;
        self.follow();
        let (ready, lost) = {
            let mut line = self.line.borrow_mut();
            line.poll();
            if self.is_broken() {
                line.abandon();
            }
            (line.is_ready(), line.is_lost())
        };
        let was_down = matches!(self.state, State::Down(_));
        let waiting = self.retry.is_some_and(|retry| Instant::now() < retry);
        self.state = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Up(port) if lost => State::Down(self.stop_driver(port)),
            State::Down(device) if ready && !waiting => self.start_driver(device),
            other => other,
        };
        if was_down {
            self.begin();
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

    fn follow(&mut self) {
        if let State::Up(port) = &self.state {
            self.rx.follow(port.rx[0].stats());
            self.tx.follow(port.tx[0].stats());
        }
    }

    fn arm(&mut self) -> Armed {
        self.check();
        match &mut self.state {
            State::Up(port) => {
                self.line.borrow().queues[0].call.drain();
                port.rx[0].arm()
            }
            State::Down(_) if self.retry.is_none() && self.line.borrow().wake().is_some() => {
                Armed::Armed
            }
            _ => Armed::Unsupported,
        }
    }
}

struct Rx {
    healer: Rc<RefCell<Healer>>,
    counters: Arc<QueueCounters>,
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        self.healer.borrow_mut().receive(out)
    }

    fn arm(&mut self) -> Armed {
        self.healer.borrow_mut().arm()
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        self.healer.borrow_mut().follow();
        self.counters.snapshot()
    }
}

struct Tx {
    healer: Rc<RefCell<Healer>>,
    counters: Arc<QueueCounters>,
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        self.healer.borrow_mut().transmit(packets)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    fn stats(&self) -> QueueStats {
        self.healer.borrow_mut().follow();
        self.counters.snapshot()
    }
}

struct Controls {
    healer: Rc<RefCell<Healer>>,
    mac: MacAddress,
}

impl Control for Controls {
    fn link(&mut self) -> Link {
        let healer = &mut *self.healer.borrow_mut();
        healer.check();
        match &mut healer.state {
            State::Up(port) => port.control.link(),
            _ => Link::default(),
        }
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        let healer = self.healer.borrow();
        if let State::Up(port) = &healer.state {
            port.control.wake_sources(each);
        }
        if let Some(fd) = healer.line.borrow().wake() {
            each(WakeSource::Fd(fd.as_raw_fd()));
        }
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        let healer = &mut *self.healer.borrow_mut();
        let device = match std::mem::replace(&mut healer.state, State::Stopped) {
            State::Up(port) => healer.stop_driver(port),
            State::Down(device) => device,
            State::Stopped => {
                unreachable!("the device leaves with the controls, of which there is one")
            }
        };
        let line = Rc::clone(&healer.line);
        Box::new(VirtioUser { device, line, ring_memory: healer.ring_memory })
    }
}
