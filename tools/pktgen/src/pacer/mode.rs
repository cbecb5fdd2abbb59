//! Pacing that is not even: Poisson, bursts, ramps.

use super::{joined, split};
use crate::stream::engine::mixed;
use crate::{Profile, Rate};

/// 2^32.
const FRACTION: f64 = 4_294_967_296.0;

/// How frames are spread over time, and where that stands.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Constant,
    Poisson(Exponential),
    Burst(Bursts),
    Ramp(Ramp),
}

impl Mode {
    /// `cycles` per unit at the stream's rate; on a clock of `hz`.
    pub(super) fn new(profile: &Profile, cycles: f64, unit: super::Unit, hz: u64) -> Self {
        match *profile {
            Profile::Constant => Self::Constant,
            Profile::Poisson { .. } if cycles <= 0.0 => Self::Constant,
            Profile::Poisson { seed } => Self::Poisson(Exponential { seed, k: 0 }),
            Profile::Burst { frames, pause, .. } => {
                let pause = pause.as_nanos() * u128::from(hz) / 1_000_000_000;
                let pause = u64::try_from(pause).unwrap_or(u64::MAX / 4);
                Self::Burst(Bursts { frames: frames.max(1), left: frames.max(1), pause })
            }
            Profile::Ramp { .. } if cycles <= 0.0 => Self::Constant,
            Profile::Ramp { from, over } => {
                let first = 1.0 / start_interval(from, unit, hz);
                let over = (over.as_secs_f64() * whole(hz)).max(1.0);
                Self::Ramp(Ramp { first, last: 1.0 / cycles, over, start: 0, units: 0.0 })
            }
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        matches!(self, Self::Constant)
    }

    pub(super) fn start(&mut self, now: u64) {
        match self {
            Self::Constant => {}
            Self::Poisson(random) => random.k = 0,
            Self::Burst(burst) => burst.left = burst.frames,
            Self::Ramp(ramp) => (ramp.start, ramp.units) = (now, 0.0),
        }
    }

    /// Gives up what was due before `until`; how many frames. Of Poisson frames it is the mean number, since those
    /// that did not happen cannot be counted.
    pub(super) fn skip(
        &mut self,
        next: &mut (u64, u32),
        until: u64,
        interval: (u64, u32),
        cost: u32,
    ) -> u64 {
        let behind = whole(until.saturating_sub(next.0));
        match self {
            Self::Constant => 0,
            Self::Poisson(_) => {
                *next = (until, 0);
                rounded(behind / (float(interval) * f64::from(cost)))
            }
            Self::Burst(burst) => {
                let frames = joined(interval) * u128::from(cost) * u128::from(burst.frames);
                let period = frames + (u128::from(burst.pause) << 32);
                let periods = (u128::from(until - next.0) << 32) / period.max(1);
                *next = split(joined(*next) + periods * period);
                u64::try_from(periods).unwrap_or(u64::MAX).saturating_mul(burst.frames)
            }
            Self::Ramp(ramp) => {
                let due = ramp.units_until(whole(until.saturating_sub(ramp.start)));
                let frames = ((due - ramp.units) / f64::from(cost)).ceil().max(0.0);
                ramp.units += frames * f64::from(cost);
                *next = split(ramp.next());
                rounded(frames)
            }
        }
    }
}

fn start_interval(rate: Rate, unit: super::Unit, hz: u64) -> f64 {
    super::Pacer::new(rate, unit, hz).cycles_per_unit().max(1e-9)
}

/// Exponentially distributed numbers of mean 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exponential {
    seed: u64,
    k: u64,
}

impl Exponential {
    pub(super) fn exponential(&mut self) -> f64 {
        let bits = mixed(self.seed, self.k) >> 11;
        self.k += 1;
        // Uniform in (0, 1]: its logarithm is finite.
        -((whole(bits) + 1.0) / 9_007_199_254_740_992.0).ln()
    }
}

/// Bursts with pauses between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bursts {
    frames: u64,
    left: u64,
    /// In cycles.
    pause: u64,
}

impl Bursts {
    /// One frame was made; the pause behind it.
    pub(super) fn spend(&mut self) -> u64 {
        self.left -= 1;
        if self.left > 0 {
            return 0;
        }
        self.left = self.frames;
        self.pause
    }
}

/// A rate that changes linearly and then stays. When the `n`-th unit is due comes from the area under the rate, so no
/// error adds up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    /// Units per cycle.
    first: f64,
    last: f64,
    /// Cycles from the first to the last.
    over: f64,
    start: u64,
    /// Units made.
    units: f64,
}

impl Ramp {
    /// Units due in the first `cycles`.
    fn units_until(&self, cycles: f64) -> f64 {
        let within = cycles.min(self.over);
        let slope = (self.last - self.first) / self.over;
        self.first * within + slope * within * within / 2.0 + self.last * (cycles - within)
    }

