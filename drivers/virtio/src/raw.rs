//! Raw access to bytes that a peer may write at any time: copies, the header word, prefetching.
//!
//! No reference to such bytes is formed, and nothing is decided on them before they are copied. Frames are
//! small, so the copy has no call for up to 256 bytes: a 64-byte frame is four loads and four stores of the
//! SSE2 baseline. (`memcpy` costs a call and two dozen instructions before its first byte.)

use core::ptr;

/// Sixteen bytes: one register move. (An array of bytes would be moved over the stack.)
#[cfg(target_arch = "x86_64")]
pub(crate) type Block = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) type Block = u128;

/// Copies `len` bytes.
///
/// # Safety
/// `from` must be valid for reads and `to` for writes of `len` bytes, and the two must not overlap.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: each call moves blocks from the front and blocks up to the end, and its range says that they
    // all lie inside `len` bytes.
    unsafe {
        match len {
            33..=64 => copy_ends::<2>(from, to, len),
            65..=128 => copy_ends::<4>(from, to, len),
            129..=256 => copy_ends::<8>(from, to, len),
            16..=32 => copy_ends::<1>(from, to, len),
            _ => ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// Copies the first and the last `BLOCKS` blocks, which together cover (and may overlap in) `len` bytes.
///
/// # Safety
/// As [`copy`], with `16 * BLOCKS <= len <= 32 * BLOCKS`.
#[inline]
pub(crate) unsafe fn copy_ends<const BLOCKS: usize>(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { copy_ends_by::<Block, BLOCKS>(from, to, len) }
}

/// The same in moves of a `Move`, of which a block is a part. (In line, for callers that have registers for it.)
///
/// # Safety
/// As there.
#[inline(always)]
pub(crate) unsafe fn copy_ends_by<Move: Copy, const BLOCKS: usize>(
    from: *const u8,
    to: *mut u8,
    len: usize,
) {
    debug_assert!(16 * BLOCKS <= len && len <= 32 * BLOCKS);
    let size = const { size_of::<Move>() };
    let mut at = 0;
    while at < 16 * BLOCKS {
        let tail = len - size - at;
        // SAFETY: `at + size <= 16 * BLOCKS <= len`, and `tail + size <= len`; unaligned accesses of plain bytes.
        unsafe {
            let front = from.add(at).cast::<Move>().read_unaligned();
            let back = from.add(tail).cast::<Move>().read_unaligned();
            to.add(at).cast::<Move>().write_unaligned(front);
            to.add(tail).cast::<Move>().write_unaligned(back);
        }
        at += size;
    }
}

/// Lengths that are copied in the same way: in the first and the last so many blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// The shortest.
    pub(crate) least: u16,
    /// By how many bytes the longest is longer.
    pub(crate) width: u16,
    /// For [`copy_ends`]; zero where there is no such way.
    pub(crate) blocks: usize,
}

impl Class {
    /// The class of `len`, as far as its lengths are at most `largest`; `None` where none is. Where `len` has no
    /// class of its own, all lengths from `shortest` on.
    #[inline]
    pub(crate) fn of(len: u32, shortest: u16, largest: u16) -> Option<Self> {
        let (least, width, blocks) = match len {
            33..=64 => (33, 31, 2),
            65..=128 => (65, 63, 4),
            129..=256 => (129, 127, 8),
            _ => (shortest, u16::MAX, 0),
        };
        Some(Self { least, width: width.min(largest.checked_sub(least)?), blocks })
    }
}

/// Two 64-bit words in one register, for checks that are made of many descriptors at once.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub(crate) struct Pair(Block);

const _: () = assert!(size_of::<Pair>() == 16);

impl Pair {
    /// # Safety
    /// `from` must be aligned to 16 and valid for reads of 16 bytes, of which each is read once. The words need
    /// not be of the same moment.
    #[inline]
    pub(crate) unsafe fn read(from: *const u64) -> Self {
        debug_assert!(from.addr().is_multiple_of(16));
        // SAFETY: the caller's promise; any bytes are valid.
        Self(unsafe { from.cast::<Block>().read_volatile() })
    }

    #[inline]
    pub(crate) fn new(words: [u64; 2]) -> Self {
        // SAFETY: the same size, and any bits are valid; the first word is at the lower address in both.
        Self(unsafe { core::mem::transmute::<[u64; 2], Block>(words) })
    }

    /// From sixteen bytes at any address.
    ///
    /// # Safety
    /// `from` must be valid for reads of 16 bytes.
    #[inline]
    pub(crate) unsafe fn of_bytes(from: *const u8) -> Self {
        // SAFETY: the caller's promise; any bytes are valid.
        Self(unsafe { from.cast::<Block>().read_unaligned() })
    }

    /// From a register.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn of(register: Block) -> Self {
        Self(register)
    }

    /// In a register.
    #[inline]
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn register(self) -> Block {
        self.0
    }

    /// Writes them to any 16 bytes.
    ///
    /// # Safety
    /// `to` must be valid for writes of 16 bytes.
    #[inline]
    pub(crate) unsafe fn write(self, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<Block>().write_unaligned(self.0) }
    }

    /// The first word, loaded from where the pair lies: taking it out of a register that it may still be in costs
    /// more instructions.
    #[inline]
    pub(crate) fn load_first(&self) -> u64 {
        // SAFETY: eight bytes of this value; any are valid.
        unsafe { read_once(ptr::from_ref(self).cast()) }
    }

    #[inline]
    pub(crate) fn words(self) -> [u64; 2] {
        // SAFETY: as in `new`.
        unsafe { core::mem::transmute::<Block, [u64; 2]>(self.0) }
    }

    #[inline]
    pub(crate) fn and(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { core::arch::x86_64::_mm_and_si128(self.0, other.0) });
        #[cfg(not(target_arch = "x86_64"))]
        Self(self.0 & other.0)
    }

    #[inline]
    pub(crate) fn or(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { core::arch::x86_64::_mm_or_si128(self.0, other.0) });
        #[cfg(not(target_arch = "x86_64"))]
        Self(self.0 | other.0)
    }

    #[inline]
    pub(crate) fn xor(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { core::arch::x86_64::_mm_xor_si128(self.0, other.0) });
        #[cfg(not(target_arch = "x86_64"))]
        Self(self.0 ^ other.0)
    }

    /// The sums of the words, each modulo 2^64.
    #[inline]
    pub(crate) fn plus(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { core::arch::x86_64::_mm_add_epi64(self.0, other.0) });
        #[cfg(not(target_arch = "x86_64"))]
        {
            let ([a, b], [c, d]) = (self.words(), other.words());
            Self::new([a.wrapping_add(c), b.wrapping_add(d)])
        }
    }

    /// The differences of the words, each modulo 2^64.
    #[inline]
    pub(crate) fn minus(self, other: Self) -> Self {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is in the x86-64 baseline.
        return Self(unsafe { core::arch::x86_64::_mm_sub_epi64(self.0, other.0) });
        #[cfg(not(target_arch = "x86_64"))]
        {
            let ([a, b], [c, d]) = (self.words(), other.words());
            Self::new([a.wrapping_sub(c), b.wrapping_sub(d)])
        }
    }
}

