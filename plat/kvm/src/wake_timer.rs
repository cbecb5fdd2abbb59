//! The alarm clock of a sleep: the local APIC's timer, once per setting.
//!
//! With a TSC deadline where the CPU has that (exact, nothing to measure), else as a counter whose rate is measured for
//! a millisecond. A [`WakeTimer`] is only made after the interrupt of a trial setting has been taken, so that whoever
//! halts with it knows to be woken.

use crate::clock::{Clock, TscSource};
use crate::local_apic::{LocalApic, MASKED, Register};
use crate::{cpu, interrupts, tsc_rate};

const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// In the timer's vector table entry.
const DEADLINE_MODE: u32 = 0b10 << 17;
/// The trial: set to so many nanoseconds, and given up after so many. (A monitor may be slow when its host is busy.)
const TRIAL: (u64, u64) = (20_000, 1_000_000_000);

/// A timer that is known to interrupt.
#[derive(Debug)]
pub(crate) struct WakeTimer {
    apic: LocalApic,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Deadline,
    /// Its ticks, expressed as the nanoseconds of a clock.
    Count(Clock),
}

impl WakeTimer {
    /// Tries what the CPU has; None if no timer interrupt arrives.
    pub(crate) fn find(apic: LocalApic, clock: Clock) -> Option<Self> {
        apic.accept_interrupts();
        let mut timer = Self { apic, mode: Mode::Deadline };
        if cpu::cpuid(1).2 & 1 << 24 != 0 && timer.works(clock) {
            return Some(timer);
        }
        let rate = tsc_rate::measure_timer(&timer.apic)?;
        timer.mode = Mode::Count(Clock::new(rate, TscSource::LocalApic));
        timer.works(clock).then_some(timer)
    }

    fn works(&self, clock: Clock) -> bool {
        let vector = u32::from(interrupts::TIMER);
        match self.mode {
            Mode::Deadline => {
                self.apic.write(Register::TimerVector, DEADLINE_MODE | vector);
                // SAFETY: SSE2, which every 64-bit CPU has. The manual asks for it before the deadline is written.
                unsafe { core::arch::x86_64::_mm_mfence() };
            }
            Mode::Count(_) => self.apic.write(Register::TimerVector, vector),
        }
        let start = cpu::timestamp();
        self.set(start, start.saturating_add(clock.cycles(TRIAL.0)));
        let give_up = start.saturating_add(clock.cycles(TRIAL.1));
        while cpu::timestamp() < give_up {
            match interrupts::window() {
                0 => core::hint::spin_loop(),
                taken => {
                    self.acknowledge(taken);
                    if taken == interrupts::TIMER {
                        return true;
                    }
                }
            }
        }
        self.stop();
        self.apic.write(Register::TimerVector, MASKED);
        false
    }

    /// Sets the timer, which interrupts once, about when the counter that is at `now` reaches `until`.
    pub(crate) fn set(&self, now: u64, until: u64) {
        match self.mode {
            // SAFETY: CPUID announced the mode, which has this register. Zero would stop the timer.
            Mode::Deadline => unsafe { cpu::write_msr(MSR_TSC_DEADLINE, until.max(1)) },
            Mode::Count(clock) => {
                self.apic.write(Register::InitialCount, ticks(clock, until.saturating_sub(now)));
            }
        }
    }

    /// Stops the timer; an interrupt that is already pending stays so.
    pub(crate) fn stop(&self) {
        match self.mode {
            // SAFETY: as in `set`.
            Mode::Deadline => unsafe { cpu::write_msr(MSR_TSC_DEADLINE, 0) },
            Mode::Count(_) => self.apic.write(Register::InitialCount, 0),
        }
    }

    /// Tells the local APIC that the interrupt `vector` is over.
    pub(crate) fn acknowledge(&self, vector: u8) {
        if vector != 0 && vector != interrupts::SPURIOUS {
            self.apic.write(Register::EndOfInterrupt, 0);
        }
    }

    pub(crate) fn apic(&self) -> &LocalApic {
        &self.apic
    }
}

/// What to count down from: not zero, which would stop the timer.
fn ticks(clock: Clock, cycles: u64) -> u32 {
    u32::try_from(clock.nanoseconds(cycles)).unwrap_or(u32::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_never_zero_and_never_overflows() {
        // 2.6 cycles per tick.
        let clock = Clock::new(2_600_000_000, TscSource::LocalApic);
        assert_eq!(ticks(clock, 0), 1);
        assert!(ticks(clock, 2600).abs_diff(1001) <= 1);
        assert_eq!(ticks(clock, u64::MAX), u32::MAX);
    }
}
