//! Whether somebody else used the machine during a turn.

use std::fmt;

use plat_linux::CpuTimes;

/// More of all cores' time than this for other programs: the turn does not count. (The kernel counts in ticks of
/// 10 ms; less than a few of them cannot be told from none.)
const MOST_OTHER: f64 = 0.04;
/// More of all cores' time than this taken by the hypervisor: the turn does not count.
const MOST_STEAL: f64 = 0.01;

/// Processor time up to now: the machine's, and that of the processes that belong to a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    machine: CpuTimes,
    /// In ticks.
    own: u64,
}

/// What happened between two [`Load`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disturbance {
    /// The share of all cores' time that other programs used, 0 to 1.
    pub other: f64,
    /// The share of all cores' time that the hypervisor took, 0 to 1.
    pub steal: f64,
}

impl Load {
    /// Reads the kernel's tables; `processes` belong to the comparison, and so does this one.
    pub fn now(processes: &[u32]) -> Self {
        let this = std::process::id();
        let own = processes.iter().chain([&this]).filter_map(|&process| ticks(process)).sum();
        Self { machine: CpuTimes::read().unwrap_or_default(), own }
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> Disturbance {
        let machine = self.machine.since(&earlier.machine);
        let own = self.own.saturating_sub(earlier.own);
        let busy = machine.total.saturating_sub(machine.idle + machine.steal);
        Disturbance {
            other: share(busy.saturating_sub(own), machine.total),
            steal: share(machine.steal, machine.total),
        }
    }
}

impl Disturbance {
    /// Whether what was measured meanwhile does not count.
    pub fn is_too_much(&self) -> bool {
        self.other > MOST_OTHER || self.steal > MOST_STEAL
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (other, steal) = (self.other * 100.0, self.steal * 100.0);
        write!(f, "{other:.1} % used by others, {steal:.1} % stolen")
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn share(part: u64, total: u64) -> f64 {
    if total == 0 { 0.0 } else { part as f64 / total as f64 }
}

/// User and system time of a process with all its threads.
fn ticks(process: u32) -> Option<u64> {
    ticks_in(&std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// proc(5): the name, which may contain anything, ends with the last parenthesis; `utime` and `stime` are fields 14
/// and 15.
fn ticks_in(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(number(14)? + number(15)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processs_time_is_read_behind_its_name() {
        let stat = "17 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 100 23 0 0 20 0 3 0 5";
        assert_eq!(ticks_in(stat), Some(123));
        assert_eq!(ticks_in("17 (a) R 1 2"), None);
        assert_eq!(ticks_in(""), None);
        assert!(ticks(std::process::id()).is_some() && ticks(u32::MAX).is_none());
    }

    #[test]
    fn others_and_the_hypervisor_disturb() {
        let load = |total, idle, steal, own| Load { machine: CpuTimes { total, idle, steal }, own };
        let before = load(1000, 500, 10, 300);
        let quiet = load(1200, 500, 10, 495).since(&before);
        assert_eq!(quiet, Disturbance { other: 0.025, steal: 0.0 });
        assert!(!quiet.is_too_much());
        assert!(load(1200, 500, 10, 480).since(&before).is_too_much(), "others used a tenth");
        assert!(load(1200, 500, 15, 495).since(&before).is_too_much(), "time was stolen");
        assert_eq!(before.since(&before), Disturbance::default());
        assert_eq!(quiet.to_string(), "2.5 % used by others, 0.0 % stolen");
    }
}
