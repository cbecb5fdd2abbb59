//! The thread that shows events as they come.

use std::io::{IsTerminal, stderr, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use pktgen::Error;
use plat_linux::StopFlag;
use serde_json::Value;

use super::metrics::Metrics;
use super::sink::Sink;
use super::{Event, Style, jsonl, lines};
use crate::cli::OutputArgs;
use crate::tui::Tui;

/// How long a key may wait to be looked at.
const KEYS: Duration = Duration::from_millis(50);

/// Everything that shows events.
pub(crate) struct Views {
    screen: Screen,
    jsonl: Option<Sink>,
    metrics: Option<Metrics>,
}

enum Screen {
    Nothing,
    Lines(Sink, Style),
    Full(Box<Tui>),
}

impl Views {
    /// What `args` ask for.
    pub(crate) fn open(
        args: &OutputArgs,
        duration: Option<Duration>,
        stop: &StopFlag,
        jsonl: Option<Sink>,
        machine_has_stdout: bool,
    ) -> Result<Self, Error> {
        let metrics = args.metrics.as_ref().map(Metrics::serve).transpose()?;
        let screen = if args.tui {
            if machine_has_stdout || !stdout().is_terminal() {
                let what = "--tui needs a terminal as standard output; accepted elsewhere: --quiet or the lines";
                return Err(Error::Usage(what.into()));
            }
            Screen::Full(Box::new(Tui::open(duration, stop.clone(), Style::of(&stdout()))?))
        } else if args.quiet {
            Screen::Nothing
        } else if machine_has_stdout {
            Screen::Lines(Sink::stderr(), Style::of(&stderr()))
        } else {
            Screen::Lines(Sink::stdout(), Style::of(&stdout()))
        };
        Ok(Self { screen, jsonl, metrics })
    }

    /// Shows events until no more can come. The first trouble with JSON lines is told; who does not read the lines for
    /// people may still want the result, whose writing tells of trouble.
    pub(crate) fn show_all(mut self, events: &Receiver<Event>) -> (Self, Result<(), Error>) {
        let mut result = Ok(());
        loop {
            match events.recv_timeout(KEYS) {
                Ok(event) => {
                    let shown = self.show(&event);
                    result = result.and(shown);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Screen::Full(tui) = &mut self.screen {
                tui.keys();
            }
        }
        // The terminal is as it was before the result is printed.
        self.screen = Screen::Nothing;
        (self, result)
    }

    fn show(&mut self, event: &Event) -> Result<(), Error> {
        match &mut self.screen {
            Screen::Nothing => {}
            Screen::Lines(sink, style) => {
                let _ = sink.write_text(&format!("{}\n", lines::line(event, *style)));
            }
            Screen::Full(tui) => tui.show(event),
        }
        if let Some(metrics) = &self.metrics {
            metrics.update(event);
        }
        match &mut self.jsonl {
            Some(sink) => sink.write_json(&jsonl::object(event), false),
            None => Ok(()),
        }
    }

    /// Writes the result as the last of the JSON lines.
    pub(crate) fn write_result(&mut self, document: &Value) -> Result<(), Error> {
        match &mut self.jsonl {
            Some(sink) => sink.write_json(&jsonl::result(document), false),
            None => Ok(()),
        }
    }
}
