//! A directory for one test's sockets and files; short enough for a unix socket, gone with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A directory of one's own; removed when dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Creates it.
    #[expect(clippy::new_without_default, reason = "it has an effect on the file system")]
    pub fn new() -> Self {
        let name = format!("barewire-e2e-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// A name in it, as text.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("the temporary directory's name is UTF-8").into()
    }
}

impl AsRef<Path> for Scratch {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
