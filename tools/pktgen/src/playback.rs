//! Playback: the frames of a capture as a source, at a rate or with the gaps that they were captured with.
//!
//! With the original timing the pacer counts nanoseconds of the capture rather than frames, so that the gaps do not
//! add up rounding errors. Nothing is given up then: a generator that was held up sends what is overdue at once, since
//! a replay without some of its frames is another capture. Between the last frame and the first of the next round
//! lies the mean gap.

use std::fmt;
use std::str::FromStr;

use netdev::{Burst, Pool};

use crate::capture::Capture;
use crate::pacer::{Pacer, Unit};
use crate::source::Source;
use crate::{Options, Rate};

/// When the frames of a capture are due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// At the rate of the options.
    #[default]
    Rate,
    /// As they were captured, so many times as fast.
    Original(Speed),
}

/// How many times as fast as it was captured a capture is played: 0.001 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speed(
    /// In thousandths.
    u32,
);

impl Speed {
    /// As it was captured.
    pub const ONE: Self = Self(1000);

    /// The rate of a pacer that counts nanoseconds of the capture.
    pub(crate) fn nanoseconds(self) -> Rate {
        Rate::Packets(u64::from(self.0) * 1_000_000)
    }

    /// As a factor.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.factor())
    }
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('x').unwrap_or(text);
        let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value = number.parse::<f64>().ok().filter(|v| plain && (0.001..=1000.0).contains(v));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 to 1e6"
        )]
        value.map(|value| Self((value * 1000.0).round() as u32)).ok_or_else(|| {
            format!(
                "`{text}` is no speed; accepted: a factor from 0.001 to 1000, such as 1, 0.5 or 10x"
            )
        })
    }
}

/// A capture's frames, from the first to the last and again.
#[derive(Clone, Debug)]
pub struct Played {
    capture: Capture,
    /// The next frame in the capture.
    position: usize,
    /// Frames that were taken from the capture, too large ones included.
    played: u64,
    made: u64,
    limit: u64,
    max_frame: usize,
    cost: Cost,
    /// Nanoseconds of the capture to wait before the next frame, not yet spent.
    waiting: u64,
    oversize: u64,
}

/// What the pacer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    Frames,
    Bytes,
    Nanoseconds,
}

impl Played {
    /// What `options` say of `capture`: without count and duration it is played once. Frames of more than `max_frame`
    /// bytes are passed over and counted.
    pub fn new(capture: &Capture, options: &Options, max_frame: usize) -> Self {
        let once = options.count.is_none() && options.duration.is_none();
        let limit = if once { Some(capture.frames().len() as u64) } else { options.count };
        let cost = match (options.timing, options.rate) {
            (Timing::Original(_), _) => Cost::Nanoseconds,
            (Timing::Rate, Rate::Bits(_)) => Cost::Bytes,
            (Timing::Rate, _) => Cost::Frames,
        };
        Self {
            capture: capture.clone(),
            position: 0,
            played: 0,
            made: 0,
            limit: limit.unwrap_or(u64::MAX),
            max_frame,
            cost,
            waiting: 0,
            oversize: 0,
        }
    }

    /// What a pacer for [`Timing::Rate`] is to count.
    pub fn unit(&self) -> Unit {
        if self.cost == Cost::Bytes { Unit::Byte } else { Unit::Frame(0) }
    }

    /// The next frame that fits; skips at most one round of the capture.
    fn next_fitting(&mut self) -> Option<usize> {
        for _ in 0..self.capture.frames().len() {
            if self.played >= self.limit {
                return None;
            }
            let len = self.capture.frames()[self.position].len();
            if len <= self.max_frame {
                return Some(len);
            }
            self.oversize += 1;
            self.step();
        }
        self.limit = self.played;
        None
    }

    fn step(&mut self) {
        self.played += 1;
        self.position += 1;
        if self.position == self.capture.frames().len() {
            self.position = 0;
        }
        if self.cost == Cost::Nanoseconds {
            self.waiting = self.waiting.saturating_add(self.capture.gap_before(self.position));
        }
    }

    /// Lets the pacer wait what is to be waited, in pieces that it can count.
    fn wait(&mut self, pacer: &mut Pacer, now: u64) {
        while self.waiting > 0 && pacer.is_due(now) {
            let piece = u32::try_from(self.waiting).unwrap_or(u32::MAX);
            pacer.spend(piece);
            self.waiting -= u64::from(piece);
        }
    }
}

impl Source for Played {
    fn fill(&mut self, out: &mut Burst, pool: &Pool, pacer: &mut Pacer, now: u64, _stamp: u32) {
        match self.cost {
            Cost::Frames => pacer.limit(now, 1),
            Cost::Bytes => pacer.limit(now, 64),
            Cost::Nanoseconds => self.wait(pacer, now),
        }
        while !out.is_full() && pacer.is_due(now) {
            let Some(len) = self.next_fitting() else { return };
            if self.waiting > 0 {
                // Frames were passed over: their time passes nevertheless.
                self.wait(pacer, now);
                continue;
            }
            let Some(mut packet) = pool.alloc() else { return };
            let Some(bytes) = packet.append(len) else { return };
            bytes.copy_from_slice(&self.capture.frames()[self.position]);
            out.push(packet);
            self.step();
            self.made += 1;
            match self.cost {
                Cost::Frames => pacer.spend(1),
                Cost::Bytes => pacer.spend(u32::try_from(len).unwrap_or(u32::MAX)),
                Cost::Nanoseconds => self.wait(pacer, now),
            }
        }
    }

    fn made(&self) -> u64 {
        self.made
    }

    fn is_exhausted(&self) -> bool {
        self.played >= self.limit
    }

    fn oversize(&self) -> u64 {
        self.oversize
    }
}

#[cfg(test)]
mod tests;
