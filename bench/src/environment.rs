//! What a number was measured on: every report carries it.

use serde::{Deserialize, Serialize};

/// The machine and the tools.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// The kernel's release; empty, and left out, where it says nothing about the numbers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// What `valgrind --version` says; empty where it is not installed.
    pub valgrind: String,
    /// What `rustc --version` says; empty where it is not installed.
    pub rustc: String,
    /// The revision of the source, with `-dirty` where files differ from it.
    pub revision: String,
}

impl Environment {
    /// The environment of this process.
    pub fn here() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Self {
            cpu: cpu.unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned()),
            valgrind: says("valgrind", &["--version"]),
            rustc: says("rustc", &["--version"]),
            revision: says("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
        }
    }
}

fn says(program: &str, arguments: &[&str]) -> String {
    std::process::Command::new(program)
        .args(arguments)
        .stderr(std::process::Stdio::null())
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}
