//! The internet checksum (RFC 1071) over segments, for a partial checksum that no device completes.
//!
//! No protocol is parsed: where summing starts and where the sum belongs is said by the packet's metadata.
#![forbid(unsafe_code)]

use crate::{Checksum, Netbuf};

/// A sum of 16-bit words that may start and end anywhere.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    /// Of words in memory order: the bytes of the result are swapped back when it is stored.
    words: u64,
    /// Whether an odd number of bytes was added.
    odd: bool,
}

impl Sum {
    /// Adds bytes that follow those added before.
    fn add(&mut self, bytes: &[u8]) {
        let (fours, rest) = bytes.as_chunks::<4>();
        // (Independent additions of 32-bit words: the compiler adds many of them at once. The sum of 64 KiB has
        // 48 bits at most.)
        let mut sum: u64 = fours.iter().map(|&word| u64::from(u32::from_le_bytes(word))).sum();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_le_bytes(last));
        let folded = u64::from(fold(sum));
        // A sum from an odd byte on is the sum from an even one on with its bytes swapped (RFC 1071, 2B).
        self.words += if self.odd { u64::from(fold(folded << 8)) } else { folded };
        self.odd ^= !bytes.len().is_multiple_of(2);
    }

    /// The checksum as it stands in memory, read as a little-endian word.
    fn finish(self) -> u16 {
        !fold(self.words)
    }
}

/// Folds carries back in.
#[expect(clippy::cast_possible_truncation, reason = "the last fold leaves 16 bits")]
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Netbuf {
    /// Completes a partial checksum in software: sums the frame from where the metadata says to its end and stores
    /// the result (never zero, which UDP reads as none). The checksum is then no longer partial. `None`,
    /// nothing changed, where the field does not lie in the frame. Does nothing where none is partial.
    pub fn complete_checksum(&mut self) -> Option<()> {
        let Checksum::Partial { start, offset } = self.checksum() else { return Some(()) };
        let start = usize::from(start);
        let field = start + usize::from(offset);
        if field + 2 > self.len() {
            return None;
        }
        let (mut sum, mut skip) = (Sum::default(), start);
        for segment in self.segments() {
            let from = skip.min(segment.len());
            sum.add(&segment[from..]);
            skip -= from;
        }
        let result = match sum.finish() {
            0 => u16::MAX,
            sum => sum,
        };
        self.put(field, result.to_le_bytes());
        self.set_checksum(Checksum::Unknown);
        Some(())
    }

    /// Writes two bytes of the frame, which may stand in different segments.
    fn put(&mut self, at: usize, bytes: [u8; 2]) {
        let mut before = 0;
        for segment in self.segments_mut() {
            for (offset, byte) in bytes.iter().enumerate() {
                let place = (at + offset).checked_sub(before);
                if let Some(place) = place.and_then(|place| segment.get_mut(place)) {
                    *place = *byte;
                }
            }
            before += segment.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceMemory, Pool, PoolConfig};

    /// By the definition: big-endian words, one after the other.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    fn pool() -> Pool {
        let config = PoolConfig { buffers: 80, ..PoolConfig::default() };
        Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap()
    }

    #[test]
    fn any_segmentation_gives_the_sum_of_the_whole() {
        let pool = pool();
        let bytes: Vec<u8> = (0..3000u32).map(|at| (at * 37 + at / 7).to_le_bytes()[0]).collect();
        for (start, offset, cuts) in [
            (34, 16, vec![3000]),
            (34, 16, vec![35, 2000, 965]),
            (33, 6, vec![1, 1, 31, 6, 1, 1, 1, 2000, 958]),
            (
                0,
                2998,
                vec![2999, 1].into_iter().flat_map(|n| [n.min(2048), n - n.min(2048)]).collect(),
            ),
            (35, 5, vec![40, 1, 7, 1500, 1452]),
            (2990, 1, vec![2000, 991, 1, 8]),
        ] {
            let mut rest = &bytes[..];
            let mut packet: Option<Netbuf> = None;
            for cut in cuts.into_iter().filter(|&cut| cut > 0) {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                let segment = pool.copy_from(piece).unwrap();
                rest = later;
                match &mut packet {
                    Some(packet) => packet.chain(segment),
                    None => packet = Some(segment),
                }
            }
            let mut packet = packet.unwrap();
            assert_eq!(packet.len(), 3000);
            packet.set_checksum(Checksum::Partial { start, offset });
            packet.complete_checksum().unwrap();
            assert_eq!(packet.checksum(), Checksum::Unknown);
            let mut expected = bytes.clone();
            let sum = reference(&bytes[usize::from(start)..]);
            let field = usize::from(start) + usize::from(offset);
            let sum = if sum == 0 { u16::MAX } else { sum };
            expected[field..field + 2].copy_from_slice(&sum.to_be_bytes());
            // (A field at an odd distance from where summing starts holds the sum's bytes swapped all the same.)
            let mut got = vec![0; 3000];
            packet.copy_to(&mut got);
            assert!(got == expected, "{start} {offset}");
        }
        assert_eq!(pool.available(), pool.buffers());
    }

    #[test]
    fn a_sum_of_zero_is_stored_as_all_ones() {
        let pool = pool();
        let mut packet = pool.copy_from(&[0xff; 20]).unwrap();
        packet.set_checksum(Checksum::Partial { start: 0, offset: 4 });
        packet.complete_checksum().unwrap();
        assert_eq!(packet.bytes(), [0xff; 20]);
    }

    #[test]
    fn a_field_outside_the_frame_is_refused_and_nothing_else_is_touched() {
        let pool = pool();
        let mut packet = pool.copy_from(&[7; 60]).unwrap();
        for (start, offset) in [(0, 59), (60, 0), (59, 0), (u16::MAX, u16::MAX), (10, 49)] {
            let partial = Checksum::Partial { start, offset };
            packet.set_checksum(partial);
            assert_eq!(packet.complete_checksum(), None);
            assert_eq!((packet.checksum(), packet.bytes()), (partial, &[7; 60][..]));
        }
        packet.set_checksum(Checksum::Valid);
        packet.complete_checksum().unwrap();
        assert_eq!((packet.checksum(), packet.bytes()), (Checksum::Valid, &[7; 60][..]));
    }
}
