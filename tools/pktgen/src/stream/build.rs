//! Frames from layers: headers by etherparse where it has them, with types, lengths and next protocols that fit.
//!
//! Checksums are left zero: the template completes them.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Ethernet2Header, IcmpEchoHeader,
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader,
};
use netdev::MacAddress;

use super::frame::{FrameSpec, LayerKind, LayerSpec};
use super::layout::{Layer, Place, dissect, place_at};

/// What a frame gets where its specification leaves it open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) source: MacAddress,
    pub(crate) destination: MacAddress,
    /// The stream's number: in addresses and identifiers.
    pub(crate) stream: u16,
    /// The UDP or TCP source port.
    pub(crate) source_port: u16,
}

/// An EtherType for experiments (IEEE 802, section 9.2.4).
const EXPERIMENT: u16 = 0x88b5;
/// An IP protocol for experiments (RFC 3692).
const EXPERIMENTAL_PROTOCOL: u8 = 253;

/// The bytes of a frame of `size` bytes, and its layers.
pub(crate) fn build(
    spec: &FrameSpec,
    size: usize,
    defaults: Defaults,
) -> Result<(Vec<u8>, Vec<Layer>), String> {
    let layers = match spec {
        FrameSpec::Bytes(bytes) => {
            let mut frame = bytes.clone();
            frame.resize(size, 0);
            let layers = dissect(&frame);
            return Ok((frame, layers));
        }
        FrameSpec::Layers(layers) => layers,
    };
    let headers = spec.header_len();
    if size < headers {
        return Err(format!("{size} bytes hold no headers of {headers} bytes"));
    }
    let mut frame = Vec::with_capacity(size);
    for (index, layer) in layers.iter().enumerate() {
        let rest = u16::try_from(size - frame.len()).unwrap_or(u16::MAX);
        let next = layers.get(index + 1).map(|layer| layer.kind);
        let outer = index.checked_sub(1).map(|index| layers[index].kind);
        header(&mut frame, layer.kind, (outer, next), rest, defaults);
    }
    frame.extend((headers..size).map(|place| filling(defaults.stream, place)));
    let found = by_spec(layers, size);
    for (index, layer) in layers.iter().enumerate() {
        apply(&mut frame, &found, index, layer)?;
    }
    Ok((frame, found))
}

/// The layers of a frame that was built: also where a type set on purpose hides them.
fn by_spec(layers: &[LayerSpec], end: usize) -> Vec<Layer> {
    let mut at = 0;
    let place = |layer: &LayerSpec| {
        let header = layer.kind.header_len();
        at += header;
        Layer { kind: layer.kind, at: at - header, header, end }
    };
    layers.iter().map(place).collect()
}

fn apply(frame: &mut [u8], found: &[Layer], index: usize, layer: &LayerSpec) -> Result<(), String> {
    for (name, value) in &layer.settings {
        set(frame, place_at(found, index, name)?, *value)
            .map_err(|error| format!("{}.{name}: {error}", layer.kind.name()))?;
    }
    Ok(())
}

/// Writes a value to its place.
pub(crate) fn set(frame: &mut [u8], place: Place, value: u128) -> Result<(), String> {
    if place.bits < 128 && value >> place.bits != 0 {
        return Err(format!("{value} does not fit {} bits", place.bits));
    }
    let Some(bytes) = frame.get_mut(place.at..place.at + place.bytes) else {
        return Err(format!("bytes {}+{} lie beyond the frame", place.at, place.bytes));
    };
    let old = bytes.iter().fold(0u128, |value, byte| value << 8 | u128::from(*byte));
    let mask = (u128::MAX >> (128 - place.bits)) << place.shift;
    let new = old & !mask | value << place.shift;
    let len = bytes.len();
    bytes.copy_from_slice(&new.to_be_bytes()[16 - len..]);
    Ok(())
}

type Around = (Option<LayerKind>, Option<LayerKind>);

