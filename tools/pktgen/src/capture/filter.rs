//! Which frames of a capture are played.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

/// Which frames of a capture are played: all that meet every condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these is a frame's TCP or UDP port, source or destination; empty: any frame. A fragment without its
    /// ports meets no condition about them.
    pub ports: Vec<Span>,
    /// Bytes of the frame are in one of these, L2 header included, FCS excluded; empty: any length.
    pub lengths: Vec<Span>,
}

/// A number, or the numbers from one to another: `80`, `64-128`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span(RangeInclusive<u16>);

impl Filter {
    /// Whether `frame` is played.
    pub fn takes(&self, frame: &[u8]) -> bool {
        let length = u16::try_from(frame.len()).unwrap_or(u16::MAX);
        let holds = |spans: &[Span], value: u16| spans.iter().any(|span| span.0.contains(&value));
        let length_fits = self.lengths.is_empty() || holds(&self.lengths, length);
        let port_fits =
            || ports(frame).is_some_and(|both| both.iter().any(|&p| holds(&self.ports, p)));
        length_fits && (self.ports.is_empty() || port_fits())
    }
}

/// Source and destination port of a TCP or UDP frame.
fn ports(frame: &[u8]) -> Option<[u16; 2]> {
    let headers = PacketHeaders::from_ethernet_slice(frame).ok()?;
    // A later fragment has payload where its ports would be.
    let whole = match &headers.net {
        Some(NetHeaders::Ipv4(header, _)) => header.fragment_offset.value() == 0,
        _ => true,
    };
    match headers.transport.filter(|_| whole)? {
        TransportHeader::Udp(header) => Some([header.source_port, header.destination_port]),
        TransportHeader::Tcp(header) => Some([header.source_port, header.destination_port]),
        _ => None,
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u16>().ok().filter(|_| digits)
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first..=last)),
            (Some(first), Some(last)) => Err(format!(
                "`{text}` is reversed; accepted: the lower number first, as in {last}-{first}"
            )),
            _ => Err(format!(
                "`{text}` is no number and no range; accepted: numbers from 0 to 65535, such as 80 or 64-128"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn udp(source: u16, destination: u16, payload: usize) -> Vec<u8> {
        let mut frame = vec![0; 2000];
        let len = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(source, destination)
            .write_to_slice(&mut frame, &vec![0; payload])
            .unwrap();
        frame.truncate(len);
        frame
    }

    fn filter(ports: &[&str], lengths: &[&str]) -> Filter {
        let spans = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Filter { ports: spans(ports), lengths: spans(lengths) }
    }

    #[test]
    fn ports_and_lengths_must_both_fit() {
        let frame = udp(1234, 53, 100);
        for (ports, lengths, takes) in [
            (&[][..], &[][..], true),
            (&["53"], &[], true),
            (&["1000-2000"], &[], true),
            (&["80", "54-60"], &[], false),
            (&["53"], &["142"], true),
            (&["53"], &["60-141"], false),
            (&[], &["1-60", "100-200"], true),
        ] {
            assert_eq!(filter(ports, lengths).takes(&frame), takes, "{ports:?} {lengths:?}");
        }
    }

    #[test]
    fn what_has_no_ports_has_none_that_fit() {
        let any = filter(&["0-65535"], &[]);
        assert!(any.takes(&udp(1, 2, 0)));
        assert!(!any.takes(&[0; 60]) && !any.takes(&[]));
        let mut fragment = udp(53, 53, 100);
        fragment[20..22].copy_from_slice(&[0, 10]);
        assert!(!any.takes(&fragment));
    }

    #[test]
    fn bad_spans_say_what_is_accepted() {
        for text in ["", "-", "x", "-1", "1-", "65536", "1-2-3", "+5", "5.0", "128-64"] {
            assert!(text.parse::<Span>().expect_err(text).contains("accepted: "), "{text}");
        }
        assert_eq!("64-128".parse::<Span>().unwrap().to_string(), "64-128");
        assert_eq!("80".parse::<Span>().unwrap().to_string(), "80");
    }
}
