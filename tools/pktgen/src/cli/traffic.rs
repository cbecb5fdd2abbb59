//! Making a run: what `run` and `replay` do alike.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use pktgen::capture::Recorder;
use pktgen::document::{Document, Outcome, Recording};
use pktgen::timeline::Timeline;
use pktgen::{Error, Options, Runner};
use plat_linux::StopFlag;

use super::OutputArgs;
use super::ports::PortArgs;
use crate::output::Output;

/// A run that is to be made.
pub(crate) struct Traffic<'a> {
    pub(crate) kind: &'static str,
    pub(crate) ports: &'a PortArgs,
    pub(crate) outputs: &'a OutputArgs,
    pub(crate) capture: Option<&'a PathBuf>,
    pub(crate) options: Options,
}

impl Traffic<'_> {
    /// Runs, and shows and writes what was found.
    pub(crate) fn make(self) -> Result<ExitCode, Error> {
        let Self { kind, ports, outputs, capture, options } = self;
        outputs.check_conditions(&options)?;
        ports.pin()?;
        let recorder = capture.map(|path| Recorder::create(path, &ports.names())).transpose()?;
        let stop = StopFlag::install().map_err(|error| Error::Usage(error.to_string()))?;
        let mut output = Output::open(outputs, options.duration, &stop)?;
        let mut runner = Runner::open_wrapped(&ports.ports, options, |device| match &recorder {
            Some(recorder) => recorder.tap(device),
            None => device,
        })?;
        runner.stop_on(stop.clone());
        let started = ports.start(outputs.is_silent(), &stop).inspect_err(|_| output.abandon())?;
        let mut timeline = Timeline::default();
        let result = runner.run(&mut |tick| {
            timeline.note(tick);
            output.tick(tick);
            ControlFlow::Continue(())
        });
        drop(started);
        drop(runner);
        let recording = recorder.map(|recorder| finish(recorder, capture)).transpose();
        let report = Box::new(result.inspect_err(|_| output.abandon())?);
        let text = report.to_string();
        // What was found is shown, also where not all that came back could be written.
        let (capture, trouble) = match recording {
            Ok(capture) => (capture, None),
            Err(error) => (None, Some(error)),
        };
        let document = Document::new(kind, Outcome::Run { report, timeline, capture });
        let status = output.finish(document, &text);
        trouble.map_or(status, Err)
    }
}

fn finish(recorder: Recorder, file: Option<&PathBuf>) -> Result<Recording, Error> {
    let recorded = recorder.finish()?;
    let file = file.map(|path| path.display().to_string()).unwrap_or_default();
    Ok(Recording { file, frames: recorded.frames, left_out: recorded.left_out })
}
