//! Life cycle and controls: a device before start, a port after it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use netbuf::Pool;

use crate::{Config, Info, MacAddress, RxQueue, StartError, TxQueue};

/// A network device that is not running.
pub trait Device {
    /// Limits, address and offered offloads.
    fn info(&self) -> Info;

    /// Brings the device up. Receive buffers come from `pool`, and are posted before this returns.
    ///
    /// # Errors
    /// What was asked for and cannot be had; the device comes back, unchanged, with the reason.
    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError>;

    /// Takes the device apart into `pairs` *lanes*: devices of one receive and one transmit queue each, in the order
    /// of their queues, so that each can be sent to a core of its own and started there with a pool of its own.
    /// (A started [`Port`] stays on its core, with all its queues.)
    ///
    /// Lanes share what the device has once, such as a connection or a link. The device works with as many queues as
    /// it has lanes; a peer may wait with its traffic until all of them are started. A lane is stopped and started
    /// again by itself. What they share ends with the last of them.
    ///
    /// # Errors
    /// [`StartFailure::Lanes`](crate::StartFailure::Lanes); the device comes back whole.
    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError>;
}

/// A running device: its queues and its controls. Different fields, so that they can be borrowed apart.
pub struct Port {
    /// What was negotiated: the offloads and limits now in force.
    pub info: Info,
    /// Receive queues, by number.
    pub rx: Vec<Box<dyn RxQueue>>,
    /// Transmit queues, by number.
    pub tx: Vec<Box<dyn TxQueue>>,
    /// Link, filters, stop.
    pub control: Box<dyn Control>,
}

impl Port {
    /// Stops the device. Every buffer that it held is back in its pool when this returns; sent packets that
    /// the device has not taken yet are lost.
    pub fn stop(self) -> Box<dyn Device> {
        self.control.stop(self.rx, self.tx)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("info", &self.info)
            .field("rx", &self.rx.len())
            .field("tx", &self.tx.len())
            .finish_non_exhaustive()
    }
}

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Mbit/s, where the device knows.
    pub speed: Option<u32>,
}

/// The device or driver cannot do what a control call asked; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(
    /// What is not supported, as words for a message.
    pub &'static str,
);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this port does not support {}", self.0)
    }
}

impl core::error::Error for Unsupported {}

/// The controls of a running port. Off the packet path: these may be slow.
pub trait Control {
    /// The link's state, read now.
    fn link(&mut self) -> Link;

    /// The port's own address.
    fn mac(&self) -> MacAddress;

    /// Changes the port's own address.
    ///
    /// # Errors
    /// [`Unsupported`] where the device has a fixed one.
    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        let _ = mac;
        Err(Unsupported("changing the MAC address"))
    }

    /// Receives frames for any destination, or no longer.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch.
    fn set_promiscuous(&mut self, on: bool) -> Result<(), Unsupported> {
        let _ = on;
        Err(Unsupported("switching promiscuous mode"))
    }

    /// Receives frames for any multicast destination, or no longer.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch.
    fn set_all_multicast(&mut self, on: bool) -> Result<(), Unsupported> {
        let _ = on;
        Err(Unsupported("switching all-multicast mode"))
    }

    /// Stops the device and takes back what it was started with; called by [`Port::stop`].
    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device>;
}
