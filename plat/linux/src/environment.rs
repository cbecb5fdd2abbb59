//! Facts about the machine that every measurement is reported with.
//!
//! A number without its machine says nothing. What cannot be found out is `None` (a virtual machine has no
//! frequency governor), never guessed.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::{Clock, allowed_cores};

/// The machine and its state at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// The processor's name.
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// The clock's rate, in Hz.
    pub tsc_hz: u64,
    /// Where the clock's rate comes from.
    pub clock: &'static str,
    /// The frequency governor of core 0.
    pub governor: Option<String>,
    /// Huge pages of 2 MiB set aside.
    pub huge_pages_total: Option<u64>,
    /// Of these, free.
    pub huge_pages_free: Option<u64>,
    /// When the kernel joins ordinary pages to huge ones.
    pub transparent_huge_pages: Option<String>,
    /// Load average of the last minute.
    pub load_1m: Option<f64>,
    /// The kernel's release.
    pub kernel: String,
    /// Whether a hypervisor is underneath.
    pub virtual_machine: bool,
    /// The git revision of the working directory, `-dirty` where it has changes.
    pub git_revision: Option<String>,
}

impl Environment {
    /// Reads the facts. Takes some milliseconds (it may run `git`).
    pub fn read(clock: &Clock) -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: field(&cpuinfo, "model name").map(str::to_owned),
            cores: allowed_cores().map_or(0, |cores| cores.len()),
            tsc_hz: clock.hz(),
            clock: clock.source().name(),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            huge_pages_total: field(&meminfo, "HugePages_Total").and_then(|n| n.parse().ok()),
            huge_pages_free: field(&meminfo, "HugePages_Free").and_then(|n| n.parse().ok()),
            transparent_huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|text| chosen(&text).map(str::to_owned)),
            load_1m: read("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            virtual_machine: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            git_revision: git_revision(),
        }
    }
}

/// What the processors did since the machine started, in ticks of the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CpuTimes {
    /// All of it, over all cores.
    pub total: u64,
    /// Doing nothing, or waiting for a disk.
    pub idle: u64,
    /// Taken by the hypervisor for others.
    pub steal: u64,
}

impl CpuTimes {
    /// Reads the counters; `None` where the kernel does not tell.
    pub fn read() -> Option<Self> {
        Self::parse(&read("/proc/stat")?)
    }

    fn parse(stat: &str) -> Option<Self> {
        // user nice system idle iowait irq softirq steal (guest and guest_nice are within user and nice)
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> =
            line.split_whitespace().take(8).map_while(|n| n.parse().ok()).collect();
        let &[_, _, _, idle, waiting, _, _, steal] = times.as_slice() else { return None };
        Some(Self { total: times.iter().sum(), idle: idle + waiting, steal })
    }

    /// What happened between `earlier` and this.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            total: self.total.saturating_sub(earlier.total),
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
        }
    }

    /// The share of time that the hypervisor took, 0 to 1.
    pub fn steal_share(&self) -> f64 {
        self.share(self.steal)
    }

    /// The share of time that all cores together were busy, 0 to 1.
    pub fn busy_share(&self) -> f64 {
        self.share(self.total.saturating_sub(self.idle + self.steal))
    }

    #[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
    fn share(&self, part: u64) -> f64 {
        if self.total == 0 { 0.0 } else { part as f64 / self.total as f64 }
    }
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    text.split_once('[')?.1.split_once(']').map(|(word, _)| word)
}

fn git_revision() -> Option<String> {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_facts() {
        let environment = Environment::read(&Clock::new());
        println!("{environment:?}");
        assert!(environment.cores > 0 && environment.tsc_hz > 0 && !environment.kernel.is_empty());
        let times = CpuTimes::read().expect("Linux has /proc/stat");
        assert!(times.total >= times.idle + times.steal);
    }

    #[test]
    fn the_kernels_tables_are_read_by_name() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nHugePages_Total:      12\n";
        assert_eq!(field(text, "model name"), Some("A CPU: fast"));
        assert_eq!(field(text, "HugePages_Total"), Some("12"));
        assert_eq!(field(text, "absent"), None);
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("never"), None);
    }

    #[test]
    fn processor_times_are_shares_of_an_interval() {
        let before = CpuTimes::parse("cpu  100 0 100 700 50 0 0 50 9 9\ncpu0 1").unwrap();
        assert_eq!(before, CpuTimes { total: 1000, idle: 750, steal: 50 });
        let after = CpuTimes { total: 2000, idle: 1250, steal: 150 };
        let between = after.since(&before);
        assert_eq!((between.steal_share(), between.busy_share()), (0.1, 0.4));
        assert_eq!(CpuTimes::default().busy_share(), 0.0);
        for bad in ["", "cpu", "cpu  1 2 3", "intr 1 2 3 4 5 6 7 8"] {
            assert_eq!(CpuTimes::parse(bad), None, "{bad}");
        }
    }
}
