//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use pktgen::{Capture, Direction, Error, FrameSize, Options, PortSpec, Rate, Replay};

/// Sends frames into two ports (or one), and says what became of each.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  pktgen --port vhost-user:/tmp/a,server --port vhost-user:/tmp/b,server --rate 1Mpps --duration 10
  pktgen --port virtio-user:/tmp/a --rate max --count 1000000 --json -
  pktgen --port vhost-user:/tmp/a --port vhost-user:/tmp/b --replay capture.pcap --compare --direction forward

Ctrl-C ends a run; its report is then marked interrupted. A second one ends pktgen at once."
)]
pub(crate) struct Cli {
    /// A port: vhost-user:PATH[,server] (pktgen is the device) or virtio-user:PATH[,server] (pktgen is the
    /// driver); the first is A, the second B; with one, frames are expected back on it
    #[arg(long = "port", value_name = "SPEC", required = true)]
    ports: Vec<PortSpec>,
    /// Frames or bits per second in each direction: 1Mpps, 10Mbps (L2 header included, FCS excluded), max
    #[arg(long, default_value = "100kpps", allow_hyphen_values = true)]
    rate: Rate,
    /// Bytes of each frame, L2 header included, FCS excluded
    #[arg(
        long,
        default_value = "64",
        value_name = "BYTES",
        allow_hyphen_values = true,
        conflicts_with = "replay"
    )]
    size: FrameSize,
    /// Frames to send in each direction
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "duration")]
    count: Option<u64>,
    /// Seconds to send for [default: until Ctrl-C; a capture is played once]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// both, forward (A to B) or backward (B to A)
    #[arg(long, default_value = "both")]
    direction: Direction,
    /// Play the Ethernet frames of a pcap or pcapng file
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
    /// Compare what comes back with the capture, frame by frame
    #[arg(long, requires = "replay")]
    compare: bool,
    /// Count a frame as corrupted if its MAC addresses were changed
    #[arg(long)]
    macs_fixed: bool,
    /// Seconds to wait for links and a first frame
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    warm_up: Duration,
    /// Write the report as JSON to this file (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Run on this core
    #[arg(long, value_name = "N")]
    pub(crate) core: Option<usize>,
    /// No line per second
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Exit with status 1 unless every frame came back once, in order and intact
    #[arg(long)]
    pub(crate) fail_on_loss: bool,
}

impl Cli {
    /// The ports and what to do with them.
    pub(crate) fn resolve(&self) -> Result<(Vec<PortSpec>, Options), Error> {
        check_sockets(&self.ports)?;
        let replay = match &self.replay {
            None => None,
            Some(path) => {
                let capture =
                    Capture::open(path).map_err(|error| Error::Usage(error.to_string()))?;
                Some(Replay { capture, compare: self.compare })
            }
        };
        let options = Options {
            rate: self.rate,
            size: self.size,
            count: self.count,
            duration: self.duration,
            direction: self.direction,
            replay,
            macs_may_change: !self.macs_fixed,
            warm_up: self.warm_up,
            ..Options::default()
        };
        Ok((self.ports.clone(), options))
    }
}

/// Two ports on one socket make sense only as each other's peers.
fn check_sockets(ports: &[PortSpec]) -> Result<(), Error> {
    for (number, port) in ports.iter().enumerate() {
        let clash = |other: &&PortSpec| {
            other.path == port.path && (other.role == port.role || other.server == port.server)
        };
        if ports[..number].iter().any(|other| clash(&other)) {
            let path = port.path.display();
            return Err(Error::Usage(format!(
                "two ports have the socket {path}; each needs its own"
            )));
        }
    }
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = text.parse::<f64>().ok().filter(|&s| plain && s > 0.0 && s <= 1e9);
    value.map(Duration::from_secs_f64).ok_or_else(|| {
        format!("`{text}` is no time; accepted: seconds above 0 and up to 1e9, such as 10 or 0.5")
    })
}
