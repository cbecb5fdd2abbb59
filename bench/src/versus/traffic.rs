//! Frames as testpmd's flow generator and sender make them: Ethernet, IPv4 and UDP headers, written anew for each
//! packet, over whatever the buffer holds. And the look that tells such a frame from a damaged one.

use netbuf::Netbuf;

/// Bytes of the three headers.
pub const HEADERS: usize = 42;
/// Flows: destinations that the frames go to, one after the other.
const FLOWS: u16 = 1024;
/// Where the IPv4 header begins.
const IP: usize = 14;

/// The Internet checksum (RFC 1071) of `bytes`, taken as big-endian words, an odd last byte filled up with zero.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum: u64 = words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum();
    !fold(sum + rest.first().map_or(0, |&last| u64::from(last) << 8))
}

fn fold(sum: u64) -> u16 {
    let mut sum = sum;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// Exchanges source and destination address of an Ethernet frame; shorter ones are left alone.
#[inline]
pub fn swap_addresses(frame: &mut [u8]) {
    if let Some((addresses, _)) = frame.split_first_chunk_mut::<12>() {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *addresses;
        *addresses = [g, h, i, j, k, l, a, b, c, d, e, f];
    }
}

/// Makes the frames of a run.
#[derive(Clone, Debug)]
pub struct Flows {
    headers: [u8; HEADERS],
    /// The checksum's sum over the IPv4 header without the destination's low half and without the checksum.
    sum: u64,
    size: u16,
    flow: u16,
}

impl Flows {
    /// Frames of `size` bytes (at least [`HEADERS`]), L2 header included, FCS excluded.
    pub fn new(size: u16) -> Self {
        let mut headers = [0; HEADERS];
        headers[..12].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
        headers[12..14].copy_from_slice(&[8, 0]);
        let ip = size.saturating_sub(14);
        headers[IP..IP + 2].copy_from_slice(&[0x45, 0]);
        headers[16..18].copy_from_slice(&ip.to_be_bytes());
        headers[22..24].copy_from_slice(&[64, 17]);
        headers[26..34].copy_from_slice(&[198, 18, 0, 1, 198, 19, 0, 0]);
        headers[34..38].copy_from_slice(&[0, 9, 0, 9]);
        headers[38..40].copy_from_slice(&ip.saturating_sub(20).to_be_bytes());
        let sum = u64::from(!internet_checksum(&headers[IP..34]));
        Self { headers, sum, size, flow: 0 }
    }

    /// Makes an empty packet the next frame; `None`, where its buffer is too small.
    #[inline]
    pub fn write(&mut self, packet: &mut Netbuf) -> Option<()> {
        let headers = packet.append(self.size.into())?.first_chunk_mut::<HEADERS>()?;
        *headers = self.headers;
        self.flow = (self.flow + 1) % FLOWS;
        headers[32..34].copy_from_slice(&self.flow.to_be_bytes());
        headers[24..26].copy_from_slice(&(!fold(self.sum + u64::from(self.flow))).to_be_bytes());
        Some(())
    }
}

/// Whether a frame of `size` bytes was expected and came, with headers that agree with each other: addresses
/// swapped or not, from us or from testpmd.
pub fn looks_right(frame: &[u8], size: u16) -> bool {
    let word = |at| u16::from_be_bytes([frame[at], frame[at + 1]]);
    frame.len() == usize::from(size)
        && frame.len() >= HEADERS
        && word(12) == 0x0800
        && frame[IP] == 0x45
        && usize::from(word(16)) + IP == frame.len()
        && internet_checksum(&frame[IP..34]) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::new_pool;

    #[test]
    fn checksums_are_those_of_rfc_1071() {
        assert_eq!(internet_checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(internet_checksum(&[]), 0xffff);
        assert_eq!(internet_checksum(&[0x12]), !0x1200);
    }

    #[test]
    fn every_frame_looks_right_and_no_damaged_one_does() {
        let pool = new_pool(8);
        let mut flows = Flows::new(64);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..2 * FLOWS {
            let mut packet = pool.alloc().unwrap();
            flows.write(&mut packet).unwrap();
            assert!(looks_right(packet.bytes(), 64), "{:?}", packet.bytes());
            seen.insert(packet.bytes()[30..34].to_vec());
            swap_addresses(packet.bytes_mut());
            assert_eq!(packet.bytes()[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            assert!(looks_right(packet.bytes(), 64) && !looks_right(packet.bytes(), 65));
            for at in 12..34 {
                packet.bytes_mut()[at] ^= 1;
                assert!(!looks_right(packet.bytes(), 64), "byte {at} was changed");
                packet.bytes_mut()[at] ^= 1;
            }
        }
        assert_eq!(seen.len(), usize::from(FLOWS));
        assert!(!looks_right(&[0; 64], 64) && !looks_right(&[], 0) && !looks_right(&[0; 20], 20));
    }

    #[test]
    fn short_frames_are_left_alone() {
        let mut frame = [1; 11];
        swap_addresses(&mut frame);
        assert_eq!(frame, [1; 11]);
    }
}
