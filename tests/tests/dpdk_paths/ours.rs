//! Our side: a port of either role, polled by the test's own thread.

use barewire::ports::{PortMemory, PortSpec};
use netbuf::{Burst, Pool, PoolConfig};
use netdev::{Config, DropCause, Port, QueueCounters, RingFeatures};
use plat_linux::Region;
use std::collections::VecDeque;
use std::thread;

const BUFFERS: usize = 4096;

/// A started port, and the frames that it has received.
pub(crate) struct Ours {
    port: Option<Port>,
    pool: Pool,
    config: Config,
    /// What its rings can do.
    pub(crate) able: RingFeatures,
    pub(crate) arrived: VecDeque<Vec<u8>>,
}

impl Ours {
    /// Opens the port and starts it as `configure` says, given what its rings can do.
    pub(crate) fn start(spec: &PortSpec, configure: impl Fn(RingFeatures) -> Config) -> Self {
        let shape = PoolConfig { buffers: BUFFERS, ..PoolConfig::default() };
        let region = Region::with_ordinary_pages(shape.device_bytes() + spec.ring_bytes()).unwrap();
        let mut memory = PortMemory::new(region);
        let (device, _) = spec.open(&mut memory).unwrap();
        let pool = Pool::new(memory.take(shape.device_bytes()).unwrap(), shape).unwrap();
        let able = device.info().ring_features;
        let config = configure(able);
        let port = device.start(&config, &pool).unwrap();
        Self { port: Some(port), pool, config, able, arrived: VecDeque::new() }
    }

    pub(crate) fn port(&mut self) -> &mut Port {
        self.port.as_mut().expect("it runs")
    }

    pub(crate) fn is_up(&mut self) -> bool {
        self.port().control.link().up
    }

    /// Takes what has come.
    pub(crate) fn poll(&mut self) {
        let mut burst = Burst::new();
        self.port().rx[0].rx_burst(&mut burst);
        for packet in burst.drain(..) {
            let mut bytes = vec![0; packet.len()];
            packet.copy_to(&mut bytes);
            self.arrived.push_back(bytes);
        }
    }

    /// Sends the frames that the ring has room for; how many.
    pub(crate) fn send(&mut self, frames: &[Vec<u8>]) -> usize {
        let pool = self.pool;
        let mut burst: Burst =
            frames.iter().take(32).filter_map(|frame| pool.copy_from(frame)).collect();
        self.port().tx[0].tx_burst(&mut burst)
    }

    /// Polls while `peer` is busy in a thread of its own, for it may wait for our answers.
    pub(crate) fn poll_during<T: Send>(&mut self, peer: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let peer = scope.spawn(peer);
            while !peer.is_finished() {
                self.is_up();
                self.poll();
            }
            peer.join().expect("the peer's thread does not panic")
        })
    }

    /// Stops the port; every buffer must be back.
    pub(crate) fn stop(&mut self) -> Box<dyn netdev::Device> {
        let port = self.port.take().expect("it runs");
        let counters = [port.rx[0].counters(), port.tx[0].counters()].map(AsRef::as_ref);
        for stats in counters.map(QueueCounters::snapshot) {
            // What was sent before the peer was there is not what this test is about.
            let dropped = stats.drops.total() - stats.drops[DropCause::LinkDown];
            assert_eq!(dropped, 0, "our port dropped packets: {:?}", stats.drops);
        }
        let device = port.stop();
        assert_eq!(self.pool.available(), BUFFERS, "buffers are missing after the stop");
        device
    }

    /// Stops the port and starts it again.
    pub(crate) fn restart(&mut self) {
        let device = self.stop();
        let port = device.start(&self.config, &self.pool).unwrap();
        self.port = Some(port);
    }
}
