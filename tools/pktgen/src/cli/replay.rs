//! `pktgen replay`: a capture's frames.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pktgen::capture::{Filter, Rewrite, Span};
use pktgen::{Capture, Error, Options, Rate, Replay, Speed, Timing};

use super::ports::PortArgs;
use super::traffic::Traffic;
use super::{OutputArgs, seconds};
use crate::output;

/// Plays the Ethernet frames of a pcap or pcapng file
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pktgen replay web.pcap --port vhost-user:/tmp/a --port vhost-user:/tmp/b --compare --direction forward
  pktgen replay web.pcapng --port virtio-user:/tmp/a --rate max --loops 100 --filter-port 80,443
  pktgen replay web.pcap --port vhost-user:/tmp/a --speed 2 --rewrite 10.0.0.0/24=192.168.1.0/24 --capture back.pcapng")]
pub(crate) struct ReplayArgs {
    /// The capture: pcap (micro- or nanoseconds) or pcapng
    file: PathBuf,
    #[command(flatten)]
    ports: PortArgs,
    #[command(flatten)]
    playing: PlayArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Playing")]
struct PlayArgs {
    /// Frames or bits per second in each direction, or max [default: as captured]
    #[arg(long, conflicts_with = "speed", allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// As captured, so many times as fast: 0.001 to 1000
    #[arg(long, default_value = "1", value_name = "FACTOR", allow_hyphen_values = true)]
    speed: Speed,
    /// Play it so many times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration",
          allow_hyphen_values = true)]
    loops: Option<u64>,
    /// Play it again and again for so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// Only frames from or to these TCP or UDP ports: 80,443,8000-8999
    #[arg(long, value_name = "PORTS", value_delimiter = ',', allow_hyphen_values = true)]
    filter_port: Vec<Span>,
    /// Only frames of these lengths in bytes: 64-128,1514
    #[arg(long, value_name = "BYTES", value_delimiter = ',', allow_hyphen_values = true)]
    filter_length: Vec<Span>,
    /// Other addresses: src-mac=MAC, dst-mac=MAC, src-ip=IP, dst-ip=IP, NETWORK=NETWORK; checksums follow
    #[arg(long, value_name = "RULE")]
    rewrite: Vec<Rewrite>,
    /// Compare what comes back with the capture, frame by frame
    #[arg(long)]
    compare: bool,
    /// When comparing, MAC addresses count
    #[arg(long, requires = "compare")]
    macs_fixed: bool,
    /// Write what comes back to this file: pcapng if it is called so, else pcap, with nanoseconds
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

impl ReplayArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let Self { ports, playing, outputs, .. } = self;
        let base = ports.options()?;
        let capture = self.load()?;
        let timing = match playing.rate {
            Some(_) => Timing::Rate,
            None => Timing::Original(playing.speed),
        };
        let frames = capture.frames().len() as u64;
        let options = Options {
            rate: playing.rate.unwrap_or(Rate::Max),
            timing,
            count: playing.loops.map(|loops| loops.saturating_mul(frames)),
            duration: playing.duration,
            replay: Some(Replay { capture, compare: playing.compare }),
            macs_may_change: !playing.macs_fixed,
            ..base
        };
        Traffic { kind: "replay", ports, outputs, capture: playing.capture.as_ref(), options }
            .make()
    }

    /// The capture as it is to be played.
    fn load(&self) -> Result<Capture, Error> {
        let usage = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
        let Self { playing, file, .. } = self;
        if playing.capture.as_ref().is_some_and(|to| same_file(to, file)) {
            return Err(Error::Usage("--capture would overwrite the file that is played".into()));
        }
        let capture = Capture::open(file).map_err(|error| usage(&error))?;
        for (count, what) in [
            (capture.undersize, "are too short for an Ethernet header and are left out"),
            (capture.cut, "were cut when they were captured and are played as they are"),
            (
                capture.backwards,
                "have a time before that of the frame in front, and follow it at once",
            ),
        ] {
            if count > 0 && !self.outputs.quiet {
                output::complain(&format_args!("{}: {count} frames {what}", file.display()));
            }
        }
        let filter =
            Filter { ports: playing.filter_port.clone(), lengths: playing.filter_length.clone() };
        let capture = capture.filtered(&filter).map_err(|error| usage(&error))?;
        Ok(capture.rewritten(&playing.rewrite))
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
