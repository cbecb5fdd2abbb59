//! Finding the rate of the time-stamp counter, the most trustworthy source first.
//!
//! The hypervisor knows it exactly (and knows about scaling, which CPUID leaves passed through from the host may not);
//! a measurement against a timer is the last resort and takes at most a millisecond in total, because boot time
//! matters more than the fourth digit. Each wait is bounded by a number of reads; nothing sleeps.

use crate::{
    clock::{Clock, TscSource},
    cpu,
    local_apic::{LocalApic, MASKED, Register},
};
use core::cell::UnsafeCell;

/// What a measurement aims at, and its bound where the timer is slow or broken.
const MICROSECONDS: u64 = 900;
const MOST_READS: u32 = 20_000;
const STUCK_READS: u32 = 64;

/// Finds the rate. `acpi_timer` is the port of the power management timer, if ACPI names one.
pub(crate) fn find(acpi_timer: Option<u16>) -> Clock {
    from_hypervisor()
        .or_else(from_cpuid)
        .or_else(|| Some((measure_pit()?, TscSource::Pit)))
        .or_else(|| Some((measure_acpi(acpi_timer?)?, TscSource::AcpiTimer)))
        .or_else(|| Some((measure_local_apic()?, TscSource::LocalApic)))
        .filter(|(hz, _)| *hz >= 1_000_000)
        .map_or(Clock::new(1_000_000_000, TscSource::Assumed), |(hz, source)| {
            Clock::new(hz, source)
        })
}

fn from_hypervisor() -> Option<(u64, TscSource)> {
    if !cpu::has_hypervisor() {
        return None;
    }
    let (last, b, c, d) = cpu::cpuid(0x4000_0000);
    if last >= 0x4000_0010 {
        let kilohertz = cpu::cpuid(0x4000_0010).0;
        if kilohertz != 0 {
            return Some((u64::from(kilohertz) * 1000, TscSource::HypervisorLeaf));
        }
    }
    let signature = [b, c, d] == [0x4b4d_564b, 0x564b_4d56, 0x4d]; // "KVMKVMKVM\0\0\0"
    let has_clock = cpu::cpuid(0x4000_0001).0 & 1 << 3 != 0;
    (signature && has_clock).then(pvclock).flatten().map(|hz| (hz, TscSource::PvClock))
}

fn from_cpuid() -> Option<(u64, TscSource)> {
    let (denominator, numerator, crystal, _) = cpu::cpuid(0x15);
    if let Some(hz) = crystal_rate(denominator, numerator, crystal) {
        return Some((hz, TscSource::CpuidCrystal));
    }
    let megahertz = cpu::cpuid(0x16).0 & 0xffff;
    (megahertz != 0).then_some((u64::from(megahertz) * 1_000_000, TscSource::CpuidBase))
}

/// CPUID leaf 0x15: crystal * numerator / denominator, where none is zero.
fn crystal_rate(denominator: u32, numerator: u32, crystal: u32) -> Option<u64> {
    let hz = (u64::from(crystal) * u64::from(numerator)).checked_div(denominator.into())?;
    (hz != 0).then_some(hz)
}

/// `pvclock_vcpu_time_info`, as KVM writes it; aligned so that it cannot cross a page.
#[repr(C, align(32))]
struct TimeInfo(UnsafeCell<[u32; 8]>);

// SAFETY: used by `pvclock` alone, which runs once.
unsafe impl Sync for TimeInfo {}

/// Asks KVM for its clock once, and switches it off again: only the rate is wanted.
fn pvclock() -> Option<u64> {
    const MSR_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;
    static INFO: TimeInfo = TimeInfo(UnsafeCell::new([0; 8]));
    let info = INFO.0.get();
    // SAFETY: the caller saw KVM's signature and its clock feature bit, so the register exists; the hypervisor writes
    // only the 32 bytes named, which are only read volatile; the second write ends that.
    let [version, _, _, _, _, _, factor, shift] = unsafe {
        cpu::write_msr(MSR_SYSTEM_TIME_NEW, info as u64 | 1);
        let words = info.read_volatile();
        cpu::write_msr(MSR_SYSTEM_TIME_NEW, 0);
        words
    };
    let [shift, ..] = shift.to_le_bytes();
    if version == 0 || version & 1 != 0 { None } else { pvclock_rate(factor, shift.cast_signed()) }
}

/// KVM's conversion (ns = (cycles << shift) * factor >> 32), turned round.
fn pvclock_rate(factor: u32, shift: i8) -> Option<u64> {
    let hz = (1_000_000_000u64 << 32).checked_div(factor.into())?;
    if shift < 0 {
        hz.checked_shl(shift.unsigned_abs().into())
    } else {
        hz.checked_shr(shift.unsigned_abs().into())
    }
}

