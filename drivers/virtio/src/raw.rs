//! Raw access to bytes that a peer may write at any time: copies, the header word, prefetching.
//!
//! No reference to such bytes is formed, and nothing is decided on them before they are copied. Frames are
//! small, so the copy has no call for up to 256 bytes: a 64-byte frame is four loads and four stores of the
//! SSE2 baseline. (`memcpy` costs a call and two dozen instructions before its first byte.)

use core::ptr;

pub(crate) use netbuf::pair::{Pair, widen};
pub(crate) use netbuf::prefetch::prefetch_write;

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

/// Starts loading the cache line at `address`, to be read. A hint: any address is allowed.
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
    fn unaligned_words_are_read() {
        let bytes = [0u8, 1, 2, 3, 4, 5, 6, 7, 8];
        // SAFETY: eight bytes from the second on.
        assert_eq!(unsafe { read_once::<u64>(bytes.as_ptr().add(1)) }, 0x0807_0605_0403_0201);
    }
}
