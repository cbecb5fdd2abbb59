//! What a network function does to packets, under measurement: bursts moved, headers changed and written, checksums
//! completed.

use std::ops::Range;

use netbuf::{BURST, Burst, Checksum, Pool, free_burst};

use crate::frames;
use crate::gates::{FRAME, Gate, ROUNDS, new_pool, numbers, test_burst};
use crate::guest::{same_packets, verify_packets};
use crate::versus::traffic::{Flows, internet_checksum, looks_right, swap_addresses};

/// Bytes of a frame whose checksum covers 1460.
const LONG: usize = START as usize + 1460;
/// Where the checksummed part begins: behind Ethernet and IPv4.
const START: u16 = 34;
/// Where its checksum stands in it, as in UDP.
const OFFSET: u16 = 6;

/// Where the checksum stands in the frame.
const FIELD: Range<usize> = (START + OFFSET) as usize..(START + OFFSET) as usize + 2;

/// The gates of edits.
pub const GATES: &[Gate] = &[
    Gate::new("burst", "measured_burst", "move a burst packet by packet", burst_rounds),
    Gate::new("headers-swap", "measured_swap", "exchange the Ethernet addresses", swap_rounds),
    Gate::new(
        "headers-write",
        "measured_write",
        "write Ethernet, IPv4 with its checksum, UDP",
        write_rounds,
    ),
    Gate::new(
        "checksum",
        "measured_checksum",
        "complete a partial checksum over 30 B",
        checksum_rounds,
    ),
    Gate::new(
        "checksum-long",
        "measured_checksum",
        "complete a partial checksum over 1460 B",
        long_checksum_rounds,
    ),
];

/// Moves every packet of `from` behind those of `to`.
#[inline(never)]
pub fn measured_burst(from: &mut Burst, to: &mut Burst) {
    to.extend(from.drain(..));
}

fn burst_rounds() {
    let pool = new_pool(256);
    let (mut from, mut to) = (test_burst(&pool, 0), Burst::new());
    for _ in 0..ROUNDS {
        measured_burst(&mut from, &mut to);
        assert!(from.is_empty());
        std::mem::swap(&mut from, &mut to);
    }
    verify_packets(&mut from, numbers(0), FRAME);
}

/// Exchanges the addresses of every frame.
#[inline(never)]
pub fn measured_swap(burst: &mut Burst) {
    for packet in burst {
        swap_addresses(packet.bytes_mut());
    }
}

fn swap_rounds() {
    let pool = new_pool(256);
    let mut burst = test_burst(&pool, 0);
    for _ in 0..ROUNDS / 2 {
        measured_swap(&mut burst);
        let swapped = |(packet, number)| {
            let expected = frames::frame(number, FRAME);
            let packet: &netbuf::Netbuf = packet;
            packet.bytes()[..6] == expected[6..12] && packet.bytes()[6..12] == expected[..6]
        };
        assert!(burst.iter().zip(numbers(0)).all(swapped));
        measured_swap(&mut burst);
        same_packets(&burst, numbers(0), FRAME);
    }
    free_burst(&mut burst);
}

/// Makes every (empty) packet the next frame.
#[inline(never)]
pub fn measured_write(flows: &mut Flows, burst: &mut Burst) {
    for packet in burst {
        let written = flows.write(packet);
        debug_assert!(written.is_some(), "the size fits a buffer");
    }
}

fn write_rounds() {
    let pool = new_pool(256);
    let size: u16 = 64;
    assert_eq!(usize::from(size), FRAME);
    let (mut flows, mut burst) = (Flows::new(size), Burst::new());
    for _ in 0..ROUNDS {
        pool.alloc_burst(&mut burst, BURST);
        measured_write(&mut flows, &mut burst);
        assert!(burst.len() == BURST);
        assert!(burst.iter().all(|packet| looks_right(packet.bytes(), size)));
        free_burst(&mut burst);
    }
}

/// Completes the checksum of every packet.
#[inline(never)]
pub fn measured_checksum(burst: &mut Burst) {
    for packet in burst {
        let completed = packet.complete_checksum();
        debug_assert!(completed.is_some(), "its field lies in the frame");
    }
}

/// A burst of frames of `size` bytes with partial checksums, whose fields hold `number`.
///
/// # Panics
/// `size` leaves no room for the field, or `pool` has not enough buffers.
pub fn partial_burst(pool: &Pool, size: usize, number: u16) -> Burst {
    let packets = (0u32..).take(BURST).map(|packet| {
        let mut frame = frames::frame(packet, size);
        frame[FIELD].copy_from_slice(&number.to_be_bytes());
        let mut packet = pool.copy_from(&frame).expect("enough buffers");
        packet.set_checksum(Checksum::Partial { start: START, offset: OFFSET });
        packet
    });
    packets.collect()
}

/// Verifies that every checksum is right, over fields that held `number`, and nothing else changed.
///
/// # Panics
/// One is not.
pub fn verify_checksums(burst: &Burst, number: u16) {
    assert_eq!(burst.len(), BURST);
    for (packet, which) in burst.iter().zip(0u32..) {
        let (bytes, mut expected) = (packet.bytes(), frames::frame(which, packet.len()));
        expected[FIELD].copy_from_slice(&bytes[FIELD]);
        // (What the field held is part of the sum: of a pseudo header, on the wire.)
        assert_eq!(internet_checksum(&bytes[START.into()..]), number, "a wrong checksum");
        assert_eq!(bytes, expected);
        assert_eq!(packet.checksum(), Checksum::Unknown);
    }
}

fn checksum_rounds() {
    rounds_of(FRAME);
}

fn long_checksum_rounds() {
    rounds_of(LONG);
}

fn rounds_of(size: usize) {
    let pool = new_pool(256);
    for round in (0u16..).take(ROUNDS as usize) {
        let mut burst = partial_burst(&pool, size, round);
        measured_checksum(&mut burst);
        verify_checksums(&burst, round);
        free_burst(&mut burst);
    }
}
