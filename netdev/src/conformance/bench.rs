//! The test bench: a started port with its pool, and the moves that checks are made of.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use netbuf::{CACHE_LINE, Pool, PoolConfig};

use super::Rig;
use crate::{Burst, Config, Device, Info, Netbuf, Port};

/// Buffers beyond those that the receive ring takes.
const SPARE: usize = 256;
/// Ring entries asked for, within the device's limits.
const RING: u16 = 64;

/// Asserts with the check's name in front.
macro_rules! ensure {
    ($name:expr, $condition:expr, $($message:tt)+) => {
        assert!($condition, "conformance: {}: {}", $name, format_args!($($message)+))
    };
}
pub(super) use ensure;

/// A running port under test.
pub(super) struct Bench<'a> {
    pub(super) rig: &'a mut dyn Rig,
    pub(super) pool: Pool,
    /// Free buffers before the device was started.
    pub(super) initial: usize,
    pub(super) port: Port,
    pub(super) name: &'static str,
}

/// A configuration that the device must accept: one queue each way, rings of moderate size.
pub(super) fn config(info: &Info) -> Config {
    Config {
        port: 7,
        rx_ring: Some(RING.clamp(info.rx_ring.min, info.rx_ring.max)),
        tx_ring: Some(RING.clamp(info.tx_ring.min, info.tx_ring.max)),
        max_frame: Some(info.max_frame.min(1518)),
        ..Config::default()
    }
}

/// A pool that suits [`config`].
pub(super) fn pool_config(info: &Info) -> PoolConfig {
    let line = u16::try_from(CACHE_LINE).unwrap_or(64);
    PoolConfig {
        buffers: usize::from(RING.clamp(info.rx_ring.min, info.rx_ring.max)) + SPARE,
        headroom: info.headroom.max(128).next_multiple_of(line),
        room: 2048,
    }
}

impl<'a> Bench<'a> {
    pub(super) fn start(rig: &'a mut dyn Rig, name: &'static str) -> Self {
        let device = rig.device();
        let pool = rig.pool(pool_config(&device.info()));
        Self::start_with(rig, name, device, pool)
    }

    pub(super) fn start_with(
        rig: &'a mut dyn Rig,
        name: &'static str,
        device: Box<dyn Device>,
        pool: Pool,
    ) -> Self {
        let initial = pool.available();
        let config = config(&device.info());
        match device.start(&config, &pool) {
            Ok(port) => Self { rig, pool, initial, port, name },
            Err(error) => panic!("conformance: {name}: {config:?} did not start: {error}"),
        }
    }

    pub(super) fn max_frame(&self) -> usize {
        usize::try_from(self.port.info.max_frame).unwrap_or(usize::MAX)
    }

    /// Frame sizes worth a try: the shortest, around powers of two, the longest.
    pub(super) fn sizes(&self) -> Vec<usize> {
        let (min, max) = (self.rig.min_frame(), self.max_frame());
        let mut sizes =
            vec![14, 15, 59, 60, 61, 63, 64, 65, 127, 128, 129, 255, 256, 512, 1024, 1514];
        sizes.extend([max - 1, max]);
        sizes.retain(|size| (min..=max).contains(size));
        sizes
    }

    /// A packet of the pool with the bytes of `frame`.
    pub(super) fn packet(&self, frame: &[u8]) -> Netbuf {
        let packet = self.pool.copy_from(frame);
        packet.unwrap_or_else(|| panic!("conformance: {}: the pool ran dry", self.name))
    }

    /// Has the peer send `frame`, with patience.
    pub(super) fn inject(&mut self, frame: &[u8]) {
        for _ in 0..self.rig.patience() {
            if self.rig.inject(frame) {
                return;
            }
            self.rig.turn();
        }
        panic!("conformance: {}: the peer cannot send", self.name);
    }

