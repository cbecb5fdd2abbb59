//! The back end: a network device whose cable is a vhost-user socket with a front end (QEMU, DPDK's
//! virtio-user, our own) at its other end.
//!
//! The device starts without a peer. As long as there is none, or it has not started its rings, the link is
//! down: nothing is received, and what is sent is taken, dropped and counted as
//! [`DropCause::LinkDown`](netdev::DropCause::LinkDown), like a NIC without carrier, so that a forwarder does
//! not stall on the port. While the link is up and the front end has posted no buffer, packets are not taken.
//!
//! One front end at a time; the next one waits in the listening socket's queue until it has gone.
//!
//! A port of N queues each way serves N pairs on one thread. Taken apart, each lane serves one pair on a thread of its
//! own; the session is shared, and lanes that are not started leave their pairs' rings unserved.

mod announcement;
mod hub;
mod lane;
mod live_ring;
mod memory_table;
mod offer;
mod port;
mod rings;
mod session;
mod status;
mod tracked;
mod tracked_packed;
mod tracked_split;
mod vring;

pub(crate) use self::announcement::payload as announcement_payload;

use std::path::Path;
use std::sync::Arc;

use netdev::{
    BURST, Config, Device, Info, MacAddress, Offloads, Pool, Port, RingFormat, RingLimits,
    StartError, StartFailure,
};

use self::hub::Hub;
use self::lane::Lane;
use self::offer::Offer;
use self::port::{Controls, Kind, Member};
use crate::endpoint::{Endpoint, EndpointError};
use crate::monitor::Monitor;
use crate::preset::Preset;

/// What a front end's rings can be (virtio 1.2, 2.7). It chooses; a size in [`Config`] is checked, no more.
const RINGS: RingLimits = RingLimits { min: 1, max: 1 << 15 };
/// Pairs of queues: a message that brings a ring's descriptor has eight bits for the ring's number.
const QUEUE_PAIRS: u16 = 128;
/// What both directions can do.
const OFFLOADS: Offloads = Offer::OFFLOADS;

/// A vhost-user back end that is not running. Its socket is there from the beginning.
#[derive(Debug)]
pub struct VhostUserBackend {
    endpoint: Endpoint,
    mac: MacAddress,
    monitor: Monitor,
    preset: Preset,
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
        Self { endpoint, mac, monitor: Monitor::default(), preset: Preset::default() }
    }

    /// Gives the port an address of its own; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(mut self, mac: MacAddress) -> Self {
        self.mac = mac;
        self
    }

    /// Decides something for each start, whatever the [`Config`] says.
    #[must_use]
    pub fn with_preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self
    }

    /// Most pairs of queues.
    fn pairs(&self) -> u16 {
        self.preset.pairs.unwrap_or(QUEUE_PAIRS).min(QUEUE_PAIRS)
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }
}

/// The largest frame to be in force, or why a device of so many pairs does not start.
fn check(config: &Config, pool: &Pool, pairs: u16) -> Result<u16, StartFailure> {
    let Config { rx_queues, tx_queues, .. } = *config;
    for asked in [rx_queues, tx_queues] {
        if asked == 0 || asked > pairs {
            return Err(StartFailure::Queues { asked, max: pairs });
        }
    }
    if rx_queues != tx_queues {
        return Err(StartFailure::QueuePairs { rx: rx_queues, tx: tx_queues });
    }
    for asked in [config.rx_ring, config.tx_ring].into_iter().flatten() {
        if !asked.is_power_of_two() || asked > RINGS.max {
            return Err(StartFailure::RingSize { asked, min: RINGS.min, max: RINGS.max });
        }
    }
    // The rings' buffers are the front end's; ours are for as many packets as the caller means to hold.
    let needed = usize::from(rx_queues) * config.rx_ring.map_or(BURST, usize::from);
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

fn info(mac: MacAddress, pairs: u16) -> Info {
    Info {
        driver: "vhost-user",
        mac,
        max_frame: u16::MAX.into(),
        headroom: 0,
        rx_queues: pairs,
        tx_queues: pairs,
        rx_ring: RINGS,
        tx_ring: RINGS,
        ring_format: RingFormat::Any,
        ring_features: Offer::RING_FEATURES,
        offloads: OFFLOADS,
    }
}

impl Device for VhostUserBackend {
    fn info(&self) -> Info {
        info(self.mac, self.pairs())
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let config = &self.preset.over(config);
        let max_frame = match check(config, pool, self.pairs()) {
            Ok(max_frame) => max_frame,
            Err(reason) => return Err(StartError { device: self, reason }),
        };
        let Self { endpoint, mac, monitor, preset } = *self;
        let pairs = config.rx_queues;
        let hub = Arc::new(Hub::new(endpoint, pairs, monitor));
        let offer = Offer::new(pairs, max_frame, config);
        let Some(member) = Member::join(&hub, offer) else {
            unreachable!("the first member's offer is everybody's")
        };
        let controls = Controls { mac, preset, kind: Kind::Whole };
        Ok(port::port(member, 0..pairs, controls, config, pool, max_frame))
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let max = self.pairs();
        if pairs == 0 || pairs > max {
            let reason = StartFailure::Lanes { asked: pairs, max };
            return Err(StartError { device: self, reason });
        }
        let Self { endpoint, mac, monitor, preset } = *self;
        let hub = Arc::new(Hub::for_lanes(endpoint, pairs, monitor));
        let lane = |pair| {
            Box::new(Lane::new(Arc::clone(&hub), pair, mac, preset)) as Box<dyn Device + Send>
        };
        Ok((0..pairs).map(lane).collect())
    }
}
