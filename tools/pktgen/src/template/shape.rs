//! A template's frame of one size.

use super::{MAX_SUMS, WordPlace, folded};
use crate::checksum::Key;

/// A frame to copy, with zeros where something varies and where checksums stand, and its sums.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) frame: Vec<u8>,
    /// Nothing varies: the frame is complete.
    pub(super) finished: bool,
    /// What each protocol checksum covers, added up.
    pub(super) sums: [u64; MAX_SUMS],
    /// Terms of the content checksum but those of the words in `dirty`.
    pub(super) fixed_terms: u64,
    /// Words of the covered bytes that hold something that varies: those of fields, then those of the stamp.
    pub(super) dirty: Vec<Dirty>,
    /// Where the sequence number and the time lie in them.
    pub(super) stamp: WordPlace,
    /// Words of the covered bytes that hold checksums, with a mask that leaves out those.
    pub(super) masked: Vec<(u32, u64)>,
}

/// A word of the covered bytes that holds something that varies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dirty {
    /// Its first byte.
    pub(super) at: usize,
    pub(super) key: Key,
    /// Its eight bytes, big-endian, where nothing that varies is set.
    pub(super) value: u64,
    /// Whether bits of a field are in it.
    pub(super) of_field: bool,
}

impl Shape {
    /// A sum of 16-bit words counted from the frame's end, as words counted from its beginning (RFC 1071, section
    /// 2 (B): sums do not depend on the byte order).
    #[inline]
    pub(super) fn aligned(&self, sum: u64) -> u64 {
        if self.frame.len().is_multiple_of(2) { sum } else { u64::from(folded(sum).swap_bytes()) }
    }
}

/// The word number `index` of `bytes`, little-endian, the last one filled up with zeros.
#[inline]
pub(super) fn read_word(bytes: &[u8], index: u32) -> u64 {
    let at = usize::try_from(index).unwrap_or(usize::MAX / 8) * 8;
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(word) => u64::from_le_bytes(*word),
        None => read_last(bytes, at),
    }
}

#[inline]
fn read_last(bytes: &[u8], at: usize) -> u64 {
    // The end of the eight last bytes, if there are so many.
    let missing = 8 - (bytes.len() - at.min(bytes.len()));
    match bytes.last_chunk() {
        Some(word) if missing < 8 => u64::from_le_bytes(*word) >> (8 * missing),
        _ => {
            bytes.get(at..).unwrap_or_default().iter().rev().fold(0, |w, &b| w << 8 | u64::from(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read_word;

    #[test]
    fn the_last_word_is_filled_up_with_zeros() {
        let bytes: Vec<u8> = (1..=19).collect();
        for len in 0..=19 {
            for index in 0..3 {
                let mut expected = [0; 8];
                for (place, byte) in expected.iter_mut().enumerate() {
                    *byte = bytes[..len].get(index * 8 + place).copied().unwrap_or(0);
                }
                let word = read_word(&bytes[..len], u32::try_from(index).unwrap());
                assert_eq!(word, u64::from_le_bytes(expected), "{len} {index}");
            }
        }
    }
}
