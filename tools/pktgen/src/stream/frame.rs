//! What a stream's frames are made of: `ethernet/vlan(id=5)/ipv4/udp(source=7)`, or bytes.
//!
//! Layers follow each other from the outside. What stands in parentheses are fields with one value; every field that
//! [`layout`](super::layout) knows can be set. Types, lengths and next protocols follow from the layers. `qinq` is a
//! `vlan` whose type is 0x88a8. `hex:00112233...` and `pcap:FILE#N` (the N-th frame, from 1) give bytes instead.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use super::value::{number, parse};
use crate::{Capture, FrameSize};

/// What a frame is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameSpec {
    /// Protocol layers, from the outside, with fields that have one value.
    Layers(Vec<LayerSpec>),
    /// Bytes: L2 header included, FCS excluded.
    Bytes(Vec<u8>),
}

/// One layer of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// The protocol.
    pub kind: LayerKind,
    /// Fields and their values.
    pub settings: Vec<(String, u128)>,
}

/// A protocol that frames can be built of, and that is found in frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// Ethernet II.
    Ethernet,
    /// An IEEE 802.1Q tag.
    Vlan,
    /// An IEEE 802.1ad service tag.
    Qinq,
    /// One entry of an MPLS label stack (RFC 3032).
    Mpls,
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp,
    /// IPv4 (RFC 791).
    Ipv4,
    /// IPv6 (RFC 8200).
    Ipv6,
    /// UDP (RFC 768).
    Udp,
    /// TCP (RFC 9293).
    Tcp,
    /// ICMP echo: ICMPv4 (RFC 792), or over IPv6 ICMPv6 (RFC 4443).
    Icmp,
    /// VXLAN (RFC 7348).
    Vxlan,
    /// GRE (RFC 2784), without options.
    Gre,
}

impl LayerKind {
    /// Every protocol.
    pub const ALL: [Self; 12] = [
        Self::Ethernet,
        Self::Vlan,
        Self::Qinq,
        Self::Mpls,
        Self::Arp,
        Self::Ipv4,
        Self::Ipv6,
        Self::Udp,
        Self::Tcp,
        Self::Icmp,
        Self::Vxlan,
        Self::Gre,
    ];

    /// The name in specifications.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ethernet => "ethernet",
            Self::Vlan => "vlan",
            Self::Qinq => "qinq",
            Self::Mpls => "mpls",
            Self::Arp => "arp",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Icmp => "icmp",
            Self::Vxlan => "vxlan",
            Self::Gre => "gre",
        }
    }

    /// Bytes of its header, without options.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::Ethernet => 14,
            Self::Vlan | Self::Qinq | Self::Mpls | Self::Gre => 4,
            Self::Arp => 28,
            Self::Ipv4 | Self::Tcp => 20,
            Self::Ipv6 => 40,
            Self::Udp | Self::Icmp | Self::Vxlan => 8,
        }
    }

    /// Whether `self` can directly contain `inner`.
    fn carries(self, inner: Self) -> bool {
        use LayerKind::{Arp, Ethernet, Gre, Icmp, Ipv4, Ipv6, Mpls, Qinq, Tcp, Udp, Vlan, Vxlan};
        match self {
            Ethernet | Vlan | Qinq => matches!(inner, Vlan | Qinq | Mpls | Arp | Ipv4 | Ipv6),
            Mpls => matches!(inner, Mpls | Ipv4 | Ipv6),
            Ipv4 | Ipv6 => matches!(inner, Udp | Tcp | Icmp | Gre | Ipv4 | Ipv6),
            Udp => inner == Vxlan,
            Vxlan => inner == Ethernet,
            Gre => matches!(inner, Ethernet | Ipv4 | Ipv6),
            Arp | Tcp | Icmp => false,
        }
    }
}

impl FrameSpec {
    /// Ethernet, IPv4 and UDP.
    pub fn udp() -> Self {
        let layer = |kind| LayerSpec { kind, settings: Vec::new() };
        Self::Layers([LayerKind::Ethernet, LayerKind::Ipv4, LayerKind::Udp].map(layer).into())
    }

