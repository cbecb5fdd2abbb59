//! A port that takes every frame and throws it away at once: what remains is the generator itself.
//!
//! Nothing ever comes back from it, so a direction that ends here is not verified. Deliberately absent: anything that a
//! port does besides, so figures with it are an upper bound.

use std::sync::Arc;

use netdev::{
    Burst, Config, Control, Device, Info, Link, MacAddress, Offloads, Pool, Port, QueueCounters,
    RingFeatures, RingFormat, RingLimits, RxQueue, StartError, StartFailure, TxQueue,
};

/// The name of the driver, and of the port on a command line.
pub const DRIVER: &str = "discard";

const INFO: Info = Info {
    driver: DRIVER,
    mac: MacAddress::local(0xd),
    max_frame: 65_535,
    headroom: 0,
    rx_queues: 16,
    tx_queues: 16,
    rx_ring: RingLimits { min: 1, max: 4096 },
    tx_ring: RingLimits { min: 1, max: 4096 },
    ring_format: RingFormat::Any,
    ring_features: RingFeatures::empty(),
    offloads: Offloads::TX_CHAINS,
};

/// A port that discards.
pub fn device() -> Box<dyn Device> {
    Box::new(Discard)
}

struct Discard;

struct Queue(Arc<QueueCounters>);

impl Device for Discard {
    fn info(&self) -> Info {
        INFO
    }

    fn start(self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        let room = u32::from(pool.room());
        let info = Info {
            max_frame: config.max_frame.unwrap_or(room).min(room),
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            offloads: config.offloads & INFO.offloads,
            ..INFO
        };
        let rx = (0..config.rx_queues).map(|_| Box::new(Queue(Arc::default())) as Box<dyn RxQueue>);
        let tx = (0..config.tx_queues).map(|_| Box::new(Queue(Arc::default())) as Box<dyn TxQueue>);
        Ok(Port { info, rx: rx.collect(), tx: tx.collect(), control: self })
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        let max = INFO.rx_queues;
        if (1..=max).contains(&pairs) {
            Ok((0..pairs).map(|_| Box::new(Discard) as Box<dyn Device + Send>).collect())
        } else {
            Err(StartError { device: self, reason: StartFailure::Lanes { asked: pairs, max } })
        }
    }
}

impl RxQueue for Queue {
    fn rx_burst(&mut self, _out: &mut Burst) -> usize {
        0
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.0
    }
}

impl TxQueue for Queue {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let taken = packets.len();
        if taken > 0 {
            let bytes: usize = packets.iter().map(netdev::Netbuf::len).sum();
            self.0.burst(taken, bytes as u64);
            packets.clear();
        }
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.0
    }
}

impl Control for Discard {
    fn link(&mut self) -> Link {
        Link { up: true, speed: None, announce: false }
    }

    fn mac(&self) -> MacAddress {
        INFO.mac
    }

    fn stop(
        self: Box<Self>,
        _rx: Vec<Box<dyn RxQueue>>,
        _tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        self
    }
}
