//! Devices with known loss curves: what a search should find is known beforehand.
//!
//! They keep no time: a trial takes what it is said to take. Chance comes from a seed.

use std::time::Duration;

use super::{Ceiling, DeviceUnderTest, RecoveryTimes, TrialResult};
use crate::Error;

/// The share of frames that is lost, by rate.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Curve {
    /// Nothing up to a capacity, then all that is above it.
    Step { capacity: f64 },
    /// Nothing up to `start`; then `slope` times the relative excess, and what a capacity of twice `start` forces.
    Gradual { start: f64, slope: f64 },
}

/// A device with a known loss curve.
#[derive(Clone, Debug)]
pub struct Simulated {
    curve: Curve,
    /// Buffered frames that a burst may exceed the capacity by.
    buffer: u64,
    /// The chance that a trial loses a frame in a thousand more, whatever its rate.
    noise: f64,
    /// The highest rate that the generator keeps.
    generator: f64,
    /// Whether what is above capacity is refused, not lost.
    refuses: bool,
    random: u64,
    /// Trials that were made.
    pub trials: u64,
}

impl Simulated {
    fn new(curve: Curve) -> Self {
        Self {
            curve,
            buffer: 0,
            noise: 0.0,
            generator: f64::INFINITY,
            refuses: false,
            random: 1,
            trials: 0,
        }
    }

    /// Forwards `capacity` frames per second, and loses the rest.
    pub fn step(capacity: f64) -> Self {
        Self::new(Curve::Step { capacity })
    }

    /// Begins to lose at `start` frames per second: `slope` percent for each percent above.
    pub fn gradual(start: f64, slope: f64) -> Self {
        Self::new(Curve::Gradual { start, slope })
    }

    /// In a share `chance` of trials, at any rate, a frame in a thousand is lost besides.
    #[must_use]
    pub fn with_noise(self, chance: f64, seed: u64) -> Self {
        Self { noise: chance, random: seed, ..self }
    }

    /// The generator sends at most `rate` frames per second.
    #[must_use]
    pub fn with_generator(self, rate: f64) -> Self {
        Self { generator: rate, ..self }
    }

    /// The device refuses what is too much, as a virtual port does whose peer is slow, instead of losing it.
    #[must_use]
    pub fn refusing(self) -> Self {
        Self { refuses: true, ..self }
    }

    /// The device buffers so many frames that come too fast.
    #[must_use]
    pub fn with_buffer(self, frames: u64) -> Self {
        Self { buffer: frames, ..self }
    }

    /// The share of frames that is lost at `rate`, without noise.
    pub fn loss_at(&self, rate: f64) -> f64 {
        match self.curve {
            Curve::Step { capacity } => (1.0 - capacity / rate).max(0.0),
            Curve::Gradual { start, slope } => {
                let gradual = slope * (rate / start - 1.0);
                gradual.max(1.0 - 2.0 * start / rate).clamp(0.0, 1.0)
            }
        }
    }

    /// The highest rate at which no more than `loss_ratio` is lost, without noise.
    pub fn rate_of(&self, loss_ratio: f64) -> f64 {
        let (mut lower, mut upper) = (0.0, 1e12);
        for _ in 0..200 {
            let middle = (lower + upper) / 2.0;
            let side = if self.loss_at(middle) <= loss_ratio { &mut lower } else { &mut upper };
            *side = middle;
        }
        lower
    }

    /// The next number of SplitMix64, from 0 to 1.
    fn chance(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl DeviceUnderTest for Simulated {
    fn measure(&mut self, rate: u64, duration: Duration) -> Result<TrialResult, Error> {
        self.trials += 1;
        let (wanted, seconds) = (rate as f64, duration.as_secs_f64());
        let offered = super::lab::to_rate((wanted * seconds).round());
        let achieved = wanted.min(self.generator);
        let made = super::lab::to_rate((achieved * seconds).round());
        let lost = (self.loss_at(achieved) * made as f64 - 1e-6).ceil().max(0.0);
        let mut lost = super::lab::to_rate(lost).saturating_sub(self.buffer).min(made);
        let (mut sent, mut ring_full) = (made, 0.0);
        if self.refuses && lost > 0 {
            (sent, lost, ring_full) = (made - lost, 0, 0.5);
        }
        if self.chance() < self.noise {
            lost = (lost + sent / 1000 + 1).min(sent);
        }
        Ok(TrialResult {
            offered,
            sent,
            received: sent - lost,
            lost,
            rate_error: sent as f64 / offered.max(1) as f64 - 1.0,
            ring_full,
            took_s: seconds,
            latency: None,
        })
    }

    fn recover(
        &mut self,
        overload: u64,
        reduced: u64,
        duration: Duration,
    ) -> Result<RecoveryTimes, Error> {
        let first = self.measure(overload, duration)?;
        let capacity = self.rate_of(0.0);
        // The buffer is full when the overload ends, and what is in it goes at what the lower rate leaves.
        let last_loss_s = self.buffer as f64 / (capacity - reduced as f64).max(1.0);
        Ok(RecoveryTimes {
            lost_overloaded: first.lost,
            lost_after: u64::from(self.buffer > 0),
            last_loss_s,
            rates_kept: first.rate_error.abs() < 0.005,
            took_s: 2.0 * duration.as_secs_f64(),
        })
    }

    fn ceiling(&mut self) -> Result<Option<Ceiling>, Error> {
        let (rate, method) = (self.generator, "simulated");
        Ok(rate.is_finite().then_some(Ceiling { rate, ring_full: 0.0, took_s: 0.0, method }))
    }
}
