//! The document: a result with what is needed to understand and repeat it, as `--json` writes it.
//!
//! Its fields are written down in `schema/document.schema.json`. Whoever reads one looks at `schema_version` first.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::{Environment, PortReport, Report, timeline::Timeline};

/// The version of the document's fields. Goes up when one changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// A result, and how it came about.
#[derive(Clone, Debug, Serialize)]
pub struct Document {
    /// What this is: `pktgen`.
    pub schema: &'static str,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The subcommand: `run`, `replay` or `search`.
    pub kind: &'static str,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When the program started, in seconds since 1970.
    pub started_unix_s: u64,
    /// The conditions of `--fail-on` that hold, in words.
    pub failed: Vec<String>,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// Of a run or a replay.
    Run {
        /// The figures.
        #[serde(flatten)]
        report: Box<Report>,
        /// The course of it.
        timeline: Timeline,
        /// What was recorded, where anything was.
        #[serde(skip_serializing_if = "Option::is_none")]
        capture: Option<Recording>,
    },
    /// Of a search.
    Search {
        /// Whether it was stopped before its end.
        interrupted: bool,
        /// Bytes of each frame, L2 header included, FCS excluded.
        size: u16,
        /// The ports, as the last trial left them; none without a trial.
        ports: Vec<PortReport>,
        /// The search's own figures.
        search: Value,
        /// The machine and its state.
        environment: Box<Environment>,
    },
}

/// What `--capture` wrote.
#[derive(Clone, Debug, Serialize)]
pub struct Recording {
    /// The file.
    pub file: String,
    /// Frames in it.
    pub frames: u64,
    /// Frames left out because the file was slower than the traffic.
    pub left_out: u64,
}

impl Document {
    /// A document of this process.
    pub fn new(kind: &'static str, outcome: Outcome) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            schema: "pktgen",
            schema_version: SCHEMA_VERSION,
            kind,
            command: std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect(),
            started_unix_s: now.as_secs(),
            failed: Vec::new(),
            outcome,
        }
    }
}
