//! What pktgen prints: a line per second, the report, JSON.
//!
//! Lines for people go to standard error when JSON goes to standard output. A closed pipe ends the printing, not the
//! run; a full disk is an error.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Write, stderr, stdout};
use std::path::Path;

use pktgen::{Error, Report, Tick};

use crate::cli::Cli;

/// Where lines and JSON go.
pub(crate) struct Output {
    quiet: bool,
    lines: Box<dyn Write>,
    json: Option<(String, Box<dyn Write>)>,
}

impl Output {
    /// Opens the JSON file before anything is sent: better to fail now than after the run.
    pub(crate) fn open(cli: &Cli) -> Result<Self, Error> {
        let json: Option<(String, Box<dyn Write>)> = match cli.json.as_deref() {
            None => None,
            Some(path) if path == Path::new("-") => {
                Some(("standard output".into(), Box::new(stdout())))
            }
            Some(path) => {
                let name = path.display().to_string();
                let file = File::create(path)
                    .map_err(|error| Error::Usage(format!("cannot write {name}: {error}")))?;
                Some((name, Box::new(file)))
            }
        };
        let json_on_stdout = json.as_ref().is_some_and(|(name, _)| name == "standard output");
        let lines: Box<dyn Write> =
            if json_on_stdout { Box::new(stderr()) } else { Box::new(stdout()) };
        Ok(Self { quiet: cli.quiet, lines, json })
    }

    /// Prints a second's line.
    pub(crate) fn tick(&mut self, tick: &Tick) {
        if !self.quiet {
            // Who does not read the lines any more may still want the report; trouble shows there.
            let _ = writeln!(self.lines, "{tick}").and_then(|()| self.lines.flush());
        }
    }

    /// Prints the report and writes the JSON.
    pub(crate) fn report(&mut self, report: &Report) -> Result<(), Error> {
        let printed = write!(self.lines, "{report}").and_then(|()| self.lines.flush());
        settle(printed, "the report")?;
        let Some((name, file)) = &mut self.json else { return Ok(()) };
        let written = serde_json::to_writer_pretty(&mut *file, report)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(file))
            .and_then(|()| file.flush());
        settle(written, name)
    }
}

fn settle(result: io::Result<()>, what: &str) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Output(format!("cannot write {what}: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints an error, if anybody listens.
pub(crate) fn complain(error: &dyn Display) {
    let _ = writeln!(stderr(), "pktgen: {error}");
}
