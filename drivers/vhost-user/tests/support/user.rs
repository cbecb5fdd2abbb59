//! A virtio-net driver over our own front end, with memory that its peer can map.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use std::path::Path;
use std::time::Instant;

use netbuf::{DeviceMemory, PoolConfig};
use netdev::{Burst, Config, Device, Pool, Port, RingFormat};
use plat_linux::Region;
use vhost_user::{Endpoint, Monitor, SharedMemory, VhostUserFrontend, VirtioUser};
use virtio::net::VirtioNet;

use crate::support::PATIENCE;

/// Fresh shared memory: the whole, a part for the rings, and a pool in the rest.
pub fn shared(config: PoolConfig) -> (SharedMemory, DeviceMemory, Pool) {
    let rings = ring_bytes();
    let region = Region::with_ordinary_pages(rings + config.device_bytes() + 4096).unwrap();
    let shared = SharedMemory {
        file: region.fd(),
        offset: region.offset(),
        base: region.base(),
        len: region.len(),
    };
    // SAFETY: a region is zeroed, page-aligned memory for the life of the process, and this is its only owner.
    let mut memory = unsafe { DeviceMemory::from_raw(region.base(), region.len()) };
    let rings = memory.split_off_front(rings).unwrap();
    (shared, rings, Pool::new(memory, config).unwrap())
}

/// Fresh shared memory with rings and a pool's memory for each of so many pairs, which can be sent to their threads.
pub fn shared_by_pairs(
    pairs: usize,
    config: PoolConfig,
) -> (SharedMemory, Vec<DeviceMemory>, Vec<DeviceMemory>) {
    let each = ring_bytes() + config.device_bytes() + 8192;
    let region = Region::with_ordinary_pages(pairs * each).unwrap();
    let shared = SharedMemory {
        file: region.fd(),
        offset: region.offset(),
        base: region.base(),
        len: region.len(),
    };
    // SAFETY: as in `shared`.
    let mut memory = unsafe { DeviceMemory::from_raw(region.base(), region.len()) };
    let mut take = |bytes| (0..pairs).map(|_| memory.split_off_front(bytes).unwrap()).collect();
    let rings = take(ring_bytes());
    (shared, rings, take(config.device_bytes() + 4096))
}

/// A started front end.
pub struct User {
    pub port: Port,
    pub pool: Pool,
    pub monitor: Monitor,
    /// What the peer maps: the rings, then the pool.
    pub shared: SharedMemory,
}

/// A configuration that asks for rings of this format.
pub fn in_format(ring_format: RingFormat) -> Config {
    Config { ring_format, ..Config::default() }
}

/// Both formats.
pub const FORMATS: [RingFormat; 2] = [RingFormat::Split, RingFormat::Packed];

/// Bytes of the rings, at the start of the shared memory.
pub fn ring_bytes() -> usize {
    VirtioNet::<VhostUserFrontend>::ring_bytes(256, 1024).unwrap()
}

impl User {
    pub fn connect(path: &Path) -> Self {
        Self::connect_with(path, RingFormat::Any)
    }

    pub fn connect_with(path: &Path, format: RingFormat) -> Self {
        let (shared, rings, pool) = shared(PoolConfig { buffers: 2048, ..PoolConfig::default() });
        Self::start(
            VirtioUser::connect(path, &[shared], vec![rings]).unwrap(),
            pool,
            shared,
            format,
        )
    }

    /// One whose rings outlive their back ends.
    pub fn keeping(path: &Path, format: RingFormat) -> Self {
        let (shared, rings, pool) = shared(PoolConfig { buffers: 2048, ..PoolConfig::default() });
        let device = VirtioUser::connect(path, &[shared], vec![rings]).unwrap().keeping_rings();
        Self::start(device, pool, shared, format)
    }

    pub fn listen(path: &Path) -> Self {
        Self::listen_with(path, RingFormat::Any)
    }

    pub fn listen_with(path: &Path, format: RingFormat) -> Self {
        let (shared, rings, pool) = shared(PoolConfig { buffers: 2048, ..PoolConfig::default() });
        Self::start(VirtioUser::listen(path, &[shared], vec![rings]).unwrap(), pool, shared, format)
    }

    fn start(device: VirtioUser, pool: Pool, shared: SharedMemory, format: RingFormat) -> Self {
        let monitor = device.monitor();
        let port = Box::new(device).start(&in_format(format), &pool).unwrap();
        Self { port, pool, monitor, shared }
    }
}

/// Entries of a receive ring, where they are not asked for.
const RX_ENTRIES: usize = 256;

impl User {
    /// Writes into the receive ring, which lies first in the shared memory, what no driver would: an index that is far
    /// ahead, or in a packed ring chains without an end.
    pub fn break_receive_ring(&self, format: RingFormat) {
        let word = |at: usize| {
            assert!(at + 2 <= self.shared.len);
            // SAFETY: within the region, at an even address. The driver's thread is this one, and its ring is accessed by
            // raw pointers only.
            unsafe { self.shared.base.add(at) }.cast::<u16>()
        };
        if format == RingFormat::Packed {
            for entry in 0..RX_ENTRIES {
                let flags = word(16 * entry + 14);
                // SAFETY: as above.
                unsafe { flags.write_volatile(flags.read_volatile() | 1) };
            }
        } else {
            let index = word(16 * RX_ENTRIES + 2);
            // SAFETY: as above.
            unsafe { index.write_volatile(index.read_volatile() | 0x8000) };
        }
    }
}

/// Moves frames from `from` to `to` and checks each; both ports are polled by this thread. Frames that were
/// lost while the link came up are sent again.
pub fn pass(from: &mut Port, pool: &Pool, to: &mut Port, frames: &[Vec<u8>]) {
    let deadline = Instant::now() + PATIENCE;
    let mut idle = Burst::new();
    while !(from.control.link().up && to.control.link().up) {
        assert!(Instant::now() < deadline, "no link");
        from.rx[0].rx_burst(&mut idle);
        to.rx[0].rx_burst(&mut idle);
        idle.clear();
    }
    let (mut out, mut arrived) = (Burst::new(), Burst::new());
    let mut unsent = frames.iter();
    let mut expected = frames.iter();
    while expected.len() > 0 {
        assert!(Instant::now() < deadline, "{} of {} missing", expected.len(), frames.len());
        while !out.is_full()
            && let Some(frame) = unsent.next()
        {
            out.push(pool.copy_from(frame).unwrap());
        }
        from.tx[0].tx_burst(&mut out);
        from.rx[0].rx_burst(&mut idle);
        assert!(idle.is_empty(), "an echo");
        to.rx[0].rx_burst(&mut arrived);
        for packet in arrived.drain(..) {
            assert_eq!(packet.bytes(), expected.next().expect("one too many").as_slice());
        }
    }
    assert!(out.is_empty());
}

/// Whether this test process is a helper that another test started: its socket.
pub fn helper_socket() -> Option<std::path::PathBuf> {
    std::env::var_os("BW_HELPER_SOCKET").map(Into::into)
}

/// Starts this test binary again to run `test` alone, with a socket.
pub fn start_helper(test: &str, socket: &Path) -> std::process::Child {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env("BW_HELPER_SOCKET", socket)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// An endpoint is only made, to see what it says.
pub fn endpoint_error(path: &Path) -> String {
    Endpoint::listen(path).unwrap_err().to_string()
}
