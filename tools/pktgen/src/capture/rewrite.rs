//! Other addresses in the frames of a capture, with the checksums that they need.
//!
//! Checksums are corrected by the difference (RFC 1624, equation 3), not made anew: one that was wrong stays wrong,
//! and a frame of which the capture holds only the beginning comes out right. Deliberately left alone: addresses in
//! ARP, in ICMP's quoted headers and inside tunnels.

use std::net::Ipv4Addr;
use std::str::FromStr;

use netdev::MacAddress;

/// What is written where in each frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// The destination MAC address.
    DestinationMac(MacAddress),
    /// The source MAC address.
    SourceMac(MacAddress),
    /// The IPv4 source address.
    SourceIp(Ipv4Addr),
    /// The IPv4 destination address.
    DestinationIp(Ipv4Addr),
    /// IPv4 addresses of one network, source and destination, become those of another; the host part stays.
    Network {
        /// The network that addresses are moved out of.
        from: Ipv4Addr,
        /// The one that they are moved to.
        to: Ipv4Addr,
        /// Bits of both that are the network's.
        prefix: u8,
    },
}

const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Rewrite {
    /// Rewrites a frame.
    pub fn apply(&self, frame: &mut [u8]) {
        match self {
            Self::DestinationMac(mac) => write(frame, 0, &mac.0),
            Self::SourceMac(mac) => write(frame, 6, &mac.0),
            _ => {
                if let Some(start) = ipv4_start(frame) {
                    self.apply_ipv4(&mut frame[start..]);
                }
            }
        }
    }

    fn apply_ipv4(&self, packet: &mut [u8]) {
        for (offset, is_source) in [(12, true), (16, false)] {
            let Some(Ok(octets)) = packet.get(offset..offset + 4).map(<[u8; 4]>::try_from) else {
                return;
            };
            let new = match *self {
                Self::SourceIp(address) if is_source => address.octets(),
                Self::DestinationIp(address) if !is_source => address.octets(),
                Self::Network { from, to, prefix } => moved(octets, from, to, prefix),
                _ => continue,
            };
            replace(packet, offset, octets, new);
        }
    }
}

fn moved(address: [u8; 4], from: Ipv4Addr, to: Ipv4Addr, prefix: u8) -> [u8; 4] {
    let address = u32::from_be_bytes(address);
    let hosts = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    if address & !hosts != u32::from(from) & !hosts {
        return address.to_be_bytes();
    }
    (u32::from(to) & !hosts | address & hosts).to_be_bytes()
}

