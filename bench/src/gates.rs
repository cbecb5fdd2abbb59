//! The measured functions, by name.
//!
//! Each is called [`ROUNDS`] times with a burst of 32 frames of 64 bytes, never inlined, so that callgrind can
//! tell it apart; what it did is verified outside of it.

use std::hint::black_box;

use netbuf::{BURST, Burst, DeviceMemory, Netbuf, Pool, PoolConfig, free_burst};
use netdev::QueueCounters;
use virtio::memory::MemoryMap;
use virtio::net::PlainHeader;
use virtio::ring::packed::{PackedDevice, PackedReceive, PackedTransmit};
use virtio::ring::split::{DeviceOptions, Indexes, SplitDevice, SplitReceive, SplitTransmit};
use virtio::ring::{ReceiveRing, RingOptions, TransmitRing};

use crate::frames;
use crate::guest::{Guest, verify_packets};
use crate::pair::{ENTRIES, PackedPair, Pair};

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
    /// The gate whose count is subtracted.
    pub less: Option<&'static str>,
}

impl Gate {
    pub(crate) const fn new(
        name: &'static str,
        function: &'static str,
        what: &'static str,
        run: fn(),
    ) -> Self {
        Self { name, function, what, run, less: None }
    }

    /// The same without what `gate` counts.
    pub(crate) const fn without(
        self,
        gate: &'static str,
        name: &'static str,
        what: &'static str,
    ) -> Self {
        Self { name, what, less: Some(gate), ..self }
    }
}

/// Packets of a burst.
pub const PER_BURST: u16 = 32;
const _: () = assert!(PER_BURST as usize == BURST);

/// Packets over all rounds.
pub const PACKETS: u64 = ROUNDS as u64 * PER_BURST as u64;

/// All gates.
#[cfg(not(barewire_unchecked))]
pub fn all() -> impl Iterator<Item = &'static Gate> {
    GATES
        .iter()
        .chain(crate::hashes::GATES)
        .chain(crate::edits::GATES)
        .chain(crate::generator::GATES)
}

/// All gates that need no platform.
#[cfg(barewire_unchecked)]
pub fn all() -> impl Iterator<Item = &'static Gate> {
    GATES.iter()
}

/// Those of a ring's halves: what reads what a peer wrote.
pub fn halves() -> impl Iterator<Item = &'static Gate> {
    GATES.iter().filter(|gate| gate.name.contains("driver-") || gate.name.contains("device-"))
}

/// Those of pool and rings.
const GATES: &[Gate] = &[
    Gate::new("pool", "measured_pool", "allocate a burst and free it, untouched", pool_rounds),
    Gate::new(
        "pool-used",
        "measured_used_pool",
        "free a burst that held frames, allocate it again",
        used_pool_rounds,
    ),
    Gate::new(
        "driver-receive",
        "measured_driver_receive",
        "driver half: receive, refill, publish",
        driver_receive_rounds,
    ),
    Gate::new(
        "driver-transmit",
        "measured_driver_transmit",
        "driver half: transmit, publish, reclaim",
        driver_transmit_rounds,
    ),
    Gate::new("copy", "measured_copy", "the bytes of the frames, and nothing else", copy_rounds),
    DEVICE_RECEIVE,
    DEVICE_RECEIVE.without("copy", "device-receive-without-copy", "the same less the copy"),
    DEVICE_TRANSMIT,
    DEVICE_TRANSMIT.without("copy", "device-transmit-without-copy", "the same less the copy"),
    Gate::new(
        "packed-driver-receive",
        "measured_packed_driver_receive",
        "packed, driver half: receive, refill, publish",
        packed_driver_receive_rounds,
    ),
    Gate::new(
        "packed-driver-transmit",
        "measured_packed_driver_transmit",
        "packed, driver half: transmit, publish, reclaim",
        packed_driver_transmit_rounds,
    ),
    PACKED_DEVICE_RECEIVE,
    PACKED_DEVICE_RECEIVE.without(
        "copy",
        "packed-device-receive-without-copy",
        "the same less the copy",
    ),
    PACKED_DEVICE_TRANSMIT,
    PACKED_DEVICE_TRANSMIT.without(
        "copy",
        "packed-device-transmit-without-copy",
        "the same less the copy",
    ),
];

const DEVICE_RECEIVE: Gate = Gate::new(
    "device-receive",
    "measured_device_receive",
    "device half: parse, check, copy in, return",
    device_receive_rounds,
);

const DEVICE_TRANSMIT: Gate = Gate::new(
    "device-transmit",
    "measured_device_transmit",
    "device half: parse, check, copy out, return, free",
    device_transmit_rounds,
);

const PACKED_DEVICE_RECEIVE: Gate = Gate::new(
    "packed-device-receive",
    "measured_packed_device_receive",
    "packed, device half: parse, check, copy in, return",
    packed_device_receive_rounds,
);

const PACKED_DEVICE_TRANSMIT: Gate = Gate::new(
    "packed-device-transmit",
    "measured_packed_device_transmit",
    "packed, device half: parse, check, copy out, return, free",
    packed_device_transmit_rounds,
);

/// A pool as the benchmarks use it.
pub fn new_pool(buffers: usize) -> Pool {
    let config = PoolConfig { buffers, ..PoolConfig::default() };
    match Pool::new(DeviceMemory::from_heap(config.device_bytes()), config) {
        Ok(pool) => pool,
        Err(error) => unreachable!("the default shape is possible: {error}"),
    }
}

