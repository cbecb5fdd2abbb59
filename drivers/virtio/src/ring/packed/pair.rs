//! Chains of two descriptors, one after the other: what a control queue's commands are.
#![forbid(unsafe_code)]

use super::layout::{Desc, PackedRing, flags};
use super::position;

/// Makes the `number`-th pair available: what the device reads, and what it writes, as address and bytes.
pub(in crate::ring) fn publish(
    ring: &PackedRing,
    number: u16,
    (read, read_len): (u64, u32),
    (write, write_len): (u64, u32),
) {
    let (size, at) = (ring.size(), 2 * u32::from(number));
    let set = |at, addr, len, more| {
        let flags = more | position::available(at, size);
        ring.set_desc(position::place(at, size), Desc { addr, len, id: 0, flags });
    };
    // The head last: with it the device sees both.
    set(at + 1, write, write_len, flags::DESC_WRITE);
    set(at, read, read_len, flags::DESC_NEXT);
}

/// Whether the device has used the `number`-th pair.
pub(in crate::ring) fn is_used(ring: &PackedRing, number: u16) -> bool {
    let (size, at) = (ring.size(), 2 * u32::from(number));
    let word = ring.slot(position::place(at, size)).word();
    word.turn() == position::used(at, size) && word.id() == 0
}

/// Index and wrap counter behind `count` pairs.
pub(in crate::ring) fn next(ring: &PackedRing, count: u16) -> u16 {
    position::encode(2 * u32::from(count), ring.size())
}