fn write(frame: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(place) = frame.get_mut(offset..offset + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Where the IPv4 header begins, behind Ethernet and VLAN tags.
fn ipv4_start(frame: &[u8]) -> Option<usize> {
    let mut offset = 12;
    while VLAN_TAGS.contains(&word(frame, offset)?) {
        offset += 4;
    }
    let is_ipv4 = word(frame, offset)? == IPV4 && frame.get(offset + 2)? >> 4 == 4;
    is_ipv4.then_some(offset + 2)
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..offset + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

/// Puts an address in, and corrects what covers it: the header's checksum and TCP's or UDP's.
fn replace(packet: &mut [u8], offset: usize, old: [u8; 4], new: [u8; 4]) {
    write(packet, offset, &new);
    correct(packet, 10, old, new);
    let header = usize::from(packet[0] & 0x0f) * 4;
    let first_fragment = word(packet, 6).is_some_and(|fragment| fragment & 0x1fff == 0);
    if !first_fragment || header < 20 {
        return;
    }
    match packet[9] {
        TCP => correct(packet, header + 16, old, new),
        // Zero says that there is none (RFC 768).
        UDP if word(packet, header + 6).is_some_and(|sum| sum != 0) => {
            correct(packet, header + 6, old, new);
            if word(packet, header + 6) == Some(0) {
                write(packet, header + 6, &[0xff, 0xff]);
            }
        }
        _ => {}
    }
}

fn correct(packet: &mut [u8], offset: usize, old: [u8; 4], new: [u8; 4]) {
    let Some(sum) = word(packet, offset) else { return };
    let halves = |address: [u8; 4]| {
        let [a, b, c, d] = address.map(u32::from);
        [a << 8 | b, c << 8 | d]
    };
    let mut total = u32::from(!sum);
    total += halves(old).iter().map(|half| !half & 0xffff).sum::<u32>();
    total += halves(new).iter().sum::<u32>();
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    let [.., high, low] = (!total).to_be_bytes();
    write(packet, offset, &[high, low]);
}

impl FromStr for Rewrite {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = |what: String| {
            format!(
                "{what}; accepted: src-mac=MAC, dst-mac=MAC, src-ip=IPV4, dst-ip=IPV4, or a network for a network: \
                 10.0.0.0/24=192.168.1.0/24"
            )
        };
        let Some((left, right)) = text.split_once('=') else {
            return Err(error(format!("`{text}` rewrites nothing")));
        };
        let mac = || {
            right.parse::<MacAddress>().map_err(|_| error(format!("`{right}` is no MAC address")))
        };
        let address = |text: &str| {
            text.parse::<Ipv4Addr>().map_err(|_| error(format!("`{text}` is no IPv4 address")))
        };
        match left {
            "src-mac" => mac().map(Self::SourceMac),
            "dst-mac" => mac().map(Self::DestinationMac),
            "src-ip" => address(right).map(Self::SourceIp),
            "dst-ip" => address(right).map(Self::DestinationIp),
            _ => {
                let network = |text: &str| {
                    let (host, prefix) = text.split_once('/').unwrap_or((text, "32"));
                    let bits = prefix.parse::<u8>().ok().filter(|bits| (1..=32).contains(bits));
                    let bits =
                        bits.ok_or_else(|| error(format!("`{prefix}` is no prefix from 1 to 32")))?;
                    Ok::<_, String>((address(host)?, bits))
                };
                let ((from, prefix), (to, other)) = (network(left)?, network(right)?);
                if prefix != other {
                    return Err(error(format!("`{left}` and `{right}` are not of one size")));
                }
                Ok(Self::Network { from, to, prefix })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{NetHeaders, PacketBuilder, PacketHeaders, TransportHeader};
    use proptest::prelude::*;

    use super::*;

    fn frame(vlan: bool, tcp: bool, addresses: ([u8; 4], [u8; 4]), payload: &[u8]) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let ip = if vlan {
            let tag = 7.try_into().unwrap();
            ethernet.single_vlan(tag).ipv4(addresses.0, addresses.1, 64)
        } else {
            ethernet.ipv4(addresses.0, addresses.1, 64)
        };
        let mut frame = vec![0; 2000];
        let len = if tcp {
            ip.tcp(1, 2, 3, 4).write_to_slice(&mut frame, payload)
        } else {
            ip.udp(1, 2).write_to_slice(&mut frame, payload)
        };
        frame.truncate(len.unwrap());
        frame
    }

    #[track_caller]
    fn check(frame: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
        let headers = PacketHeaders::from_ethernet_slice(frame).unwrap();
        let Some(NetHeaders::Ipv4(ip, _)) = headers.net else { panic!("no IPv4") };
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        let payload = headers.payload.slice();
        match headers.transport.unwrap() {
            TransportHeader::Udp(udp) => {
                assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, payload).unwrap());
            }
            TransportHeader::Tcp(tcp) => {
                assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(&ip, payload).unwrap());
            }
            _ => panic!("no transport"),
        }
        (ip.source.into(), ip.destination.into())
    }

    proptest! {
        #[test]
        fn checksums_stay_right(vlan: bool, tcp: bool, source: [u8; 4], destination: [u8; 4], new: [u8; 4],
                                payload in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut bytes = frame(vlan, tcp, (source, destination), &payload);
            Rewrite::SourceIp(new.into()).apply(&mut bytes);
            prop_assert_eq!(check(&bytes), (new.into(), destination.into()));
            Rewrite::DestinationIp(new.into()).apply(&mut bytes);
            prop_assert_eq!(check(&bytes), (new.into(), new.into()));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..80), ethertype: bool) {
            let mut bytes = bytes;
            if ethertype && bytes.len() > 14 {
                bytes[12..14].copy_from_slice(&[8, 0]);
                bytes[14] |= 0x45;
            }
            let len = bytes.len();
            for rule in ["src-mac=02:00:00:00:00:01", "dst-ip=1.2.3.4", "0.0.0.0/1=10.0.0.0/1"] {
                rule.parse::<Rewrite>().unwrap().apply(&mut bytes);
            }
            prop_assert_eq!(bytes.len(), len);
        }
    }

    #[test]
    fn networks_keep_the_host() {
        let mut bytes = frame(true, false, ([10, 0, 0, 7], [10, 0, 1, 9]), b"payload");
        "10.0.0.0/24=192.168.5.0/24".parse::<Rewrite>().unwrap().apply(&mut bytes);
        assert_eq!(check(&bytes), ([192, 168, 5, 7].into(), [10, 0, 1, 9].into()));
        "10.0.1.9=1.1.1.1".parse::<Rewrite>().unwrap().apply(&mut bytes);
        assert_eq!(check(&bytes), ([192, 168, 5, 7].into(), [1, 1, 1, 1].into()));
    }

    #[test]
    fn a_checksum_that_is_absent_stays_absent_and_a_wrong_one_wrong() {
        let mut bytes = frame(false, false, ([10, 0, 0, 1], [10, 0, 0, 2]), b"x");
        bytes[40..42].fill(0);
        Rewrite::SourceIp([9, 9, 9, 9].into()).apply(&mut bytes);
        assert_eq!(bytes[40..42], [0, 0]);
        let mut bytes = frame(false, true, ([10, 0, 0, 1], [10, 0, 0, 2]), b"x");
        bytes[50] ^= 0x55;
        Rewrite::SourceIp([9, 9, 9, 9].into()).apply(&mut bytes);
        assert!(std::panic::catch_unwind(|| check(&bytes)).is_err(), "still wrong");
    }

    #[test]
    fn macs() {
        let mut bytes = frame(false, false, ([10, 0, 0, 1], [10, 0, 0, 2]), b"x");
        "src-mac=02:aa:00:00:00:01".parse::<Rewrite>().unwrap().apply(&mut bytes);
        "dst-mac=02:bb:00:00:00:02".parse::<Rewrite>().unwrap().apply(&mut bytes);
        assert_eq!(bytes[..12], [2, 0xbb, 0, 0, 0, 2, 2, 0xaa, 0, 0, 0, 1]);
    }

    #[test]
    fn bad_rules_say_what_is_accepted() {
        for text in [
            "",
            "=",
            "src-mac",
            "src-mac=",
            "src-mac=1:2:3:4:5:6",
            "src-mac=02:00:00:00:00:01:02",
            "src-ip=1.2.3",
            "dst-ip=::1",
            "10.0.0.0/8=10.0.0.0/16",
            "10.0.0.0/0=1.0.0.0/0",
            "10.0.0.0/33=1.0.0.0/33",
            "port=80",
        ] {
            assert!(
                text.parse::<Rewrite>().expect_err(text).contains("accepted: src-mac=MAC"),
                "{text}"
            );
        }
    }
}
