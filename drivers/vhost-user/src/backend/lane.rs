//! A lane of a back end: one pair of its queues, to be polled by a thread of its own.

use std::sync::Arc;

use netdev::{Config, Device, Info, MacAddress, Pool, Port, StartError, StartFailure};

use super::hub::Hub;
use super::offer::Offer;
use super::port::{Controls, Kind, Member, port};
use super::{check, info};
use crate::preset::Preset;

/// A lane that is not running. The front end finds the back end once one of its lanes runs.
pub(super) struct Lane {
    hub: Arc<Hub>,
    pair: u16,
    mac: MacAddress,
    preset: Preset,
}

impl Lane {
    pub(super) fn new(hub: Arc<Hub>, pair: u16, mac: MacAddress, preset: Preset) -> Self {
        Self { hub, pair, mac, preset }
    }
}

impl Device for Lane {
    fn info(&self) -> Info {
        info(self.mac, 1)
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let config = &self.preset.over(config);
        let max_frame = match check(config, pool, 1) {
            Ok(max_frame) => max_frame,
            Err(reason) => return Err(StartError { device: self, reason }),
        };
        let offer = Offer::new(self.hub.pairs(), max_frame, config);
        let Some(member) = Member::join(&self.hub, offer) else {
            let reason = StartFailure::Device(
                "its lanes differ in ring format, ring features or frame size, which the front end is told once",
            );
            return Err(StartError { device: self, reason });
        };
        let controls = Controls { mac: self.mac, preset: self.preset, kind: Kind::Lane };
        Ok(port(member, self.pair..self.pair + 1, controls, config, pool, max_frame))
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        if pairs == 1 {
            return Ok(vec![self]);
        }
        Err(StartError { device: self, reason: StartFailure::Lanes { asked: pairs, max: 1 } })
    }
}
