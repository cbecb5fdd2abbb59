//! Taking turns: one machine under test at a time, over all test processes.

use crate::build::directory;
use std::fs::{self, File};

/// Held by a test while it uses the machine; the next test waits for it.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "holds the lock until it is closed")] File);

/// Waits for this test's turn.
pub fn take() -> Turn {
    lock("turn")
}

/// Waits for a lock of this name.
pub(crate) fn lock(name: &str) -> Turn {
    fs::create_dir_all(directory()).expect("the target directory is writable");
    let file = File::create(directory().join(format!("{name}.lock"))).expect("a lock file");
    file.lock().expect("the file system has locks");
    Turn(file)
}
