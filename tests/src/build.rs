//! Builds what the tests boot: `cargo test` leaves examples of the same name that cannot boot.
//!
//! The nested builds have a target directory of their own under the outer one, so that neither waits for the other's
//! lock, and each program is then copied to a name of its own: l2fwd exists twice, as an image and as a process.

use crate::{turn, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The image of l2fwd.
    L2fwd,
    /// The image of udp-echo.
    UdpEcho,
    /// The image that shows a port's controls.
    Controls,
    /// The image that asks for features by name.
    Features,
    /// plat/kvm's image that fails on demand.
    Selftest,
    /// l2fwd as a Linux process.
    L2fwdProcess,
    /// udp-echo as a Linux process.
    UdpEchoProcess,
    /// The launcher.
    Launcher,
    /// The traffic generator's program.
    Pktgen,
}

const COUNT: usize = 9;

impl Program {
    /// Arguments of `cargo build --release`, where the result is in the target's `release`, and its own place.
    fn recipe(self) -> (&'static [&'static str], &'static str, &'static str) {
        match self {
            Self::L2fwd => {
                (&["-p", "barewire", "--example", "l2fwd"], "examples/l2fwd", "image/l2fwd")
            }
            Self::UdpEcho => (
                &["-p", "barewire", "--example", "udp-echo"],
                "examples/udp-echo",
                "image/udp-echo",
            ),
            Self::Controls => (
                &["-p", "barewire", "--example", "controls"],
                "examples/controls",
                "image/controls",
            ),
            Self::Features => (
                &["-p", "barewire", "--example", "features"],
                "examples/features",
                "image/features",
            ),
            Self::Selftest => (
                &["-p", "plat-kvm", "--example", "selftest"],
                "examples/selftest",
                "image/selftest",
            ),
            Self::L2fwdProcess => (
                &["-p", "barewire", "--example", "l2fwd", "--features", "linux"],
                "examples/l2fwd",
                "process/l2fwd",
            ),
            Self::UdpEchoProcess => (
                &["-p", "barewire", "--example", "udp-echo", "--features", "linux"],
                "examples/udp-echo",
                "process/udp-echo",
            ),
            Self::Launcher => (&["-p", "run"], "run", "tool/run"),
            Self::Pktgen => (&["-p", "pktgen"], "pktgen", "tool/pktgen"),
        }
    }

    /// Builds it (once per test process) and gives its path.
    pub fn path(self) -> &'static Path {
        static PATHS: [OnceLock<PathBuf>; COUNT] = [const { OnceLock::new() }; COUNT];
        PATHS[self as usize].get_or_init(|| self.build())
    }

    fn build(self) -> PathBuf {
        let _lock = turn::lock("build");
        let (arguments, built, place) = self.recipe();
        let output = cargo(&["build", "--release", "--quiet"])
            .args(arguments)
            .output()
            .expect("cargo can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo build {arguments:?} failed:\n{errors}");
        let place = directory().join(place);
        replace(&directory().join("release").join(built), &place);
        place
    }
}

/// Puts a copy into place in one step: an older copy may be running in another test process.
fn replace(from: &Path, to: &Path) {
    let new = fs::read(from).expect("cargo made the program");
    if fs::read(to).is_ok_and(|old| old == new) {
        return;
    }
    let directory = to.parent().expect("the place is in a directory");
    fs::create_dir_all(directory).expect("the target directory is writable");
    let copy = to.with_extension("new");
    fs::copy(from, &copy).expect("the program can be copied");
    fs::rename(&copy, to).expect("the copy can be put into place");
}

/// The nested builds' target directory: `e2e` in the outer one.
pub fn directory() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        test.ancestors().nth(3).expect("tests lie in TARGET/PROFILE/deps").join("e2e")
    })
}

/// Cargo in the workspace, with the nested target directory.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments).current_dir(workspace()).env("CARGO_TARGET_DIR", directory());
    // Those of this package would be seen by the nested build.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            command.env_remove(name);
        }
    }
    command
}
