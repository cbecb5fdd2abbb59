//! The protocols, and what other programs call them and their fields.

use pktgen::StreamSpec;

/// A frame, and what others call it.
pub(crate) struct Case {
    pub(crate) frame: &'static str,
    /// A field that varies, and its values.
    pub(crate) field: &'static str,
    /// tshark's `frame.protocols`, without what it makes of the payload.
    pub(crate) tshark: &'static str,
    /// scapy's layers, and fields of some of them: `NAME=VALUE`, or `NAME=V|V|...` for one frame after the other.
    pub(crate) scapy: &'static [(&'static str, &'static str)],
}

const ETHERNET: (&str, &str) = ("Ether", "");

/// A case per protocol, and what tunnels carry.
pub(crate) const CASES: [Case; 15] = [
    Case {
        frame: "ethernet(source=02:00:00:00:00:0a)",
        field: "ethernet.destination=list:02:00:00:00:01:01,02:00:00:00:01:02",
        tshark: "eth:ethertype",
        scapy: &[(
            "Ether",
            "src=02:00:00:00:00:0a dst=02:00:00:00:01:01|02:00:00:00:01:02 type=34997",
        )],
    },
    Case {
        frame: "ethernet/ipv4(ttl=7,dscp=46)/udp(destination=4000)",
        field: "udp.source=inc:5000-5004/2",
        tshark: "eth:ethertype:ip:udp",
        scapy: &[
            ETHERNET,
            ("IP", "ttl=7 tos=184 proto=17"),
            ("UDP", "sport=5000|5002|5004|5001|5003 dport=4000"),
        ],
    },
    Case {
        frame: "ethernet/ipv4/tcp(destination=4000,flags=2,acknowledgment=0,window=1000)",
        field: "tcp.sequence=dec:10-12",
        tshark: "eth:ethertype:ip:tcp",
        scapy: &[
            ETHERNET,
            ("IP", "proto=6"),
            ("TCP", "dport=4000 flags=S window=1000 seq=12|11|10"),
        ],
    },
    Case {
        frame: "ethernet/ipv4/icmp(id=77)",
        field: "icmp.sequence=inc:1-4",
        tshark: "eth:ethertype:ip:icmp",
        scapy: &[ETHERNET, ("IP", "proto=1"), ("ICMP", "type=8 code=0 id=77 seq=1|2|3|4")],
    },
    Case {
        frame: "ethernet/ipv6(hop_limit=9)/udp(destination=4000)",
        field: "ipv6.source=inc:2001:2::1-2001:2::3",
        tshark: "eth:ethertype:ipv6:udp",
        scapy: &[
            ETHERNET,
            ("IPv6", "hlim=9 nh=17 src=2001:2::1|2001:2::2|2001:2::3"),
            ("UDP", "dport=4000"),
        ],
    },
    Case {
        frame: "ethernet/ipv6(flow=0x12345)/tcp(destination=4000)",
        field: "tcp.source=list:1000,3000",
        tshark: "eth:ethertype:ipv6:tcp",
        scapy: &[ETHERNET, ("IPv6", "fl=74565 nh=6"), ("TCP", "sport=1000|3000 dport=4000")],
    },
    Case {
        frame: "ethernet/ipv6/icmp(id=78)",
        field: "icmp.sequence=inc:1-4",
        tshark: "eth:ethertype:ipv6:icmpv6",
        scapy: &[ETHERNET, ("IPv6", "nh=58"), ("ICMPv6EchoRequest", "type=128 id=78 seq=1|2|3|4")],
    },
    Case {
        frame: "ethernet/arp(operation=2,sender_mac=02:00:00:00:00:01,sender=192.0.2.1)",
        field: "arp.target=inc:192.0.2.7-192.0.2.9",
        tshark: "eth:ethertype:arp",
        scapy: &[
            ETHERNET,
            (
                "ARP",
                "op=2 hwsrc=02:00:00:00:00:01 psrc=192.0.2.1 pdst=192.0.2.7|192.0.2.8|192.0.2.9",
            ),
        ],
    },
    Case {
        frame: "ethernet/vlan(priority=5)/ipv4/udp(destination=4000)",
        field: "vlan.id=inc:100-102",
        tshark: "eth:ethertype:vlan:ethertype:ip:udp",
        scapy: &[ETHERNET, ("Dot1Q", "prio=5 vlan=100|101|102"), ("IP", ""), ("UDP", "")],
    },
    Case {
        frame: "ethernet/qinq(id=5)/vlan(id=6)/ipv6/udp(destination=4000)",
        field: "vlan.id=inc:100-102",
        tshark: "eth:ethertype:ieee8021ad:ethertype:vlan:ethertype:ipv6:udp",
        scapy: &[
            ETHERNET,
            ("Dot1AD", "vlan=5"),
            ("Dot1Q", "vlan=100|101|102"),
            ("IPv6", ""),
            ("UDP", ""),
        ],
    },
    Case {
        frame: "ethernet/mpls(label=30,ttl=3)/mpls(class=2)/ipv4/tcp(destination=4000)",
        field: "mpls#2.label=list:40,50,60",
        tshark: "eth:ethertype:mpls:ip:tcp",
        scapy: &[
            ETHERNET,
            ("MPLS", "label=30 s=0 ttl=3"),
            ("MPLS", "label=40|50|60 s=1 cos=2"),
            ("IP", ""),
            ("TCP", ""),
        ],
    },
    Case {
        frame: "ethernet/ipv4/udp/vxlan(vni=7)/ethernet/ipv4/udp(destination=4000)",
        field: "ipv4#2.source=inc:10.0.0.1-10.0.0.3",
        tshark: "eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:udp",
        scapy: &[
            ETHERNET,
            ("IP", ""),
            ("UDP", "dport=4789 chksum=0"),
            ("VXLAN", "vni=7 flags=Instance"),
            ETHERNET,
            ("IP", "src=10.0.0.1|10.0.0.2|10.0.0.3"),
            ("UDP", "dport=4000"),
        ],
    },
    Case {
        frame: "ethernet/ipv6/udp/vxlan/ethernet/vlan(id=9)/ipv6/icmp",
        field: "vxlan.vni=inc:1000-1002",
        tshark: "eth:ethertype:ipv6:udp:vxlan:eth:ethertype:vlan:ethertype:ipv6:icmpv6",
        scapy: &[
            ETHERNET,
            ("IPv6", ""),
            ("UDP", "dport=4789"),
            ("VXLAN", "vni=1000|1001|1002"),
            ETHERNET,
            ("Dot1Q", "vlan=9"),
            ("IPv6", ""),
            ("ICMPv6EchoRequest", ""),
        ],
    },
    Case {
        frame: "ethernet/ipv4/gre/ipv6/udp(destination=4000)",
        field: "udp.source=random:5007-5007",
        tshark: "eth:ethertype:ip:gre:ipv6:udp",
        scapy: &[
            ETHERNET,
            ("IP", "proto=47"),
            ("GRE", "proto=34525"),
            ("IPv6", ""),
            ("UDP", "sport=5007"),
        ],
    },
    Case {
        frame: "ethernet/ipv4/gre/ethernet/ipv4/tcp(destination=4000)",
        field: "ipv4.destination=list:198.18.7.7,198.18.7.8",
        tshark: "eth:ethertype:ip:gre:eth:ethertype:ip:tcp",
        scapy: &[
            ETHERNET,
            ("IP", "dst=198.18.7.7|198.18.7.8"),
            ("GRE", "proto=25944"),
            ETHERNET,
            ("IP", ""),
            ("TCP", "dport=4000"),
        ],
    },
];

/// Frames of each case in a capture.
pub(crate) const COUNT: usize = 24;
/// Streams are told apart by their sizes, each of which has eight.
pub(crate) const SIZES: usize = 8;

/// Bytes of the smallest frame of a case.
pub(crate) fn first_size(case: usize) -> usize {
    200 + SIZES * case
}

/// The stream of a case.
pub(crate) fn spec(case: usize) -> StreamSpec {
    let (from, to) = (first_size(case), first_size(case + 1) - 1);
    StreamSpec {
        name: CASES[case].frame.into(),
        frame: CASES[case].frame.parse().unwrap(),
        fields: vec![CASES[case].field.parse().unwrap()],
        size: format!("sweep:{from}-{to}").parse().unwrap(),
        count: Some(COUNT as u64),
        ..StreamSpec::default()
    }
}
