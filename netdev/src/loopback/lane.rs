//! A lane of a loopback: a queue pair that loops by itself, made where it is started.

use alloc::boxed::Box;
use alloc::vec::Vec;

use netbuf::Pool;

use super::{INFO, Loopback, check_queues};
use crate::{
    Config, Control, Device, Info, Link, MacAddress, Port, RxQueue, StartError, StartFailure,
    TxQueue,
};

/// A lane that is not running: nothing but an address, so that it can change cores.
struct Lane(MacAddress);

pub(super) fn device(mac: MacAddress) -> Box<dyn Device + Send> {
    Box::new(Lane(mac))
}

impl Device for Lane {
    fn info(&self) -> Info {
        Info { mac: self.0, rx_queues: 1, tx_queues: 1, ..INFO }
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        for asked in [config.rx_queues, config.tx_queues] {
            if let Err(reason) = check_queues(asked, 1) {
                return Err(StartError { device: self, reason });
            }
        }
        match Box::new(Loopback::own(self.0)).start(config, pool) {
            Ok(Port { info, rx, tx, control }) => {
                Ok(Port { info, rx, tx, control: Box::new(LaneControl(control)) })
            }
            Err(StartError { reason, .. }) => Err(StartError { device: self, reason }),
        }
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let reason = StartFailure::Lanes { asked: pairs, max: 1 };
        if pairs == 1 {
            Ok(Vec::from([self as _]))
        } else {
            Err(StartError { device: self, reason })
        }
    }
}

/// The loopback's own controls, whose device is a lane again once it is stopped.
struct LaneControl(Box<dyn Control>);

impl Control for LaneControl {
    fn link(&mut self) -> Link {
        self.0.link()
    }

    fn mac(&self) -> MacAddress {
        self.0.mac()
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        Box::new(Lane(self.0.stop(rx, tx).info().mac))
    }
}
