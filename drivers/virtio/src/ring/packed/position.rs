//! Free-running positions in a packed ring, and the wrap counters that they stand for.
//!
//! The index of a descriptor is a position modulo the ring's size; the wrap counter (virtio 1.2, 2.8.1) starts
//! as 1 and turns with each lap, so it is the inverse of the bit above the index. Nothing is counted twice.
#![forbid(unsafe_code)]

use super::layout::flags;
use crate::ring::split::RingSize;

/// A wrap counter's place in an index of 16 bits, as the event suppression structures and vhost-user's vring
/// base have it.
const WRAP: u16 = 1 << 15;

/// The wrap counter at a position.
#[inline]
pub(super) const fn wrap(position: u32, size: RingSize) -> bool {
    position & size.get() as u32 == 0
}

/// The index at a position.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "less than 2^15")]
pub(super) const fn place(position: u32, size: RingSize) -> u16 {
    (position & (size.get() as u32 - 1)) as u16
}

/// Places from a position to the end of the ring.
#[inline]
pub(super) const fn to_end(position: u32, size: RingSize) -> usize {
    (size.get() - place(position, size)) as usize
}

/// The flags that make a descriptor at this position available (virtio 1.2, 2.8.1).
#[inline]
pub(super) const fn available(position: u32, size: RingSize) -> u16 {
    if wrap(position, size) { flags::AVAIL } else { flags::USED }
}

/// The flags that make a descriptor at this position used.
#[inline]
pub(super) const fn used(position: u32, size: RingSize) -> u16 {
    if wrap(position, size) { flags::AVAIL | flags::USED } else { 0 }
}

/// A position as index and wrap counter.
#[inline]
pub(super) const fn encode(position: u32, size: RingSize) -> u16 {
    place(position, size) | if wrap(position, size) { WRAP } else { 0 }
}

/// The first position with this index and wrap counter. An index beyond the ring is cut to its lower bits.
#[inline]
pub(super) const fn decode(index: u16, size: RingSize) -> u32 {
    let lap = if index & WRAP == 0 { size.get() as u32 } else { 0 };
    (index & (size.get() - 1)) as u32 + lap
}

/// Whether going from `old` to `new` passes the position that `event` names: the latest one with its index and
/// wrap counter that is not beyond `new`'s lap (virtio 1.2, 2.8.10; `old` is the position at the last check).
#[inline]
pub(super) const fn passes(event: u16, old: u32, new: u32, size: RingSize) -> bool {
    let lap = new & !(size.get() as u32 - 1);
    let same = (event & WRAP != 0) == wrap(new, size);
    let lap = if same { lap } else { lap.wrapping_sub(size.get() as u32) };
    let event = lap.wrapping_add((event & !WRAP) as u32);
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> impl Iterator<Item = RingSize> {
        [1, 2, 4, 8, 1 << 15].into_iter().filter_map(RingSize::new)
    }

    #[test]
    fn encoding_and_decoding_agree() {
        for size in sizes() {
            let entries = u32::from(size.get());
            for position in (0..2 * entries).chain(u32::MAX - 2 * entries..=u32::MAX) {
                let again = decode(encode(position, size), size);
                assert_eq!(again.wrapping_sub(position) % (2 * entries), 0);
                assert!(again < 2 * entries);
                assert_ne!(available(position, size), used(position, size));
                assert_eq!(available(position, size), available(again, size));
            }
        }
        let size = RingSize::new(4).unwrap();
        assert_eq!([0, 3, 4, 7, 8].map(|at| encode(at, size)), [0x8000, 0x8003, 0, 3, 0x8000]);
    }

    /// Against the definition: some position in `old..new` has this index and wrap counter.
    #[test]
    fn an_event_is_passed_exactly_when_it_lies_between() {
        for size in sizes().filter(|size| size.get() < 16) {
            let entries = u32::from(size.get());
            for start in [0, u32::MAX - 3 * entries] {
                for (old, count) in
                    (0..4 * entries).flat_map(|old| (0..=entries).map(move |count| (old, count)))
                {
                    let (old, new) = (start.wrapping_add(old), start.wrapping_add(old + count));
                    for event in (0..size.get()).flat_map(|at| [at, at | WRAP]) {
                        let between =
                            (0..count).any(|step| encode(old.wrapping_add(step), size) == event);
                        assert_eq!(
                            passes(event, old, new, size),
                            between,
                            "{event:#x} in {old}..{new} of {entries}"
                        );
                    }
                }
            }
        }
    }
}