/// Appends a header; `rest` are the bytes from its first to the frame's last.
fn header(
    frame: &mut Vec<u8>,
    kind: LayerKind,
    (outer, next): Around,
    rest: u16,
    defaults: Defaults,
) {
    let [high, low] = defaults.stream.to_be_bytes();
    match kind {
        LayerKind::Ethernet => {
            let header = Ethernet2Header {
                source: defaults.source.0,
                destination: defaults.destination.0,
                ether_type: EtherType(ether_type(next)),
            };
            frame.extend(header.to_bytes());
        }
        LayerKind::Vlan | LayerKind::Qinq => {
            let header =
                SingleVlanHeader { ether_type: EtherType(ether_type(next)), ..Default::default() };
            frame.extend(header.to_bytes());
            set_vlan(frame);
        }
        LayerKind::Mpls => {
            let bottom = u32::from(next != Some(LayerKind::Mpls));
            frame.extend((16 << 12 | bottom << 8 | 64u32).to_be_bytes());
        }
        LayerKind::Arp => {
            let request = ArpPacket::new(
                ArpHardwareId::ETHERNET,
                EtherType::IPV4,
                ArpOperation::REQUEST,
                &defaults.source.0,
                &[198, 18, high, low],
                &[0; 6],
                &[198, 19, high, low],
            );
            frame.extend(request.into_iter().flat_map(|request| request.to_bytes()));
        }
        LayerKind::Ipv4 => {
            let header = Ipv4Header {
                total_len: rest,
                dont_fragment: true,
                time_to_live: 64,
                protocol: IpNumber(protocol(next, 1)),
                source: [198, 18, high, low],
                destination: [198, 19, high, low],
                ..Ipv4Header::default()
            };
            frame.extend(header.to_bytes());
        }
        LayerKind::Ipv6 => {
            // RFC 5180, section 8: 2001:2::/48 is for benchmarks.
            let address = |side| [0x20, 1, 0, 2, 0, 0, 0, side, 0, 0, 0, 0, 0, 0, high, low];
            let header = Ipv6Header {
                payload_length: rest.saturating_sub(40),
                next_header: IpNumber(protocol(next, 58)),
                hop_limit: 64,
                source: address(1),
                destination: address(2),
                ..Ipv6Header::default()
            };
            frame.extend(header.to_bytes());
        }
        LayerKind::Udp => {
            let tunnel = next == Some(LayerKind::Vxlan);
            let header = UdpHeader {
                source_port: defaults.source_port,
                destination_port: if tunnel { 4789 } else { 9 },
                length: rest,
                checksum: 0,
            };
            frame.extend(header.to_bytes());
        }
        LayerKind::Tcp => {
            let mut header = TcpHeader::new(defaults.source_port, 9, 1, u16::MAX);
            (header.ack, header.psh, header.acknowledgment_number) = (true, true, 1);
            frame.extend(header.to_bytes());
        }
        LayerKind::Icmp => {
            let echo = IcmpEchoHeader { id: defaults.stream, seq: 1 };
            if outer == Some(LayerKind::Ipv6) {
                frame.extend(Icmpv6Header::new(Icmpv6Type::EchoRequest(echo)).to_bytes());
            } else {
                frame.extend(Icmpv4Header::new(Icmpv4Type::EchoRequest(echo)).to_bytes());
            }
        }
        // RFC 7348, section 5: the flag that says that the VNI is valid.
        LayerKind::Vxlan => frame.extend([8, 0, 0, 0, 0, 0, 1, 0]),
        // RFC 2784, section 2.1: no checksum, version 0.
        LayerKind::Gre => {
            let kind = if next == Some(LayerKind::Ethernet) { 0x6558 } else { ether_type(next) };
            frame.extend([0, 0]);
            frame.extend(kind.to_be_bytes());
        }
    }
}

/// VLAN 1, where nothing else is said.
fn set_vlan(frame: &mut [u8]) {
    let tag = frame.len() - 4;
    frame[tag + 1] = 1;
}

fn ether_type(next: Option<LayerKind>) -> u16 {
    match next {
        Some(LayerKind::Vlan) => 0x8100,
        Some(LayerKind::Qinq) => 0x88a8,
        Some(LayerKind::Mpls) => 0x8847,
        Some(LayerKind::Arp) => 0x0806,
        Some(LayerKind::Ipv4) => 0x0800,
        Some(LayerKind::Ipv6) => 0x86dd,
        _ => EXPERIMENT,
    }
}

fn protocol(next: Option<LayerKind>, icmp: u8) -> u8 {
    match next {
        Some(LayerKind::Udp) => 17,
        Some(LayerKind::Tcp) => 6,
        Some(LayerKind::Icmp) => icmp,
        Some(LayerKind::Gre) => 47,
        Some(LayerKind::Ipv4) => 4,
        Some(LayerKind::Ipv6) => 41,
        _ => EXPERIMENTAL_PROTOCOL,
    }
}

/// Bytes that look random but are the same in every run, and differ between streams and places.
fn filling(stream: u16, place: usize) -> u8 {
    let mixed = (place as u64 ^ u64::from(stream) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[1]
}
