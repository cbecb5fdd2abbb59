//! The machine: what a network function is given, whatever it runs on.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use eventloop::{Clock as _, EventLoop, Idle, Meter};
use netbuf::{Pool, PoolConfig};
use netdev::{Config, Device, Offloads, Port};

use crate::Error;
use crate::params::{IdlePolicy, Params};

#[cfg(all(feature = "kvm", not(feature = "linux")))]
use crate::kvm::{Clock, Platform};
#[cfg(feature = "linux")]
use crate::linux::{Clock, Platform};

/// Entries of a receive and a transmit ring that a pool is sized for, where the configuration names none.
const DEFAULT_RINGS: (u16, u16) = (256, 1024);

/// Buffers on top of what the rings hold: bursts in flight.
const SPARE_BUFFERS: usize = 256;

/// Bytes beside a frame in a buffer, where hashes are reported.
const HASH_ROOM: u16 = 8;

/// Ports that are not started, parameters, memory, clock and console.
pub struct Machine {
    /// The parameters of the program.
    pub params: Params,
    /// The devices, in the order in which the command line or the buses name them.
    pub devices: Vec<Box<dyn Device>>,
    /// What the ports were started with, once they were: what a port that is [restarted](netdev::Port::restart) needs.
    pub pool: Option<Pool>,
    pub(crate) idle: IdlePolicy,
    pub(crate) platform: Platform,
}

/// Turns without a packet before the loop sleeps, where it may.
const TURNS_AWAKE: u32 = 1000;

/// Longest sleep in fractions of a second, while a device cannot wake the machine.
const NAPS_PER_SECOND: u64 = 10_000;

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("params", &self.params)
            .field("devices", &self.devices.len())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Starts every device with one pool for all of them, each with its number as [`Config::port`].
    ///
    /// # Errors
    /// There is no device, or one did not start, or the machine has too little memory for the rings.
    pub fn start_ports(&mut self, config: &Config) -> Result<Vec<Port>, Error> {
        if self.devices.is_empty() {
            return Err(Error::Ports { found: 0, needed: "at least one virtio network device" });
        }
        let pool = self.make_pool(config)?;
        self.pool = Some(pool);
        let devices = core::mem::take(&mut self.devices).into_iter().enumerate();
        let ports: Result<Vec<Port>, Error> = devices
            .map(|(number, device)| {
                let port = u16::try_from(number).unwrap_or(u16::MAX);
                device
                    .start(&Config { port, ..*config }, &pool)
                    .map_err(|error| Error::Start { port: number, reason: error.reason })
            })
            .collect();
        let ports = ports?;
        for (number, port) in ports.iter().enumerate() {
            crate::println!("port {number}: {}", Summary(port));
        }
        Ok(ports)
    }

    /// A pool that fills the rings of every device as `config` wants them, or as much of that as the machine's
    /// memory holds. Frames that may not go over several buffers get buffers that hold the largest.
    fn make_pool(&mut self, config: &Config) -> Result<Pool, Error> {
        let (rx, tx) = DEFAULT_RINGS;
        let per_port = usize::from(config.rx_ring.unwrap_or(rx)) * usize::from(config.rx_queues)
            + usize::from(config.tx_ring.unwrap_or(tx)) * usize::from(config.tx_queues);
        let wanted = self.devices.len() * per_port + SPARE_BUFFERS;
        let mut shape = PoolConfig { buffers: wanted, ..PoolConfig::default() };
        if !config.offloads.contains(Offloads::RX_CHAINS) {
            let frame = config.max_frame.and_then(|bytes| u16::try_from(bytes).ok()).unwrap_or(0);
            let most = u16::MAX - shape.headroom;
            shape.room = shape.room.max(frame.saturating_add(HASH_ROOM)).min(most);
        }
        let buffers = wanted.min(self.platform.memory_left() / shape.stride());
        let shape = PoolConfig { buffers, ..shape };
        let memory = self.platform.device_memory(shape.device_bytes())?;
        Ok(Pool::new(memory, shape)?)
    }

    /// The machine's clock.
    pub fn clock(&self) -> Clock {
        self.platform.clock()
    }

    /// An event loop that prints a line per second on `ports` (rates, cycles per packet, burst fill, drops), and ends
    /// when the machine is asked to.
    pub fn event_loop<'a>(&'a mut self, ports: &[Port]) -> EventLoop<'a, Clock> {
        let clock = self.clock();
        let mut meter = Meter::new(&clock);
        for port in ports {
            meter.watch(port);
        }
        let mut event_loop = EventLoop::new(clock);
        event_loop.every(Duration::from_secs(1), move |tick| {
            crate::println!("{}", meter.read(tick));
        });
        let nap = clock.hz() / NAPS_PER_SECOND;
        event_loop.idle(match self.idle {
            IdlePolicy::Spin => Idle::Spin,
            IdlePolicy::Pause => Idle::Pause,
            IdlePolicy::Sleep => {
                Idle::Sleep { after: TURNS_AWAKE, nap, sleeper: self.platform.sleeper() }
            }
        });
        self.platform.prepare(&mut event_loop);
        crate::println!("barewire: polling {} ports{}", ports.len(), self.platform.uptime());
        event_loop
    }
}

/// What a started port is, in a line.
struct Summary<'a>(&'a Port);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.0.info;
        write!(
            f,
            "{} {}, {} rings {}/{}, frames up to {} bytes, offloads: {}",
            info.driver,
            info.mac,
            info.ring_format,
            info.rx_ring.max,
            info.tx_ring.max,
            info.max_frame,
            info.offloads
        )
    }
}
