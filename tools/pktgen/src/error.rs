//! Why a run could not be made, or not be ended.

use std::fmt;
use std::time::Duration;

/// Why a run could not be made, or not be ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for cannot be, in words that say what can.
    Usage(String),
    /// A port could not be opened or started.
    Port {
        /// The port, as it was named.
        name: String,
        /// Why, in words.
        reason: String,
    },
    /// Packet memory could not be had.
    Memory(String),
    /// The result could not be written.
    Output(String),
    /// A link stayed down for the whole warm-up.
    LinkDown {
        /// The port, as it was named.
        name: String,
        /// How long was waited.
        waited: Duration,
        /// What peers were refused meanwhile, and why, in words.
        refused: Vec<String>,
    },
    /// The links are up, and no frame came through.
    NoForwarding {
        /// The port that probes went into.
        from: String,
        /// The port that they were expected from.
        to: String,
        /// How long was waited.
        waited: Duration,
        /// As of [`LinkDown`](Self::LinkDown).
        refused: Vec<String>,
    },
    /// A search's time was over in the middle of a trial.
    OutOfTime,
    /// The run was stopped before a first frame had come through: there is no result.
    Interrupted,
}

impl Error {
    /// Whether the caller asked for something that cannot be: exit status 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Usage(_))
    }

    /// The same, where nothing came through, with what peers were refused.
    pub(crate) fn with_refused(mut self, peers: &[String]) -> Self {
        if let Self::LinkDown { refused, .. } | Self::NoForwarding { refused, .. } = &mut self {
            refused.extend_from_slice(peers);
        }
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Memory(text) | Self::Output(text) => f.write_str(text),
            Self::Port { name, reason } => write!(f, "port {name}: {reason}"),
            Self::LinkDown { name, waited, refused } => {
                let waited = waited.as_secs_f64();
                write!(f, "port {name}: the link did not come up within {waited} s")?;
                refused.iter().try_for_each(|peer| write!(f, "; {peer}"))
            }
            Self::NoForwarding { from, to, waited, refused } => {
                let waited = waited.as_secs_f64();
                write!(f, "no forwarding between {from} and {to} within {waited} s")?;
                refused.iter().try_for_each(|peer| write!(f, "; {peer}"))
            }
            Self::OutOfTime => f.write_str("the time was over in the middle of a trial"),
            Self::Interrupted => f.write_str("interrupted before a first frame had come through"),
        }
    }
}

impl std::error::Error for Error {}
