//! The rig of the loopback pair: the second device is the first one's peer.

use std::collections::VecDeque;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::conformance::Rig;
use netdev::{Burst, Config, Device, Port, loopback};

/// What becomes of each fresh device: a wrapper, or a fault to be found.
pub(crate) type Wrap = fn(Box<dyn Device>) -> Box<dyn Device>;

/// A loopback pair, the device under test perhaps wrapped.
pub(crate) struct PairRig {
    wrap: Wrap,
    pool: Pool,
    peer: Option<Port>,
    arrived: VecDeque<Vec<u8>>,
}

impl PairRig {
    pub(crate) fn new(wrap: Wrap) -> Self {
        Self { wrap, pool: pool(2048), peer: None, arrived: VecDeque::new() }
    }
}

/// A pool of `buffers` of the default shape.
fn pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
}

impl Rig for PairRig {
    fn device(&mut self) -> Box<dyn Device> {
        let (device, peer) = loopback::pair();
        drop(self.peer.take());
        self.arrived.clear();
        let config = Config { rx_ring: Some(64), max_frame: Some(2048), ..Config::default() };
        self.peer = Some(peer.start(&config, &self.pool).unwrap());
        (self.wrap)(device)
    }

    fn inject(&mut self, frame: &[u8]) -> bool {
        let packet = self.pool.copy_from(frame).expect("the peer's pool is large");
        let mut burst = Burst::from_iter([packet]);
        self.peer.as_mut().unwrap().tx[0].tx_burst(&mut burst) == 1
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        if self.arrived.is_empty() {
            let mut burst = Burst::new();
            self.peer.as_mut().unwrap().rx[0].rx_burst(&mut burst);
            self.arrived.extend(burst.iter().map(|packet| packet.bytes().to_vec()));
        }
        self.arrived.pop_front()
    }
}
