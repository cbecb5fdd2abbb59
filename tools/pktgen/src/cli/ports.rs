//! The ports of a command, and the core that it polls them on.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueHint};
use pktgen::{AnyPort, Direction, Error, Options, PortSpec};
use plat_linux::{StopFlag, pin_to_core};

use super::seconds;
use super::start::Started;

/// Which ports, and how.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ports")]
pub(crate) struct PortArgs {
    /// A port: vhost-user:PATH[,OPTION]... (pktgen is the device), virtio-user:PATH[,OPTION]... (the driver) or
    /// discard. The first is A, the second B; with one, frames are expected back on it
    #[arg(long = "port", value_name = "SPEC", required = true)]
    pub(crate) ports: Vec<AnyPort>,
    /// both, forward (A to B) or backward (B to A)
    #[arg(long, value_parser = directions(), hide_possible_values = true)]
    direction: Option<Direction>,
    /// Queues of each port, each way, as far as it has so many
    #[arg(long, default_value = "1", value_name = "N", value_parser = clap::value_parser!(u16).range(1..),
          allow_hyphen_values = true)]
    queues: u16,
    /// Seconds to wait for links and a first frame
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    warm_up: Duration,
    /// Run on this core; on several (0,1): a thread and a queue on each
    #[arg(long, value_name = "N", value_delimiter = ',', allow_hyphen_values = true)]
    core: Vec<usize>,
    /// Start this when the ports are open, on other cores; end it at the end
    #[arg(long, value_name = "COMMAND", value_hint = ValueHint::CommandString)]
    start: Option<String>,
}

impl PortArgs {
    /// Options with what is said here.
    pub(crate) fn options(&self) -> Result<Options, Error> {
        check_sockets(&self.ports)?;
        if self.ports.len() > 2 {
            let number = self.ports.len();
            return Err(Error::Usage(format!("{number} ports were given; one or two can be used")));
        }
        let direction = self.direction.unwrap_or_default();
        let (warm_up, queues, cores) = (self.warm_up, self.queues, self.core.clone());
        check_cores(&cores, queues)?;
        Ok(Options { direction, warm_up, queues, cores, ..Options::default() })
    }

    /// Stays on the chosen core. (Of several, each gets a thread of its own.)
    pub(crate) fn pin(&self) -> Result<(), Error> {
        let [core] = self.core[..] else { return Ok(()) };
        pin_to_core(core).map_err(|error| Error::Usage(error.to_string()))
    }

    /// Starts what is to be started: the ports are open. `stop` is set when it ends by itself.
    pub(crate) fn start(&self, silent: bool, stop: &StopFlag) -> Result<Option<Started>, Error> {
        let Some(command) = &self.start else { return Ok(None) };
        Started::new(command, &self.core, silent, stop.clone()).map(Some)
    }

    /// The direction, if one was given.
    pub(crate) fn direction(&self) -> Option<Direction> {
        self.direction
    }

    /// The names of the ports.
    pub(crate) fn names(&self) -> Vec<String> {
        self.ports.iter().map(ToString::to_string).collect()
    }
}

/// The directions by name, so that a shell can complete them.
fn directions() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(["both", "forward", "backward"]).try_map(|name| name.parse())
}

/// Several cores have a thread each, and a thread has one queue of each port.
fn check_cores(cores: &[usize], queues: u16) -> Result<(), Error> {
    let [_, _, ..] = cores else { return Ok(()) };
    if let Some(twice) = (1..cores.len()).find(|&n| cores[..n].contains(&cores[n])) {
        let what = format!("core {} was given twice; accepted: each core once", cores[twice]);
        return Err(Error::Usage(what));
    }
    if queues != 1 && usize::from(queues) != cores.len() {
        return Err(Error::Usage(format!(
            "--queues {queues} does not fit {0} cores; accepted: a queue for each core, {0}, which needs not be said",
            cores.len()
        )));
    }
    Ok(())
}

/// Two ports on one socket make sense only as each other's peers.
fn check_sockets(ports: &[AnyPort]) -> Result<(), Error> {
    let sockets = ports.iter().filter_map(|port| match port {
        AnyPort::Port(spec) => Some(spec),
        AnyPort::Discard => None,
    });
    let ports: Vec<_> = sockets.collect();
    for (number, port) in ports.iter().enumerate() {
        let clash = |other: &&&PortSpec| {
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
