//! End-to-end tests: boot images and talk to them.
//!
//! What the tests in `tests/` share: building what they boot, running it with a time limit, and taking turns (two
//! cores are enough for one machine with its traffic, not for two). A test that cannot run here says `skipped: reason`
//! on standard error, past libtest's capture, and passes; nothing else is quiet about what it did not do.
//!
//! Deliberately absent: assertions on time. Limits exist so that a test ends, and are generous.
#![forbid(unsafe_code)]

pub mod build;
pub mod elf;
pub mod network;
pub mod process;
pub mod qmp;
pub mod scratch;
pub mod turn;

use std::io::Write;
use std::path::{Path, PathBuf};

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is in the workspace's directory")
}

/// Says past libtest's capture why a test cannot run on this machine.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

/// Whether a program is on the `PATH` (or in sbin); says so where it is not.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let found =
        std::env::split_paths(&path).chain(more).any(|directory| directory.join(program).is_file());
    if !found {
        skip(&format!("{program} is not installed (tools/setup --tests installs it)"));
    }
    found
}

/// Whether this process is root; says so where it is not.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("not root");
    }
    root
}

/// The captures of real traffic beside the repository; says so where there are none.
pub fn captures() -> Vec<PathBuf> {
    let directory = workspace().join("../shared/captures");
    let entries =
        std::fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut captures: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "pcap")).collect();
    captures.sort();
    if captures.is_empty() {
        skip(&format!("no captures in {}", directory.display()));
    }
    captures
}
