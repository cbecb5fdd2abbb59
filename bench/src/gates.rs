//! The measured functions, by name.
//!
//! Each is called [`ROUNDS`] times with a burst of 32 frames of 64 bytes, never inlined, so that callgrind can
//! tell it apart; what it did is verified outside of it.

use std::hint::black_box;

use netbuf::{BURST, Burst, DeviceMemory, Pool, PoolConfig, free_burst};
use netdev::QueueCounters;
use virtio::memory::MemoryMap;
use virtio::net::PlainHeader;
use virtio::ring::split::{DeviceOptions, Indexes, SplitDevice, SplitReceive, SplitTransmit};
use virtio::ring::{ReceiveRing, TransmitRing};

use crate::frames;
use crate::guest::{Guest, verify_packets};
use crate::pair::{ENTRIES, Pair};

/// Calls of a measured function.
pub const ROUNDS: u32 = 64;

/// Bytes of a frame.
pub const FRAME: usize = 64;

/// A function whose instructions are counted.
pub struct Gate {
    /// In the record and on the command line.
    pub name: &'static str,
    /// Part of the name of the function to be counted, and of no other.
    pub function: &'static str,
    /// What a call does, for the report.
    pub what: &'static str,
    /// Calls it [`ROUNDS`] times.
    pub run: fn(),
}

/// Packets of a burst.
pub const PER_BURST: u16 = 32;
const _: () = assert!(PER_BURST as usize == BURST);

/// Packets over all rounds.
pub const PACKETS: u64 = ROUNDS as u64 * PER_BURST as u64;

/// All gates.
pub const GATES: &[Gate] = &[
    Gate {
        name: "pool",
        function: "measured_pool",
        what: "allocate a burst and free it",
        run: pool_rounds,
    },
    Gate {
        name: "driver-receive",
        function: "measured_driver_receive",
        what: "driver half: receive, refill, publish",
        run: driver_receive_rounds,
    },
    Gate {
        name: "driver-transmit",
        function: "measured_driver_transmit",
        what: "driver half: transmit, publish, reclaim",
        run: driver_transmit_rounds,
    },
    Gate {
        name: "device-receive",
        function: "measured_device_receive",
        what: "device half: parse, check, copy in, return",
        run: device_receive_rounds,
    },
    Gate {
        name: "device-transmit",
        function: "measured_device_transmit",
        what: "device half: parse, check, copy out, return, free",
        run: device_transmit_rounds,
    },
];

/// A pool as the benchmarks use it.
pub fn new_pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    match Pool::new(DeviceMemory::from_heap(config.device_bytes()), config) {
        Ok(pool) => pool,
        Err(error) => unreachable!("the default shape is possible: {error}"),
    }
}

const OPTIONS: DeviceOptions = DeviceOptions { event_idx: true, indirect: false, max_frame: 2048 };

fn numbers(round: u32) -> std::ops::Range<u32> {
    let burst = u32::from(PER_BURST);
    round * burst..(round + 1) * burst
}

#[inline(never)]
fn measured_pool(pool: &Pool, burst: &mut Burst) {
    pool.alloc_burst(burst, BURST);
    black_box(&mut *burst);
    free_burst(burst);
}

fn pool_rounds() {
    let pool = new_pool(256);
    let mut burst = Burst::new();
    for _ in 0..ROUNDS {
        measured_pool(&pool, &mut burst);
        assert_eq!((burst.len(), pool.available()), (0, 256));
    }
}

#[inline(never)]
fn measured_device_receive(
    device: &mut SplitDevice,
    memory: &MemoryMap,
    pool: &Pool,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    device.receive(memory, pool, burst, counters, 1);
    device.should_notify()
}

fn device_receive_rounds() {
    let (mut guest, pool, counters) = (Guest::new(), new_pool(256), QueueCounters::default());
    let mut device = SplitDevice::new(guest.ring(), Indexes::default(), OPTIONS);
    let mut burst = Burst::new();
    for round in 0..ROUNDS {
        guest.send(numbers(round), FRAME);
        measured_device_receive(&mut device, guest.memory(), &pool, &mut burst, &counters);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
    assert_eq!(counters.snapshot().packets, PACKETS);
}

#[inline(never)]
fn measured_device_transmit(
    device: &mut SplitDevice,
    memory: &MemoryMap,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    device.transmit(memory, burst, counters);
    device.should_notify()
}

fn device_transmit_rounds() {
    let (mut guest, pool, counters) = (Guest::new(), new_pool(256), QueueCounters::default());
    let mut device = SplitDevice::new(guest.ring(), Indexes::default(), OPTIONS);
    let mut burst = Burst::new();
    for round in 0..ROUNDS {
        guest.offer(PER_BURST);
        burst.extend(test_burst(&pool, round));
        measured_device_transmit(&mut device, guest.memory(), &mut burst, &counters);
        guest.verify_received(numbers(round), FRAME);
        assert_eq!((burst.len(), pool.available()), (0, 256));
    }
    assert_eq!(counters.snapshot().packets, PACKETS);
}

#[inline(never)]
fn measured_driver_receive(
    ring: &mut SplitReceive<PlainHeader>,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    ring.receive(burst, counters);
    ring.refill()
}

fn driver_receive_rounds() {
    let (mut pair, counters) = (Pair::new(), QueueCounters::default());
    for round in 0..ROUNDS {
        let mut burst = test_burst(&pair.host_pool, round);
        pair.device_tx.transmit(&pair.map, &mut burst, &counters);
        assert_eq!(burst.len(), 0);
        measured_driver_receive(&mut pair.driver_rx, &mut burst, &counters);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
    assert_eq!(pair.guest_pool.available(), pair.guest_pool.buffers() - ENTRIES as usize);
}

#[inline(never)]
fn measured_driver_transmit(
    ring: &mut SplitTransmit<PlainHeader>,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    ring.transmit(burst, counters).notify
}

/// The ring is filled once before counting starts, so that as many packets are reclaimed as are sent.
fn driver_transmit_rounds() {
    let (mut pair, counters) = (Pair::new(), QueueCounters::default());
    let filling = ENTRIES / u32::from(PER_BURST);
    for round in 0..filling + ROUNDS {
        let mut burst = test_burst(&pair.guest_pool, round);
        if round < filling {
            pair.driver_tx.transmit(&mut burst, &counters);
        } else {
            measured_driver_transmit(&mut pair.driver_tx, &mut burst, &counters);
        }
        assert_eq!(burst.len(), 0);
        pair.device_rx.receive(&pair.map, &pair.host_pool, &mut burst, &counters, 0);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
}

fn test_burst(pool: &Pool, round: u32) -> Burst {
    let frames = numbers(round).map(|number| frames::frame(number, FRAME));
    frames.map(|frame| pool.copy_from(&frame).expect("enough buffers")).collect()
}