    pub(super) fn spend(&mut self, cost: u32) -> u128 {
        self.units += f64::from(cost);
        self.next()
    }

    /// When the next unit is due.
    fn next(&self) -> u128 {
        let all = self.units_until(self.over);
        let cycles = if self.units >= all {
            self.over + (self.units - all) / self.last
        } else {
            // The root of first x t + slope x t^2 / 2 = units, in the form that does not cancel.
            let slope = (self.last - self.first) / self.over;
            let root = (self.first * self.first + 2.0 * slope * self.units).max(0.0).sqrt();
            2.0 * self.units / (self.first + root)
        };
        (u128::from(self.start) << 32) + fixed(cycles)
    }
}

/// Cycles in units of 2^-32.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is not negative"
)]
pub(super) fn fixed(cycles: f64) -> u128 {
    (cycles.max(0.0) * FRACTION) as u128
}

pub(super) fn float((cycles, parts): (u64, u32)) -> f64 {
    whole(cycles) + f64::from(parts) / FRACTION
}

#[expect(clippy::cast_precision_loss, reason = "a float's digits are enough for times and rates")]
fn whole(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is not negative"
)]
fn rounded(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Pacer, Unit};
    use super::*;

    const HZ: u64 = 1_000_000_000;

    fn pacer(rate: u64, profile: Profile) -> Pacer {
        let rate = if rate == 0 { Rate::Max } else { Rate::Packets(rate) };
        let mut pacer = Pacer::with_profile(rate, (1, 1), Unit::Frame(64), HZ, &profile, None);
        pacer.start(1000);
        pacer
    }

    fn dues(pacer: &mut Pacer, frames: usize) -> Vec<f64> {
        let mut due = || {
            let now = pacer.due();
            pacer.spend(1);
            whole(now - 1000)
        };
        (0..frames).map(|_| due()).collect()
    }

    #[test]
    fn poisson_gaps_are_exponential_and_repeatable() {
        let profile = Profile::Poisson { seed: 3 };
        let times = dues(&mut pacer(1_000_000, profile), 100_001);
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / 100_000.0;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / 100_000.0;
        // A mean of 1000 cycles, a standard deviation of as much: six standard errors.
        assert!((mean - 1000.0).abs() < 20.0, "{mean}");
        assert!((variance.sqrt() - 1000.0).abs() < 30.0, "{variance}");
        let beyond = gaps.iter().filter(|&&gap| gap > 2000.0).count();
        assert!(beyond.abs_diff(13_534) < 700, "e^-2 of all: {beyond}");
        assert_eq!(times, dues(&mut pacer(1_000_000, profile), 100_001));
        assert_ne!(times, dues(&mut pacer(1_000_000, Profile::Poisson { seed: 4 }), 100_001));
    }

    #[test]
    fn bursts_at_a_rate_and_at_once() {
        let profile = Profile::Burst { frames: 3, pause: Duration::from_micros(5), count: None };
        let times = dues(&mut pacer(1_000_000, profile), 7);
        assert_eq!(times, [0.0, 1000.0, 2000.0, 8000.0, 9000.0, 10_000.0, 16_000.0]);
        assert_eq!(dues(&mut pacer(0, profile), 4), [0.0, 0.0, 0.0, 5000.0]);
    }

    #[test]
    fn ramps_up_and_down_have_the_area_of_a_trapezium() {
        for (from, to) in [(1_000, 1_000_000), (1_000_000, 1_000), (500_000, 500_000)] {
            let profile =
                Profile::Ramp { from: Rate::Packets(from), over: Duration::from_millis(200) };
            let mut pacer = pacer(to, profile);
            let frames = (0..)
                .take_while(|_| {
                    pacer.spend(1);
                    pacer.due() < 1000 + HZ / 5
                })
                .count();
            let expected = usize::try_from((from + to) / 10).unwrap();
            assert!(frames.abs_diff(expected) <= 2, "{from} to {to}: {frames} of {expected}");
            let before = pacer.due();
            (0..100).for_each(|_| pacer.spend(1));
            assert!((pacer.due() - before).abs_diff(100 * HZ / to) <= 2, "then it stays");
        }
    }

    #[test]
    fn every_profile_gives_up_what_is_too_old() {
        let ramp = Profile::Ramp { from: Rate::Packets(500_000), over: Duration::from_millis(100) };
        let burst = Profile::Burst { frames: 100, pause: Duration::from_micros(100), count: None };
        for (profile, expected) in
            [(Profile::Poisson { seed: 1 }, 499_000), (ramp, 474_000), (burst, 249_500)]
        {
            let mut pacer = pacer(1_000_000, profile);
            pacer.limit(1000 + HZ / 2, 1);
            assert!(pacer.skipped().abs_diff(expected) <= 200, "{profile}: {}", pacer.skipped());
            assert!(1000 + HZ / 2 - pacer.due() <= 1_200_000, "{profile}");
        }
    }
}