/// Eight 16-bit words as 64-bit words, in order.
#[inline]
pub(crate) fn widen(words: [u16; 8]) -> [Pair; 4] {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is in the x86-64 baseline; sixteen bytes are sixteen bytes.
    unsafe {
        use core::arch::x86_64::*;
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

/// A value at any address.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned<T>(T);

/// Reads a value exactly once, at any alignment.
///
/// # Safety
/// `from` must be valid for reads of `T`, for which all bytes must be valid.
#[inline]
pub(crate) unsafe fn read_once<T: Copy>(from: *const u8) -> T {
    // SAFETY: the packed wrapper is aligned to 1 and as large as `T`; the caller vouches for the bytes.
    unsafe { from.cast::<Unaligned<T>>().read_volatile().0 }
}

/// Starts loading the cache line at `address`. A hint: any address is allowed.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is in the x86-64 baseline, and a prefetch never faults.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_exactly() {
        let source: Vec<u8> =
            (0..1600u32).map(|at| (at * 7 + at / 256).to_le_bytes()[0] | 1).collect();
        for len in 0..=1600 {
            let mut to = vec![0; len + 16];
            // SAFETY: both vectors hold at least `len` bytes.
            unsafe { copy(source.as_ptr(), to.as_mut_ptr(), len) };
            assert_eq!(to[..len], source[..len]);
            assert_eq!(to[len..], [0; 16]);
        }
    }

    #[test]
    fn a_class_is_copied_by_its_blocks_and_ends_at_the_largest() {
        for len in 14..1600u16 {
            for largest in [13, 14, 32, 33, 50, 64, 65, 200, 256, 1514] {
                let Some(class) = Class::of(len.into(), 14, largest) else {
                    assert!(largest < len);
                    continue;
                };
                let most = class.least + class.width;
                assert!(most <= largest && class.least <= len);
                if class.blocks > 0 {
                    assert!(16 * class.blocks < class.least.into());
                    assert!(usize::from(most) <= 32 * class.blocks);
                    assert_eq!(usize::from(class.least), 16 * class.blocks + 1);
                }
            }
        }
    }

    #[test]
    fn pairs_calculate_as_two_words_do() {
        let words = [0, 1, 5, u64::MAX, 1 << 63, 0x1234_5678_9abc_def0, (1 << 32) - 1];
        for a in words {
            for b in words {
                let (one, two) = (Pair::new([a, b]), Pair::new([b, !a]));
                assert_eq!(one.load_first(), a);
                assert_eq!(one.words(), [a, b]);
                assert_eq!(one.and(two).words(), [a & b, b & !a]);
                assert_eq!(one.or(two).words(), [a | b, b | !a]);
                assert_eq!(one.xor(two).words(), [a ^ b, b ^ !a]);
                assert_eq!(one.plus(two).words(), [a.wrapping_add(b), b.wrapping_add(!a)]);
                assert_eq!(one.minus(two).words(), [a.wrapping_sub(b), b.wrapping_sub(!a)]);
            }
        }
        let wide = widen([1, 2, 3, 4, 5, 6, 7, u16::MAX]).map(Pair::words);
        assert_eq!(wide, [[1, 2], [3, 4], [5, 6], [7, 0xffff]]);
        #[repr(align(16))]
        struct Aligned([u64; 2]);
        // SAFETY: sixteen aligned bytes.
        assert_eq!(unsafe { Pair::read(Aligned([7, 9]).0.as_ptr()) }.words(), [7, 9]);
    }

    #[test]
    fn unaligned_words_are_read() {
        let bytes = [0u8, 1, 2, 3, 4, 5, 6, 7, 8];
        // SAFETY: eight bytes from the second on.
        assert_eq!(unsafe { read_once::<u64>(bytes.as_ptr().add(1)) }, 0x0807_0605_0403_0201);
    }
}
