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

/// Where tools/setup puts programs that are no packages of the machine: one place for all checkouts.
fn place() -> PathBuf {
    let directory = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = directory("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&directory("HOME")?).join(".cache")));
    let target = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    cache.unwrap_or_else(target).join("barewire/bin")
}

/// A Python that has all of `modules`: that of tools/setup, the PATH's or Debian's.
pub(crate) fn python(modules: &[&str]) -> Option<PathBuf> {
    let own = place().join("python");
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

/// A program that can be started: of the PATH, or that of tools/setup.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let starts = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
    let found = [name.into(), place().join(name)].into_iter().find(starts);
    if found.is_none() {
        skip(&format!("no {name}"));
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