    /// Polls until `out` has grown by `count` or patience ends.
    pub(super) fn receive_into(&mut self, out: &mut Burst, count: usize) {
        let (name, wanted) = (self.name, out.len() + count);
        let mut patience = self.rig.patience();
        while out.len() < wanted && patience > 0 {
            let before = out.len();
            let received = self.port.rx[0].rx_burst(out);
            ensure!(
                name,
                out.len() == before + received,
                "rx_burst returned {received}, the burst went from {before} to {} packets",
                out.len()
            );
            if received == 0 {
                patience -= 1;
                self.rig.turn();
            }
        }
        ensure!(name, out.len() >= wanted, "{} packets of {wanted} arrived", out.len());
    }

    /// Sends the whole burst, with patience; the peer's frames go to `arrived`.
    pub(super) fn send(&mut self, burst: &mut Burst, arrived: &mut Vec<Vec<u8>>) {
        let mut patience = self.rig.patience();
        while !burst.is_empty() {
            if self.transmit(burst) == 0 {
                ensure!(self.name, patience > 0, "{} packets were never taken", burst.len());
                patience -= 1;
                self.collect(arrived);
                self.rig.turn();
            }
        }
    }

    /// One call of `tx_burst`, checked to have taken as many as it says.
    pub(super) fn transmit(&mut self, burst: &mut Burst) -> usize {
        let before = burst.len();
        let taken = self.port.tx[0].tx_burst(burst);
        ensure!(
            self.name,
            burst.len() + taken == before,
            "tx_burst returned {taken}, the burst went from {before} to {} packets",
            burst.len()
        );
        taken
    }

    /// What has arrived at the peer by now.
    pub(super) fn collect(&mut self, arrived: &mut Vec<Vec<u8>>) {
        while let Some(frame) = self.rig.take() {
            arrived.push(frame);
        }
    }

    /// Waits for frame number `count` at the peer, and a while longer for any that should not come.
    pub(super) fn await_arrivals(&mut self, arrived: &mut Vec<Vec<u8>>, count: usize) {
        let mut patience = self.rig.patience();
        while patience > 0 && arrived.len() < count {
            self.collect(arrived);
            self.port.tx[0].tx_burst(&mut Burst::new());
            self.rig.turn();
            patience -= 1;
        }
        self.rig.turn();
        self.collect(arrived);
        ensure!(
            self.name,
            arrived.len() == count,
            "{} frames arrived at the peer, {count} were sent",
            arrived.len()
        );
    }

    /// Stops the port; every buffer must be back.
    pub(super) fn stop(self) -> Box<dyn Device> {
        let Self { pool, initial, port, name, .. } = self;
        let device = port.stop();
        let available = pool.available();
        ensure!(name, available == initial, "{available} of {initial} buffers are back after stop");
        device
    }
}

/// A frame of `len` bytes, at least 14, whose addresses any device passes (broadcast, from a local unicast
/// address) and whose other bytes follow from `number`.
pub(super) fn frame(number: usize, len: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([0x02, 0, 0, 0, 0, 0x5c, 0x88, 0xb5]); // 0x88b5: for local experiments (IEEE 802)
    for at in 14..len {
        let byte = number.wrapping_mul(31).wrapping_add(at.wrapping_mul(7)).wrapping_add(at >> 8);
        frame.push(byte.to_le_bytes()[0]);
    }
    if len >= 18 {
        // The number itself, so that frames of one size differ however many there are.
        frame[14..18].copy_from_slice(&number.to_le_bytes()[..4]);
    }
    frame
}

/// Asserts that two frames are the same, without printing all of them.
pub(super) fn same(name: &str, number: usize, found: &[u8], expected: &[u8]) {
    ensure!(
        name,
        found.len() == expected.len(),
        "frame {number} has {} bytes, {} were sent",
        found.len(),
        expected.len()
    );
    if let Some(at) = found.iter().zip(expected).position(|(a, b)| a != b) {
        panic!(
            "conformance: {name}: frame {number} of {} bytes differs from byte {at} on: \
             {:#04x} instead of {:#04x}",
            found.len(),
            found[at],
            expected[at]
        );
    }
}
