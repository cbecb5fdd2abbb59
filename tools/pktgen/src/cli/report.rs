//! `pktgen report`: a page from a saved result.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueHint};
use pktgen::{Error, file, report_page};
use serde_json::Value;

use crate::output;

/// Makes the HTML page of a result that --json or --jsonl wrote
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pktgen report result.json --out result
  pktgen run --port vhost-user:/tmp/a --count 1000 --quiet --json - | pktgen report - --out result")]
pub(crate) struct ReportArgs {
    /// The result (`-`: standard input)
    file: PathBuf,
    /// Where the page goes: DIR/index.html
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    out: PathBuf,
}

/// Bytes of the largest result that is read.
const MOST: u64 = 256 << 20;

impl ReportArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let name = self.file.display();
        let text = read(&self.file)
            .map_err(|error| Error::Usage(format!("cannot read {name}: {error}")))?;
        let document = parse(&text).map_err(|error| {
            Error::Usage(format!("{name}: {error}; accepted: a result of --json or --jsonl"))
        })?;
        report_page::check(&document).map_err(|error| Error::Usage(format!("{name}: {error}")))?;
        let page = report_page::write(&self.out, &document)?;
        output::print(&page.display())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    if path != Path::new("-") {
        return file::read_text(path, MOST);
    }
    let mut text = String::new();
    std::io::stdin().take(MOST).read_to_string(&mut text)?;
    Ok(text)
}

/// A document, or the last line of many.
fn parse(text: &str) -> Result<Value, serde_json::Error> {
    match serde_json::from_str(text) {
        Ok(document) => Ok(document),
        Err(error) => match text.trim_end().rsplit_once('\n') {
            Some((_, last)) => serde_json::from_str(last).map_err(|_| error),
            None => Err(error),
        },
    }
}
