//! Two 64-bit words in one register: what words of headers, descriptors and used elements are calculated in where
//! a group of packets is looked at as a whole. SSE2, which every x86-64 has; two plain words elsewhere.

/// The register. (An array would be moved over the stack.)
#[cfg(target_arch = "x86_64")]
type Block = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Block = [u64; 2];

#[cfg(target_arch = "x86_64")]
use core::arch::x86_64 as simd;

/// A register at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned(Block);

/// Two 64-bit words in one register.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Pair(Block);

const _: () = assert!(size_of::<Pair>() == 16);

/// An operation on both words: the instruction, and what it is for one word.
macro_rules! on_both {
    ($(#[$doc:meta])* $name:ident($($other:ident)?), $simd:expr, $scalar:expr) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(self $(, $other: Self)?) -> Self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: SSE2 is in the x86-64 baseline.
            return Self(unsafe { $simd(self.0 $(, $other.0)?) });
            #[cfg(not(target_arch = "x86_64"))]
            Self(core::array::from_fn(|at| $scalar(self.0[at] $(, $other.0[at])?)))
        }
    };
}

impl Pair {
    /// # Safety
    /// `from` must be aligned to 16 and valid for reads of 16 bytes, of which each is read once. The words need
    /// not be of the same moment.
    #[inline(always)]
    pub unsafe fn read(from: *const u64) -> Self {
        debug_assert!(from.addr().is_multiple_of(16));
        // SAFETY: the caller's promise; any bytes are valid.
        Self(unsafe { from.cast::<Block>().read_volatile() })
    }

    /// # Safety
    /// As [`read`](Self::read), at any alignment.
    #[inline(always)]
    pub unsafe fn read_unaligned(from: *const u8) -> Self {
        // SAFETY: the packed wrapper is aligned to 1 and as large; any bytes are valid.
        Self(unsafe { from.cast::<Unaligned>().read_volatile().0 })
    }

    /// From a register.
    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    pub fn of(register: simd::__m128i) -> Self {
        Self(register)
    }

    /// In a register.
    #[inline(always)]
    #[cfg(target_arch = "x86_64")]
    pub fn register(self) -> simd::__m128i {
        self.0
    }

    /// These words, the first from the lower address.
    #[inline(always)]
    pub fn new(words: [u64; 2]) -> Self {
        // SAFETY: the same size, and any bits are valid; the first word is at the lower address in both.
        Self(unsafe { core::mem::transmute::<[u64; 2], Block>(words) })
    }

    /// The same word twice.
    #[inline(always)]
    pub fn both(word: u64) -> Self {
        Self::new([word; 2])
    }

    /// The words.
    #[inline(always)]
    pub fn words(self) -> [u64; 2] {
        // SAFETY: as in `new`.
        unsafe { core::mem::transmute::<Block, [u64; 2]>(self.0) }
    }

    /// The first word, loaded from where the pair lies: taking it out of a register that it may still be in costs
    /// more instructions.
    #[inline(always)]
    pub fn load_first(&self) -> u64 {
        // SAFETY: the first half of this value.
        unsafe { core::ptr::from_ref(self).cast::<u64>().read_volatile() }
    }

    /// Writes them to any 16 bytes.
    ///
    /// # Safety
    /// `to` must be valid for writes of 16 bytes.
    #[inline(always)]
    pub unsafe fn write(self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Block>().write_unaligned(self.0) }
    }

    /// Eight words as pairs.
    #[inline(always)]
    pub fn four(words: &[u64; 8]) -> [Self; 4] {
        core::array::from_fn(|at| Self::new([words[2 * at], words[2 * at + 1]]))
    }

    /// Words from two places.
    ///
    /// # Safety
    /// Both must be valid for reads and aligned.
    #[inline(always)]
    pub unsafe fn read_apart(first: *const u64, second: *const u64) -> Self {
        // SAFETY: the caller's promise. (Loads of halves: else each goes through a register of its own.)
        unsafe {
            #[cfg(target_arch = "x86_64")]
            {
                let first = simd::_mm_load_sd(first.cast());
                Self(simd::_mm_castpd_si128(simd::_mm_loadh_pd(first, second.cast())))
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self([first.read(), second.read()])
        }
    }

    /// Writes the words to two places.
    ///
    /// # Safety
    /// Both must be valid for writes and aligned.
    #[inline(always)]
    pub unsafe fn write_apart(self, first: *mut u64, second: *mut u64) {
        // SAFETY: the caller's promise. (Vector stores of halves: else the second goes through another register.)
        unsafe {
            #[cfg(target_arch = "x86_64")]
            {
                simd::_mm_storel_epi64(first.cast(), self.0);
                simd::_mm_storeh_pd(second.cast(), simd::_mm_castsi128_pd(self.0));
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                first.write(self.0[0]);
                second.write(self.0[1]);
            }
        }
    }

    /// The second words of two pairs.
    #[inline(always)]
    pub fn second_words(one: Self, two: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { simd::_mm_unpackhi_epi64(one.0, two.0) });
        #[cfg(not(target_arch = "x86_64"))]
        Self([one.0[1], two.0[1]])
    }

    /// The OR of all words.
    #[inline(always)]
    pub fn joined(pairs: [Self; 4]) -> u64 {
        let [a, b] = pairs[0].or(pairs[1]).or(pairs[2].or(pairs[3])).words();
        a | b
    }

    on_both!(
        /// The words' common bits.
        and(other), simd::_mm_and_si128, |a: u64, b: u64| a & b);
    on_both!(
        /// All bits of the words.
        or(other), simd::_mm_or_si128, |a: u64, b: u64| a | b);
    on_both!(
        /// Bits in which the words differ.
        xor(other), simd::_mm_xor_si128, |a: u64, b: u64| a ^ b);
    on_both!(
        /// The sums of the words, each modulo 2^64.
        plus(other), simd::_mm_add_epi64, u64::wrapping_add);
    on_both!(
        /// The differences of the words, each modulo 2^64.
        minus(other), simd::_mm_sub_epi64, u64::wrapping_sub);
    on_both!(
        /// The upper halves of the words.
        upper_halves(), simd::_mm_srli_epi64::<32>, |a: u64| a >> 32);
    on_both!(
        /// The lower halves of the words, moved to the upper ones.
        raised(), simd::_mm_slli_epi64::<32>, |a: u64| a << 32);
}

