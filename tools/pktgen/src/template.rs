//! The frame that a stream repeats: built once, then copied and patched.
//!
//! A generated frame is Ethernet, IPv4, UDP, a [`Stamp`] and filling, with correct lengths and checksums. From one
//! frame to the next only the stamp changes, so both checksums are the template's sums plus the stamp's share:
//! a frame costs a copy and some twenty operations, whatever its length.

use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header, UdpHeader};
use netdev::MacAddress;

use crate::FrameSize;
use crate::checksum::{finish, sum, term};
use crate::stamp::{CHECKSUM, STAMP_END, Stamp};

const IPV4: usize = 14;
const UDP: usize = 34;
const IDENTIFICATION: usize = IPV4 + 4;
/// IPv4 addresses and UDP ports.
const TUPLE: std::ops::Range<usize> = 26..38;
const UDP_CHECKSUM: usize = UDP + 6;

/// Which bytes the content checksum covers, besides the UDP checksum and itself, which it never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// All of the frame.
    Whole,
    /// All but the first 12 bytes, for forwarders that rewrite MAC addresses.
    WithoutMacs,
}

impl Coverage {
    /// The first byte that is covered.
    pub const fn start(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::WithoutMacs => 12,
        }
    }
}

/// What a template's frames look like.
#[derive(Clone, Copy, Debug)]
pub struct TemplateConfig {
    /// Bytes of a frame.
    pub size: FrameSize,
    /// What the content checksum covers.
    pub coverage: Coverage,
    /// Source address: the port that sends.
    pub source: MacAddress,
    /// Destination address: the port that shall receive.
    pub destination: MacAddress,
    /// The stamp's magic.
    pub magic: u16,
    /// The stream; also in the UDP ports.
    pub stream: u16,
    /// Told apart from other runs by this, the IPv4 identification.
    pub run: u16,
}

/// A frame to copy and patch, and what is known of its checksums.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    coverage: Coverage,
    magic: u16,
    stream: u16,
    /// Terms of the content checksum but those of the words that hold the stamp.
    fixed_terms: u64,
    /// Ones' complement sum for the UDP checksum of the frame as it stands in `frame`.
    fixed_words: u32,
}

impl Template {
    /// Builds the frame. Addresses are those that RFC 2544 reserves for benchmarks (198.18.0.0/15).
    pub fn new(config: TemplateConfig) -> Self {
        let size = usize::from(config.size.bytes());
        let mut frame = headers(&config);
        frame.extend((frame.len()..size).map(|place| filling(config.stream, place)));
        let stamp = Stamp { magic: config.magic, stream: config.stream, sequence: 0, time: 0 };
        stamp.write(stamped(&mut frame));
        let covered = &frame[config.coverage.start()..];
        let fixed_terms = words(covered, config.coverage)
            .into_iter()
            .fold(sum(covered), |total, (index, word)| total.wrapping_sub(term(index, word)));
        Self {
            fixed_terms,
            fixed_words: udp_words(&frame),
            frame,
            coverage: config.coverage,
            magic: config.magic,
            stream: config.stream,
        }
    }

    /// Bytes of a frame, L2 header included, FCS excluded.
    pub fn size(&self) -> usize {
        self.frame.len()
    }

    /// The template's stream.
    pub fn stream(&self) -> u16 {
        self.stream
    }

    /// Writes the frame number `sequence`, made at `time`, to `out`, which has [`size`](Self::size) bytes.
    #[inline]
    pub fn write(&self, out: &mut [u8], sequence: u64, time: u32) {
        out.copy_from_slice(&self.frame);
        let stamp = Stamp { magic: self.magic, stream: self.stream, sequence, time };
        stamp.write(stamped(out));
        let checksum = self.content_checksum(out);
        out[CHECKSUM..CHECKSUM + 4].copy_from_slice(&checksum.to_be_bytes());
        let udp = self.udp_checksum(stamp, checksum);
        out[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&udp.to_be_bytes());
    }

    /// The content checksum of a frame of ours, whose UDP checksum and checksum are zero.
    #[inline]
    fn content_checksum(&self, frame: &[u8]) -> u32 {
        let covered = &frame[self.coverage.start()..];
        let total = words(covered, self.coverage)
            .into_iter()
            .fold(self.fixed_terms, |total, (index, word)| total.wrapping_add(term(index, word)));
        finish(total, covered.len())
    }

    #[inline]
    fn udp_checksum(&self, stamp: Stamp, checksum: u32) -> u16 {
        let total = u64::from(self.fixed_words)
            + (stamp.sequence >> 32)
            + (stamp.sequence >> 16 & 0xffff)
            + (stamp.sequence & 0xffff)
            + u64::from(stamp.time >> 16)
            + u64::from(stamp.time & 0xffff)
            + u64::from(checksum >> 16)
            + u64::from(checksum & 0xffff);
        complement(total)
    }