const OPTIONS: DeviceOptions = DeviceOptions { ring: RingOptions::EVENT_IDX, max_frame: 2048 };

/// The numbers of the frames of a round.
pub(crate) fn numbers(round: u32) -> std::ops::Range<u32> {
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
fn measured_used_pool(pool: &Pool, burst: &mut Burst) {
    free_burst(burst);
    pool.alloc_burst(burst, BURST);
}

/// As the packets of an application that drops what it received.
fn used_pool_rounds() {
    let pool = new_pool(256);
    let mut burst = test_burst(&pool, 0);
    for _ in 0..ROUNDS {
        measured_used_pool(&pool, &mut burst);
        assert!(burst.iter().all(Netbuf::is_empty));
        assert_eq!((burst.len(), pool.available()), (BURST, 256 - BURST));
        for packet in &mut burst {
            packet.append(FRAME).expect("an empty packet").fill(7);
        }
    }
}

/// A frame with room behind it, so that copies are not joined.
type Slot = [[u8; FRAME]; 3];

#[inline(never)]
fn measured_copy(from: &[Slot; BURST], to: &mut [Slot; BURST]) {
    for (from, to) in from.iter().zip(to) {
        to[0] = from[0];
    }
}

fn copy_rounds() {
    let from = Box::new([[[5; FRAME]; 3]; BURST]);
    let mut to = Box::new([[[0; FRAME]; 3]; BURST]);
    for _ in 0..ROUNDS {
        measured_copy(black_box(&from), black_box(&mut to));
    }
    assert!(to.iter().all(|slot| *slot == [[5; FRAME], [0; FRAME], [0; FRAME]]));
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

#[inline(never)]
fn measured_packed_driver_receive(
    ring: &mut PackedReceive<PlainHeader>,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    ring.receive(burst, counters);
    ring.refill()
}

fn packed_driver_receive_rounds() {
    let (mut pair, counters) = (PackedPair::packed(), QueueCounters::default());
    for round in 0..ROUNDS {
        let mut burst = test_burst(&pair.host_pool, round);
        pair.device_tx.transmit(&pair.map, &mut burst, &counters);
        assert_eq!(burst.len(), 0);
        measured_packed_driver_receive(&mut pair.driver_rx, &mut burst, &counters);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
    assert_eq!(pair.guest_pool.available(), pair.guest_pool.buffers() - ENTRIES as usize);
}

#[inline(never)]
fn measured_packed_driver_transmit(
    ring: &mut PackedTransmit<PlainHeader>,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    ring.transmit(burst, counters).notify
}

/// As [`driver_transmit_rounds`].
fn packed_driver_transmit_rounds() {
    let (mut pair, counters) = (PackedPair::packed(), QueueCounters::default());
    let filling = ENTRIES / u32::from(PER_BURST);
    for round in 0..filling + ROUNDS {
        let mut burst = test_burst(&pair.guest_pool, round);
        if round < filling {
            pair.driver_tx.transmit(&mut burst, &counters);
        } else {
            measured_packed_driver_transmit(&mut pair.driver_tx, &mut burst, &counters);
        }
        assert_eq!(burst.len(), 0);
        pair.device_rx.receive(&pair.map, &pair.host_pool, &mut burst, &counters, 0);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
}

#[inline(never)]
fn measured_packed_device_receive(
    device: &mut PackedDevice,
    memory: &MemoryMap,
    pool: &Pool,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    device.receive(memory, pool, burst, counters, 1);
    device.should_notify()
}

fn packed_device_receive_rounds() {
    let (mut pair, counters) = (PackedPair::packed(), QueueCounters::default());
    let received = QueueCounters::default();
    for round in 0..ROUNDS {
        let mut burst = test_burst(&pair.guest_pool, round);
        pair.driver_tx.transmit(&mut burst, &counters);
        let PackedPair { device_rx, map, host_pool, .. } = &mut pair;
        measured_packed_device_receive(device_rx, map, host_pool, &mut burst, &received);
        verify_packets(&mut burst, numbers(round), FRAME);
    }
    assert_eq!(received.snapshot().packets, PACKETS);
}

#[inline(never)]
fn measured_packed_device_transmit(
    device: &mut PackedDevice,
    memory: &MemoryMap,
    burst: &mut Burst,
    counters: &QueueCounters,
) -> bool {
    device.transmit(memory, burst, counters);
    device.should_notify()
}

fn packed_device_transmit_rounds() {
    let (mut pair, counters) = (PackedPair::packed(), QueueCounters::default());
    let sent = QueueCounters::default();
    for round in 0..ROUNDS {
        let mut burst = test_burst(&pair.host_pool, round);
        measured_packed_device_transmit(&mut pair.device_tx, &pair.map, &mut burst, &sent);
        assert_eq!(burst.len(), 0);
        pair.driver_rx.receive(&mut burst, &counters);
        let _ = pair.driver_rx.refill();
        verify_packets(&mut burst, numbers(round), FRAME);
    }
    assert_eq!((sent.snapshot().packets, pair.host_pool.available()), (PACKETS, 2048));
}

/// The frames of a round.
pub(crate) fn test_burst(pool: &Pool, round: u32) -> Burst {
    let frames = numbers(round).map(|number| frames::frame(number, FRAME));
    frames.map(|frame| pool.copy_from(&frame).expect("enough buffers")).collect()
}
