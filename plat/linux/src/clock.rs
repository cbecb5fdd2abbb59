//! The clock: the processor's time stamp counter where it can be trusted, else the kernel's.
//!
//! Reading the counter takes some twenty cycles and no system call. Its rate comes from the processor or the
//! hypervisor; both are compared with the kernel's clock, because a migrated or nested machine can be told wrong.
//!
//! CPUID leaf 0x16 is not used: it names the advertised frequency in whole MHz, which the counter's own misses by
//! some parts in a thousand; measuring takes two milliseconds and does better.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the time comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockSource {
    /// The time stamp counter, its rate from CPUID.
    TscFromCpuid,
    /// The time stamp counter, its rate measured against the kernel's clock.
    TscMeasured,
    /// The kernel's `CLOCK_MONOTONIC_RAW`: the counter is missing, or not constant, or stops.
    Kernel,
}

impl ClockSource {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TscFromCpuid => "tsc, rate from cpuid",
            Self::TscMeasured => "tsc, rate measured",
            Self::Kernel => "clock_monotonic_raw",
        }
    }
}

/// A clock that only goes forward (per core; between cores as far as the machine keeps its counters equal).
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: u64,
    /// Nanoseconds per cycle, times `2^SHIFT`.
    nanos_per_cycle: u64,
    source: ClockSource,
}

/// Keeps the error of a conversion below 2^-48 nanoseconds per cycle.
const SHIFT: u32 = 48;
const NANOS: u64 = 1_000_000_000;
/// How long a measurement of the counter's rate takes.
const MEASURE: u64 = 2_000_000;

impl Clock {
    /// Finds the best clock; takes about two milliseconds.
    pub fn new() -> Self {
        let Some(declared) = tsc::trusted_rate() else {
            return Self::with_rate(NANOS, ClockSource::Kernel);
        };
        let measured = measure_tsc();
        match declared {
            Some(hz) if hz.abs_diff(measured) < measured / 100 => {
                Self::with_rate(hz, ClockSource::TscFromCpuid)
            }
            _ => Self::with_rate(measured, ClockSource::TscMeasured),
        }
    }

    fn with_rate(hz: u64, source: ClockSource) -> Self {
        let hz = hz.max(1_000_000);
        let nanos_per_cycle = (u128::from(NANOS) << SHIFT) / u128::from(hz);
        Self { hz, nanos_per_cycle: u64::try_from(nanos_per_cycle).unwrap_or(u64::MAX), source }
    }

    /// The time, in cycles from an arbitrary moment.
    #[inline]
    pub fn now(&self) -> u64 {
        match self.source {
            ClockSource::Kernel => kernel_nanos(),
            _ => tsc::read(),
        }
    }

    /// The time after all earlier loads have their values: for moments that are compared between cores. ([`now`](Self::now)
    /// may be read ahead of them. What is stored after either is seen by other cores later than it was read.)
    #[inline]
    pub fn now_after_loads(&self) -> u64 {
        match self.source {
            ClockSource::Kernel => kernel_nanos(),
            _ => tsc::read_after_loads(),
        }
    }

    /// Cycles per second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Where the time comes from.
    pub fn source(&self) -> ClockSource {
        self.source
    }