    /// The stamp of `frame`, if the frame is one of this template's as it was written: every covered byte
    /// is proven by the content checksum, the UDP checksum by arithmetic.
    #[inline]
    pub fn verify(&self, frame: &[u8]) -> Option<Stamp> {
        let head = frame.first_chunk::<STAMP_END>()?;
        let stamp = Stamp::read(head);
        if (stamp.magic, stamp.stream) != (self.magic, self.stream) {
            return None;
        }
        let found = u32::from_be_bytes([head[56], head[57], head[58], head[59]]);
        let udp = u16::from_be_bytes([head[UDP_CHECKSUM], head[UDP_CHECKSUM + 1]]);
        let covered = &frame[self.coverage.start()..];
        let good = received_checksum(covered, self.coverage) == found
            && self.udp_checksum(stamp, found) == udp
            && frame.len() == self.frame.len();
        good.then_some(stamp)
    }

    /// Whether `frame` is, or was before something changed it, one of this template's: it has its magic and
    /// stream, or its IPv4 addresses and UDP ports. Damage in one place leaves the other.
    pub fn resembles(&self, frame: &[u8]) -> bool {
        let Some(head) = frame.first_chunk::<STAMP_END>() else { return false };
        let stamp = Stamp::read(head);
        (stamp.magic, stamp.stream) == (self.magic, self.stream) || head[TUPLE] == self.frame[TUPLE]
    }

    /// Whether an intact `frame` is of the same run.
    pub fn same_run(&self, frame: &[u8]) -> bool {
        frame.get(IDENTIFICATION..IDENTIFICATION + 2)
            == Some(&self.frame[IDENTIFICATION..IDENTIFICATION + 2])
    }
}

fn headers(config: &TemplateConfig) -> Vec<u8> {
    let payload = config.size.bytes() - 42;
    let [high, low] = config.stream.to_be_bytes();
    let ethernet = Ethernet2Header {
        source: config.source.0,
        destination: config.destination.0,
        ether_type: EtherType::IPV4,
    };
    let mut ip = Ipv4Header {
        total_len: 28 + payload,
        identification: config.run,
        dont_fragment: true,
        time_to_live: 64,
        protocol: IpNumber::UDP,
        source: [198, 18, high, low],
        destination: [198, 19, high, low],
        ..Ipv4Header::default()
    };
    ip.header_checksum = ip.calc_header_checksum();
    let magic_port = 0xc000 | config.magic & 0xff;
    let udp = UdpHeader {
        source_port: magic_port,
        destination_port: 9,
        length: 8 + payload,
        checksum: 0,
    };
    [&ethernet.to_bytes()[..], &ip.to_bytes(), &udp.to_bytes()].concat()
}

