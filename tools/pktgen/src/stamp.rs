//! The stamp: the last 18 bytes of a generated frame, by which it is known again.
//!
//! ```text
//! 0       2        4     6          10     14         18      bytes from the stamp's first, big-endian
//! | magic | stream | run | sequence | time | checksum |
//! ```
//!
//! It stands at the end so that it is found whatever headers a frame has, and where something on the way added or
//! removed some. (Where something pads frames, use sizes of at least 60 bytes: nothing pads those.) The sequence
//! number's lower 32 bits are sent; the receiver knows the rest from what came before, unless 2^31 frames in a row are
//! lost. The time is in nanoseconds: it is for those who look at a capture. So short, the stamp fits UDP over IPv4 in
//! the shortest Ethernet frame (60 bytes without FCS).

/// Bytes of the stamp.
pub const STAMP_LEN: usize = 18;
/// The magic of a frame that is counted.
pub const DATA_MAGIC: u16 = 0xba5e;
/// The magic of a frame that only asks whether the path is open: no bit is that of the other, so that damage does not
/// make one of the other.
pub const PROBE_MAGIC: u16 = 0x45a1;

/// Bytes from the sequence number's first to the frame's end.
pub(crate) const SEQUENCE_FROM_END: usize = 12;
/// Bytes from the checksum's first to the frame's end.
pub(crate) const CHECKSUM_FROM_END: usize = 4;

/// A stamp's fields but the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// [`DATA_MAGIC`] or [`PROBE_MAGIC`].
    pub magic: u16,
    /// The stream.
    pub stream: u16,
    /// Which run the frame belongs to.
    pub run: u16,
    /// The lower 32 bits of the number of the frame in its stream, from 0.
    pub sequence: u32,
    /// When the frame was made, in nanoseconds of the generator's clock, modulo 2^32.
    pub time: u32,
}

impl Stamp {
    /// Writes the fields; the checksum becomes zero.
    #[inline]
    pub fn write(self, tail: &mut [u8; STAMP_LEN]) {
        tail[..2].copy_from_slice(&self.magic.to_be_bytes());
        tail[2..4].copy_from_slice(&self.stream.to_be_bytes());
        tail[4..6].copy_from_slice(&self.run.to_be_bytes());
        tail[6..10].copy_from_slice(&self.sequence.to_be_bytes());
        tail[10..14].copy_from_slice(&self.time.to_be_bytes());
        tail[14..].copy_from_slice(&[0; 4]);
    }

    /// Reads the fields, whatever they hold.
    #[inline]
    pub fn read(tail: &[u8; STAMP_LEN]) -> Self {
        let [m0, m1, s0, s1, r0, r1, n0, n1, n2, n3, t0, t1, t2, t3, ..] = *tail;
        Self {
            magic: u16::from_be_bytes([m0, m1]),
            stream: u16::from_be_bytes([s0, s1]),
            run: u16::from_be_bytes([r0, r1]),
            sequence: u32::from_be_bytes([n0, n1, n2, n3]),
            time: u32::from_be_bytes([t0, t1, t2, t3]),
        }
    }

    /// The stamp of a frame that is long enough to have one, whatever it holds.
    #[inline]
    pub fn of(frame: &[u8]) -> Option<Self> {
        frame.last_chunk().map(Self::read)
    }
}

/// The magic of a frame, if it is long enough to have one.
#[inline]
pub fn magic(frame: &[u8]) -> Option<u16> {
    Stamp::of(frame).map(|stamp| stamp.magic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let stamp = Stamp {
            magic: DATA_MAGIC,
            stream: 0x1234,
            run: 0x5678,
            sequence: 0x9abc_def0,
            time: 0x89ab_cdef,
        };
        let mut frame = [0xee; 60];
        stamp.write(frame.last_chunk_mut().unwrap());
        assert_eq!(Stamp::of(&frame), Some(stamp));
        assert_eq!(magic(&frame), Some(DATA_MAGIC));
        assert!(frame[..42].iter().all(|&b| b == 0xee) && frame[56..] == [0; 4]);
        assert_eq!(magic(&frame[..STAMP_LEN - 1]), None);
    }
}
