//! The clock: the time-stamp counter, and its rate.
//!
//! Reading it is one instruction; everything else is arithmetic that cannot overflow. How the rate is found stands in
//! `tsc_rate.rs`. There is no wall-clock time.

use crate::cpu;
use core::fmt;

/// How the rate of the time-stamp counter was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TscSource {
    /// The hypervisor's CPUID leaf 0x40000010.
    HypervisorLeaf,
    /// KVM's paravirtual clock.
    PvClock,
    /// CPUID leaf 0x15.
    CpuidCrystal,
    /// CPUID leaf 0x16: the nominal base frequency.
    CpuidBase,
    /// Measured for a millisecond against the 8254 timer.
    Pit,
    /// Measured for a millisecond against the ACPI power management timer.
    AcpiTimer,
    /// Measured for a millisecond against the local APIC's timer, taken to run at the 1 GHz that QEMU and KVM give it.
    LocalApic,
    /// Nothing to measure against: 1 GHz is assumed, and times are not to be trusted.
    Assumed,
}

impl fmt::Display for TscSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HypervisorLeaf => "hypervisor leaf",
            Self::PvClock => "pvclock",
            Self::CpuidCrystal => "cpuid 0x15",
            Self::CpuidBase => "cpuid 0x16",
            Self::Pit => "measured by the PIT",
            Self::AcpiTimer => "measured by the ACPI timer",
            Self::LocalApic => "measured by the local APIC",
            Self::Assumed => "assumed",
        })
    }
}

/// Converts counter values to time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    hz: u64,
    /// Nanoseconds per cycle, times 2^32.
    factor: u64,
    source: TscSource,
}

impl Clock {
    /// A clock that runs at `hz` (at least 1 Hz).
    #[must_use]
    pub const fn new(hz: u64, source: TscSource) -> Self {
        let hz = if hz == 0 { 1 } else { hz };
        Self { hz, factor: (1_000_000_000 << 32) / hz, source }
    }

    /// Cycles per second.
    #[must_use]
    pub const fn hz(&self) -> u64 {
        self.hz
    }

    /// How the rate was found.
    #[must_use]
    pub const fn source(&self) -> TscSource {
        self.source
    }

    /// The counter now, in cycles.
    #[inline]
    #[must_use]
    pub fn now_cycles(&self) -> u64 {
        cpu::timestamp()
    }

    /// Nanoseconds in `cycles`, rounded down; saturates instead of overflowing.
    #[inline]
    #[must_use]
    pub fn nanoseconds(&self, cycles: u64) -> u64 {
        let wide = (u128::from(cycles) * u128::from(self.factor)) >> 32;
        u64::try_from(wide).unwrap_or(u64::MAX)
    }

    /// Cycles in `nanoseconds`, rounded down; saturates instead of overflowing.
    #[inline]
    #[must_use]
    pub fn cycles(&self, nanoseconds: u64) -> u64 {
        let wide = u128::from(nanoseconds) * u128::from(self.hz) / 1_000_000_000;
        u64::try_from(wide).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_come_out_as_seconds() {
        for hz in [1_000_000, 999_999_937, 1_000_000_000, 2_593_906_000, 6_000_000_000] {
            let clock = Clock::new(hz, TscSource::Assumed);
            let second = clock.nanoseconds(hz);
            assert!((999_999_990..=1_000_000_000).contains(&second), "{hz}: {second}");
            assert_eq!(clock.cycles(1_000_000_000), hz);
        }
    }

    #[test]
    fn a_century_does_not_overflow() {
        let clock = Clock::new(3_000_000_000, TscSource::Assumed);
        let century = 100 * 365 * 86_400u64;
        let nanoseconds = clock.nanoseconds(century * 3_000_000_000);
        assert_eq!(nanoseconds / 1_000_000_000, century - 1, "rounded down by less than a second");
        assert_eq!(Clock::new(1, TscSource::Assumed).nanoseconds(u64::MAX), u64::MAX);
        assert_eq!(Clock::new(u64::MAX, TscSource::Assumed).cycles(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_rate_of_zero_is_no_division_by_zero() {
        assert_eq!(Clock::new(0, TscSource::Assumed).hz(), 1);
    }

    #[test]
    fn the_counter_counts() {
        let clock = Clock::new(1, TscSource::Assumed);
        let before = clock.now_cycles();
        assert!((0..1000).any(|_| clock.now_cycles() > before));
    }
}
