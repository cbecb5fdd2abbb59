//! The machine as a Linux process: command line, shared memory, signals.

use std::fmt;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use eventloop::{EventLoop, Sleeper};
use netbuf::DeviceMemory;
use netdev::WakeSource;
use plat_linux::{Region, StopFlag};

use crate::Error;
use crate::machine::Machine;
use crate::params::Params;
use crate::ports::{Monitor, PortMemory, PortSpec};

/// Bytes of the region that packets and rings lie in.
const MEMORY: usize = 32 << 20;

/// What every network function accepts as a process.
#[derive(Debug, Parser)]
#[command(about = "A Barewire network function", disable_version_flag = true)]
struct Cli {
    /// A port: vhost-user:PATH[,OPTION]... (we are the device) or virtio-user:PATH[,OPTION]... (we are the driver), where
    /// OPTION is server, queues=N, queue_size=N, packed_vq=0|1, mrg_rxbuf=0|1, in_order=0|1, event_idx=0|1 or
    /// indirect_desc=0|1; repeat it for more ports
    #[arg(long = "port", value_name = "SPEC", required = true)]
    ports: Vec<PortSpec>,
    /// Pin the polling thread to this core
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Parameters of the function
    #[arg(value_name = "KEY=VALUE")]
    params: Vec<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value = text.parse::<f64>().ok().filter(|s| *s > 0.0 && *s <= 1e9);
    value.map(Duration::from_secs_f64).ok_or_else(|| {
        "a number of seconds above 0 and up to 1e9 is accepted, such as 10 or 0.5".into()
    })
}

/// What a process gives besides ports.
pub(crate) struct Platform {
    memory: PortMemory,
    clock: plat_linux::Clock,
    stop: StopFlag,
    duration: Option<Duration>,
    /// Of each port: as it was named, and its peers.
    peers: Vec<(String, Monitor)>,
}

impl Platform {
    pub(crate) fn memory_left(&self) -> usize {
        self.memory.left()
    }

    pub(crate) fn device_memory(&mut self, bytes: usize) -> Result<DeviceMemory, Error> {
        self.memory.take(bytes)
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock(self.clock)
    }

    /// Sleeps on file descriptors.
    pub(crate) fn sleeper(&self) -> Box<dyn Sleeper> {
        let clock = self.clock;
        Box::new(move |until: Option<u64>, sources: &[WakeSource]| {
            let fds: Vec<RawFd> = sources
                .iter()
                .filter_map(|source| if let WakeSource::Fd(fd) = *source { Some(fd) } else { None })
                .collect();
            let left = until.map(|until| clock.to_duration(until.saturating_sub(clock.now())));
            // A descriptor that cannot be waited for is found by the next poll; waiting for a moment keeps an
            // error that repeats from taking the whole core.
            if plat_linux::wait_readable(&fds, left).is_err() {
                std::thread::yield_now();
            }
        })
    }

    /// Makes the loop end at a signal, or after the duration that was asked for.
    pub(crate) fn prepare<'a>(&'a self, event_loop: &mut EventLoop<'a, Clock>) {
        event_loop.add(|turn| {
            if self.stop.is_set() {
                turn.stop();
            }
        });
        if let Some(duration) = self.duration {
            event_loop.after(duration, |tick| tick.stop());
        }
        let mut seen = vec![0; self.peers.len()];
        event_loop.every(Duration::from_secs(1), move |_| self.complain(&mut seen));
    }

    /// Says of each port that has refused a peer since the last time why it refused the last one. `seen`: how many had been
    /// refused then.
    fn complain(&self, seen: &mut [u64]) {
        for (number, ((name, peers), seen)) in self.peers.iter().zip(seen).enumerate() {
            let refused = peers.violations();
            if let Some(why) = peers.last_violation().filter(|_| refused > *seen) {
                eprintln!("port {number}: {name}: a peer was refused: {why} ({refused} so far)");
            }
            *seen = refused;
        }
    }

    /// Nothing: a process is up when it starts.
    pub(crate) fn uptime(&self) -> impl fmt::Display {
        ""
    }
}

/// The process's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(plat_linux::Clock);

impl eventloop::Clock for Clock {
    #[inline]
    fn now(&self) -> u64 {
        self.0.now()
    }

    fn hz(&self) -> u64 {
        self.0.hz()
    }
}

/// Runs a network function as a process and says how the process is to end.
pub fn run(function: fn(Machine) -> Result<(), Error>) -> ExitCode {
    let result = open(Cli::parse()).and_then(function);
    let Err(error) = result else { return ExitCode::SUCCESS };
    eprintln!("error: {error}");
    ExitCode::from(if error.is_usage() { 2 } else { 1 })
}

fn open(cli: Cli) -> Result<Machine, Error> {
    let params = Params::from_words(cli.params.iter().map(String::as_str))?;
    let idle = params.get("idle")?.unwrap_or_default();
    if let Some(core) = cli.core {
        plat_linux::pin_to_core(core).map_err(|error| Error::Usage(error.to_string()))?;
    }
    let failed = |error: &dyn fmt::Display| Error::Machine(error.to_string());
    let stop = StopFlag::install().map_err(|error| failed(&error))?;
    let rings: usize = cli.ports.iter().map(PortSpec::ring_bytes).sum();
    let region = Region::new(MEMORY + rings).map_err(|error| failed(&error))?;
    let mut memory = PortMemory::new(region);
    let (mut devices, mut peers) = (Vec::new(), Vec::new());
    for (port, spec) in cli.ports.iter().enumerate() {
        let opened = spec.open(&mut memory);
        let (device, monitor) = opened.map_err(|reason| Error::Open { port, reason })?;
        devices.push(device);
        peers.push((spec.to_string(), monitor));
    }
    let clock = plat_linux::Clock::new();
    let platform = Platform { memory, clock, stop, duration: cli.duration, peers };
    Ok(Machine { params, devices, pool: None, idle, platform })
}
