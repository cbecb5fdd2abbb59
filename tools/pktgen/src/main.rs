//! The traffic generator, as a program: options in, figures out.
//!
//! Exit status: 0 for a run that was made (also an interrupted one: its report says so), 1 for a failure or, with
//! `--fail-on-loss`, for anything but a clean run, 2 for wrong usage.
#![forbid(unsafe_code)]

mod cli;
mod output;

use std::ops::ControlFlow;
use std::process::ExitCode;

use clap::Parser;
use pktgen::{Error, Runner};
use plat_linux::{StopFlag, pin_to_core};

use crate::cli::Cli;
use crate::output::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match generate(&cli) {
        Ok(clean) => ExitCode::from(u8::from(cli.fail_on_loss && !clean)),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(if error.is_usage() { 2 } else { 1 })
        }
    }
}

/// Runs, and prints. Whether every frame came back as it should.
fn generate(cli: &Cli) -> Result<bool, Error> {
    let (specs, options) = cli.resolve()?;
    if let Some(core) = cli.core {
        pin_to_core(core).map_err(|error| Error::Usage(error.to_string()))?;
    }
    let mut output = Output::open(cli)?;
    let stop = StopFlag::install().map_err(|error| Error::Usage(error.to_string()))?;
    let mut runner = Runner::open(&specs, options)?;
    runner.stop_on(stop);
    let report = runner.run(&mut |tick| {
        output.tick(tick);
        ControlFlow::Continue(())
    })?;
    output.report(&report)?;
    Ok(report.is_clean())
}
