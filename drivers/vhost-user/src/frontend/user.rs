//! The virtio-net driver over a front end, as a device that survives its peer.
//!
//! A bus device is there as long as the machine; the process at the other end of a socket comes and goes.
//! This device can be started without a peer, notices between bursts when it has gone, stops the driver
//! (which takes its buffers back), and starts it again on the same rings once a peer is there. Meanwhile the
//! link is down: what is sent is taken, dropped and counted as
//! [`DropCause::LinkDown`](netdev::DropCause::LinkDown).
//!
//! Each pair of queues has a driver of its own, which knows nothing of the others; lane.rs starts it and healer.rs keeps
//! it alive. This file makes the device and starts it whole, or takes it apart; queues.rs is what the caller polls.

use std::fmt;
use std::path::Path;

use netbuf::DeviceMemory;
use netdev::{Config, Device, Info, MacAddress, Pool, Port, StartError, StartFailure};
use virtio::net::VirtioNet;

use super::healer::Healer;
use super::lane::{FreshLane, Lane, Place, check_queues};
use super::line::Line;
use super::queues::{self, Afterwards};
use super::{SharedLine, SharedMemory, VhostUserFrontend};
use crate::endpoint::{Endpoint, EndpointError};
use crate::monitor::Monitor;
use crate::preset::Preset;

/// Most pairs of queues: a message that brings a ring's descriptor has eight bits for the ring's number.
const MAX_PAIRS: u16 = 128;

/// Why there is no device.
#[derive(Debug)]
#[non_exhaustive]
pub enum VirtioUserError {
    /// The socket cannot be had.
    Endpoint(EndpointError),
    /// The rings' memory does not lie in the memory that is shared with the peer.
    RingsNotShared,
    /// There is no memory for rings, or for those of more pairs than a peer can be told of.
    Pairs(usize),
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
            Self::Pairs(pairs) => {
                write!(
                    f,
                    "memory for the rings of {pairs} pairs of queues; 1 to {MAX_PAIRS} can be had"
                )
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
    line: SharedLine,
    lanes: Lanes,
}

/// The drivers of all pairs, by number.
enum Lanes {
    Fresh(Vec<FreshLane>),
    Used(Vec<Lane>),
}

impl VirtioUser {
    /// A device whose back end listens at `path`, now or later.
    ///
    /// `memory` is what the back end maps; it holds the pools that the device will be started with, and `rings`: for
    /// each pair of queues that may be used one piece (see [`VirtioNet::ring_bytes`]).
    ///
    /// # Errors
    /// See [`VirtioUserError`].
    pub fn connect(
        path: impl AsRef<Path>,
        memory: &[SharedMemory],
        rings: Vec<DeviceMemory>,
    ) -> Result<Self, VirtioUserError> {
        Self::new(Endpoint::connect(path)?, memory, rings)
    }

    /// A device whose back end connects to `path`; else as [`connect`](Self::connect).
    ///
    /// # Errors
    /// See [`VirtioUserError`].
    pub fn listen(
        path: impl AsRef<Path>,
        memory: &[SharedMemory],
        rings: Vec<DeviceMemory>,
    ) -> Result<Self, VirtioUserError> {
        Self::new(Endpoint::listen(path)?, memory, rings)
    }

    fn new(
        endpoint: Endpoint,
        memory: &[SharedMemory],
        rings: Vec<DeviceMemory>,
    ) -> Result<Self, VirtioUserError> {
        let inside = |rings| memory.iter().any(|memory| contains(memory, rings));
        if !rings.iter().all(inside) {
            return Err(VirtioUserError::RingsNotShared);
        }
        let pairs = u16::try_from(rings.len()).ok().filter(|pairs| (1..=MAX_PAIRS).contains(pairs));
        let pairs = pairs.ok_or(VirtioUserError::Pairs(rings.len()))?;
        let line = SharedLine::new(Line::new(endpoint, memory, pairs)?);
        let lane = |(pair, rings): (usize, DeviceMemory)| {
            let (line, ring_memory) = (line.clone(), rings.len());
            let place = Place { line, pair, ring_memory, preset: Preset::default() };
            let transport = VhostUserFrontend { line: place.line.clone(), pair };
            let driver = Box::new(VirtioNet::new(transport, rings)?);
            Ok(FreshLane { driver, place })
        };
        let lanes: Result<_, Box<virtio::net::OpenError<_>>> =
            rings.into_iter().enumerate().map(lane).collect();
        let lanes = lanes.map_err(|error| VirtioUserError::Device(error.reason))?;
        Ok(Self { line, lanes: Lanes::Fresh(lanes) })
    }

