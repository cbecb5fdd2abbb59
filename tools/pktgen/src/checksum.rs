//! The checksum of a frame's contents: a sum of products, one per eight bytes.
//!
//! Each word's two halves get a key that depends on the word's place, and are multiplied (the NH construction of
//! UMAC, RFC 4418, with keys from an arithmetic progression). A sum has no order of evaluation: the compiler
//! vectorises it, and who changes one word of a known frame corrects the sum by one term. A change within one word,
//! or words changing places, goes unnoticed once in about 2^32.
//!
//! Not a defence against an adversary, who knows the keys.

const WORD: usize = 8;
const LOW_KEY: (u32, u32) = (0x9e37_79b9, 0x85eb_ca77);
const HIGH_KEY: (u32, u32) = (0xc2b2_ae3d, 0x27d4_eb2f);
const FINISH: u64 = 0x9fb2_1c65_1e98_df25;

/// The term of the word in place `index`.
#[inline]
pub fn term(index: u32, word: u64) -> u64 {
    let [low, high] = halves(word);
    let low = low.wrapping_add(LOW_KEY.0.wrapping_add(index.wrapping_mul(LOW_KEY.1)));
    let high = high.wrapping_add(HIGH_KEY.0.wrapping_add(index.wrapping_mul(HIGH_KEY.1)));
    u64::from(low).wrapping_mul(u64::from(high))
}

/// The keys of one place, for those who need them often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u32, u32);

impl Key {
    pub(crate) fn of(index: u32) -> Self {
        let low = LOW_KEY.0.wrapping_add(index.wrapping_mul(LOW_KEY.1));
        Self(low, HIGH_KEY.0.wrapping_add(index.wrapping_mul(HIGH_KEY.1)))
    }

    /// As [`term`], for this place.
    #[inline]
    pub(crate) fn term(self, word: u64) -> u64 {
        let [low, high] = halves(word);
        u64::from(low.wrapping_add(self.0)).wrapping_mul(u64::from(high.wrapping_add(self.1)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "splitting a word in two is the purpose")]
#[inline]
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// The sum of all terms of `bytes`; a last word that is not whole is filled up with zeros.
#[inline]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<WORD>();
    let mut total = 0u64;
    let mut index = 0u32;
    for word in words {
        total = total.wrapping_add(term(index, u64::from_le_bytes(*word)));
        index = index.wrapping_add(1);
    }
    let mut last = [0; WORD];
    last[..rest.len()].copy_from_slice(rest);
    total.wrapping_add(term(index, u64::from_le_bytes(last)))
}

/// The checksum that a sum over `len` bytes ends in.
#[inline]
pub fn finish(sum: u64, len: usize) -> u32 {
    let mixed = (sum ^ len as u64).wrapping_mul(FINISH);
    halves(mixed ^ (mixed >> 29))[1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(bytes: &[u8]) -> u32 {
        finish(sum(bytes), bytes.len())
    }

    proptest! {
        #[test]
        fn a_changed_byte_is_noticed(mut bytes in prop::collection::vec(any::<u8>(), 1..1600),
                                     place in any::<prop::sample::Index>(), change in 1u8..) {
            let before = of(&bytes);
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            prop_assert_ne!(of(&bytes), before);
        }

        #[test]
        fn a_term_exchanged_is_a_word_changed(mut bytes in prop::collection::vec(any::<u8>(), 64..200),
                                              index in 0usize..8, word in any::<u64>()) {
            let at = index * WORD..(index + 1) * WORD;
            let old = u64::from_le_bytes(bytes[at.clone()].try_into().unwrap());
            let place = u32::try_from(index).unwrap();
            let expected = sum(&bytes).wrapping_sub(term(place, old)).wrapping_add(term(place, word));
            bytes[at].copy_from_slice(&word.to_le_bytes());
            prop_assert_eq!(sum(&bytes), expected);
        }
    }

    #[test]
    fn order_and_length_count() {
        let mut bytes: Vec<u8> = (0..64).collect();
        let before = of(&bytes);
        bytes.rotate_left(WORD);
        assert_ne!(of(&bytes), before, "words in another order");
        assert_ne!(of(&[0; 16]), of(&[0; 17]), "one more zero");
        assert_ne!(of(&[]), of(&[0]));
    }
}
