//! The file of limits and recorded counts, `bench/gates.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// One gate's numbers, in instructions per packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// More than this fails.
    pub limit: f64,
    /// What was counted when the file was last recorded.
    pub recorded: f64,
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where `recorded` was counted.
    pub environment: Environment,
    /// By name.
    pub gates: BTreeMap<String, Numbers>,
}

/// The file cannot be used: its path, and why.
#[derive(Debug)]
pub struct RecordError(PathBuf, String);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// The repository's own file.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("gates.json")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is absent or not what [`Record`] says.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let fail = |why: String| RecordError(path.to_owned(), why);
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| fail(error.to_string()))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let fail = |why: String| RecordError(path.to_owned(), why);
        let text = serde_json::to_string_pretty(self).map_err(|error| fail(error.to_string()))?;
        std::fs::write(path, text + "\n").map_err(|error| fail(error.to_string()))
    }
}
