//! The meter: rates, cycles per packet, burst fill and drops since it was last read, as one line of text.
//!
//! It reads the queues' counters through their `Arc`s, so that it needs no port: those are with the pollers. Whole
//! numbers only, so that an image needs no floating-point formatting.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use netdev::{DropCause, Port, QueueCounters, QueueStats};

use crate::usage::ratio;
use crate::{Clock, Tick, Usage};

/// Watches ports; each reading covers the time since the last.
#[derive(Debug)]
pub struct Meter {
    ports: Vec<Watched>,
    usage: Usage,
    since: u64,
}

/// One port's counters, and what they said.
#[derive(Debug)]
struct Watched {
    rx: Side,
    tx: Side,
}

/// One direction of a port: the counters of its queues, their last sum, and what was new then.
#[derive(Debug)]
struct Side {
    counters: Vec<Arc<QueueCounters>>,
    last: QueueStats,
    fresh: QueueStats,
}

impl Side {
    fn new(counters: Vec<Arc<QueueCounters>>) -> Self {
        let mut side = Self { counters, last: QueueStats::default(), fresh: QueueStats::default() };
        side.read();
        side
    }

    fn read(&mut self) {
        let sum =
            self.counters.iter().map(|c| c.snapshot()).fold(QueueStats::default(), |a, b| a + b);
        self.fresh = sum - self.last;
        self.last = sum;
    }
}

impl Meter {
    /// A meter of no port; the first reading counts from now.
    pub fn new(clock: &impl Clock) -> Self {
        Self { ports: Vec::new(), usage: Usage::default(), since: clock.now() }
    }

    /// Watches a port, from now on, as the next in the report.
    pub fn watch(&mut self, port: &Port) {
        let rx = port.rx.iter().map(|queue| queue.counters().clone()).collect();
        let tx = port.tx.iter().map(|queue| queue.counters().clone()).collect();
        self.ports.push(Watched { rx: Side::new(rx), tx: Side::new(tx) });
    }

    /// What happened since the last reading. Does not allocate.
    pub fn read(&mut self, tick: &Tick<'_>) -> Report<'_> {
        self.read_at(tick.now(), tick.hz(), *tick.usage())
    }

    /// As [`read`](Self::read), outside a timer: `now` in cycles of a clock of `hz`, and the loop's account.
    pub fn read_at(&mut self, now: u64, hz: u64, usage: Usage) -> Report<'_> {
        for port in &mut self.ports {
            port.rx.read();
            port.tx.read();
        }
        let report = (now.saturating_sub(self.since), usage - self.usage);
        (self.since, self.usage) = (now, usage);
        Report { cycles: report.0, hz, usage: report.1, ports: &self.ports }
    }
}

/// A reading of a [`Meter`]. Displayed as one line without a line feed.
#[derive(Clone, Copy, Debug)]
pub struct Report<'m> {
    /// Length of the interval, in cycles.
    pub cycles: u64,
    /// Cycles per second.
    pub hz: u64,
    /// The loop's account of the interval.
    pub usage: Usage,
    ports: &'m [Watched],
}

/// One port in a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortReport {
    /// What it received.
    pub rx: Rates,
    /// What it sent.
    pub tx: Rates,
}

/// One direction of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Packets per second.
    pub packets_per_second: u64,
    /// Bits per second, L2 header included; FCS, preamble and gap excluded.
    pub bits_per_second: u64,
    /// What was counted in the interval, over all queues.
    pub counted: QueueStats,
}

impl Report<'_> {
    /// The ports, in the order in which they were watched.
    pub fn ports(&self) -> impl Iterator<Item = PortReport> {
        self.ports
            .iter()
            .map(|port| PortReport { rx: self.rates(&port.rx), tx: self.rates(&port.tx) })
    }

    fn rates(&self, side: &Side) -> Rates {
        let per_second = |count| ratio(count, self.hz, self.cycles).unwrap_or(0);
        let QueueStats { packets, bytes, .. } = side.fresh;
        Rates {
            packets_per_second: per_second(packets),
            bits_per_second: per_second(bytes.saturating_mul(8)),
            counted: side.fresh,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, port) in self.ports().enumerate() {
            write!(f, "port {number}: rx {}, tx {} | ", port.rx, port.tx)?;
        }
        match self.usage.cycles_per_packet() {
            Some(cycles) => write!(f, "{cycles} cycles/packet")?,
            None => f.write_str("no packets")?,
        }
        if let Some(fill) = self.usage.burst_fill_tenths() {
            write!(f, ", bursts of {}", Decimal(fill, 1))?;
        }
        write!(f, ", busy {} % | ", Decimal(self.usage.busy_per_mille(), 1))?;
        self.drops(f)
    }
}

impl Report<'_> {
    fn drops(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (number, port) in self.ports().enumerate() {
            for (side, rates) in [("rx", port.rx), ("tx", port.tx)] {
                for (cause, count) in rates.counted.drops.iter() {
                    let start = if first { "dropped:" } else { "," };
                    write!(f, "{start} {number}.{side} {} {count}", DropCause::name(cause))?;
                    first = false;
                }
            }
        }
        if first { f.write_str("no drops") } else { Ok(()) }
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (packets, bits) = (self.packets_per_second / 1000, self.bits_per_second / 100_000);
        write!(f, "{} Mpps {} Mbit/s", Decimal(packets, 3), Decimal(bits, 1))
    }
}

/// A number with so many digits behind the point.
struct Decimal(u64, u32);

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, digits) = (10u64.pow(self.1), usize::try_from(self.1).unwrap_or(0));
        write!(f, "{}.{:0digits$}", self.0 / unit, self.0 % unit)
    }
}
