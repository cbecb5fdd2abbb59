//! What the wrappers share: a device around a device.
//!
//! A wrapper only says how to wrap one queue; starting, failing to start and stopping are the same for all
//! of them and stand here. Deliberately not public: wrap with [`tap`](crate::tap), [`trace`](crate::trace)
//! or [`fault`](crate::fault), or implement [`Device`] for a wrapper of your own.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;

use netbuf::Pool;

use crate::{
    Config, Control, Device, Info, Link, MacAddress, Offloads, Port, QueueMut, Rss, RxMode,
    RxQueue, StartError, StartFailure, TxQueue, Unsupported,
};

/// What tells a wrapper the time: nanoseconds, cycles or a test's own count. Called once per burst.
pub type TimeSource = Rc<dyn Fn() -> u64>;

/// A [`TimeSource`] for tests: counts its own calls, from zero.
pub fn call_counter() -> TimeSource {
    let calls = Cell::new(0);
    Rc::new(move || {
        let now = calls.get();
        calls.set(now + 1);
        now
    })
}

/// Where a queue stands: what its wrapper may want to know of the started port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// [`Config::port`].
    pub(crate) port: u16,
    /// Number of the queue among those of its direction.
    pub(crate) queue: u16,
    /// Largest frame in force, in bytes, L2 header included, FCS excluded.
    pub(crate) max_frame: u32,
    pub(crate) pool: Pool,
}

/// How a wrapper wraps a queue. Called at start, where allocation is allowed.
pub(crate) trait Layer: 'static {
    fn rx(&self, inner: Box<dyn RxQueue>, place: Place) -> Box<dyn RxQueue>;
    fn tx(&self, inner: Box<dyn TxQueue>, place: Place) -> Box<dyn TxQueue>;
}

/// Puts `layer` around `inner`.
pub(crate) fn wrap<L: Layer>(inner: Box<dyn Device>, layer: L) -> Box<dyn Device> {
    Box::new(Layered { inner, layer })
}

struct Layered<L> {
    inner: Box<dyn Device>,
    layer: L,
}

impl<L: Layer> Device for Layered<L> {
    fn info(&self) -> Info {
        self.inner.info()
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let Self { inner, layer } = *self;
        let Port { info, rx, tx, control } = match inner.start(config, pool) {
            Ok(port) => port,
            Err(StartError { device, reason }) => {
                return Err(StartError { device: wrap(device, layer), reason });
            }
        };
        let place =
            |queue| Place { port: config.port, queue, max_frame: info.max_frame, pool: *pool };
        let rx = (0..).zip(rx).map(|(queue, inner)| layer.rx(inner, place(queue))).collect();
        let tx = (0..).zip(tx).map(|(queue, inner)| layer.tx(inner, place(queue))).collect();
        Ok(Port { info, rx, tx, control: Box::new(LayeredControl { inner: control, layer }) })
    }

    /// Refused: what the wrappers share among a port's queues (a log, a sink, counts, a time source) is bound to one
    /// core. Take the device apart first and wrap each lane on its own core.
    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}

struct LayeredControl<L> {
    inner: Box<dyn Control>,
    layer: L,
}

impl<L: Layer> Control for LayeredControl<L> {
    fn link(&mut self) -> Link {
        self.inner.link()
    }

    fn needs_reset(&mut self) -> bool {
        self.inner.needs_reset()
    }

    fn mac(&self) -> MacAddress {
        self.inner.mac()
    }

    fn feature_bits(&self) -> Option<u64> {
        self.inner.feature_bits()
    }

    fn set_mac_filter(
        &mut self,
        unicast: &[MacAddress],
        multicast: &[MacAddress],
    ) -> Result<(), Unsupported> {
        self.inner.set_mac_filter(unicast, multicast)
    }

    fn set_vlan(&mut self, id: u16, pass: bool) -> Result<(), Unsupported> {
        self.inner.set_vlan(id, pass)
    }

    fn announced(&mut self) -> Result<(), Unsupported> {
        self.inner.announced()
    }

    fn announce(&mut self) -> Result<(), Unsupported> {
        self.inner.announce()
    }

    fn set_rss(&mut self, rss: &Rss<'_>) -> Result<(), Unsupported> {
        self.inner.set_rss(rss)
    }

    fn set_rx_mode(&mut self, mode: RxMode, on: bool) -> Result<(), Unsupported> {
        self.inner.set_rx_mode(mode, on)
    }

    fn set_rx_offloads(&mut self, offloads: Offloads) -> Result<(), Unsupported> {
        self.inner.set_rx_offloads(offloads)
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        self.inner.set_mac(mac)
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<(), Unsupported> {
        self.inner.set_promiscuous(on)
    }

    fn set_all_multicast(&mut self, on: bool) -> Result<(), Unsupported> {
        self.inner.set_all_multicast(on)
    }

    /// The wrapper stays: the driver exchanges what it is [wrapped](RxQueue::wrapped) around.
    fn reset_queue(
        &mut self,
        number: u16,
        queue: QueueMut<'_>,
        entries: Option<u16>,
    ) -> Result<(), StartFailure> {
        self.inner.reset_queue(number, queue, entries)
    }

    /// The wrapped queues go to the inner control as they are: a driver sees queues as trait objects, so all
    /// that it can do with them is what it can do with ours.
    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        let Self { inner, layer } = *self;
        wrap(inner.stop(rx, tx), layer)
    }
}