/// Counts cycles against a timer that runs up at `hz` and wraps at `mask`; None if it stands still.
fn measure(hz: u64, mask: u64, mut read: impl FnMut() -> u64) -> Option<u64> {
    let target = hz * MICROSECONDS / 1_000_000;
    let (first_cycles, first) = sample(&mut read);
    let mut reads = 0;
    loop {
        let elapsed = read().wrapping_sub(first) & mask;
        reads += 1;
        if elapsed >= target {
            break;
        }
        if reads >= MOST_READS || (reads >= STUCK_READS && elapsed == 0) {
            return None;
        }
    }
    let (last_cycles, last) = sample(&mut read);
    let cycles = last_cycles.wrapping_sub(first_cycles);
    rate(cycles, last.wrapping_sub(first) & mask, hz)
}

/// Cycles per second from cycles and ticks of a timer at `hz`.
fn rate(cycles: u64, ticks: u64, hz: u64) -> Option<u64> {
    let wide = (u128::from(cycles) * u128::from(hz)).checked_div(ticks.into())?;
    u64::try_from(wide).ok()
}

/// The timer and the counter at (nearly) the same moment: the tightest of a few tries.
fn sample(read: &mut impl FnMut() -> u64) -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..5 {
        let before = cpu::timestamp();
        let ticks = read();
        let width = cpu::timestamp().wrapping_sub(before);
        if width < best.0 {
            best = (width, before.wrapping_add(width / 2), ticks);
        }
    }
    (best.1, best.2)
}

/// Channel 2 of the 8254, which is wired to nothing but the speaker.
fn measure_pit() -> Option<u64> {
    const HZ: u64 = 1_193_182;
    // SAFETY: these ports are the timer's and its gate; channel 2 raises no interrupt and touches no memory.
    unsafe {
        cpu::out8(0x61, cpu::in8(0x61) & !0b10 | 1); // gate on, speaker off
        cpu::out8(0x43, 0b1011_0000); // channel 2, low then high byte, mode 0
        cpu::out8(0x42, 0xff);
        cpu::out8(0x42, 0xff);
    }
    measure(HZ, 0xffff, || {
        // SAFETY: as above: latch channel 2, then read its two bytes.
        let [low, high] = unsafe {
            cpu::out8(0x43, 0b1000_0000);
            [cpu::in8(0x42), cpu::in8(0x42)]
        };
        !u64::from(u16::from_le_bytes([low, high])) // it counts down
    })
}

/// The ACPI power management timer: 24 bits at 3.58 MHz.
fn measure_acpi(port: u16) -> Option<u64> {
    // SAFETY: ACPI names the port as the timer's; reading it has no side effect.
    measure(3_579_545, 0xff_ffff, || u64::from(unsafe { cpu::in32(port) }))
}

/// The local APIC's timer.
fn measure_local_apic() -> Option<u64> {
    // Its rate is only known for virtual machines.
    cpu::has_hypervisor().then(LocalApic::find).flatten().and_then(|apic| measure_timer(&apic))
}

/// Cycles in 10^9 ticks of the local APIC's timer; leaves the timer stopped, masked and dividing by one.
pub(crate) fn measure_timer(apic: &LocalApic) -> Option<u64> {
    apic.write(Register::TimerVector, MASKED);
    apic.write(Register::Divide, 0b1011);
    apic.write(Register::InitialCount, u32::MAX);
    let result = measure(1_000_000_000, 0xffff_ffff, || {
        u64::from(!apic.read(Register::CurrentCount)) // it counts down
    });
    apic.write(Register::InitialCount, 0);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpuid_leaves() {
        assert_eq!(crystal_rate(2, 216, 24_000_000), Some(2_592_000_000));
        assert_eq!(crystal_rate(0, 216, 24_000_000), None);
        assert_eq!(crystal_rate(2, 0, 24_000_000), None);
        assert_eq!(crystal_rate(2, 216, 0), None);
    }

    #[test]
    fn pvclock_factors() {
        // 2.6 GHz is announced as shift -1, factor 2^33 / 2.6.
        let factor = u32::try_from((1u64 << 33) * 10 / 26).unwrap();
        let hz = pvclock_rate(factor, -1).unwrap();
        assert!(hz.abs_diff(2_600_000_000) < 10, "{hz}");
        assert_eq!(pvclock_rate(1 << 31, 0), Some(2_000_000_000));
        assert_eq!(pvclock_rate(1 << 31, 1), Some(1_000_000_000));
        assert_eq!(pvclock_rate(0, 0), None);
        assert_eq!(pvclock_rate(1, -128), None);
    }

    #[test]
    fn a_moving_timer_is_measured_and_a_stuck_one_given_up() {
        let mut reads = 0;
        assert_eq!(
            measure(1_000_000, 0xff_ffff, || {
                reads += 1;
                5
            }),
            None
        );
        assert!(reads <= 80);
        let mut ticks = 0xff_ff00;
        assert!(
            measure(1_000_000, 0xff_ffff, || {
                ticks += 10;
                ticks & 0xff_ffff
            })
            .is_some()
        );
        assert_eq!(rate(2_600_000, 1_000, 1_000_000), Some(2_600_000_000));
        assert_eq!(rate(1, 0, 1), None);
    }
}
