//! Time, as the platform supplies it: a counter that only goes forward, and its rate.

use core::time::Duration;

/// A cycle counter. Reading it must be cheap: the event loop does so every turn.
pub trait Clock {
    /// Cycles since some moment in the past. Never goes back on one core.
    fn now(&self) -> u64;

    /// Cycles per second; constant, at least 1.
    fn hz(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> u64 {
        (**self).now()
    }

    fn hz(&self) -> u64 {
        (**self).hz()
    }
}

const NANOS: u64 = 1_000_000_000;

/// `duration` in cycles of a clock of `hz`, saturating; whole cycles, rounded down.
pub(crate) fn cycles(duration: Duration, hz: u64) -> u64 {
    let whole = duration.as_secs().saturating_mul(hz);
    // Below 2^64 for clocks below 18 GHz.
    let part = u64::from(duration.subsec_nanos()).saturating_mul(hz) / NANOS;
    whole.saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_become_cycles() {
        assert_eq!(cycles(Duration::from_millis(1500), 2_600_000_000), 3_900_000_000);
        assert_eq!(cycles(Duration::from_nanos(999_999_999), 3), 2);
        assert_eq!(cycles(Duration::MAX, 2_600_000_000), u64::MAX);
    }
}
