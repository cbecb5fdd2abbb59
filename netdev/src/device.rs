//! Life cycle: a device before start, a port after it.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use netbuf::Pool;

use crate::{Config, Control, Info, QueueMut, RxQueue, StartError, StartFailure, TxQueue};

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

    /// Resets those queues that their peer has broken, each by itself while the others go on; how many.
    ///
    /// # Errors
    /// As [`Control::reset_queue`], of the first that cannot be reset: [`restart`](Self::restart) helps.
    pub fn heal(&mut self) -> Result<usize, StartFailure> {
        let mut healed = 0;
        for (queue, rx) in (0..).zip(&mut self.rx) {
            if rx.is_broken() {
                self.control.reset_queue(queue, QueueMut::Rx(rx), None)?;
                healed += 1;
            }
        }
        for (queue, tx) in (0..).zip(&mut self.tx) {
            if tx.is_broken() {
                self.control.reset_queue(queue, QueueMut::Tx(tx), None)?;
                healed += 1;
            }
        }
        Ok(healed)
    }

    /// Stops the device and starts it again, with this or another configuration: what a device needs that
    /// [asks for it](Control::needs_reset). What controls had set is to be set again.
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn restart(self, config: &Config, pool: &Pool) -> Result<Self, StartError> {
        self.stop().start(config, pool)
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
