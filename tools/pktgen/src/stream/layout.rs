//! What stands where in a frame: its layers, their fields and checksums.
//!
//! A frame that was built and one that was captured are looked through by the same function, so that fields have the
//! same names in both.

use std::ops::Range;

use super::frame::LayerKind;

/// A layer found in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) kind: LayerKind,
    /// Its first byte.
    pub(crate) at: usize,
    /// Bytes of its header, options included.
    pub(crate) header: usize,
    /// Where what it carries ends.
    pub(crate) end: usize,
}

/// Bits of a frame: `bits` bits, `shift` above the lowest of the `bytes` bytes at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) shift: u32,
    pub(crate) bits: u32,
}

impl Place {
    const fn whole(at: usize, bytes: usize) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "a field has at most 16 bytes")]
        Self { at, bytes, shift: 0, bits: 8 * bytes as u32 }
    }
}

/// A checksum of 16 bits in a frame (RFC 1071).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) kind: LayerKind,
    /// Where it stands.
    pub(crate) at: usize,
    /// What it covers.
    pub(crate) ranges: Vec<Range<usize>>,
    /// What the pseudo header adds besides addresses.
    pub(crate) constant: u64,
}

/// The layers of a frame, from the outside.
pub(crate) fn dissect(frame: &[u8]) -> Vec<Layer> {
    let mut layers = Vec::new();
    ethernet(frame, 0, frame.len(), &mut layers);
    layers
}

fn push(layers: &mut Vec<Layer>, kind: LayerKind, at: usize, header: usize, end: usize) -> bool {
    let fits = at + header <= end;
    if fits {
        layers.push(Layer { kind, at, header, end });
    }
    fits
}

fn word(frame: &[u8], at: usize) -> u16 {
    frame.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]))
}

fn byte(frame: &[u8], at: usize) -> u8 {
    frame.get(at).copied().unwrap_or(0)
}

fn ethernet(frame: &[u8], at: usize, end: usize, layers: &mut Vec<Layer>) {
    if push(layers, LayerKind::Ethernet, at, 14, end) {
        by_ether_type(frame, word(frame, at + 12), at + 14, end, layers);
    }
}

fn by_ether_type(frame: &[u8], ether_type: u16, at: usize, end: usize, layers: &mut Vec<Layer>) {
    let kind = match ether_type {
        0x8100 => LayerKind::Vlan,
        0x88a8 | 0x9100 => LayerKind::Qinq,
        0x8847 => LayerKind::Mpls,
        0x0806 => LayerKind::Arp,
        0x0800 => return ipv4(frame, at, end, layers),
        0x86dd => return ipv6(frame, at, end, layers),
        _ => return,
    };
    if !push(layers, kind, at, kind.header_len(), end) {
        return;
    }
    match kind {
        LayerKind::Mpls => mpls_payload(frame, at, end, layers),
        LayerKind::Arp => {}
        _ => by_ether_type(frame, word(frame, at + 2), at + 4, end, layers),
    }
}

fn mpls_payload(frame: &[u8], at: usize, end: usize, layers: &mut Vec<Layer>) {
    let next = at + 4;
    if byte(frame, at + 2) & 1 == 0 {
        if push(layers, LayerKind::Mpls, next, 4, end) {
            mpls_payload(frame, next, end, layers);
        }
        return;
    }
    match byte(frame, next) >> 4 {
        4 => ipv4(frame, next, end, layers),
        6 => ipv6(frame, next, end, layers),
        _ => {}
    }
}

fn ipv4(frame: &[u8], at: usize, end: usize, layers: &mut Vec<Layer>) {
    let header = usize::from(byte(frame, at) & 15) * 4;
    let stated = at + usize::from(word(frame, at + 2));
    // A total length that cannot be is one that somebody set on purpose: then the frame's end counts.
    let end = if stated >= at + header && stated <= end { stated } else { end };
    let fragment = word(frame, at + 6) & 0x3fff != 0;
    if header >= 20 && push(layers, LayerKind::Ipv4, at, header, end) && !fragment {
        by_protocol(frame, byte(frame, at + 9), at + header, end, layers);
    }
}

fn ipv6(frame: &[u8], at: usize, end: usize, layers: &mut Vec<Layer>) {
    let stated = at + 40 + usize::from(word(frame, at + 4));
    let end = if stated <= end { stated } else { end };
    if push(layers, LayerKind::Ipv6, at, 40, end) {
        by_protocol(frame, byte(frame, at + 6), at + 40, end, layers);
    }
}

