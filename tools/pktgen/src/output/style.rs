//! Colours, where there is a terminal and nobody minds (<https://no-color.org>).

use std::fmt::Display;
use std::io::IsTerminal;

/// Whether to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style {
    colours: bool,
}

impl Style {
    /// For a stream: colours if it is a terminal, `NO_COLOR` is unset or empty, and `TERM` is not `dumb`.
    pub(crate) fn of(stream: &dyn IsTerminalStream) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: stream.is_a_terminal() && !refused && !dumb }
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
