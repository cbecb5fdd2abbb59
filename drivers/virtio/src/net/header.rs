//! The header in front of each frame (virtio 1.2, 5.1.6): which of two kinds it is was negotiated, and is a type.

use core::ptr::NonNull;

use crate::features::HEADER_BYTES;
use crate::raw::read_once;
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

    /// Whether there is one buffer is asked even where only one is possible: a device writes 1 then as well.
    #[inline]
    unsafe fn oddity(header: NonNull<u8>) -> u64 {
        /// The last four bytes: no checksum, one buffer.
        const BACK: u32 = u32::from_le_bytes([0, 0, 1, 0]);
        // SAFETY: the twelve bytes are the caller's to read, at any alignment.
        unsafe {
            let front: u64 = read_once(header.as_ptr());
            let back = u32::from_le(read_once(header.as_ptr().add(8)));
            front | u64::from(back ^ BACK)
        }
    }
}

impl Header for PlainHeader {
    const BYTES: u16 = HEADER_BYTES;
    const SPEAKS: bool = false;

    #[inline]
    unsafe fn oddity(_: NonNull<u8>) -> u64 {
        0
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
        }
    }
}
