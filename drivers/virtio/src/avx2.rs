//! AVX2: a value that proves that the CPU has it, and four 64-bit words in one register.
//!
//! What is built on this has a portable twin, which is tested against it and runs where there is no such value.

use core::arch::x86_64 as x86;

use crate::raw::{Pair, read_once};

/// Proves that the CPU has AVX2 and that the system keeps its registers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the CPU.
    pub(crate) fn detect() -> Option<Self> {
        /// CPUID leaf 1, ECX: XSAVE is switched on, and AVX.
        const OSXSAVE_AVX: u32 = 1 << 27 | 1 << 28;
        /// XCR0: SSE and AVX registers are kept.
        const KEPT: u64 = 0b110;
        /// CPUID leaf 7, EBX.
        const AVX2: u32 = 1 << 5;
        if x86::__cpuid(0).eax < 7 || x86::__cpuid(1).ecx & OSXSAVE_AVX != OSXSAVE_AVX {
            return None;
        }
        // SAFETY: OSXSAVE says that XGETBV may be used.
        let kept = unsafe { enabled() };
        let found = kept & KEPT == KEPT && x86::__cpuid_count(7, 0).ebx & AVX2 != 0;
        found.then_some(Self(()))
    }
}

/// XCR0.
#[target_feature(enable = "xsave")]
fn enabled() -> u64 {
    // SAFETY: register 0 exists wherever XGETBV does.
    unsafe { x86::_xgetbv(0) }
}

/// Four words: of two descriptors, for instance.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Quad(x86::__m256i);

impl Quad {
    /// # Safety
    /// `from` must be valid for reads of 32 bytes, of which each is read once. The words need not be of the same
    /// moment.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn read(from: *const u64) -> Self {
        // SAFETY: the caller's promise; any bytes are valid.
        Self(unsafe { read_once(from.cast()) })
    }

    /// Writes them to any 32 bytes.
    ///
    /// # Safety
    /// `to` must be valid for writes of 32 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) unsafe fn write(self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { x86::_mm256_storeu_si256(to.cast(), self.0) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn zero() -> Self {
        Self(x86::_mm256_setzero_si256())
    }

    /// One word four times.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn all(word: u64) -> Self {
        Self(x86::_mm256_set1_epi64x(word.cast_signed()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn twice(pair: Pair) -> Self {
        Self(x86::_mm256_broadcastsi128_si256(pair.register()))
    }

    #[inline]
    #[cfg(test)]
    #[target_feature(enable = "avx2")]
    pub(crate) fn of(words: [u64; 4]) -> Self {
        let [a, b, c, d] = words.map(u64::cast_signed);
        Self(x86::_mm256_set_epi64x(d, c, b, a))
    }

    /// Two pairs, in order.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn join(low: Pair, high: Pair) -> Self {
        let low = x86::_mm256_castsi128_si256(low.register());
        Self(x86::_mm256_inserti128_si256::<1>(low, high.register()))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(x86::_mm256_and_si256(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn or(self, other: Self) -> Self {
        Self(x86::_mm256_or_si256(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(x86::_mm256_add_epi64(self.0, other.0))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn minus(self, other: Self) -> Self {
        Self(x86::_mm256_sub_epi64(self.0, other.0))
    }

    /// Whether none of the bits of `other` is set.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn lacks(self, other: Self) -> bool {
        x86::_mm256_testz_si256(self.0, other.0) != 0
    }

    /// Of four pairs, in two of these, what the second words have in bits 32 to 47, which are ids of descriptors, in order;
    /// and the other bits from `other`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn ids(low: Self, high: Self, other: Self) -> Self {
        const THIRD: i32 = 0b0100_0100;
        Self(x86::_mm256_blend_epi16::<THIRD>(other.0, Self::seconds(low, high).0))
    }

    /// The upper halves of the words.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn upper(self) -> Self {
        Self(x86::_mm256_srli_epi64::<32>(self.0))
    }

    /// Of four pairs, in two of these, the second words in order.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn seconds(low: Self, high: Self) -> Self {
        let mixed = x86::_mm256_unpackhi_epi64(low.0, high.0);
        Self(x86::_mm256_permute4x64_epi64::<0b11_01_10_00>(mixed))
    }

    /// The sums of the first and third, and of the second and fourth word.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn sums(self) -> [u64; 2] {
        let high = Pair::of(x86::_mm256_extracti128_si256::<1>(self.0));
        Pair::of(x86::_mm256_castsi256_si128(self.0)).plus(high).words()
    }

    /// The ORs of the first and third, and of the second and fourth word.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn fold(self) -> Pair {
        let high = Pair::of(x86::_mm256_extracti128_si256::<1>(self.0));
        Pair::of(x86::_mm256_castsi256_si128(self.0)).or(high)
    }

    /// The OR of all four.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn joined(self) -> u64 {
        let [one, other] = self.fold().words();
        one | other
    }
}