fn by_protocol(frame: &[u8], protocol: u8, at: usize, end: usize, layers: &mut Vec<Layer>) {
    match protocol {
        4 => ipv4(frame, at, end, layers),
        41 => ipv6(frame, at, end, layers),
        1 | 58 => drop(push(layers, LayerKind::Icmp, at, 8, end)),
        6 => {
            let header = usize::from(byte(frame, at + 12) >> 4) * 4;
            if header >= 20 {
                push(layers, LayerKind::Tcp, at, header, end);
            }
        }
        17 => {
            push(layers, LayerKind::Udp, at, 8, end);
            let tunnel = word(frame, at + 2) == 4789;
            if tunnel && push(layers, LayerKind::Vxlan, at + 8, 8, end) {
                ethernet(frame, at + 16, end, layers);
            }
        }
        47 if word(frame, at) == 0 && push(layers, LayerKind::Gre, at, 4, end) => {
            match word(frame, at + 2) {
                0x6558 => ethernet(frame, at + 4, end, layers),
                0x0800 => ipv4(frame, at + 4, end, layers),
                0x86dd => ipv6(frame, at + 4, end, layers),
                _ => {}
            }
        }
        _ => {}
    }
}

/// The place of field `name` in `layer`, or the names that it has.
fn place_in(layer: &Layer, name: &str) -> Result<Place, String> {
    let fields = fields(layer.kind);
    match fields.iter().find(|(field, _)| *field == name) {
        Some((_, place)) => Ok(Place { at: place.at + layer.at, ..*place }),
        None => {
            let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
            let kind = layer.kind.name();
            Err(format!("{kind} has no field `{name}`; accepted: {}", names.join(", ")))
        }
    }
}

/// The fields of a protocol, by their places in its header.
fn fields(kind: LayerKind) -> Vec<(&'static str, Place)> {
    let whole = |name, at, bytes| (name, Place::whole(at, bytes));
    let part = |name, at, bytes, shift, bits| (name, Place { at, bytes, shift, bits });
    match kind {
        LayerKind::Ethernet => {
            vec![whole("destination", 0, 6), whole("source", 6, 6), whole("type", 12, 2)]
        }
        LayerKind::Vlan | LayerKind::Qinq => vec![
            part("priority", 0, 2, 13, 3),
            part("dei", 0, 2, 12, 1),
            part("id", 0, 2, 0, 12),
            whole("type", 2, 2),
        ],
        LayerKind::Mpls => vec![
            part("label", 0, 4, 12, 20),
            part("class", 0, 4, 9, 3),
            part("bottom", 0, 4, 8, 1),
            part("ttl", 0, 4, 0, 8),
        ],
        LayerKind::Arp => vec![
            whole("operation", 6, 2),
            whole("sender_mac", 8, 6),
            whole("sender", 14, 4),
            whole("target_mac", 18, 6),
            whole("target", 24, 4),
        ],
        LayerKind::Ipv4 => vec![
            part("dscp", 1, 1, 2, 6),
            part("ecn", 1, 1, 0, 2),
            whole("length", 2, 2),
            whole("id", 4, 2),
            part("df", 6, 2, 14, 1),
            whole("ttl", 8, 1),
            whole("protocol", 9, 1),
            whole("source", 12, 4),
            whole("destination", 16, 4),
        ],
        LayerKind::Ipv6 => vec![
            part("dscp", 0, 4, 22, 6),
            part("ecn", 0, 4, 20, 2),
            part("flow", 0, 4, 0, 20),
            whole("length", 4, 2),
            whole("next", 6, 1),
            whole("hop_limit", 7, 1),
            whole("source", 8, 16),
            whole("destination", 24, 16),
        ],
        LayerKind::Udp => {
            vec![whole("source", 0, 2), whole("destination", 2, 2), whole("length", 4, 2)]
        }
        LayerKind::Tcp => vec![
            whole("source", 0, 2),
            whole("destination", 2, 2),
            whole("sequence", 4, 4),
            whole("acknowledgment", 8, 4),
            part("flags", 12, 2, 0, 9),
            whole("window", 14, 2),
            whole("urgent", 18, 2),
        ],
        LayerKind::Icmp => vec![
            whole("type", 0, 1),
            whole("code", 1, 1),
            whole("id", 4, 2),
            whole("sequence", 6, 2),
        ],
        LayerKind::Vxlan => vec![part("vni", 4, 4, 8, 24)],
        LayerKind::Gre => vec![whole("type", 2, 2)],
    }
}

