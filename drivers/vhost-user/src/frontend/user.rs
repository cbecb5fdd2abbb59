//! The virtio-net driver over a front end, as a device that survives its peer.
//!
//! A bus device is there as long as the machine; the process at the other end of a socket comes and goes.
//! This device can be started without a peer, notices between bursts when it has gone, stops the driver
//! (which takes its buffers back), and starts it again on the same rings once a peer is there. Meanwhile the
//! link is down: what is sent is taken, dropped and counted as
//! [`DropCause::LinkDown`](netdev::DropCause::LinkDown).
//!
//! This file makes the device and starts it; healer.rs keeps it alive, queues.rs is what the caller polls.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

use netbuf::DeviceMemory;
use netdev::{Config, Device, Info, MacAddress, Pool, Port, RingFormat, StartError, StartFailure};
use virtio::features::{Features, Limits, Offer, negotiate};
use virtio::net::VirtioNet;

use super::healer::{Healer, State};
use super::line::{Line, PASSED_ON};
use super::{SharedMemory, VhostUserFrontend, queues};
use crate::endpoint::EndpointError;
use crate::monitor::Monitor;

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

    /// The parts of a device that was stopped.
    pub(super) fn stopped(
        device: Box<dyn Device>,
        line: Rc<RefCell<Line>>,
        ring_memory: usize,
    ) -> Self {
        Self { device, line, ring_memory }
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
        // The peer that comes may well have all that is passed on.
        let features = Features::from_bits_retain(self.line.borrow().device_features());
        let offer = Offer {
            features: features | PASSED_ON,
            mac: Some(offered.mac),
            mtu: None,
            pairs: offered.rx_queues,
            rx_ring: offered.rx_ring,
            tx_ring: offered.tx_ring,
        };
        let limits = Limits { headroom: pool.headroom(), room: pool.room() };
        let agreed = negotiate(&offer, config, &limits)?;
        if agreed.ring_bytes().is_none_or(|bytes| bytes > self.ring_memory) {
            return Err(StartFailure::NoMemory);
        }
        let (needed, available) = (agreed.rx_ring.into(), pool.available());
        if available < needed {
            return Err(StartFailure::PoolTooSmall { needed, available });
        }
        // (The format is agreed upon with the peer that comes.)
        Ok(Info {
            max_frame: agreed.max_frame.into(),
            ring_format: config.ring_format,
            offloads: agreed.offloads,
            ..offered
        })
    }
}

fn contains(memory: &SharedMemory, rings: &DeviceMemory) -> bool {
    let offset = rings.base().addr().get().wrapping_sub(memory.base.addr().get());
    offset <= memory.len && rings.len() <= memory.len - offset
}

impl Device for VirtioUser {
    fn info(&self) -> Info {
        // The peer has a say in the rings' format, and another one may come.
        let (mac, ring_format) = (self.line.borrow().mac, RingFormat::Any);
        let ring_features = PASSED_ON.usable_ring_features();
        let offloads = PASSED_ON.offloads();
        let device = self.device.info();
        Info { driver: "virtio-user", mac, ring_format, ring_features, offloads, ..device }
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
        let healer = Healer::new(self.line, self.ring_memory, state, config, pool);
        Ok(queues::port(info, healer))
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}