    /// Bytes of the headers; of a frame given by its bytes: all.
    pub fn header_len(&self) -> usize {
        match self {
            Self::Layers(layers) => layers.iter().map(|layer| layer.kind.header_len()).sum(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

impl Default for FrameSpec {
    fn default() -> Self {
        Self::udp()
    }
}

impl FromStr for FrameSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(digits) = text.strip_prefix("hex:") {
            return hex(digits).map(Self::Bytes);
        }
        if let Some(place) = text.strip_prefix("pcap:") {
            return captured(place).map(Self::Bytes);
        }
        let layers = split_layers(text).map(layer).collect::<Result<Vec<_>, _>>()?;
        check(&layers).map(|()| Self::Layers(layers))
    }
}

/// Pieces between slashes that stand outside of parentheses.
fn split_layers(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    text.split(move |c| {
        depth = match c {
            '(' => depth + 1,
            ')' => depth.saturating_sub(1),
            _ => depth,
        };
        c == '/' && depth == 0
    })
}

fn layer(text: &str) -> Result<LayerSpec, String> {
    let (name, settings) = match text.split_once('(') {
        None => (text, ""),
        Some((name, rest)) => match rest.strip_suffix(')') {
            Some(settings) => (name, settings),
            None => return Err(format!("`{text}` lacks its closing parenthesis")),
        },
    };
    let Some(kind) = LayerKind::ALL.into_iter().find(|kind| kind.name() == name) else {
        let names = LayerKind::ALL.map(LayerKind::name).join(", ");
        return Err(format!(
            "`{name}` is no protocol; accepted: {names}; or hex:BYTES, pcap:FILE#N"
        ));
    };
    let setting = |text: &str| match text.split_once('=') {
        Some((field, value)) => Ok((field.trim().to_owned(), parse(value.trim())?)),
        None => Err(format!("`{text}` sets no field of {name}; accepted: FIELD=VALUE")),
    };
    let settings = settings.split(',').filter(|s| !s.trim().is_empty()).map(setting);
    Ok(LayerSpec { kind, settings: settings.collect::<Result<_, String>>()? })
}

fn check(layers: &[LayerSpec]) -> Result<(), String> {
    if layers.first().is_none_or(|first| first.kind != LayerKind::Ethernet) {
        return Err("a frame begins with `ethernet`".into());
    }
    for pair in layers.windows(2) {
        let (outer, inner) = (pair[0].kind, pair[1].kind);
        if !outer.carries(inner) {
            let inside: Vec<_> = LayerKind::ALL
                .into_iter()
                .filter(|&k| outer.carries(k))
                .map(LayerKind::name)
                .collect();
            let inside = if inside.is_empty() { "nothing".into() } else { inside.join(", ") };
            let (outer, inner) = (outer.name(), inner.name());
            return Err(format!("{inner} cannot follow {outer}; accepted: {inside}"));
        }
    }
    match layers.last().map(|layer| layer.kind) {
        Some(LayerKind::Mpls | LayerKind::Vxlan | LayerKind::Gre) => {
            Err("a frame cannot end in mpls, vxlan or gre: something must follow".into())
        }
        _ => Ok(()),
    }
}

fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b':').collect();
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(value(*high)? << 4 | value(*low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    let most = usize::from(FrameSize::MAX);
    bytes.filter(|bytes| (14..=most).contains(&bytes.len())).ok_or_else(|| {
        format!(
            "hex: accepted are pairs of hexadecimal digits, at least 14 bytes and at most {most}"
        )
    })
}

fn captured(text: &str) -> Result<Vec<u8>, String> {
    let (path, place) = text.rsplit_once('#').unwrap_or((text, "1"));
    let place: usize = number(place, "number of a frame (pcap:FILE#N)")?;
    let capture = Capture::open(Path::new(path)).map_err(|error| error.to_string())?;
    let frames = capture.frames();
    let frame = place.checked_sub(1).and_then(|index| frames.get(index));
    match frame {
        None => Err(format!("{path} has frames 1 to {}, no {place}", frames.len())),
        Some(frame) if frame.len() < 14 => {
            Err(format!("frame {place} of {path} is no Ethernet frame"))
        }
        Some(frame) => Ok(frame.to_vec()),
    }
}

impl fmt::Display for FrameSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layers(layers) => {
                for (number, layer) in layers.iter().enumerate() {
                    write!(f, "{}{}", if number > 0 { "/" } else { "" }, layer.kind.name())?;
                    if !layer.settings.is_empty() {
                        let words: Vec<_> =
                            layer.settings.iter().map(|(name, v)| format!("{name}={v}")).collect();
                        write!(f, "({})", words.join(","))?;
                    }
                }
                Ok(())
            }
            Self::Bytes(bytes) => {
                f.write_str("hex:")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_print_as_they_read() {
        for text in [
            "ethernet",
            "ethernet/ipv4/udp",
            "ethernet/qinq(id=1)/vlan(id=2)/mpls(label=3)/ipv6/tcp(flags=2)",
            "ethernet/ipv4/udp/vxlan(vni=9)/ethernet/ipv4/gre/ethernet/arp",
            "hex:000102030405060708090a0b0c0d",
        ] {
            assert_eq!(text.parse::<FrameSpec>().unwrap().to_string(), text);
        }
        let named: FrameSpec =
            "ethernet/ipv4(source=10.0.0.1, destination=1.2.3.4)".parse().unwrap();
        assert_eq!(named.to_string(), "ethernet/ipv4(source=167772161,destination=16909060)");
    }

    #[test]
    fn bad_frames_say_what_is_accepted() {
        for (text, words) in [
            ("", "is no protocol; accepted: ethernet"),
            ("ipv4/udp", "begins with `ethernet`"),
            ("ethernet/udp", "udp cannot follow ethernet; accepted: vlan, qinq"),
            ("ethernet/ipv4/udp/", "is no protocol"),
            ("ethernet/ipv4/tcp/udp", "accepted: nothing"),
            ("ethernet/ipv4/gre", "something must follow"),
            ("ethernet/ipv4(source=1", "closing parenthesis"),
            ("ethernet/ipv4(source)", "accepted: FIELD=VALUE"),
            ("ethernet/ipv4(source=x)", "is no value"),
            ("hex:00112", "at least 14 bytes"),
            ("hex:zz112233445566778899aabbccddee", "pairs of hexadecimal digits"),
            ("pcap:/nonexistent/file#1", "/nonexistent/file"),
            ("pcap:/x#0x", "number of a frame"),
        ] {
            let error = text.parse::<FrameSpec>().expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