/// Bytes that look random but are the same in every run, and differ between streams and places.
fn filling(stream: u16, place: usize) -> u8 {
    let mixed = (place as u64 ^ u64::from(stream) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[1]
}

fn stamped(frame: &mut [u8]) -> &mut [u8; STAMP_END] {
    frame.first_chunk_mut().expect("a frame has at least 60 bytes")
}

/// The words of the covered bytes that hold the UDP checksum and the stamp, with their places.
#[inline]
fn words(covered: &[u8], coverage: Coverage) -> [(u32, u64); 3] {
    // Bytes 40..64 of the frame with everything covered; 36..60 where the first 12 are not.
    let (first, index) = match coverage {
        Coverage::Whole => (40, 5),
        Coverage::WithoutMacs => (24, 3),
    };
    let mut bytes = [0; 24];
    let there = &covered[first..covered.len().min(first + 24)];
    bytes[..there.len()].copy_from_slice(there);
    let word = |n: usize| u64::from_le_bytes(bytes.as_chunks().0[n]);
    [(index, word(0)), (index + 1, word(1)), (index + 2, word(2))]
}

/// The content checksum of a received frame, as if its UDP checksum and checksum were zero.
#[inline]
fn received_checksum(covered: &[u8], coverage: Coverage) -> u32 {
    let [first, _, last] = words(covered, coverage);
    // Bytes 40..42 of the frame, the UDP checksum, in the first word; 56..60, the checksum, in the last.
    let (udp, checksum) = match coverage {
        Coverage::Whole => (0x0000_0000_0000_ffff, 0x0000_0000_ffff_ffff),
        Coverage::WithoutMacs => (0x0000_ffff_0000_0000, 0xffff_ffff_0000_0000),
    };
    let mut total = sum(covered);
    for ((index, word), mask) in [(first, udp), (last, checksum)] {
        total = total.wrapping_sub(term(index, word)).wrapping_add(term(index, word & !mask));
    }
    finish(total, covered.len())
}

/// The ones' complement sum (RFC 768) of a frame's pseudo header, UDP header and payload.
fn udp_words(frame: &[u8]) -> u32 {
    let datagram = &frame[UDP..];
    let addresses = &frame[IPV4 + 12..UDP];
    let pairs = |bytes: &[u8]| -> u32 {
        bytes.chunks(2).map(|p| u32::from(p[0]) << 8 | p.get(1).map_or(0, |&b| u32::from(b))).sum()
    };
    let length = u32::try_from(datagram.len()).expect("a datagram has at most 65,535 bytes");
    pairs(addresses) + 17 + length + pairs(datagram)
}

#[inline]
fn complement(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total >> 16) + (total & 0xffff);
    }
    let folded = u16::try_from(total).unwrap_or(u16::MAX);
    // A computed zero is sent as all ones: zero says that there is no checksum.
    if folded == 0xffff { 0xffff } else { !folded }
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;
    use proptest::prelude::*;

    use super::*;
    use crate::stamp::{DATA_MAGIC, PROBE_MAGIC};

    fn template(size: u32, coverage: Coverage) -> Template {
        Template::new(TemplateConfig {
            size: FrameSize::new(size).unwrap(),
            coverage,
            source: MacAddress::local(1),
            destination: MacAddress::local(2),
            magic: DATA_MAGIC,
            stream: 1,
            run: 0x5a5a,
        })
    }

    fn written(template: &Template, sequence: u64, time: u32) -> Vec<u8> {
        let mut frame = vec![0xaa; template.size()];
        template.write(&mut frame, sequence, time);
        frame
    }

    proptest! {
        #[test]
        fn frames_are_what_a_parser_expects(size in 60u32..9000, sequence in 0u64..1 << 48, time in any::<u32>(),
                                            whole in any::<bool>()) {
            let coverage = if whole { Coverage::Whole } else { Coverage::WithoutMacs };
            let template = template(size, coverage);
            let frame = written(&template, sequence, time);
            let parsed = SlicedPacket::from_ethernet(&frame).unwrap();
            let ip = parsed.net.unwrap().ipv4_ref().unwrap().header().to_header();
            prop_assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            let Some(etherparse::TransportSlice::Udp(udp)) = parsed.transport else { panic!("not UDP") };
            prop_assert_eq!(Ok(udp.checksum()), udp.to_header().calc_checksum_ipv4(&ip, udp.payload()));
            let stamp = template.verify(&frame).expect("intact");
            prop_assert_eq!((stamp.sequence, stamp.time), (sequence, time));
        }

        #[test]
        fn every_damaged_byte_is_noticed_and_the_frame_still_known(size in 60u32..200, place in any::<prop::sample::Index>(),
                                            change in 1u8.., whole in any::<bool>()) {
            let coverage = if whole { Coverage::Whole } else { Coverage::WithoutMacs };
            let template = template(size, coverage);
            let mut frame = written(&template, 7, 9);
            let place = place.index(frame.len());
            frame[place] ^= change;
            prop_assert_eq!(template.verify(&frame).is_some(), place < coverage.start(), "byte {}", place);
            prop_assert!(template.resembles(&frame));
        }
    }

    #[test]
    fn longer_or_shorter_is_damaged_too() {
        let template = template(64, Coverage::WithoutMacs);
        let mut frame = written(&template, 1, 2);
        frame.push(0);
        assert!(template.verify(&frame).is_none() && template.resembles(&frame));
        frame.truncate(63);
        assert!(template.verify(&frame).is_none() && template.resembles(&frame));
        frame.truncate(59);
        assert!(
            template.verify(&frame).is_none() && !template.resembles(&frame),
            "too short to be known"
        );
    }

    #[test]
    fn others_frames_are_not_ours() {
        let data = template(64, Coverage::Whole);
        let probe = Template::new(TemplateConfig {
            size: FrameSize::default(),
            coverage: Coverage::Whole,
            source: MacAddress::local(1),
            destination: MacAddress::local(2),
            magic: PROBE_MAGIC,
            stream: 1,
            run: 1,
        });
        let frame = written(&probe, 3, 4);
        assert!(data.verify(&frame).is_none() && !data.resembles(&frame));
        assert!(probe.verify(&frame).is_some() && probe.same_run(&frame) && !data.same_run(&frame));
        assert!(!data.resembles(&[0xff; 64]) && !data.resembles(&[]));
    }
}