    /// Nanoseconds that `cycles` take; `u64::MAX` (584 years) at most.
    #[inline]
    pub fn to_nanos(&self, cycles: u64) -> u64 {
        let nanos = (u128::from(cycles) * u128::from(self.nanos_per_cycle)) >> SHIFT;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// Cycles that `nanos` nanoseconds take; `u64::MAX` at most.
    pub fn from_nanos(&self, nanos: u64) -> u64 {
        let cycles = u128::from(nanos) * u128::from(self.hz) / u128::from(NANOS);
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }

    /// How long `cycles` take.
    pub fn to_duration(&self, cycles: u64) -> Duration {
        Duration::from_nanos(self.to_nanos(cycles))
    }

    /// Cycles that `duration` takes; `u64::MAX` at most.
    pub fn from_duration(&self, duration: Duration) -> u64 {
        self.from_nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn kernel_nanos() -> u64 {
    let time = clock_gettime(ClockId::MonotonicRaw);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.wrapping_mul(NANOS).wrapping_add(nanos)
}

/// One moment on both clocks. An interruption between the readings spoils the pair, so the closest of a few counts.
fn moment() -> (u64, u64) {
    let attempts = (0..8).map(|_| {
        let (before, nanos, after) = (tsc::read(), kernel_nanos(), tsc::read());
        let width = after.wrapping_sub(before);
        (width, before.wrapping_add(width / 2), nanos)
    });
    let (_, cycles, nanos) = attempts.min().unwrap_or_default();
    (cycles, nanos)
}

fn measure_tsc() -> u64 {
    let (first_cycles, first_nanos) = moment();
    while kernel_nanos().wrapping_sub(first_nanos) < MEASURE {
        std::hint::spin_loop();
    }
    let (last_cycles, last_nanos) = moment();
    let (cycles, nanos) =
        (last_cycles.wrapping_sub(first_cycles), last_nanos.wrapping_sub(first_nanos));
    let hz = u128::from(cycles) * u128::from(NANOS) / u128::from(nanos.max(1));
    u64::try_from(hz).unwrap_or(u64::MAX)
}

#[cfg(target_arch = "x86_64")]
mod tsc {
    use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};

    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: every x86-64 processor has the instruction, and Linux lets processes use it (a process that
        // turned it off for itself with prctl gets a signal, not undefined behaviour).
        unsafe { _rdtsc() }
    }

    #[inline]
    pub(super) fn read_after_loads() -> u64 {
        // SAFETY: SSE2 is in the x86-64 baseline.
        unsafe { _mm_lfence() };
        read()
    }

    /// `None`: no counter to trust. `Some(None)`: one to trust, whose rate nobody declares.
    ///
    /// Trust needs the invariant-TSC flag (CPUID 0x8000_0007, EDX bit 8), which Linux splits into
    /// `constant_tsc` and `nonstop_tsc`.
    pub(super) fn trusted_rate() -> Option<Option<u64>> {
        let highest = __cpuid(0x8000_0000).eax;
        if highest < 0x8000_0007 || __cpuid(0x8000_0007).edx & 1 << 8 == 0 {
            return None;
        }
        Some(from_crystal().or_else(from_hypervisor))
    }

    /// Leaf 0x15: a crystal's rate in Hz and the ratio to it.
    fn from_crystal() -> Option<u64> {
        if __cpuid(0).eax < 0x15 {
            return None;
        }
        let leaf = __cpuid(0x15);
        let (denominator, numerator, crystal) = (leaf.eax, leaf.ebx, leaf.ecx);
        if denominator == 0 || numerator == 0 || crystal == 0 {
            return None;
        }
        Some(u64::from(crystal) * u64::from(numerator) / u64::from(denominator))
    }

    /// Leaf 0x4000_0010: the rate in kHz, by a hypervisor (CPUID 1, ECX bit 31) that has the leaf.
    fn from_hypervisor() -> Option<u64> {
        let hypervisor = __cpuid(1).ecx & 1 << 31 != 0;
        if !hypervisor || __cpuid(0x4000_0000).eax < 0x4000_0010 {
            return None;
        }
        Some(u64::from(__cpuid(0x4000_0010).eax) * 1000).filter(|&hz| hz > 0)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod tsc {
    pub(super) fn read() -> u64 {
        super::kernel_nanos()
    }

    pub(super) fn read_after_loads() -> u64 {
        super::kernel_nanos()
    }

    pub(super) fn trusted_rate() -> Option<Option<u64>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_exact_enough_and_never_overflow() {
        for hz in [1_000_000, 999_999_937, 2_599_998_123, 5_000_000_000, NANOS] {
            let clock = Clock::with_rate(hz, ClockSource::Kernel);
            assert_eq!(clock.to_nanos(0), 0);
            let day = clock.to_nanos(hz * 86_400);
            assert!(day.abs_diff(86_400 * NANOS) <= 86_400, "{hz}: {day}: within a part in 10^9");
            assert_eq!(clock.from_nanos(NANOS), hz);
            assert!(clock.to_nanos(u64::MAX) >= clock.to_nanos(u64::MAX / 2));
            assert!(clock.from_nanos(u64::MAX) >= clock.from_nanos(u64::MAX / 2));
            assert_eq!(clock.from_duration(Duration::MAX), clock.from_nanos(u64::MAX));
        }
    }

    #[test]
    fn the_clock_goes_forward_and_keeps_time_with_the_kernel() {
        let clock = Clock::new();
        println!("{} at {} Hz", clock.source().name(), clock.hz());
        let (start, kernel_start) = (clock.now(), kernel_nanos());
        let mut last = start;
        while kernel_nanos() - kernel_start < 1_000_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
        let bound = kernel_nanos() - kernel_start;
        assert!(
            clock.to_nanos(last - start) <= bound + bound / 50,
            "within 2 % of the kernel's clock"
        );
    }

    #[test]
    fn the_kernels_clock_counts_nanoseconds() {
        let clock = Clock::with_rate(NANOS, ClockSource::Kernel);
        assert_eq!(clock.to_nanos(12_345), 12_345);
        assert!(clock.now() <= clock.now());
    }
}
