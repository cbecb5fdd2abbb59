//! The pacer: says when the next frame is due.
//!
//! Each frame has a moment at which it is due, counted from the start without rounding errors adding up (a part in
//! 2^32 of a cycle per frame). A generator that was held up catches up as long as it is less than a millisecond (or 64
//! frames, or what it is told) behind; what is older is skipped and counted, so that a stall does not turn into a burst
//! that no rate allows. The pacer reads no clock: the time is told.

mod mode;

use crate::{Profile, Rate};

use mode::Mode;

/// How far behind a generator may be and still catch up, as a fraction of a second.
const CATCH_UP: u64 = 1000;
/// The same in frames, where that is more.
const CATCH_UP_FRAMES: u64 = 64;

/// When the next frame is due.
#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    /// Cycles between two units, and 2^-32ths of a cycle.
    interval: (u64, u32),
    /// When the next frame is due, in cycles and 2^-32ths of a cycle.
    next: (u64, u32),
    /// The most that `next` may lie in the past, in cycles.
    catch_up: u64,
    skipped: u64,
    mode: Mode,
}

/// What one unit of a pacer's rate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A frame, of so many bytes (L2 header included, FCS excluded).
    Frame(u16),
    /// A byte, for frames of different sizes: a rate in bits.
    Byte,
}

impl Pacer {
    /// A pacer for `rate`, evenly, on a clock of `hz` cycles per second. `unit` is what [`spend`](Self::spend) counts;
    /// [`Unit::Byte`] makes sense for a rate in bits only.
    pub fn new(rate: Rate, unit: Unit, hz: u64) -> Self {
        let (amount, per_second) = match (rate, unit) {
            (Rate::Max, _) => (0, 1),
            (Rate::Packets(packets), _) => (1, packets),
            (Rate::Bits(bits), Unit::Frame(size)) => (8 * u64::from(size), bits),
            (Rate::Line(bits), Unit::Frame(size)) => {
                (8 * (u64::from(size) + u64::from(Rate::LINE_OVERHEAD)), bits)
            }
            (Rate::Bits(bits) | Rate::Line(bits), Unit::Byte) => (8, bits),
        };
        let interval =
            ((u128::from(hz) * u128::from(amount)) << 32) / u128::from(per_second.max(1));
        let interval = split(interval);
        let frames = if unit == Unit::Byte { CATCH_UP_FRAMES * 1514 } else { CATCH_UP_FRAMES };
        let catch_up = (hz / CATCH_UP).max(interval.0.saturating_mul(frames));
        Self { interval, next: (0, 0), catch_up, skipped: 0, mode: Mode::Constant }
    }

    /// As [`new`](Self::new), for `1 / parts` of `share` parts of the rate, spread over time as `profile` says.
    /// `catch_up`: how far behind, in cycles, the generator may be and still catch up; `None`: as said above.
    pub(crate) fn with_profile(
        rate: Rate,
        (share, parts): (u32, u32),
        unit: Unit,
        hz: u64,
        profile: &Profile,
        catch_up: Option<u64>,
    ) -> Self {
        let whole = Self::new(rate, unit, hz);
        let interval = joined(whole.interval) * u128::from(parts) / u128::from(share.max(1));
        let mut pacer = Self { interval: split(interval), ..whole };
        pacer.catch_up = pacer.catch_up.max(pacer.interval.0.saturating_mul(match unit {
            Unit::Byte => CATCH_UP_FRAMES * 1514,
            Unit::Frame(_) => CATCH_UP_FRAMES,
        }));
        if let Some(cycles) = catch_up {
            pacer.catch_up = cycles;
        }
        pacer.mode = Mode::new(profile, pacer.cycles_per_unit(), unit, hz);
        pacer
    }

    /// The first frame is due at `now`.
    pub fn start(&mut self, now: u64) {
        self.next = (now, 0);
        self.skipped = 0;
        self.mode.start(now);
    }

    /// Gives up what should have been sent too long before `now`, in whole frames of `cost` units. Call before
    /// a burst.
    #[inline]
    pub fn limit(&mut self, now: u64, cost: u32) {
        if now.saturating_sub(self.next.0) > self.catch_up {
            self.skip(now, cost);
        }
    }

    #[cold]
    fn skip(&mut self, now: u64, cost: u32) {
        let step = joined(self.interval) * u128::from(cost.max(1));
        if step == 0 && self.mode.is_constant() {
            self.next = (now, 0);
            return;
        }
        let until = now - self.catch_up;
        let skipped = match self.mode {
            Mode::Constant => {
                let frames = (u128::from(until - self.next.0) << 32).div_ceil(step);
                self.next = split(joined(self.next) + frames * step);
                u64::try_from(frames).unwrap_or(u64::MAX)
            }
            ref mut mode => mode.skip(&mut self.next, until, self.interval, cost.max(1)),
        };
        self.skipped = self.skipped.saturating_add(skipped);
    }

    /// Whether a frame is due at `now`.
    #[inline]
    pub fn is_due(&self, now: u64) -> bool {
        self.next.0 <= now
    }

    /// When the next frame is due, in cycles.
    #[inline]
    pub fn due(&self) -> u64 {
        self.next.0
    }

    /// Whether frames are always due.
    #[inline]
    pub(crate) fn is_unlimited(&self) -> bool {
        self.interval == (0, 0) && self.mode.is_constant()
    }

