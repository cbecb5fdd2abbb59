//! Why the launcher gives up, and the exit status that goes with it.

use std::fmt;

/// A message for the user and an exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// 2 for a bad command line, 1 for everything else.
    pub status: u8,
    /// What was wrong, and what to do about it.
    pub text: String,
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { status: 2, text: text.into() }
    }

    /// Something that was asked for did not work.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self { status: 1, text: text.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
