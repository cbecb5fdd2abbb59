//! A started port with its name and packet memory.

use std::collections::BTreeMap;

use netdev::{Burst, Config, Device, DropCause, Drops, Pool, Port, QueueStats, RingLimits};

use crate::{Error, PortReport};

/// A started port, used through its first queue each way.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) port: Port,
    pub(crate) pool: Pool,
    rx_before: QueueStats,
    tx_before: QueueStats,
}

impl Endpoint {
    /// Starts `device` for frames of up to `max_frame` bytes, or as many as it takes.
    pub(crate) fn start(
        name: String,
        device: Box<dyn Device>,
        number: u16,
        pool: Pool,
        max_frame: u32,
    ) -> Result<Self, Error> {
        let most = device.info().max_frame.min(u32::from(pool.room()));
        let config = Config {
            port: number,
            max_frame: Some(max_frame.min(most)),
            rx_ring: Some(receive_ring(&pool, device.info().rx_ring)),
            ..Config::default()
        };
        let port = device
            .start(&config, &pool)
            .map_err(|error| Error::Port { name: name.clone(), reason: error.to_string() })?;
        if port.rx.is_empty() || port.tx.is_empty() {
            return Err(Error::Port { name, reason: "the port has no queue".into() });
        }
        let none = QueueStats::default();
        Ok(Self { name, port, pool, rx_before: none, tx_before: none })
    }

    #[inline]
    pub(crate) fn receive(&mut self, out: &mut Burst) -> usize {
        self.port.rx[0].rx_burst(out)
    }

    #[inline]
    pub(crate) fn send(&mut self, burst: &mut Burst) -> usize {
        self.port.tx[0].tx_burst(burst)
    }

    /// Largest frame, L2 header included, FCS excluded.
    pub(crate) fn max_frame(&self) -> usize {
        usize::try_from(self.port.info.max_frame)
            .unwrap_or(usize::MAX)
            .min(usize::from(self.pool.room()))
    }

    /// Counts drops from here on.
    pub(crate) fn mark(&mut self) {
        self.rx_before = self.port.rx[0].stats();
        self.tx_before = self.port.tx[0].stats();
    }

    /// Frames that the port took since [`mark`](Self::mark) and dropped without sending. What a fault injector
    /// loses is lost on the way, not unsent.
    pub(crate) fn unsent(&self) -> BTreeMap<String, u64> {
        let mut drops = since(&self.port.tx[0].stats().drops, &self.tx_before.drops);
        drops.remove(DropCause::Injected.name());
        drops
    }

    /// As the sum of [`unsent`](Self::unsent), without allocating.
    pub(crate) fn unsent_total(&self) -> u64 {
        let (now, before) = (self.port.tx[0].stats().drops, &self.tx_before.drops);
        let real = |drops: &Drops| drops.total() - drops[DropCause::Injected];
        real(&now) - real(before)
    }

    pub(crate) fn report(&self, foreign: u64) -> PortReport {
        PortReport {
            name: self.name.clone(),
            driver: self.port.info.driver.into(),
            foreign,
            receive_drops: since(&self.port.rx[0].stats().drops, &self.rx_before.drops),
            transmit_drops: since(&self.port.tx[0].stats().drops, &self.tx_before.drops),
        }
    }
}

/// A receive ring of 1024 entries, if the pool has plenty of buffers and the device can: more than a transmit
/// ring holds (256), so that what is on its way finds room even when we are held up.
fn receive_ring(pool: &Pool, limits: RingLimits) -> u16 {
    let affordable = u16::try_from(pool.buffers() / 4).unwrap_or(u16::MAX);
    let wanted = affordable.clamp(1, 1024);
    let power_of_two = 1 << wanted.ilog2();
    limits.max.min(power_of_two).max(limits.min)
}

fn since(now: &Drops, before: &Drops) -> BTreeMap<String, u64> {
    let differences =
        now.iter().map(|(cause, count)| (cause.name().to_owned(), count - before[cause]));
    differences.filter(|(_, count)| *count > 0).collect()
}
