//! The back end: a network device whose cable is a vhost-user socket with a front end (QEMU, DPDK's
//! virtio-user, our own) at its other end.
//!
//! The device starts without a peer. As long as there is none, or it has not started its rings, the link is
//! down: nothing is received, and what is sent is taken, dropped and counted as
//! [`DropCause::LinkDown`](netdev::DropCause::LinkDown), like a NIC without carrier, so that a forwarder does
//! not stall on the port. While the link is up and the front end has posted no buffer, packets are not taken.
//!
//! One front end at a time; the next one waits in the listening socket's queue until it has gone.

mod live_ring;
mod memory_table;
mod offer;
mod session;
mod shared;
mod vring;

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use netdev::{
    Armed, BURST, Burst, Config, Control, Device, Info, Link, MacAddress, Offloads, Pool, Port,
    QueueCounters, RingFormat, RingLimits, RxQueue, StartError, StartFailure, TxQueue, Unsupported,
    WakeSource,
};

use self::offer::Offer;
use self::shared::Shared;
use crate::endpoint::{Endpoint, EndpointError};
use crate::monitor::Monitor;

/// What a front end's rings can be (virtio 1.2, 2.7). It chooses; a size in [`Config`] is checked, no more.
const RINGS: RingLimits = RingLimits { min: 1, max: 1 << 15 };
/// Pairs of queues.
const QUEUE_PAIRS: u16 = 1;
/// What both directions can do.
const OFFLOADS: Offloads = Offer::OFFLOADS;

/// A vhost-user back end that is not running. Its socket is there from the beginning.
#[derive(Debug)]
pub struct VhostUserBackend {
    endpoint: Endpoint,
    mac: MacAddress,
    monitor: Monitor,
}

impl VhostUserBackend {
    /// A back end that front ends connect to, one after the other. The socket file is made now and removed
    /// when the device is dropped.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn listen(path: impl AsRef<Path>) -> Result<Self, EndpointError> {
        Endpoint::listen(path).map(Self::new)
    }

    /// A back end that connects to a listening front end, again and again if it must.
    ///
    /// # Errors
    /// [`EndpointError::Path`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, EndpointError> {
        Endpoint::connect(path).map(Self::new)
    }

    fn new(endpoint: Endpoint) -> Self {
        let mac = crate::mac_of(endpoint.path());
        Self { endpoint, mac, monitor: Monitor::default() }
    }

    /// Gives the port an address of its own; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(mut self, mac: MacAddress) -> Self {
        self.mac = mac;
        self
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The largest frame to be in force, or why the device does not start.
    fn check(config: &Config, pool: &Pool) -> Result<u16, StartFailure> {
        for asked in [config.rx_queues, config.tx_queues] {
            if asked != QUEUE_PAIRS {
                return Err(StartFailure::Queues { asked, max: QUEUE_PAIRS });
            }
        }
        for asked in [config.rx_ring, config.tx_ring].into_iter().flatten() {
            if !asked.is_power_of_two() || asked > RINGS.max {
                return Err(StartFailure::RingSize { asked, min: RINGS.min, max: RINGS.max });
            }
        }
        // The rings' buffers are the front end's; ours are for as many packets as the caller means to hold.
        let needed = config.rx_ring.map_or(BURST, usize::from);
        let available = pool.available();
        if available < needed {
            return Err(StartFailure::PoolTooSmall { needed, available });
        }
        let missing = config.ring_features - (Offer::RING_FEATURES - config.ring_features_off);
        if !missing.is_empty() {
            return Err(StartFailure::RingFeatures(missing));
        }
        let missing = Offer::missing(config.offloads);
        if !missing.is_empty() {
            return Err(StartFailure::Offloads(missing));
        }
        let chains = config.offloads.contains(Offloads::RX_CHAINS);
        let most = if chains { u16::MAX } else { pool.room() };
        let Some(asked) = config.max_frame else { return Ok(pool.room()) };
        let max = u32::from(most);
        u16::try_from(asked)
            .ok()
            .filter(|&frame| frame >= 14 && frame <= most)
            .ok_or(StartFailure::MaxFrame { asked, max })
    }
}

