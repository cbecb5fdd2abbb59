//! What pktgen shows and writes: a live view, JSON, JSON lines, figures for Prometheus, a page.
//!
//! The packet thread hands over one event per second and does nothing else: a thread of its own shows it, so that a
//! terminal that stands still, or a slow disk, does not hold up traffic. Lines for people go to standard error when
//! standard output is for a machine. A closed pipe ends the printing, not the run; a full disk is an error.

mod event;
mod exposition;
mod jsonl;
mod lines;
mod metrics;
mod sink;
mod style;
mod view;

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use pktgen::document::Document;
use pktgen::search::Progress;
use pktgen::{Error, Tick, report_page};
use plat_linux::StopFlag;
use serde_json::Value;

use crate::cli::OutputArgs;

pub(crate) use event::{Event, TrialState};
pub(crate) use lines::{gauges, micros, mpps, span};
pub(crate) use metrics::MetricsAddress;
pub(crate) use style::Style;

use sink::{Sink, settle};
use view::Views;

/// Events that may wait to be shown; what comes while they all wait is left out of the view.
const WAITING: usize = 1024;

/// Where everything goes.
pub(crate) struct Output<'a> {
    args: &'a OutputArgs,
    people: Sink,
    json: Option<Sink>,
    events: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<(Views, Result<(), Error>)>>,
}

impl<'a> Output<'a> {
    /// Opens everything before anything is sent: better to fail now than after the run. `duration` is the run's, where
    /// it is known.
    pub(crate) fn open(
        args: &'a OutputArgs,
        duration: Option<Duration>,
        stop: &StopFlag,
    ) -> Result<Self, Error> {
        let open = |path: &Option<_>| path.as_deref().map(Sink::open).transpose();
        let (json, jsonl) = (open(&args.json)?, open(&args.jsonl)?);
        let on_stdout = |sink: &Option<Sink>| sink.as_ref().is_some_and(Sink::is_stdout);
        if on_stdout(&json) && on_stdout(&jsonl) {
            return Err(Error::Usage(
                "--json and --jsonl cannot both go to standard output".into(),
            ));
        }
        if let Some(directory) = &args.report {
            report_page::prepare(directory)?;
        }
        let machine_has_stdout = on_stdout(&json) || on_stdout(&jsonl);
        let people = if machine_has_stdout { Sink::stderr() } else { Sink::stdout() };
        let views = Views::open(args, duration, stop, jsonl, machine_has_stdout)?;
        let (events, inbox) = sync_channel(WAITING);
        let thread =
            std::thread::Builder::new().name("view".into()).spawn(move || views.show_all(&inbox));
        let thread =
            thread.map_err(|error| Error::Output(format!("no thread for the view: {error}")))?;
        Ok(Self { args, people, json, events: Some(events), thread: Some(thread) })
    }

    /// Shows a second of a run. Never waits.
    pub(crate) fn tick(&mut self, tick: &Tick) {
        self.send(Event::Tick(tick.clone()));
    }

    /// Shows a step of a search. Never waits.
    pub(crate) fn progress(&mut self, progress: &Progress<'_>) {
        self.send(Event::Trial(Box::new(TrialState::from(progress))));
    }

    fn send(&mut self, event: Event) {
        if let Some(events) = &self.events {
            let _ = events.try_send(event);
        }
    }

    /// Ends the view: there is no result.
    pub(crate) fn abandon(&mut self) {
        let _ = self.end_view();
    }

    fn end_view(&mut self) -> Option<(Views, Result<(), Error>)> {
        self.events = None;
        self.thread.take()?.join().ok()
    }

    /// Shows and writes the result; the exit status that follows from it.
    pub(crate) fn finish(mut self, mut document: Document, text: &str) -> Result<ExitCode, Error> {
        let (mut views, shown) =
            self.end_view().ok_or_else(|| Error::Output("the view ended before the run".into()))?;
        let unchecked = self.judge(&mut document);
        let value = serde_json::to_value(&document)
            .map_err(|error| Error::Output(format!("the result is no JSON: {error}")))?;
        let printed = settle(self.people.write_text(text), "the report");
        let written = self.json.as_mut().map_or(Ok(()), |json| json.write_json(&value, true));
        let line = views.write_result(&value);
        let page = self.args.report.as_deref().map_or(Ok(()), |directory| {
            let page = report_page::write(directory, &value)?;
            settle(self.people.write_text(&format!("report: {}\n", page.display())), "the report")
        });
        // Each was tried, whatever became of the others; the first trouble is told.
        shown.and(printed).and(written).and(line).and(page)?;
        if value["interrupted"] == Value::Bool(true) {
            complain(&"interrupted: the result is of the part that ran");
        }
        document.failed.iter().for_each(|failed| complain(&format_args!("failed: {failed}")));
        match unchecked {
            Some(what) => Err(Error::Output(what)),
            None => Ok(ExitCode::from(u8::from(!document.failed.is_empty()))),
        }
    }

    /// Looks at the conditions of `--fail-on`; which could not be checked.
    fn judge(&self, document: &mut Document) -> Option<String> {
        if self.args.fail_on.is_empty() {
            return None;
        }
        let value = serde_json::to_value(&*document).unwrap_or_default();
        let mut unchecked = None;
        for condition in &self.args.fail_on {
            match condition.check(&value) {
                Ok(held) => document.failed.extend(held),
                Err(what) => unchecked = Some(what),
            }
        }
        unchecked
    }
}

/// Prints an error, if anybody listens.
pub(crate) fn complain(what: &dyn Display) {
    let _ = writeln!(stderr(), "pktgen: {what}");
}

/// Prints a text that was asked for.
pub(crate) fn print(text: &dyn Display) -> Result<ExitCode, Error> {
    let mut out = stdout().lock();
    settle(writeln!(out, "{text}").and_then(|()| out.flush()), "standard output")?;
    Ok(ExitCode::SUCCESS)
}
