//! Colours, where there is a terminal and nobody minds (<https://no-color.org>).

use std::fmt::Display;
use std::io::IsTerminal;

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// For a stream: colours if it is a terminal and nobody minds.
    pub(crate) fn of(stream: &dyn IsTerminalStream) -> Self {
        Self { colours: stream.is_a_terminal() && !are_refused() }
    }

    /// The same rule for `clap`, whose own gives a dumb terminal colours where it finds a CI.
    pub(crate) fn of_usage() -> clap::ColorChoice {
        if are_refused() { clap::ColorChoice::Never } else { clap::ColorChoice::Auto }
    }

    #[cfg(test)]
    pub(crate) fn with_colours(colours: bool) -> Self {
        Self { colours }
    }

    /// Whether colours are on.
    pub(crate) fn has_colours(self) -> bool {
        self.colours
    }

    /// Of little weight.
    pub(crate) fn faint(self, what: impl Display) -> String {
        self.paint("2", what)
    }

    /// Trouble, if `is_bad`.
    pub(crate) fn bad_if(self, is_bad: bool, what: impl Display) -> String {
        if is_bad { self.paint("1;31", what) } else { what.to_string() }
    }

    fn paint(self, code: &str, what: impl Display) -> String {
        if self.colours { format!("\x1b[{code}m{what}\x1b[0m") } else { what.to_string() }
    }
}

/// Whether `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
fn are_refused() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// A stream that may be a terminal.
pub(crate) trait IsTerminalStream {
    /// Whether it is.
    fn is_a_terminal(&self) -> bool;
}

impl<T: IsTerminal> IsTerminalStream for T {
    fn is_a_terminal(&self) -> bool {
        self.is_terminal()
    }
}