    /// A frame of `cost` units was made: 1, or its bytes.
    #[inline]
    pub fn spend(&mut self, cost: u32) {
        if let Mode::Constant = self.mode {
            self.advance(cost);
        } else {
            self.spend_by_mode(cost);
        }
    }

    /// Makes the frames of `cost` units that are due at `now`, up to `most`; how many.
    #[inline]
    pub(crate) fn spend_due(&mut self, now: u64, cost: u32, most: usize) -> usize {
        if self.is_unlimited() {
            return if self.is_due(now) { most } else { 0 };
        }
        let mut count = 0;
        while count < most && self.is_due(now) {
            self.spend(cost);
            count += 1;
        }
        count
    }

    #[inline]
    fn advance(&mut self, cost: u32) {
        let parts = u64::from(self.interval.1) * u64::from(cost) + u64::from(self.next.1);
        self.next.0 += self.interval.0 * u64::from(cost) + (parts >> 32);
        self.next.1 = low(parts);
    }

    fn spend_by_mode(&mut self, cost: u32) {
        let per_unit = self.cycles_per_unit();
        match &mut self.mode {
            Mode::Constant => {}
            Mode::Poisson(random) => {
                let cycles = random.exponential() * per_unit * f64::from(cost);
                self.next = split(joined(self.next) + mode::fixed(cycles));
            }
            Mode::Burst(burst) => {
                let pause = burst.spend();
                self.advance(cost);
                self.next.0 = self.next.0.saturating_add(pause);
            }
            Mode::Ramp(ramp) => self.next = split(ramp.spend(cost)),
        }
    }

    /// Cycles between two units.
    pub(crate) fn cycles_per_unit(&self) -> f64 {
        mode::float(self.interval)
    }

    /// Frames that were given up.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

fn joined((cycles, parts): (u64, u32)) -> u128 {
    u128::from(cycles) << 32 | u128::from(parts)
}

fn split(value: u128) -> (u64, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    (u64::try_from(value >> 32).unwrap_or(u64::MAX / 4), value as u32)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
fn low(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames that a pacer lets go at each of `times`, in bursts of any length.
    fn run(pacer: &mut Pacer, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
        pacer.start(0);
        let mut frames = Vec::new();
        for now in times {
            pacer.limit(now, 1);
            let mut count = 0;
            while pacer.is_due(now) && count < 1_000_000 {
                pacer.spend(1);
                count += 1;
            }
            frames.push(count);
        }
        frames
    }

    #[test]
    fn a_rate_is_kept_to_the_frame() {
        const HZ: u64 = 2_599_998_123;
        for rate in [1, 3, 999_983, 14_880_952] {
            let mut pacer = Pacer::new(Rate::Packets(rate), Unit::Frame(64), HZ);
            let times = (0..=100_000u64).map(|step| step * (HZ / 100_000));
            let sent: u64 = run(&mut pacer, times).iter().sum();
            assert!(sent.abs_diff(rate) <= 1 + rate / 10_000, "{rate}: {sent}");
            assert_eq!(pacer.skipped(), 0);
        }
    }

    #[test]
    fn bits_count_bytes() {
        let mut frames = Pacer::new(Rate::Bits(512_000), Unit::Frame(64), 1_000_000);
        assert_eq!(run(&mut frames, [0, 999, 1000, 2000]), [1, 0, 1, 1]);
        let mut bytes = Pacer::new(Rate::Bits(8_000_000), Unit::Byte, 1_000_000);
        bytes.start(0);
        bytes.spend(100);
        assert!(!bytes.is_due(99) && bytes.is_due(100));
    }

    #[test]
    fn a_stall_is_made_up_for_only_within_bounds() {
        let mut pacer = Pacer::new(Rate::Packets(1_000_000), Unit::Frame(64), 1_000_000_000);
        // 1000 frames are due per millisecond; half a second of silence leaves one millisecond's worth.
        let frames = run(&mut pacer, [0, 500_000_000, 500_001_000]);
        assert_eq!(frames, [1, 1001, 1]);
        assert_eq!(pacer.skipped(), 499_000 - 1);
    }

    #[test]
    fn max_is_always_due() {
        let mut pacer = Pacer::new(Rate::Max, Unit::Frame(64), 1_000_000_000);
        pacer.start(5);
        for now in [5, 6, u64::MAX / 2] {
            pacer.limit(now, 1);
            for _ in 0..100 {
                assert!(pacer.is_due(now));
                pacer.spend(1);
            }
        }
        assert_eq!(pacer.skipped(), 0);
    }

    proptest! {
        #[test]
        fn what_was_due_was_sent_or_skipped(rate in 1u64..100_000_000, pauses in prop::collection::vec(0u64..50_000_000, 1..50)) {
            const HZ: u64 = 1_000_000_000;
            let mut pacer = Pacer::new(Rate::Packets(rate), Unit::Frame(64), HZ);
            let times: Vec<u64> = pauses.iter().scan(0, |now, pause| { *now += pause; Some(*now) }).collect();
            let end = *times.last().unwrap();
            pacer.start(0);
            let mut sent = 0u64;
            for now in times {
                pacer.limit(now, 1);
                while pacer.is_due(now) { pacer.spend(1); sent += 1; }
            }
            let due = u64::try_from(u128::from(end) * u128::from(rate) / u128::from(HZ)).unwrap() + 1;
            prop_assert!((sent + pacer.skipped()).abs_diff(due) <= 1, "{} + {} of {}", sent, pacer.skipped(), due);
        }
    }
}
