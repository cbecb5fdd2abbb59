//! `pktgen run`: generated traffic.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use pktgen::latency::Sampling;
use pktgen::{
    Direction, Error, FieldSpec, FrameSpec, Options, Profile, Rate, Scenario, SizeSpec, StreamSpec,
};

use super::ports::PortArgs;
use super::traffic::Traffic;
use super::{OutputArgs, seconds};

/// Generates frames, and says what became of each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pktgen run --port vhost-user:/tmp/a,server --port vhost-user:/tmp/b,server --rate 1Mpps
  pktgen run --port virtio-user:/tmp/a --rate max --count 1000000 --json - --fail-on 'loss>0'
  pktgen run --port vhost-user:/tmp/a --duration 60 --tui --metrics 127.0.0.1:9464 --report result")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    ports: PortArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Traffic")]
struct TrafficArgs {
    /// Streams from a TOML file; options go before what it says of the run
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size", "frame", "field", "flows", "profile", "per_flow"])]
    scenario: Option<PathBuf>,
    /// In each direction: 1Mpps, 10Mbps (L2 header included, FCS excluded), 10Gbit/s_L1, 50%@10G, max
    /// [default: 100kpps]
    #[arg(long, allow_hyphen_values = true)]
    rate: Option<Rate>,
    /// Bytes of frames, L2 header included, FCS excluded: 64, 64,594x4,1514, sweep:64-1514, imix-csit
    #[arg(long, default_value = "64", value_name = "BYTES", allow_hyphen_values = true)]
    size: SizeSpec,
    /// What frames are made of: ethernet/vlan(id=5)/ipv4/udp(destination=53), hex:BYTES, pcap:FILE#N
    #[arg(long)]
    frame: Option<FrameSpec>,
    /// A field that differs: ipv4.source=inc:10.0.0.1-10.0.3.232, udp.source=random:1024-65535@7
    #[arg(long, value_name = "NAME=VALUES")]
    field: Vec<FieldSpec>,
    /// Fields begin again after so many frames
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    flows: Option<u64>,
    /// Keep figures per flow
    #[arg(long, requires = "flows")]
    per_flow: bool,
    /// Spread over time: poisson@SEED, burst:N/PAUSE, ramp:RATE/TIME
    #[arg(long)]
    profile: Option<Profile>,
    /// Measure the latency of each frame, or of one in N
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = clap::value_parser!(u64).range(1..))]
    latency: Option<u64>,
    /// Frames to send in each direction
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration",
          allow_hyphen_values = true)]
    count: Option<u64>,
    /// Seconds to send for [default: until Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// Count a frame as corrupted if its MAC addresses were changed
    #[arg(long)]
    macs_fixed: bool,
    /// Write what comes back to this file, pcapng or pcap by its name
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
}

impl RunArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let Self { ports, traffic, outputs } = self;
        let options = traffic.apply(self.ports.options()?, self.ports.direction())?;
        Traffic { kind: "run", ports, outputs, capture: traffic.capture.as_ref(), options }.make()
    }
}

impl TrafficArgs {
    /// `options` with what the scenario says, and over it what is said here.
    fn apply(&self, mut options: Options, direction: Option<Direction>) -> Result<Options, Error> {
        match &self.scenario {
            Some(path) => {
                let scenario =
                    Scenario::open(path).map_err(|error| Error::Usage(error.to_string()))?;
                scenario.apply(&mut options);
                options.direction = direction.unwrap_or(options.direction);
            }
            None => options.streams = vec![self.stream()?],
        }
        options.rate = self.rate.unwrap_or(options.rate);
        if self.count.is_some() || self.duration.is_some() {
            (options.count, options.duration) = (self.count, self.duration);
        }
        options.macs_may_change = !self.macs_fixed;
        options.latency = self.latency.map(Sampling::one_in);
        Ok(options)
    }

    /// The one stream that the options describe.
    fn stream(&self) -> Result<StreamSpec, Error> {
        let plain = StreamSpec::default();
        let stream = StreamSpec {
            size: self.size.clone(),
            frame: self.frame.clone().unwrap_or(plain.frame),
            fields: self.field.clone(),
            flows: self.flows,
            per_flow: self.per_flow,
            profile: self.profile.unwrap_or(plain.profile),
            ..StreamSpec::default()
        };
        stream.check().map_err(Error::Usage)?;
        Ok(stream)
    }
}
