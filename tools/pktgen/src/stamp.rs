//! The stamp: the 18 bytes behind the UDP header by which a generated frame is known again.
//!
//! ```text
//! 0       2        4            10        14         18      bytes from STAMP_OFFSET, big-endian
//! | magic | stream | sequence   | time    | checksum |
//! ```
//!
//! The sequence number has 48 bits: 81 days at 40 Mpps. The time has 32 bits, in nanoseconds: it tells delays up
//! to 4.29 s. So short, the stamp fits the shortest Ethernet frame (60 bytes without FCS).

/// Where the stamp begins: behind Ethernet (14), IPv4 (20) and UDP (8) headers.
pub const STAMP_OFFSET: usize = 42;
/// Bytes of the stamp.
pub const STAMP_LEN: usize = 18;
/// The first byte behind the stamp.
pub const STAMP_END: usize = STAMP_OFFSET + STAMP_LEN;
/// The magic of a frame that is counted.
pub const DATA_MAGIC: u16 = 0xba5e;
/// The magic of a frame that only asks whether the path is open.
pub const PROBE_MAGIC: u16 = 0xba5f;

const MAGIC: usize = STAMP_OFFSET;
const STREAM: usize = STAMP_OFFSET + 2;
const SEQUENCE: usize = STAMP_OFFSET + 4;
const TIME: usize = STAMP_OFFSET + 10;
/// Where the checksum stands.
pub(crate) const CHECKSUM: usize = STAMP_OFFSET + 14;

/// A stamp's fields but the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// [`DATA_MAGIC`] or [`PROBE_MAGIC`].
    pub magic: u16,
    /// The stream.
    pub stream: u16,
    /// The number of the frame in its stream, from 0; 48 bits.
    pub sequence: u64,
    /// When the frame was made, in nanoseconds of the generator's clock, modulo 2^32.
    pub time: u32,
}

impl Stamp {
    /// Writes the fields into a frame of at least [`STAMP_END`] bytes; the checksum becomes zero.
    #[inline]
    pub fn write(self, frame: &mut [u8; STAMP_END]) {
        frame[MAGIC..MAGIC + 2].copy_from_slice(&self.magic.to_be_bytes());
        frame[STREAM..STREAM + 2].copy_from_slice(&self.stream.to_be_bytes());
        frame[SEQUENCE..SEQUENCE + 6].copy_from_slice(&self.sequence.to_be_bytes()[2..]);
        frame[TIME..TIME + 4].copy_from_slice(&self.time.to_be_bytes());
        frame[CHECKSUM..CHECKSUM + 4].copy_from_slice(&[0; 4]);
    }

    /// Reads the fields, whatever they hold.
    #[inline]
    pub fn read(frame: &[u8; STAMP_END]) -> Self {
        let [_, _, m0, m1, s0, s1, n0, n1, n2, n3, n4, n5, t0, t1, t2, t3, ..] =
            frame[STAMP_OFFSET - 2..]
        else {
            unreachable!("the array has 20 bytes from there")
        };
        Self {
            magic: u16::from_be_bytes([m0, m1]),
            stream: u16::from_be_bytes([s0, s1]),
            sequence: u64::from_be_bytes([0, 0, n0, n1, n2, n3, n4, n5]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
        }
    }
}

/// The magic of a frame, if it is long enough to have one.
#[inline]
pub fn magic(frame: &[u8]) -> Option<u16> {
    frame.first_chunk::<STAMP_END>().map(|f| u16::from_be_bytes([f[MAGIC], f[MAGIC + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp {
            magic: DATA_MAGIC,
            stream: 0x1234,
            sequence: 0xffff_0123_4567,
            time: 0x89ab_cdef,
        };
        let mut frame = [0xee; STAMP_END];
        stamp.write(&mut frame);
        assert_eq!(Stamp::read(&frame), stamp);
        assert_eq!(magic(&frame), Some(DATA_MAGIC));
        assert!(frame[..STAMP_OFFSET].iter().all(|&b| b == 0xee));
        assert_eq!(magic(&frame[..STAMP_END - 1]), None);
    }
}
