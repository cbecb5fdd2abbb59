//! Why a network function could not run.

use core::fmt;

use netbuf::PoolError;
use netdev::StartFailure;

use crate::params::ParamError;

/// What ends a network function early. A usage error is the caller's to mend; the others are failures of
/// the machine or the devices.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A parameter was wrong.
    Param(ParamError),
    /// The command line was wrong, in words.
    Usage(alloc::string::String),
    /// The machine has another number of ports than the function can use.
    Ports {
        /// Ports that there are.
        found: usize,
        /// What is needed, as words for a message.
        needed: &'static str,
    },
    /// A port did not start.
    Start {
        /// Its number.
        port: usize,
        /// Why.
        reason: StartFailure,
    },
    /// A port could not be opened.
    Open {
        /// Its number.
        port: usize,
        /// Why, in words.
        reason: alloc::string::String,
    },
    /// The packet pool could not be made.
    Pool(PoolError),
    /// The machine lacks something, in words.
    Machine(alloc::string::String),
}

impl Error {
    /// Whether the caller asked for something that cannot be: exit status 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Param(_) | Self::Usage(_) | Self::Ports { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Param(error) => error.fmt(f),
            Self::Usage(text) | Self::Machine(text) => f.write_str(text),
            Self::Ports { found, needed } => write!(f, "found {found} ports; needed: {needed}"),
            Self::Start { port, reason } => write!(f, "port {port} did not start: {reason}"),
            Self::Open { port, reason } => write!(f, "port {port} could not be opened: {reason}"),
            Self::Pool(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<ParamError> for Error {
    fn from(error: ParamError) -> Self {
        Self::Param(error)
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}
