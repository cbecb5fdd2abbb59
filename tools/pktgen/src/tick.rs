//! What a caller sees once per second while a run goes on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The most streams that a tick tells of.
pub const MOST_TICK_STREAMS: usize = 256;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for links, and for a first frame to come through.
    WarmUp,
    /// Offering traffic.
    Running,
    /// Waiting for stragglers.
    Draining,
}

/// The state of a run, once per second.
#[derive(Clone, Debug)]
pub struct Tick {
    /// What the run is doing.
    pub phase: Phase,
    /// Time since this phase began.
    pub elapsed: Duration,
    /// Per direction, in the report's order. Empty during the warm-up.
    pub directions: Vec<TickDirection>,
    /// Per stream, in the report's order: the first [`MOST_TICK_STREAMS`]. Empty during the warm-up and in a replay.
    pub streams: Vec<TickStream>,
    /// Cycles of the clock per frame sent or received since the last tick, of the time that something was moved.
    pub cycles_per_packet: Option<f64>,
    /// Frames that a port took per burst since the last tick; a full burst has [`BURST`](netdev::BURST).
    pub burst_fill: Option<f64>,
    /// Latency so far, where it is measured.
    pub latency: Option<TickLatency>,
}

/// Percentiles of the corrected latency since the start, in nanoseconds; of several streams each the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TickLatency {
    /// The median.
    pub p50: u64,
    /// What 99 % do not exceed.
    pub p99: u64,
    /// What 99.9 % do not exceed.
    pub p99_9: u64,
    /// The highest.
    pub max: u64,
}

impl TickLatency {
    /// The worse of the two, figure by figure.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self {
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            p99_9: self.p99_9.max(other.p99_9),
            max: self.max.max(other.max),
        }
    }
}

impl Tick {
    /// A tick of `phase` that knows of no traffic.
    pub fn new(phase: Phase, elapsed: Duration) -> Self {
        Self {
            phase,
            elapsed,
            directions: Vec::new(),
            streams: Vec::new(),
            cycles_per_packet: None,
            burst_fill: None,
            latency: None,
        }
    }
}

/// One direction's figures at a tick.
#[derive(Clone, Copy, Debug)]
pub struct TickDirection {
    /// `forward`, `backward` or `reflected`.
    pub direction: &'static str,
    /// Frames sent so far.
    pub sent: u64,
    /// Frames received so far, intact, duplicates included.
    pub received: u64,
    /// Frames that were overtaken and have not come yet: lost, or still on their way.
    pub missing: u64,
    /// Duplicates, reordered and corrupted frames so far.
    pub troubles: u64,
    /// Millions of frames per second sent since the last tick.
    pub sent_mpps: f64,
    /// Millions of frames per second received since the last tick.
    pub received_mpps: f64,
}

/// One stream's figures at a tick, as those of [`TickDirection`].
#[derive(Clone, Debug)]
pub struct TickStream {
    /// Its name.
    pub name: Arc<str>,
    /// Its direction.
    pub direction: &'static str,
    /// Frames that the port took so far.
    pub sent: u64,
    /// Frames received so far, intact, duplicates included.
    pub received: u64,
    /// Frames that were overtaken and have not come yet.
    pub missing: u64,
    /// Duplicates, reordered, corrupted and misdirected frames so far.
    pub troubles: u64,
    /// Millions of frames per second sent since the last tick.
    pub sent_mpps: f64,
    /// Millions of frames per second received since the last tick.
    pub received_mpps: f64,
    /// What 99 % of its corrected latencies so far do not exceed, in nanoseconds; `None`: not measured.
    pub p99: Option<u64>,
}

impl fmt::Display for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        match self.phase {
            Phase::WarmUp => {
                return write!(f, "{seconds:6.1} s  waiting for a first frame to come through");
            }
            Phase::Draining => {
                write!(f, "     end")?;
                for d in &self.directions {
                    let TickDirection { direction, sent, received, missing, .. } = d;
                    write!(f, "  {direction} {sent} out {received} back {missing} missing")?;
                }
                return Ok(());
            }
            Phase::Running => write!(f, "{seconds:6.1} s")?,
        }
        for d in &self.directions {
            write!(
                f,
                "  {} {:.3} Mpps out {:.3} Mpps back {} missing",
                d.direction, d.sent_mpps, d.received_mpps, d.missing
            )?;
            if d.troubles > 0 {
                write!(f, " {} duplicated, reordered or corrupted", d.troubles)?;
            }
        }
        Ok(())
    }
}
