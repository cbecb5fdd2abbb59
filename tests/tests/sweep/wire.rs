//! What stands behind the image's two ports: our vhost-user back ends, several queues and all; or QEMU's own device
//! with datagram sockets, by which each frame is a datagram.

use std::os::unix::net::UnixDatagram;

use barewire::ports::{PortMemory, PortSpec, Preset, Role};
use end_to_end::scratch::Scratch;
use netbuf::{Burst, Checksum, Pool, PoolConfig};
use netdev::{Config, Offloads, Port};
use plat_linux::Region;

/// Where the sum of a frame starts, and how far behind that it stands: as in UDP over IPv4.
const PARTIAL: (u16, u16) = (34, 6);

/// The frame with its checksum completed, word by word (RFC 1071).
pub(crate) fn completed(frame: &[u8]) -> Vec<u8> {
    let (start, field) = (usize::from(PARTIAL.0), usize::from(PARTIAL.0 + PARTIAL.1));
    let words = frame[start..].chunks(2).map(|word| [word[0], word.get(1).copied().unwrap_or(0)]);
    let sum: u64 = words.map(|word| u64::from(u16::from_be_bytes(word))).sum();
    // (A sum modulo 0xffff, but that it is zero only where all words are.)
    let folded = if sum == 0 { 0 } else { (sum - 1) % 0xffff + 1 };
    let result = if folded == 0xffff { 0xffff } else { 0xffff - folded };
    let mut frame = frame.to_vec();
    frame[field..field + 2]
        .copy_from_slice(&u16::try_from(result).expect("it is folded").to_be_bytes());
    frame
}

/// Far longer than any frame.
const LONGEST: usize = 16_384;

/// A frame that came out of the image.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    /// Its checksum was left to us.
    pub(crate) partial: bool,
}

pub(crate) enum Wire {
    VhostUser([BackEnd; 2]),
    Dgram([UnixDatagram; 2], [String; 2]),
}

impl Wire {
    /// Two back ends, and the image's ports for them.
    pub(crate) fn vhost_user(
        scratch: &Scratch,
        queues: u16,
        max_frame: u32,
    ) -> (Self, [String; 2]) {
        let paths = ["a", "b"].map(|name| scratch.file(name));
        let ports = paths.each_ref().map(|path| format!("vhost-user:{path},queues={queues}"));
        (Self::VhostUser(paths.map(|path| BackEnd::new(path, queues, max_frame))), ports)
    }

    /// Two sockets, and the image's ports for them.
    pub(crate) fn dgram(scratch: &Scratch) -> (Self, [String; 2]) {
        let ours = ["a", "b"].map(|name| scratch.file(name));
        let theirs = ["c", "d"].map(|name| scratch.file(name));
        let socket = |path: &String| {
            let socket = UnixDatagram::bind(path).expect("the directory is ours");
            socket.set_nonblocking(true).expect("sockets can be non-blocking");
            socket
        };
        let ports = [0, 1].map(|port| format!("dgram:{},{}", theirs[port], ours[port]));
        (Self::Dgram(ours.each_ref().map(socket), theirs), ports)
    }

    /// Pairs of queues.
    pub(crate) fn queues(&self) -> usize {
        match self {
            Self::VhostUser([first, _]) => first.port.rx.len(),
            Self::Dgram(..) => 1,
        }
    }

    /// Gives a port's queue a frame for the image, with a checksum from byte 34 on that is to be completed, where there
    /// is a way to say so; whether it took it.
    pub(crate) fn send(&mut self, port: usize, queue: usize, frame: &[u8]) -> bool {
        match self {
            Self::VhostUser(ports) => ports[port].send(queue, frame),
            Self::Dgram(sockets, theirs) => {
                sockets[port].send_to(&completed(frame), &theirs[port]).is_ok()
            }
        }
    }

    /// What the image has sent into a port's queue.
    pub(crate) fn take(&mut self, port: usize, queue: usize) -> Vec<Frame> {
        match self {
            Self::VhostUser(ports) => ports[port].take(queue),
            Self::Dgram(sockets, _) => {
                let mut frame = vec![0; LONGEST];
                let next = || {
                    let length = sockets[port].recv(&mut frame).ok()?;
                    Some(Frame { bytes: frame[..length].to_vec(), partial: false })
                };
                std::iter::from_fn(next).collect()
            }
        }
    }
}

pub(crate) struct BackEnd {
    port: Port,
    pool: Pool,
}

impl BackEnd {
    fn new(path: String, queues: u16, max_frame: u32) -> Self {
        let spec = PortSpec {
            role: Role::BackEnd,
            path: path.into(),
            server: true,
            preset: Preset::default(),
        };
        let shape = PoolConfig { buffers: 4096, ..PoolConfig::default() };
        let region = Region::with_ordinary_pages(shape.device_bytes()).unwrap();
        let mut memory = PortMemory::new(region);
        let (device, _) = spec.open(&mut memory).unwrap();
        let pool = Pool::new(memory.take(shape.device_bytes()).unwrap(), shape).unwrap();
        // All that the image might be offered.
        let offloads = device.info().offloads;
        let offloads = offloads
            & (Offloads::RX_CHAINS
                | Offloads::TX_CHAINS
                | Offloads::RX_CHECKSUM
                | Offloads::TX_CHECKSUM);
        let max_frame = Some(max_frame);
        let config = Config {
            rx_queues: queues,
            tx_queues: queues,
            max_frame,
            offloads,
            ..Config::default()
        };
        Self { port: device.start(&config, &pool).unwrap(), pool }
    }

    fn send(&mut self, queue: usize, frame: &[u8]) -> bool {
        // (A frame that is larger than a buffer takes several.)
        let mut burst = Burst::new();
        burst.extend(self.pool.copy_from(frame));
        for packet in &mut burst {
            let (start, offset) = PARTIAL;
            packet.set_checksum(Checksum::Partial { start, offset });
        }
        self.port.tx[queue].tx_burst(&mut burst) == 1
    }

    fn take(&mut self, queue: usize) -> Vec<Frame> {
        let mut burst = Burst::new();
        self.port.rx[queue].rx_burst(&mut burst);
        let (start, offset) = PARTIAL;
        let asked = Checksum::Partial { start, offset };
        let bytes = |packet: netbuf::Netbuf| {
            let mut bytes = vec![0; packet.len()];
            packet.copy_to(&mut bytes);
            let partial = packet.checksum() == asked;
            Frame { bytes: if partial { completed(&bytes) } else { bytes }, partial }
        };
        burst.drain(..).map(bytes).collect()
    }
}
