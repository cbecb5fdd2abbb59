//! What a packet carries besides its bytes: where it came from, what a device found out about it, what a
//! device is asked to do with it.

use crate::Netbuf;
use crate::header::flag;

/// What is known of a packet's checksum, or asked for (virtio 1.2, 5.1.6.2 and 5.1.6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: the checksum in the packet is to be verified, or already complete.
    Unknown,
    /// The device has verified it (`VIRTIO_NET_HDR_F_DATA_VALID`).
    Valid,
    /// The field holds the pseudo-header's sum only (`VIRTIO_NET_HDR_F_NEEDS_CSUM`). On transmit: a
    /// request to complete it.
    Partial {
        /// Bytes from the start of the frame to where summing starts.
        start: u16,
        /// Bytes from `start` to the checksum field.
        offset: u16,
    },
}

/// What a frame is to be cut into, or was merged from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4 = 1,
    /// UDP fragments (the old UFO).
    Udp = 3,
    /// TCP over IPv6.
    Tcp6 = 4,
    /// UDP datagrams over IPv4 or IPv6 (USO).
    UdpL4 = 5,
}

impl GsoKind {
    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            1 => Some(Self::Tcp4),
            3 => Some(Self::Udp),
            4 => Some(Self::Tcp6),
            5 => Some(Self::UdpL4),
            _ => None,
        }
    }
}

/// Segmentation offload of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The protocol that is cut.
    pub kind: GsoKind,
    /// Payload bytes of each resulting packet.
    pub size: u16,
    /// Bytes of the headers that each resulting packet repeats.
    pub header_len: u16,
}

impl Netbuf {
    /// The port that received the packet, as numbered by the driver's `Config`.
    #[inline]
    pub fn port(&self) -> u16 {
        self.header().word.get().port()
    }

    /// Sets [`port`](Self::port).
    pub fn set_port(&mut self, port: u16) {
        let header = self.header();
        header.word.set(header.word.get().with_port(port));
    }

    /// What is known of, or asked for, the checksum.
    pub fn checksum(&self) -> Checksum {
        let header = self.header();
        if header.has_flag(flag::CSUM_PARTIAL) {
            Checksum::Partial { start: header.csum_start.get(), offset: header.csum_offset.get() }
        } else if header.has_flag(flag::CSUM_VALID) {
            Checksum::Valid
        } else {
            Checksum::Unknown
        }
    }

    /// Sets [`checksum`](Self::checksum).
    pub fn set_checksum(&mut self, checksum: Checksum) {
        let header = self.header();
        header.set_flag(flag::CSUM_VALID, checksum == Checksum::Valid);
        header.set_flag(flag::CSUM_PARTIAL, matches!(checksum, Checksum::Partial { .. }));
        if let Checksum::Partial { start, offset } = checksum {
            header.csum_start.set(start);
            header.csum_offset.set(offset);
        }
    }

    /// The segmentation request or result.
    pub fn gso(&self) -> Option<Gso> {
        let header = self.header();
        if !header.has_flag(flag::GSO) {
            return None;
        }
        Some(Gso {
            kind: GsoKind::from_bits(header.gso_kind.get())?,
            size: header.gso_size.get(),
            header_len: header.gso_header_len.get(),
        })
    }

    /// Sets [`gso`](Self::gso).
    pub fn set_gso(&mut self, gso: Option<Gso>) {
        let header = self.header();
        header.set_flag(flag::GSO, gso.is_some());
        if let Some(gso) = gso {
            header.gso_kind.set(gso.kind as u8);
            header.gso_size.set(gso.size);
            header.gso_header_len.set(gso.header_len);
        }
    }

    /// The VLAN tag (TCI, host order) that a device stripped or is to insert.
    pub fn vlan(&self) -> Option<u16> {
        self.header().has_flag(flag::VLAN).then(|| self.header().vlan.get())
    }

    /// Sets [`vlan`](Self::vlan).
    pub fn set_vlan(&mut self, tci: Option<u16>) {
        self.header().set_flag(flag::VLAN, tci.is_some());
        self.header().vlan.set(tci.unwrap_or(0));
    }

    /// The receive-side-scaling hash.
    pub fn rss_hash(&self) -> Option<u32> {
        self.header().has_flag(flag::RSS_HASH).then(|| self.header().rss_hash.get())
    }

    /// Sets [`rss_hash`](Self::rss_hash).
    pub fn set_rss_hash(&mut self, hash: Option<u32>) {
        self.header().set_flag(flag::RSS_HASH, hash.is_some());
        self.header().rss_hash.set(hash.unwrap_or(0));
    }

    /// When the packet was received, in nanoseconds of whatever clock its port names.
    pub fn timestamp(&self) -> Option<u64> {
        self.header().has_flag(flag::TIMESTAMP).then(|| self.header().timestamp.get())
    }

    /// Sets [`timestamp`](Self::timestamp).
    pub fn set_timestamp(&mut self, nanoseconds: Option<u64>) {
        self.header().set_flag(flag::TIMESTAMP, nanoseconds.is_some());
        self.header().timestamp.set(nanoseconds.unwrap_or(0));
    }

    /// Whether the packet asks a device for anything beyond sending its bytes.
    #[inline]
    pub fn wants_offload(&self) -> bool {
        self.header().has_flag(flag::CSUM_PARTIAL | flag::GSO | flag::VLAN)
    }
}
