//! From port specifications to devices. Which drivers there are is the facade's business: a new one appears
//! here by itself.

use std::fmt;
use std::str::FromStr;

use barewire::ports::{Monitor, PortMemory, Role};
use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::{Device, Info};

pub use barewire::ports::PortSpec;

use crate::{Error, Options, discard, memory};

/// What `--port` names: a port of the tree, or pktgen's own [`discard`](crate::discard).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyPort {
    /// A port with a driver.
    Port(PortSpec),
    /// A port that throws every frame away.
    Discard,
}

impl From<PortSpec> for AnyPort {
    fn from(spec: PortSpec) -> Self {
        Self::Port(spec)
    }
}

impl FromStr for AnyPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == discard::DRIVER {
            return Ok(Self::Discard);
        }
        let spec = text.parse().map(Self::Port);
        spec.map_err(|error: barewire::ports::ParsePortError| format!("{error}, or discard"))
    }
}

impl fmt::Display for AnyPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(spec) => spec.fmt(f),
            Self::Discard => f.write_str(discard::DRIVER),
        }
    }
}

impl AnyPort {
    /// Bytes of packet memory that its rings take.
    fn ring_bytes(&self) -> usize {
        match self {
            Self::Port(spec) => spec.ring_bytes(),
            Self::Discard => 0,
        }
    }

    fn open(&self, memory: &mut PortMemory) -> Result<(Box<dyn Device>, Option<Monitor>), String> {
        match self {
            Self::Port(spec) => spec.open(memory).map(|(device, peers)| (device, Some(peers))),
            Self::Discard => Ok((discard::device(), None)),
        }
    }

    /// The port with memory for the rings of `pairs` pairs of queues, unless its own option says how many: a driver's
    /// rings are in our memory, and it can use no more of them than that.
    fn with_pairs(&self, pairs: u16) -> Self {
        match self {
            Self::Port(spec) if spec.role == Role::FrontEnd => {
                let mut spec = spec.clone();
                spec.preset.pairs.get_or_insert(pairs);
                Self::Port(spec)
            }
            other => other.clone(),
        }
    }

    /// Refuses an option that leaves some of `cores` cores without a pair of queues.
    fn check_cores(&self, cores: usize) -> Result<(), Error> {
        let Self::Port(spec) = self else { return Ok(()) };
        match spec.preset.pairs {
            Some(pairs) if usize::from(pairs) < cores => Err(Error::Usage(format!(
                "port {self}: queues={pairs} leaves some of {cores} cores without a queue; accepted: queues={cores} or \
                 more, or no such option"
            ))),
            _ => Ok(()),
        }
    }
}

/// The ports as they are to be opened: each with the queues that `options` want. Reports go on naming them as they were.
fn outfitted(specs: &[AnyPort], options: &Options) -> Result<Vec<AnyPort>, Error> {
    let cores = options.cores.len();
    specs.iter().try_for_each(|spec| spec.check_cores(cores))?;
    let pairs = u16::try_from(cores).unwrap_or(u16::MAX).max(options.queues);
    Ok(specs.iter().map(|spec| spec.with_pairs(pairs.clamp(1, MAX_PAIRS))).collect())
}

/// Most pairs of queues that a driver asks for by itself: as many as the option `queues` takes.
const MAX_PAIRS: u16 = 128;

/// Devices with the names that reports give them.
pub(crate) type Devices = Vec<(String, Box<dyn Device>)>;

/// Memory for several cores' pools, and what each pool looks like.
pub(crate) type PoolMemory = (Vec<DeviceMemory>, PoolConfig);

/// The peers of each port that has any, with its name.
pub(crate) type Peers = Vec<(String, Monitor)>;

/// Ports that are open, and not started.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) devices: Devices,
    pub(crate) peers: Peers,
}

/// Opens the ports and makes the packet memory that they share.
pub(crate) fn open(specs: &[AnyPort], options: &Options) -> Result<(Opened, Pool), Error> {
    let outfitted = outfitted(specs, options)?;
    let (mut memory, config) = prepare(&outfitted, options, 1)?;
    let opened = open_all(specs, &outfitted, &mut memory)?;
    Ok((opened, memory::pool(&mut memory, config)?))
}

/// Opens the ports, and has memory for so many pools.
pub(crate) fn open_for(
    specs: &[AnyPort],
    options: &Options,
    pools: usize,
) -> Result<(Opened, PoolMemory), Error> {
    let outfitted = outfitted(specs, options)?;
    let (mut memory, config) = prepare(&outfitted, options, pools)?;
    let opened = open_all(specs, &outfitted, &mut memory)?;
    Ok((opened, memory::pieces(&mut memory, config, pools)?))
}

/// Memory for so many pools, where the ports are somebody else's.
pub(crate) fn memory_for(options: &Options, pools: usize) -> Result<PoolMemory, Error> {
    let (mut memory, config) = prepare(&[], options, pools)?;
    memory::pieces(&mut memory, config, pools)
}

fn prepare(
    specs: &[AnyPort],
    options: &Options,
    pools: usize,
) -> Result<(PortMemory, PoolConfig), Error> {
    let config = memory::pool_config(options);
    let rings = specs.iter().map(AnyPort::ring_bytes).sum();
    Ok((memory::share(config, pools, rings)?, config))
}

fn open_all(
    named: &[AnyPort],
    specs: &[AnyPort],
    memory: &mut PortMemory,
) -> Result<Opened, Error> {
    let mut all = Opened::default();
    for (name, spec) in named.iter().zip(specs) {
        let name = name.to_string();
        let (device, peers) =
            spec.open(memory).map_err(|reason| Error::Port { name: name.clone(), reason })?;
        all.peers.extend(peers.map(|peers| (name.clone(), peers)));
        all.devices.push((name, device));
    }
    Ok(all)
}

/// Opens a port only to see what it offers.
///
/// # Errors
/// It cannot be opened, or there is no memory.
pub fn probe(spec: &AnyPort) -> Result<Info, Error> {
    let (mut memory, _) = prepare(std::slice::from_ref(spec), &Options::default(), 1)?;
    let opened = spec.open(&mut memory);
    opened
        .map(|(device, _)| device.info())
        .map_err(|reason| Error::Port { name: spec.to_string(), reason })
}
