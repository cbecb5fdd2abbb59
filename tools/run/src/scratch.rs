//! A directory for this run's sockets that nobody else can enter, gone when the run ends.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A private directory; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Where this process's directory is or would be.
    pub(crate) fn path() -> PathBuf {
        std::env::temp_dir().join(format!("barewire-{}", std::process::id()))
    }

    /// Creates it; one that a dead process of the same number left behind is replaced.
    pub(crate) fn create() -> std::io::Result<Self> {
        let path = Self::path();
        if let Err(error) = std::fs::remove_dir_all(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
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