impl Device for VhostUserBackend {
    fn info(&self) -> Info {
        Info {
            driver: "vhost-user",
            mac: self.mac,
            max_frame: u16::MAX.into(),
            headroom: 0,
            rx_queues: QUEUE_PAIRS,
            tx_queues: QUEUE_PAIRS,
            rx_ring: RINGS,
            tx_ring: RINGS,
            ring_format: RingFormat::Any,
            ring_features: Offer::RING_FEATURES,
            offloads: OFFLOADS,
        }
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let max_frame = match Self::check(config, pool) {
            Ok(max_frame) => max_frame,
            Err(reason) => return Err(StartError { device: self, reason }),
        };
        let info = Info {
            max_frame: max_frame.into(),
            // The front end chooses, later, from what is left.
            ring_format: config.ring_format,
            ring_features: Offer::RING_FEATURES - config.ring_features_off,
            offloads: config.offloads,
            ..self.info()
        };
        let Self { endpoint, mac, monitor } = *self;
        let offer = Offer::new(QUEUE_PAIRS, max_frame, config);
        let shared = Rc::new(RefCell::new(Shared::new(endpoint, offer, monitor)));
        // The guest transmits what we receive.
        let rx = |pair| -> Box<dyn RxQueue> {
            Box::new(Rx {
                shared: Rc::clone(&shared),
                ring: 2 * pair + 1,
                pool: *pool,
                port: config.port,
                counters: Arc::default(),
            })
        };
        let tx = |pair| -> Box<dyn TxQueue> {
            let shared = Rc::clone(&shared);
            Box::new(Tx { shared, ring: 2 * pair, counters: Arc::default() })
        };
        let pairs = 0..usize::from(QUEUE_PAIRS);
        let (rx, tx) = (pairs.clone().map(rx).collect(), pairs.map(tx).collect());
        Ok(Port { info, rx, tx, control: Box::new(Controls { shared, mac }) })
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

struct Rx {
    shared: Rc<RefCell<Shared>>,
    ring: usize,
    pool: Pool,
    port: u16,
    counters: Arc<QueueCounters>,
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let shared = &mut *self.shared.borrow_mut();
        shared.receive(self.ring, &self.pool, out, &self.counters, self.port)
    }

    fn arm(&mut self) -> Armed {
        self.shared.borrow_mut().arm(self.ring)
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        self.shared.borrow().wake_sources(each);
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

struct Tx {
    shared: Rc<RefCell<Shared>>,
    ring: usize,
    counters: Arc<QueueCounters>,
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        self.shared.borrow_mut().transmit(self.ring, packets, &self.counters)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

struct Controls {
    shared: Rc<RefCell<Shared>>,
    mac: MacAddress,
}

impl Control for Controls {
    fn link(&mut self) -> Link {
        let shared = &mut *self.shared.borrow_mut();
        let _ = shared.control();
        Link {
            up: shared.session.as_ref().is_some_and(|session| session.is_up()),
            speed: None,
            announce: false,
        }
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        if !mac.is_valid_unicast() {
            return Err(Unsupported("a zero or multicast MAC address"));
        }
        self.mac = mac;
        Ok(())
    }

    fn set_promiscuous(&mut self, _on: bool) -> Result<(), Unsupported> {
        // The cable has two ends: whatever comes is for us. Nothing is ever filtered.
        Ok(())
    }

    fn set_all_multicast(&mut self, _on: bool) -> Result<(), Unsupported> {
        Ok(())
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        let mut shared = self.shared.borrow_mut();
        let monitor = shared.monitor.clone();
        match shared.stop() {
            Some(endpoint) => Box::new(VhostUserBackend { endpoint, mac: self.mac, monitor }),
            None => unreachable!("the endpoint leaves with the controls, of which there is one"),
        }
    }
}