/// The place of the field `LAYER.FIELD`, `LAYER#N.FIELD` or `@OFFSET+WIDTH`.
pub(crate) fn place(layers: &[Layer], name: &str) -> Result<Place, String> {
    if let Some(text) = name.strip_prefix('@') {
        let numbers = text.split_once('+').and_then(|(at, bytes)| {
            Some((at.parse::<u16>().ok()?, bytes.parse().ok().filter(|b| (1..=6).contains(b))?))
        });
        return numbers.map(|(at, bytes)| Place::whole(usize::from(at), bytes)).ok_or_else(|| {
            format!("`{name}` is no place; accepted: @OFFSET+WIDTH with 1 to 6 bytes")
        });
    }
    let Some((layer, field)) = name.split_once('.') else {
        return Err(format!(
            "`{name}` is no field; accepted: LAYER.FIELD, LAYER#N.FIELD, @OFFSET+WIDTH"
        ));
    };
    let (kind, number): (_, usize) = match layer.split_once('#') {
        None => (layer, 1),
        Some((kind, number)) => (kind, super::value::number(number, "number of a layer")?),
    };
    let found = layers.iter().filter(|layer| layer.kind.name() == kind);
    match number.checked_sub(1).and_then(|index| found.clone().nth(index)) {
        Some(layer) => place_in(layer, field),
        None => {
            let names: Vec<_> = layers.iter().map(|layer| layer.kind.name()).collect();
            Err(format!("the frame has no layer {layer}; it has {}", names.join(", ")))
        }
    }
}

/// The place of `field` in the layer number `index`.
pub(crate) fn place_at(layers: &[Layer], index: usize, field: &str) -> Result<Place, String> {
    match layers.get(index) {
        Some(layer) => place_in(layer, field),
        None => Err(format!("the frame ends before its layer {}", index + 1)),
    }
}

/// The checksums of a frame, the innermost first.
pub(crate) fn sums(frame: &[u8], layers: &[Layer]) -> Vec<Sum> {
    let mut sums = Vec::new();
    let mut ip: Option<Layer> = None;
    for (index, layer) in layers.iter().enumerate() {
        let Layer { kind, at, header, end } = *layer;
        let header_sum = |offset| Sum {
            kind,
            at: at + offset,
            ranges: Some(at..at + header).into_iter().collect(),
            constant: 0,
        };
        let segment = |offset, protocol: u64| Sum {
            kind,
            at: at + offset,
            ranges: pseudo_addresses(ip).into_iter().chain(Some(at..end)).collect(),
            constant: protocol + (end - at) as u64,
        };
        match kind {
            LayerKind::Ipv4 => {
                sums.push(header_sum(10));
                ip = Some(*layer);
            }
            LayerKind::Ipv6 => ip = Some(*layer),
            LayerKind::Udp => {
                // RFC 7348, section 5: VXLAN over IPv4 is sent without a UDP checksum.
                let tunnel = layers.get(index + 1).is_some_and(|l| l.kind == LayerKind::Vxlan);
                if !(tunnel && ip.is_some_and(|ip| ip.kind == LayerKind::Ipv4)) {
                    sums.push(segment(6, 17));
                }
            }
            LayerKind::Tcp => sums.push(segment(16, 6)),
            LayerKind::Icmp if ip.is_some_and(|ip| byte(frame, ip.at) >> 4 == 6) => {
                sums.push(segment(2, 58));
            }
            LayerKind::Icmp => {
                sums.push(Sum {
                    kind,
                    at: at + 2,
                    ranges: Some(at..end).into_iter().collect(),
                    constant: 0,
                });
            }
            _ => {}
        }
    }
    sums.reverse();
    sums
}

fn pseudo_addresses(ip: Option<Layer>) -> Option<Range<usize>> {
    ip.map(|ip| match ip.kind {
        LayerKind::Ipv4 => ip.at + 12..ip.at + 20,
        _ => ip.at + 8..ip.at + 40,
    })
}
