//! The course of a run, second by second, in bounded memory.
//!
//! Counts are totals since the start, so that leaving out every second entry loses nothing but detail: that is what
//! happens each time the list is full.

use serde::Serialize;

use crate::{Phase, Tick, TickDirection};

/// The most entries that are kept.
const MOST: usize = 1024;

/// One moment of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Second {
    /// Seconds since traffic began.
    pub elapsed_s: f64,
    /// Per direction.
    pub directions: Vec<SecondDirection>,
    /// Cycles per frame sent or received in the last second, of the time that something was moved.
    pub cycles_per_packet: Option<f64>,
    /// Frames per burst that a port took in the last second.
    pub burst_fill: Option<f64>,
    /// Corrected latency since the start, of several streams the worst; `None`: not measured.
    pub latency: Option<SecondLatency>,
}

/// Percentiles in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SecondLatency {
    /// The median.
    pub p50_ns: u64,
    /// What 99 % do not exceed.
    pub p99_ns: u64,
    /// What 99.9 % do not exceed.
    pub p99_9_ns: u64,
    /// The highest.
    pub max_ns: u64,
}

/// One direction at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecondDirection {
    /// `forward`, `backward` or `reflected`.
    pub direction: String,
    /// Frames sent since the start.
    pub sent: u64,
    /// Frames received since the start, intact, duplicates included.
    pub received: u64,
    /// Frames overtaken that have not come: lost, or still on their way.
    pub missing: u64,
    /// Duplicated, reordered and corrupted frames since the start.
    pub troubles: u64,
    /// Millions of frames per second sent during the last second.
    pub sent_mpps: f64,
    /// Millions of frames per second received during the last second.
    pub received_mpps: f64,
}

impl From<&Tick> for Second {
    fn from(tick: &Tick) -> Self {
        Self {
            elapsed_s: tick.elapsed.as_secs_f64(),
            directions: tick.directions.iter().map(SecondDirection::from).collect(),
            cycles_per_packet: tick.cycles_per_packet,
            burst_fill: tick.burst_fill,
            latency: tick.latency.map(|l| SecondLatency {
                p50_ns: l.p50,
                p99_ns: l.p99,
                p99_9_ns: l.p99_9,
                max_ns: l.max,
            }),
        }
    }
}

impl From<&TickDirection> for SecondDirection {
    fn from(d: &TickDirection) -> Self {
        Self {
            direction: d.direction.to_string(),
            sent: d.sent,
            received: d.received,
            missing: d.missing,
            troubles: d.troubles,
            sent_mpps: d.sent_mpps,
            received_mpps: d.received_mpps,
        }
    }
}

/// Every second of a run, or every second, fourth, eighth ... of a long one.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Timeline {
    seconds: Vec<Second>,
    /// Ticks since the last entry.
    #[serde(skip)]
    since: u64,
    /// Ticks per entry, less one.
    #[serde(skip)]
    between: u64,
}

impl Timeline {
    /// Takes note of a tick; only those of running traffic are kept.
    pub fn note(&mut self, tick: &Tick) {
        if tick.phase != Phase::Running {
            return;
        }
        if self.since < self.between {
            self.since += 1;
            return;
        }
        self.since = 0;
        if self.seconds.len() == MOST {
            let mut number = 0;
            self.seconds.retain(|_| {
                number += 1;
                number % 2 == 0
            });
            self.between = 2 * self.between + 1;
        }
        self.seconds.push(tick.into());
    }

    /// The entries, in order.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_long_run_takes_no_more_memory_and_keeps_its_course() {
        let mut timeline = Timeline::default();
        for second in 1..=100_000 {
            let elapsed = Duration::from_secs(second);
            timeline.note(&Tick::new(Phase::Running, elapsed));
            assert!(timeline.seconds().len() <= MOST);
        }
        let times: Vec<f64> = timeline.seconds().iter().map(|s| s.elapsed_s).collect();
        assert!(times.len() > MOST / 2 && times[0] <= 256.0 && *times.last().unwrap() > 99_000.0);
        assert!(times.is_sorted());
    }

    #[test]
    fn warm_up_and_drain_are_no_part_of_it() {
        let mut timeline = Timeline::default();
        for phase in [Phase::WarmUp, Phase::Draining] {
            let elapsed = Duration::from_secs(1);
            timeline.note(&Tick::new(phase, elapsed));
        }
        assert!(timeline.seconds().is_empty());
    }
}
