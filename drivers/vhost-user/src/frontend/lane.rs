//! One pair of queues of the device, not running: its driver, and its place on the shared connection.
//!
//! The lanes of a device that has been taken apart are sent to threads of their own before they are started. One that has
//! run stays on its thread, as the driver that comes out of a stopped port does.

use netdev::{Config, Device, Info, MacAddress, Pool, Port, RingFormat, StartError, StartFailure};
use virtio::features::{Features, Limits, Offer, negotiate};
use virtio::net::VirtioNet;

use super::healer::{Healer, State};
use super::line::PASSED_ON;
use super::queues::{self, Afterwards};
use super::{SharedLine, VhostUserFrontend};
use crate::preset::Preset;

/// Which pair of the connection, and what its driver has to work with.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) line: SharedLine,
    pub(super) pair: usize,
    /// Bytes of memory that the rings can take.
    pub(super) ring_memory: usize,
    pub(super) preset: Preset,
}

/// A lane that has not run.
pub(super) struct FreshLane {
    pub(super) driver: Box<VirtioNet<VhostUserFrontend>>,
    pub(super) place: Place,
}

/// A lane that may have run.
pub(super) struct Lane {
    pub(super) driver: Box<dyn Device>,
    pub(super) place: Place,
}

impl From<FreshLane> for Lane {
    fn from(FreshLane { driver, place }: FreshLane) -> Self {
        Self { driver, place }
    }
}

impl Place {
    /// What a device of so many pairs is. The peer has a say in the rings' format and features, and another one may come.
    pub(super) fn info(&self, driver: &dyn Device, pairs: u16) -> Info {
        Info {
            driver: "virtio-user",
            mac: self.mac(),
            rx_queues: pairs,
            tx_queues: pairs,
            ring_format: RingFormat::Any,
            ring_features: PASSED_ON.usable_ring_features(),
            offloads: PASSED_ON.offloads(),
            ..driver.info()
        }
    }

    pub(super) fn mac(&self) -> MacAddress {
        self.line.lock().mac
    }
}

impl Lane {
    /// Starts the driver if the peer is there, or finds out whether it could be started. `pairs` are to be started with
    /// the same pool, from this one on.
    pub(super) fn start(
        mut self,
        config: &Config,
        pool: &Pool,
        pairs: u16,
    ) -> Result<(Info, Healer), (Self, StartFailure)> {
        let config = Config { rx_queues: 1, tx_queues: 1, ..self.place.preset.over(config) };
        let ready = {
            let mut line = self.place.line.lock();
            line.poll();
            line.is_ready()
        };
        let (info, state) = if ready {
            match self.driver.start(&config, pool) {
                Ok(port) => (Info { driver: "virtio-user", ..port.info }, State::Up(port)),
                Err(StartError { device, reason }) => {
                    self.driver = device;
                    return Err((self, reason));
                }
            }
        } else {
            match self.expect(&config, pool, pairs) {
                Ok(info) => (info, State::Down(self.driver)),
                Err(reason) => return Err((self, reason)),
            }
        };
        Ok((info, Healer::new(self.place, state, &config, pool)))
    }

    /// What would be in force if the peer were there, or why not even then.
    fn expect(&self, config: &Config, pool: &Pool, pairs: u16) -> Result<Info, StartFailure> {
        let offered = self.place.info(self.driver.as_ref(), 1);
        // The peer that comes may well have all that is passed on.
        let features = Features::from_bits_retain(self.place.line.lock().device_features());
        let offer = Offer {
            features: features | PASSED_ON,
            mac: Some(offered.mac),
            mtu: None,
            pairs: 1,
            rx_ring: offered.rx_ring,
            tx_ring: offered.tx_ring,
        };
        let limits = Limits { headroom: pool.headroom(), room: pool.room() };
        let agreed = negotiate(&offer, config, &limits)?;
        if agreed.ring_bytes().is_none_or(|bytes| bytes > self.place.ring_memory) {
            return Err(StartFailure::NoMemory);
        }
        let needed = usize::from(pairs) * usize::from(agreed.rx_ring);
        let available = pool.available();
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

/// Why a device of at most so many pairs does not start with the queues that `config` asks for.
pub(super) fn check_queues(config: &Config, max: u16) -> Result<(), StartFailure> {
    let Config { rx_queues: rx, tx_queues: tx, .. } = *config;
    for asked in [rx, tx] {
        if asked == 0 || asked > max {
            return Err(StartFailure::Queues { asked, max });
        }
    }
    if rx == tx { Ok(()) } else { Err(StartFailure::QueuePairs { rx, tx }) }
}

impl Device for Lane {
    fn info(&self) -> Info {
        self.place.info(self.driver.as_ref(), 1)
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        if let Err(reason) = check_queues(config, 1) {
            return Err(StartError { device: self, reason });
        }
        match Lane::start(*self, config, pool, 1) {
            Ok((info, healer)) => Ok(queues::port(info, vec![healer], Afterwards::Lane)),
            Err((lane, reason)) => Err(StartError { device: Box::new(lane), reason }),
        }
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

impl Device for FreshLane {
    fn info(&self) -> Info {
        self.place.info(self.driver.as_ref(), 1)
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        Device::start(Box::new(Lane::from(*self)), config, pool)
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        if pairs == 1 {
            return Ok(vec![self]);
        }
        Err(StartError { device: self, reason: StartFailure::Lanes { asked: pairs, max: 1 } })
    }
}