/// Eight indexes of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Eight(x86::__m128i);

impl Eight {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn of(indexes: &[u16; 8]) -> Self {
        // SAFETY: sixteen bytes, at any alignment.
        Self(unsafe { x86::_mm_loadu_si128(indexes.as_ptr().cast()) })
    }

    /// Whether none has any of these bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn lacks(self, bits: u16) -> bool {
        x86::_mm_testz_si128(self.0, x86::_mm_set1_epi16(bits.cast_signed())) != 0
    }

    /// Whether each is one more than the one before it.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn ascend(self) -> bool {
        let first = x86::_mm_broadcastw_epi16(self.0);
        let steps = x86::_mm_sub_epi16(self.0, x86::_mm_set_epi16(7, 6, 5, 4, 3, 2, 1, 0));
        let differ = x86::_mm_xor_si128(steps, first);
        x86::_mm_testz_si128(differ, differ) != 0
    }

    /// As 64-bit words.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn widen(self) -> [Quad; 2] {
        let high = x86::_mm_unpackhi_epi64(self.0, self.0);
        [Quad(x86::_mm256_cvtepu16_epi64(self.0)), Quad(x86::_mm256_cvtepu16_epi64(high))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_asked_as_the_standard_library_asks() {
        assert_eq!(Avx2::detect().is_some(), std::is_x86_feature_detected!("avx2"));
    }

    #[target_feature(enable = "avx2")]
    fn words(quad: Quad) -> [u64; 4] {
        let mut words = [0; 4];
        // SAFETY: 32 bytes.
        unsafe { quad.write(words.as_mut_ptr().cast()) };
        words
    }

    #[target_feature(enable = "avx2")]
    fn calculate() {
        let (one, two) = ([1, u64::MAX, 1 << 63, 7], [5, 1, 3, 0x8000_0000_0000_0007]);
        let each = |of: fn(u64, u64) -> u64| core::array::from_fn(|at| of(one[at], two[at]));
        let (a, b) = (Quad::of(one), Quad::of(two));
        assert_eq!(words(a.and(b)), each(|a, b| a & b));
        assert_eq!(words(a.or(b)), each(|a, b| a | b));
        assert_eq!(words(a.plus(b)), each(u64::wrapping_add));
        assert_eq!(words(a.minus(b)), each(u64::wrapping_sub));
        assert_eq!(a.fold().words(), [one[0] | one[2], one[1] | one[3]]);
        assert_eq!(a.joined(), one.into_iter().fold(0, |all, word| all | word));
        assert_eq!(b.sums(), [8, 0x8000_0000_0000_0008]);
        assert!(a.lacks(Quad::of([2, 0, 1, 8])) && !a.lacks(Quad::of([2, 1, 1, 8])));
        assert_eq!(words(a.upper()), [0, 0xffff_ffff, 1 << 31, 0]);
        assert_eq!(words(Quad::seconds(a, b)), [one[1], one[3], two[1], two[3]]);
        let id = 0xffff << 32;
        let ids = [one[1], one[3], two[1], two[3]].map(|word| word & id | 0x5555 & !id);
        assert_eq!(words(Quad::ids(a, b, Quad::all(0x5555_5555_5555_5555 & 0xffff))), ids);
        assert_eq!(words(Quad::twice(Pair::new([3, 4]))), [3, 4, 3, 4]);
        assert_eq!(words(Quad::join(Pair::new([3, 4]), Pair::new([5, 6]))), [3, 4, 5, 6]);
        assert_eq!((words(Quad::all(9)), words(Quad::zero())), ([9; 4], [0; 4]));
        // SAFETY: four words.
        assert_eq!(words(unsafe { Quad::read(one.as_ptr()) }), one);
    }

    #[target_feature(enable = "avx2")]
    fn indexes() {
        let eight = Eight::of(&[1, 2, 3, 4, 5, 6, 7, 0xffff]);
        assert_eq!(eight.widen().map(|quad| words(quad)), [[1, 2, 3, 4], [5, 6, 7, 0xffff]]);
        assert!(!eight.ascend() && !eight.lacks(0x8000));
        let rising = Eight::of(&[250, 251, 252, 253, 254, 255, 256, 257]);
        assert!(rising.ascend() && rising.lacks(0xfe00) && !rising.lacks(0x100));
        assert!(!Eight::of(&[250, 251, 252, 254, 253, 255, 256, 257]).ascend());
    }

    #[test]
    fn words_and_indexes() {
        if Avx2::detect().is_none() {
            return println!("skipped: this CPU has no AVX2");
        }
        // SAFETY: it has.
        unsafe {
            calculate();
            indexes();
        }
    }
}
