//! The traffic generator, as a program: options in, figures out.
//!
//! Exit status: 0 for a result (also a partial one: it says so), 1 for a failure or a `--fail-on` that holds, 2 for
//! wrong usage.
#![forbid(unsafe_code)]

mod cli;
mod output;
mod tui;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::cli::Cli;

fn main() -> ExitCode {
    let matches = Cli::command().color(output::Style::of_usage()).get_matches();
    match Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).execute() {
        Ok(status) => status,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}