/// Eight 16-bit words as 64-bit words, in order.
#[inline]
pub fn widen(words: [u16; 8]) -> [Pair; 4] {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is in the x86-64 baseline; sixteen bytes are sixteen bytes.
    unsafe {
        use simd::*;
        let (words, zero): (Block, Block) =
            (core::mem::transmute::<[u16; 8], Block>(words), _mm_setzero_si128());
        let (low, high) = (_mm_unpacklo_epi16(words, zero), _mm_unpackhi_epi16(words, zero));
        [
            Pair(_mm_unpacklo_epi32(low, zero)),
            Pair(_mm_unpackhi_epi32(low, zero)),
            Pair(_mm_unpacklo_epi32(high, zero)),
            Pair(_mm_unpackhi_epi32(high, zero)),
        ]
    }
    #[cfg(not(target_arch = "x86_64"))]
    core::array::from_fn(|at| Pair::new([words[2 * at].into(), words[2 * at + 1].into()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_calculate_as_two_words_do() {
        let words = [0, 1, 5, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0, (1 << 32) - 1];
        for a in words {
            for b in words {
                let (one, two) = (Pair::new([a, b]), Pair::new([b, !a]));
                assert_eq!(one.words(), [a, b]);
                assert_eq!(one.load_first(), a);
                assert_eq!(Pair::both(a).words(), [a, a]);
                assert_eq!(one.and(two).words(), [a & b, b & !a]);
                assert_eq!(one.or(two).words(), [a | b, b | !a]);
                assert_eq!(one.xor(two).words(), [a ^ b, b ^ !a]);
                assert_eq!(one.plus(two).words(), [a.wrapping_add(b), b.wrapping_add(!a)]);
                assert_eq!(one.minus(two).words(), [a.wrapping_sub(b), b.wrapping_sub(!a)]);
                assert_eq!(one.upper_halves().words(), [a >> 32, b >> 32]);
                assert_eq!(one.raised().words(), [a << 32, b << 32]);
                assert_eq!(Pair::second_words(one, two).words(), [b, !a]);
                assert_eq!(Pair::joined([one, two, Pair::both(0), Pair::both(0)]), u64::MAX);
                assert_eq!(Pair::joined([one; 4]), a | b);
            }
        }
        let wide = widen([1, 2, 3, 4, 5, 6, 7, u16::MAX]).map(Pair::words);
        assert_eq!(wide, [[1, 2], [3, 4], [5, 6], [7, 0xffff]]);
        assert_eq!(Pair::four(&[1, 2, 3, 4, 5, 6, 7, 8]).map(Pair::words)[3], [7, 8]);
    }

    #[test]
    fn pairs_are_read_and_written() {
        #[repr(align(16))]
        struct Aligned([u64; 2]);
        // SAFETY: sixteen aligned bytes.
        assert_eq!(unsafe { Pair::read(Aligned([7, 9]).0.as_ptr()) }.words(), [7, 9]);
        let bytes: [u8; 17] = core::array::from_fn(|at| at.to_le_bytes()[0]);
        // SAFETY: sixteen bytes from the second on.
        let pair = unsafe { Pair::read_unaligned(bytes.as_ptr().add(1)) };
        assert_eq!(pair.words().map(u64::to_le_bytes).concat(), bytes[1..]);
        let (mut one, mut two) = (0, 0);
        // SAFETY: two words of ours.
        unsafe { Pair::new([3, 4]).write_apart(&raw mut one, &raw mut two) };
        assert_eq!((one, two), (3, 4));
        // SAFETY: as above.
        assert_eq!(unsafe { Pair::read_apart(&raw const two, &raw const one) }.words(), [4, 3]);
    }
}
