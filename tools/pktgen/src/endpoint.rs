//! A started port with its name and packet memory.

use std::collections::BTreeMap;

use netdev::{Burst, Config, Device, DropCause, Drops, Pool, Port, QueueStats, RingLimits};

use crate::{Error, PortReport};

/// A started port, used through all of its queues by one thread, in turn.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) port: Port,
    pub(crate) pool: Pool,
    rx_before: QueueStats,
    tx_before: QueueStats,
    /// The queues whose turn it is.
    rx_turn: usize,
    tx_turn: usize,
}

impl Endpoint {
    /// Starts `device` for frames of up to `max_frame` bytes, or as many as it takes.
    pub(crate) fn start(
        name: String,
        device: Box<dyn Device>,
        number: u16,
        pool: Pool,
        max_frame: u32,
        queues: u16,
    ) -> Result<Self, Error> {
        let most = device.info().max_frame.min(u32::from(pool.room()));
        let info = device.info();
        let config = Config {
            port: number,
            rx_queues: queues.clamp(1, info.rx_queues.max(1)),
            tx_queues: queues.clamp(1, info.tx_queues.max(1)),
            max_frame: Some(max_frame.min(most)),
            rx_ring: Some(receive_ring(&pool, info.rx_ring, queues)),
            ..Config::default()
        };
        let port = device
            .start(&config, &pool)
            .map_err(|error| Error::Port { name: name.clone(), reason: error.to_string() })?;
        if port.rx.is_empty() || port.tx.is_empty() {
            return Err(Error::Port { name, reason: "the port has no queue".into() });
        }
        let none = QueueStats::default();
        Ok(Self { name, port, pool, rx_before: none, tx_before: none, rx_turn: 0, tx_turn: 0 })
    }

    /// Receives a burst from the queue whose turn it is.
    #[inline]
    pub(crate) fn receive(&mut self, out: &mut Burst) -> usize {
        let queue = self.rx_turn;
        self.rx_turn = if queue + 1 == self.port.rx.len() { 0 } else { queue + 1 };
        self.port.rx[queue].rx_burst(out)
    }

    /// Offers a burst to the queue whose turn it is; the next burst goes to the next.
    #[inline]
    pub(crate) fn send(&mut self, burst: &mut Burst) -> usize {
        let queue = self.tx_turn;
        self.tx_turn = if queue + 1 == self.port.tx.len() { 0 } else { queue + 1 };
        self.port.tx[queue].tx_burst(burst)
    }

    fn rx_stats(&self) -> QueueStats {
        self.port
            .rx
            .iter()
            .map(|queue| queue.stats())
            .fold(QueueStats::default(), |sum, one| sum + one)
    }

    fn tx_stats(&self) -> QueueStats {
        self.port
            .tx
            .iter()
            .map(|queue| queue.stats())
            .fold(QueueStats::default(), |sum, one| sum + one)
    }

    /// Whether the port throws frames away: nothing comes back from it.
    pub(crate) fn discards(&self) -> bool {
        self.port.info.driver == crate::discard::DRIVER
    }

    /// Largest frame, L2 header included, FCS excluded.
    pub(crate) fn max_frame(&self) -> usize {
        usize::try_from(self.port.info.max_frame)
            .unwrap_or(usize::MAX)
            .min(usize::from(self.pool.room()))
    }

    /// Counts drops from here on.
    pub(crate) fn mark(&mut self) {
        self.rx_before = self.rx_stats();
        self.tx_before = self.tx_stats();
    }

    /// Frames that the port took since [`mark`](Self::mark) and dropped without sending. What a fault injector
    /// loses is lost on the way, not unsent.
    pub(crate) fn unsent(&self) -> BTreeMap<String, u64> {
        let mut drops = since(&self.tx_stats().drops, &self.tx_before.drops);
        drops.remove(DropCause::Injected.name());
        drops
    }

    /// As the sum of [`unsent`](Self::unsent), without allocating.
    pub(crate) fn unsent_total(&self) -> u64 {
        let (now, before) = (self.tx_stats().drops, &self.tx_before.drops);
        let real = |drops: &Drops| drops.total() - drops[DropCause::Injected];
        real(&now) - real(before)
    }

    pub(crate) fn report(&self, foreign: u64) -> PortReport {
        PortReport {
            name: self.name.clone(),
            driver: self.port.info.driver.into(),
            offloads: self.port.info.offloads.to_string(),
            feature_bits: self.port.control.feature_bits().map(|bits| format!("{bits:#x}")),
            foreign,
            receive_drops: since(&self.rx_stats().drops, &self.rx_before.drops),
            transmit_drops: since(&self.tx_stats().drops, &self.tx_before.drops),
        }
    }
}

/// A receive ring of 1024 entries, if the pool has plenty of buffers and the device can: more than a transmit
/// ring holds (256), so that what is on its way finds room even when we are held up.
fn receive_ring(pool: &Pool, limits: RingLimits, queues: u16) -> u16 {
    let affordable =
        u16::try_from(pool.buffers() / 4 / usize::from(queues.max(1))).unwrap_or(u16::MAX);
    let wanted = affordable.clamp(1, 1024);
    let power_of_two = 1 << wanted.ilog2();
    limits.max.min(power_of_two).max(limits.min)
}

fn since(now: &Drops, before: &Drops) -> BTreeMap<String, u64> {
    let differences =
        now.iter().map(|(cause, count)| (cause.name().to_owned(), count - before[cause]));
    differences.filter(|(_, count)| *count > 0).collect()
}