    /// The parts of a device that was stopped.
    pub(super) fn stopped(line: SharedLine, lanes: Vec<Lane>) -> Self {
        Self { line, lanes: Lanes::Used(lanes) }
    }

    /// Gives the device an address; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(self, mac: MacAddress) -> Self {
        self.line.lock().mac = mac;
        self
    }

    /// Decides something for each start, whatever the [`Config`] says.
    #[must_use]
    pub fn with_preset(mut self, preset: Preset) -> Self {
        let set = |place: &mut Place| place.preset = preset;
        match &mut self.lanes {
            Lanes::Fresh(lanes) => lanes.iter_mut().for_each(|lane| set(&mut lane.place)),
            Lanes::Used(lanes) => lanes.iter_mut().for_each(|lane| set(&mut lane.place)),
        }
        self
    }

    /// Has the rings outlive their back ends, where those record what is in flight (INFLIGHT_SHMFD): the next one goes on
    /// where the last one fell out, so that no frame in them is lost. Without, and at other back ends, the driver takes
    /// everything back and begins anew. It costs the back end time for each frame.
    #[must_use]
    pub fn keeping_rings(self) -> Self {
        self.line.lock().keep();
        self
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.line.lock().monitor.clone()
    }

    fn pairs(&self) -> u16 {
        let (pairs, preset) = match &self.lanes {
            Lanes::Fresh(lanes) => (lanes.len(), lanes[0].place.preset),
            Lanes::Used(lanes) => (lanes.len(), lanes[0].place.preset),
        };
        u16::try_from(pairs).unwrap_or(MAX_PAIRS).min(preset.pairs.unwrap_or(MAX_PAIRS))
    }

    /// Tells the connection how many pairs are to be used.
    fn need(&self, pairs: u16) -> Result<(), StartFailure> {
        let mut line = self.line.lock();
        line.poll();
        line.need(pairs).map_err(|max| StartFailure::Queues { asked: pairs, max })
    }
}

impl Lanes {
    fn into_vec(self) -> Vec<Lane> {
        match self {
            Self::Fresh(lanes) => lanes.into_iter().map(Lane::from).collect(),
            Self::Used(lanes) => lanes,
        }
    }
}

fn contains(memory: &SharedMemory, rings: &DeviceMemory) -> bool {
    let offset = rings.base().addr().get().wrapping_sub(memory.base.addr().get());
    offset <= memory.len && rings.len() <= memory.len - offset
}

impl Device for VirtioUser {
    fn info(&self) -> Info {
        let pairs = self.pairs();
        match &self.lanes {
            Lanes::Fresh(lanes) => lanes[0].place.info(lanes[0].driver.as_ref(), pairs),
            Lanes::Used(lanes) => lanes[0].place.info(lanes[0].driver.as_ref(), pairs),
        }
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let pairs = config.rx_queues;
        if let Err(reason) = check_queues(config, self.pairs()).and_then(|()| self.need(pairs)) {
            return Err(StartError { device: self, reason });
        }
        let Self { line, lanes } = *self;
        let mut waiting = lanes.into_vec();
        let idle = waiting.split_off(pairs.into());
        let mut info = None;
        let mut healers = Vec::new();
        let mut waiting = waiting.into_iter();
        let mut left = pairs;
        while let Some(lane) = waiting.next() {
            match lane.start(config, pool, left) {
                Ok((of_lane, healer)) => {
                    info.get_or_insert(of_lane);
                    healers.push(healer);
                    left -= 1;
                }
                Err((lane, reason)) => {
                    let started = healers.into_iter().map(Healer::into_lane);
                    let lanes = started.chain([lane]).chain(waiting).chain(idle).collect();
                    return Err(StartError {
                        device: Box::new(Self::stopped(line, lanes)),
                        reason,
                    });
                }
            }
        }
        let Some(info) = info else { unreachable!("there is at least one pair") };
        let info = Info { rx_queues: pairs, tx_queues: pairs, ..info };
        Ok(queues::port(info, healers, Afterwards::Whole { line, idle }))
    }

    /// A device that has run stays on its thread: it comes apart before its first start only.
    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let max = self.pairs();
        if pairs == 0 || pairs > max {
            let reason = StartFailure::Lanes { asked: pairs, max };
            return Err(StartError { device: self, reason });
        }
        if matches!(self.lanes, Lanes::Used(_)) {
            return Err(StartError::indivisible(self, pairs));
        }
        if let Err(reason) = self.need(pairs) {
            return Err(StartError { device: self, reason });
        }
        match self.lanes {
            Lanes::Fresh(lanes) => {
                let lanes = lanes.into_iter().take(pairs.into());
                Ok(lanes.map(|lane| Box::new(lane) as _).collect())
            }
            Lanes::Used(_) => unreachable!("it was looked at above"),
        }
    }
}
