//! Independent implementations that the tests compare with: where they are, and a loud word where they are not.

#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says past libtest's capture why a test cannot run on this machine.
pub(crate) fn skip(reason: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {reason} (tools/setup --tests installs it)");
}

/// A Python that has all of `modules`: that of tools/setup, the PATH's or Debian's.
pub(crate) fn python(modules: &[&str]) -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/python/bin/python");
    let script = format!("import {}", modules.join(", "));
    let has = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", &script]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = [own, "python3".into(), "/usr/bin/python3".into()].into_iter().find(has);
    if found.is_none() {
        skip(&format!("no Python with {}", modules.join(", ")));
    }
    found
}

/// Whether a program can be started.
pub(crate) fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skip(&format!("no {program}"));
    }
    found
}

/// What a program prints that must succeed.
#[track_caller]
pub(crate) fn lines_of(program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}
