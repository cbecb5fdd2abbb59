//! The header in front of each frame (virtio 1.2, 5.1.6): which of two kinds it is was negotiated, and is a type.

use core::ptr::NonNull;

use crate::features::HEADER_BYTES;
use crate::raw::{Pair, read_once};
use crate::ring::Header;

/// `virtio_net_hdr` with `num_buffers`: 12 bytes that say nothing. On receive it is not even read, because
/// there is nothing that a device may say in it.
#[derive(Clone, Copy, Debug)]
pub struct PlainHeader;

/// `virtio_net_hdr` where a device may say something of a received frame: that it spans several buffers
/// (`VIRTIO_NET_F_MRG_RXBUF`), that its checksum is valid or partial, that it was merged of several.
#[derive(Clone, Copy, Debug)]
pub struct SpeakingHeader;

impl Header for SpeakingHeader {
    const BYTES: u16 = HEADER_BYTES;
    const SPEAKS: bool = true;

    #[inline]
    unsafe fn write_plain(header: NonNull<u8>) {
        // SAFETY: the caller's promise.
        unsafe { PlainHeader::write_plain(header) }
    }

    fn is_plain(before: Pair) -> bool {
        PlainHeader::is_plain(before)
    }

    /// Whether there is one buffer is asked even where only one is possible: a device writes 1 then as well.
    #[inline(always)]
    fn oddity(before: Pair) -> Pair {
        const ONE_BUFFER: [u64; 2] = [0, u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 1, 0])];
        const HEADER: [u64; 2] = [FIRST_FIELDS[0], u64::MAX];
        before.xor(Pair::new(ONE_BUFFER)).and(Pair::new(HEADER))
    }
}

/// Where in the sixteen bytes before a frame the header's fields are, `num_buffers` apart.
const FIRST_FIELDS: [u64; 2] = [
    u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
    u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]),
];

impl Header for PlainHeader {
    const BYTES: u16 = HEADER_BYTES;
    const SPEAKS: bool = false;

    #[inline(always)]
    fn is_plain(before: Pair) -> bool {
        before.and(Pair::new(FIRST_FIELDS)).words() == [0, 0]
    }

    #[inline(always)]
    fn oddity(_: Pair) -> Pair {
        Pair::both(0)
    }

    /// Zeroes the header where it is not zero already: a line that is only read stays shared between the cores.
    ///
    /// `num_buffers`, its last two bytes, is left as it stands, which is less than virtio 1.2, 5.1.6.2 asks of a
    /// driver (zero). A device must write 1 there into the header of a received packet and has no use for it
    /// in a sent one; clearing it would write the line of every packet that is forwarded.
    #[inline]
    unsafe fn write_plain(header: NonNull<u8>) {
        // SAFETY: the twelve bytes are the caller's to read and write, at any alignment.
        unsafe {
            let front: u64 = read_once(header.as_ptr());
            let checksum: u16 = read_once(header.as_ptr().add(8));
            if front | u64::from(checksum) != 0 {
                header.write_bytes(0, Self::BYTES.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_that_says_something_is_written() {
        for (before, after) in [
            ([0; 12], [0; 12]),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
            ([0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 2, 0], [0; 12]),
            ([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], [0; 12]),
            ([0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0], [0; 12]),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 1, 0], [0; 12]),
        ] {
            let mut bytes = [0xaau8; 16];
            bytes[2..14].copy_from_slice(&before);
            // SAFETY: twelve bytes from the one at 2 on.
            unsafe { PlainHeader::write_plain(NonNull::from(&mut bytes).cast::<u8>().add(2)) };
            assert_eq!(bytes[2..14], after);
            assert_eq!((bytes[..2].to_vec(), bytes[14..].to_vec()), (vec![0xaa; 2], vec![0xaa; 2]));
            assert_eq!(PlainHeader::is_plain(ended_by(before)), before == after);
        }
    }

    /// Sixteen bytes, of which the first are something else.
    fn ended_by(header: [u8; 12]) -> Pair {
        let mut bytes = [0xaau8; 16];
        bytes[4..].copy_from_slice(&header);
        // SAFETY: sixteen bytes.
        unsafe { Pair::read_unaligned(bytes.as_ptr()) }
    }

    #[test]
    fn a_header_that_says_anything_is_odd() {
        let plain = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(SpeakingHeader::oddity(ended_by(plain)).words(), [0, 0]);
        for byte in 0..12 {
            for bit in 0..8 {
                let mut header = plain;
                header[byte] ^= 1 << bit;
                assert_ne!(SpeakingHeader::oddity(ended_by(header)).words(), [0, 0], "{header:?}");
                assert_eq!(PlainHeader::is_plain(ended_by(header)), byte >= 10);
            }
        }
    }
}
