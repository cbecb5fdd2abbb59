//! A file or a standard stream that text goes to.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write, stderr, stdout};
use std::path::Path;

use pktgen::Error;
use serde_json::Value;

/// A file or a standard stream that text goes to.
pub(crate) struct Sink {
    name: String,
    is_stdout: bool,
    out: Box<dyn Write + Send>,
}

impl Sink {
    /// Makes the file; `-` is standard output.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Ok(Self::stdout());
        }
        let name = path.display().to_string();
        let file = File::create(path)
            .map_err(|error| Error::Usage(format!("cannot write {name}: {error}")))?;
        Ok(Self { name, is_stdout: false, out: Box::new(BufWriter::new(file)) })
    }

    pub(crate) fn stdout() -> Self {
        Self { name: "standard output".into(), is_stdout: true, out: Box::new(stdout()) }
    }

    pub(crate) fn stderr() -> Self {
        Self { name: "standard error".into(), is_stdout: false, out: Box::new(stderr()) }
    }

    pub(crate) fn is_stdout(&self) -> bool {
        self.is_stdout
    }

    pub(crate) fn write_text(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush())
    }

    /// Writes a value and a line end.
    pub(crate) fn write_json(&mut self, value: &Value, pretty: bool) -> Result<(), Error> {
        let text = if pretty { format!("{value:#}\n") } else { format!("{value}\n") };
        let name = self.name.clone();
        settle(self.write_text(&text), &name)
    }
}

/// Nobody listening is no error.
pub(crate) fn settle(result: io::Result<()>, what: &str) -> Result<(), Error> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::Output(format!("cannot write {what}: {error}")))
        }
        _ => Ok(()),
    }
}
