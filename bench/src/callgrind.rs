//! Counting the instructions of one function: this program runs itself again under callgrind, which collects
//! only while the function is on the stack.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why a count could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum CountError {
    /// valgrind could not be started.
    NoValgrind(std::io::Error),
    /// The program failed under valgrind (its own verification, perhaps): what it wrote.
    Failed(String),
    /// callgrind left no count behind, or a count of zero: no function matched.
    NoCount(PathBuf),
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValgrind(error) => {
                write!(f, "valgrind could not be started ({error}); tools/setup installs it")
            }
            Self::Failed(output) => write!(f, "the measured program failed:\n{output}"),
            Self::NoCount(path) => write!(
                f,
                "callgrind counted nothing in {}: was the measured function inlined?",
                path.display()
            ),
        }
    }
}

impl std::error::Error for CountError {}

/// Whether valgrind is installed.
pub fn available() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs `program arguments...` under callgrind; the instructions executed inside the functions whose name
/// contains `function`, what they call included.
///
/// # Errors
/// See [`CountError`].
pub fn count(program: &Path, arguments: &[&str], function: &str) -> Result<u64, CountError> {
    let file =
        std::env::temp_dir().join(format!("barewire-{}-{function}.callgrind", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-instr=yes"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args(arguments)
        .output()
        .map_err(CountError::NoValgrind)?;
    if !output.status.success() {
        return Err(CountError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let total = std::fs::read_to_string(&file).ok().as_deref().and_then(total);
    if std::env::var_os("BAREWIRE_KEEP_CALLGRIND").is_none() {
        // A file that cannot be removed stays in the temporary directory: no harm.
        let _ = std::fs::remove_file(&file);
    }
    total.filter(|&count| count > 0).ok_or(CountError::NoCount(file))
}

/// The total of a callgrind file, in which only instructions were counted.
fn total(file: &str) -> Option<u64> {
    let line = file
        .lines()
        .find_map(|line| line.strip_prefix("totals:").or_else(|| line.strip_prefix("summary:")))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_total_is_read() {
        assert_eq!(total("version: 1\nevents: Ir\n+3 4\ntotals: 4711\n"), Some(4711));
        assert_eq!(total("summary: 12\nfn=(1)\n"), Some(12));
        assert_eq!(total("events: Ir\n"), None);
        assert_eq!(total("totals: many\n"), None);
    }
}
