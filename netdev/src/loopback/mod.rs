//! Loopback: what a device sends is received, by itself ([`device`]) or by its twin ([`pair`]).
//!
//! It behaves as a driver does, so that a test on it proves something: receive buffers come from the pool and
//! are posted at start, a sent packet stays with the device until it is received (then its buffer returns to
//! its pool), a full ring refuses, and a frame for which no buffer is posted is lost and counted.
//!
//! A device that receives what it sends itself can be taken apart: each lane loops by itself, on its core. The ends of a
//! pair cannot, because packets are bound to their core.
//!
//! Deliberately absent: handing the sender's buffer to the receiver (no device can), packets between threads, waking a
//! sleeper (nobody else runs who could send).

mod lane;
mod queues;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;

use netbuf::{Netbuf, Pool};

use crate::{
    Config, Control, Device, Info, Link, MacAddress, Offloads, Port, RingFeatures, RingFormat,
    RingLimits, RxQueue, StartError, StartFailure, TxQueue,
};

use queues::{LoopbackRx, LoopbackTx};

/// Entries of a ring, where the configuration names none.
const DEFAULT_RING: u16 = 256;

const INFO: Info = Info {
    driver: "loopback",
    mac: MacAddress::local(0),
    max_frame: 65_535,
    headroom: 0,
    rx_queues: 16,
    tx_queues: 16,
    rx_ring: RingLimits { min: 2, max: 4096 },
    tx_ring: RingLimits { min: 2, max: 4096 },
    ring_format: RingFormat::Any,
    ring_features: RingFeatures::empty(),
    offloads: Offloads::TX_CHAINS,
};

/// A device whose transmit queue `i` comes back on its receive queue `i` (modulo their number). A ring holds
/// as many frames as the smaller of its two sides was asked to.
pub fn device() -> Box<dyn Device> {
    Box::new(Loopback::own(MacAddress::local(0x10)))
}

/// Two devices: what one sends, the other receives, on the same thread. While a device is not started, frames
/// to it are lost under [`DropCause::LinkDown`](crate::DropCause::LinkDown).
pub fn pair() -> (Box<dyn Device>, Box<dyn Device>) {
    let (a, b) = (Rc::new(Side::default()), Rc::new(Side::default()));
    let one = Loopback { mac: MacAddress::local(0xA), own: a.clone(), peer: b.clone() };
    let two = Loopback { mac: MacAddress::local(0xB), own: b, peer: a };
    (Box::new(one), Box::new(two))
}

/// The receiving half of one end: the rings that its peer sends into, one per receive queue; empty while
/// the end is not started.
#[derive(Default)]
struct Side {
    rings: RefCell<Vec<Ring>>,
}

/// Frames on their way to one receive queue.
struct Ring {
    frames: VecDeque<Netbuf>,
    entries: usize,
}

struct Loopback {
    mac: MacAddress,
    own: Rc<Side>,
    peer: Rc<Side>,
}

impl Device for Loopback {
    fn info(&self) -> Info {
        Info { mac: self.mac, ..INFO }
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        match self.prepare(config, pool) {
            Ok((rx, info)) => {
                let tx =
                    (0..config.tx_queues).map(|number| self.transmit_queue(number, &info, config));
                Ok(Port { info, rx, tx: tx.collect(), control: self })
            }
            Err(reason) => Err(StartError { device: self, reason }),
        }
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let max = if Rc::ptr_eq(&self.own, &self.peer) { INFO.rx_queues } else { 0 };
        if (1..=max).contains(&pairs) {
            Ok((0..pairs).map(|_| lane::device(self.mac)).collect())
        } else {
            Err(StartError { device: self, reason: StartFailure::Lanes { asked: pairs, max } })
        }
    }
}

impl Loopback {
    /// A device that receives what it sends.
    fn own(mac: MacAddress) -> Self {
        let side = Rc::new(Side::default());
        Self { mac, own: side.clone(), peer: side }
    }

    /// Everything that can fail; changes nothing where it does.
    fn prepare(
        &self,
        config: &Config,
        pool: &Pool,
    ) -> Result<(Vec<Box<dyn RxQueue>>, Info), StartFailure> {
        check_queues(config.rx_queues, INFO.rx_queues)?;
        check_queues(config.tx_queues, INFO.tx_queues)?;
        let rx_ring = check_ring(config.rx_ring, INFO.rx_ring)?;
        check_ring(config.tx_ring, INFO.tx_ring)?;
        let missing = config.offloads - INFO.offloads;
        if !missing.is_empty() {
            return Err(StartFailure::Offloads(missing));
        }
        let room = u32::from(pool.room());
        let max_frame = config.max_frame.unwrap_or(room);
        if max_frame > room {
            return Err(StartFailure::MaxFrame { asked: max_frame, max: room });
        }
        let entries = usize::from(rx_ring);
        let needed = entries * usize::from(config.rx_queues);
        let available = pool.available();
        if available < needed {
            return Err(StartFailure::PoolTooSmall { needed, available });
        }
        let info = Info {
            max_frame,
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            offloads: config.offloads,
            ..self.info()
        };
        *self.own.rings.borrow_mut() = (0..config.rx_queues)
            .map(|_| Ring { frames: VecDeque::with_capacity(entries), entries })
            .collect();
        let rx = (0..config.rx_queues)
            .map(|number| {
                let mut queue = LoopbackRx {
                    side: self.own.clone(),
                    number: usize::from(number),
                    port: config.port,
                    max_frame,
                    pool: *pool,
                    posted: Vec::with_capacity(entries),
                    entries,
                    counters: Arc::default(),
                };
                queue.refill();
                Box::new(queue) as Box<dyn RxQueue>
            })
            .collect();
        Ok((rx, info))
    }

    fn transmit_queue(&self, number: u16, info: &Info, config: &Config) -> Box<dyn TxQueue> {
        Box::new(LoopbackTx {
            peer: self.peer.clone(),
            number: usize::from(number),
            entries: usize::from(config.tx_ring.unwrap_or(DEFAULT_RING)),
            max_frame: info.max_frame,
            chains: config.offloads.contains(Offloads::TX_CHAINS),
            counters: Arc::default(),
        })
    }
}

impl Control for Loopback {
    fn link(&mut self) -> Link {
        Link { up: !self.peer.rings.borrow().is_empty(), speed: None, announce: false }
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        // Frames on the way in go back to the peer's pool, those on the way out to our own: each ring has one
        // sending side.
        self.own.rings.borrow_mut().clear();
        self.peer.rings.borrow_mut().iter_mut().for_each(|ring| ring.frames.clear());
        self
    }
}

fn check_queues(asked: u16, max: u16) -> Result<(), StartFailure> {
    if (1..=max).contains(&asked) { Ok(()) } else { Err(StartFailure::Queues { asked, max }) }
}

fn check_ring(asked: Option<u16>, limits: RingLimits) -> Result<u16, StartFailure> {
    let asked = asked.unwrap_or(DEFAULT_RING);
    let RingLimits { min, max } = limits;
    if asked.is_power_of_two() && (min..=max).contains(&asked) {
        Ok(asked)
    } else {
        Err(StartFailure::RingSize { asked, min, max })
    }
}
