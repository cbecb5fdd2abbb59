//! The traffic generator, as a program: options in, figures out.
//!
//! Exit status: 0 for a result (also a partial one: it says so), 1 for a failure or a `--fail-on` that holds, 2 for
//! wrong usage.
#![forbid(unsafe_code)]

mod cli;
mod output;
mod tui;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(status) => status,
        Err(error) => {
            output::complain(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}
