//! The virtio-net header in front of each frame (virtio 1.2, 5.1.6), as a private value: what a device says in it
//! of a received frame, checked against the frame and the negotiation, and what a driver asks for in it.
#![forbid(unsafe_code)]

use netbuf::{Checksum, Gso, GsoKind, Netbuf};
use netdev::Offloads;

/// Its bytes.
pub(crate) const BYTES: usize = crate::features::HEADER_BYTES as usize;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the checksum is partial.
const NEEDS_CSUM: u8 = 1;
/// `VIRTIO_NET_HDR_F_DATA_VALID`: the checksum was verified.
const DATA_VALID: u8 = 2;

/// `struct virtio_net_hdr`, its words in host order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NetHeader {
    pub(super) flags: u8,
    /// Zero, or a [`GsoKind`]'s number.
    pub(super) gso_type: u8,
    pub(super) hdr_len: u16,
    pub(super) gso_size: u16,
    pub(super) csum_start: u16,
    pub(super) csum_offset: u16,
    pub(super) num_buffers: u16,
}

/// The largest frame that is to be cut, or was merged: with its header, what a driver's buffer for one must hold
/// (virtio 1.2, 5.1.6.3.1).
pub(super) const LARGEST_MERGED: usize = 65_550;

/// Offloads by which a received frame may be as large, each for its kinds.
pub(super) const MERGING: Offloads = Offloads::RX_LRO.union(Offloads::RX_USO);

/// Bits of the first two bytes (flags, gso_type) by which a driver asks for something: `NEEDS_CSUM`, and any
/// segmentation. A device passes other flags over (virtio 1.2, 5.1.6.2.2).
pub(super) const ASKS: u16 = u16::from_le_bytes([NEEDS_CSUM, 0xff]);

/// What a header says of its frame, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    gso: Option<Gso>,
    checksum: Checksum,
}

impl Said {
    /// Puts it on a packet that carries no metadata yet.
    pub(super) fn put_on(self, packet: &mut Netbuf) {
        if self.gso.is_some() {
            packet.set_gso(self.gso);
        }
        if self.checksum != Checksum::Unknown {
            packet.set_checksum(self.checksum);
        }
    }
}

/// The header contradicts the frame or the negotiation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadHeader;

impl NetHeader {
    /// Says nothing of its frame, which has one buffer.
    pub(super) const PLAIN: Self = Self {
        flags: 0,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
        num_buffers: 1,
    };

    pub(super) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
            num_buffers: word(10),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        bytes[..2].copy_from_slice(&[self.flags, self.gso_type]);
        let words =
            [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (place, word) in bytes[2..].chunks_exact_mut(2).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The segmentation that the header states of a received frame of `len` bytes, of a kind that was negotiated.
    fn gso(&self, len: usize, offloads: Offloads) -> Result<Option<Gso>, BadHeader> {
        let (kind, needed) = match self.gso_type {
            0 => return Ok(None),
            1 => (GsoKind::Tcp4, Offloads::RX_LRO),
            4 => (GsoKind::Tcp6, Offloads::RX_LRO),
            5 => (GsoKind::UdpL4, Offloads::RX_USO),
            _ => return Err(BadHeader),
        };
        if !offloads.contains(needed) || self.gso_size == 0 || usize::from(self.hdr_len) > len {
            return Err(BadHeader);
        }
        Ok(Some(Gso { kind, size: self.gso_size, header_len: self.hdr_len }))
    }

    /// What the header states of the checksum of a received frame of `len` bytes. Flags that were not negotiated are
    /// a lie where the packet would be wrong without them, and else are passed over (virtio 1.2, 5.1.6.4.2).
    fn checksum(&self, len: usize, offloads: Offloads) -> Result<Checksum, BadHeader> {
        let negotiated = offloads.intersects(Offloads::RX_CHECKSUM | MERGING);
        if self.flags & NEEDS_CSUM != 0 {
            let end = usize::from(self.csum_start) + usize::from(self.csum_offset) + 2;
            if !negotiated || end > len {
                return Err(BadHeader);
            }
            return Ok(Checksum::Partial { start: self.csum_start, offset: self.csum_offset });
        }
        Ok(if self.flags & DATA_VALID != 0 && negotiated {
            Checksum::Valid
        } else {
            Checksum::Unknown
        })
    }

    /// What the header says of a received frame of `len` bytes.
    pub(super) fn check(&self, len: usize, offloads: Offloads) -> Result<Said, BadHeader> {
        Ok(Said { gso: self.gso(len, offloads)?, checksum: self.checksum(len, offloads)? })
    }

    /// Puts what the header says on the received `packet`, of `len` bytes, which carries no metadata yet.
    pub(super) fn describe(
        &self,
        packet: &mut Netbuf,
        len: usize,
        offloads: Offloads,
    ) -> Result<(), BadHeader> {
        self.check(len, offloads).map(|said| said.put_on(packet))
    }

    /// What a driver asks for with these bytes: what it has no say in is left out.
    pub(super) fn asked(bytes: [u8; BYTES]) -> Self {
        let header = Self::from_bytes(bytes);
        Self { flags: header.flags & NEEDS_CSUM, ..header }
    }

    /// Whether the frame is to be cut, or was merged, so that it may be larger than others.
    pub(super) fn is_large(&self, offloads: Offloads) -> bool {
        self.gso_type != 0 && offloads.contains(Offloads::RX_CHAINS) && offloads.intersects(MERGING)
    }

    /// The same, and says that the checksum was verified where it was.
    pub(super) fn valid(mut self, valid: bool) -> Self {
        if valid {
            self.flags |= DATA_VALID;
        }
        self
    }

    /// The header that asks for what `packet` asks for: a checksum that was verified is no request. `None` where that
    /// was not negotiated, or contradicts itself. (Who cuts completes the checksum: virtio 1.2, 5.1.6.2.1.)
    pub(super) fn request(packet: &Netbuf, len: usize, offloads: Offloads) -> Option<Self> {
        let mut header = Self { num_buffers: 0, ..Self::PLAIN };
        if let Checksum::Partial { start, offset } = packet.checksum() {
            if usize::from(start) + usize::from(offset) + 2 > len
                || !offloads.contains(Offloads::TX_CHECKSUM)
            {
                return None;
            }
            (header.flags, header.csum_start, header.csum_offset) = (NEEDS_CSUM, start, offset);
        }
        if let Some(Gso { kind, size, header_len }) = packet.gso() {
            let needed = match kind {
                GsoKind::Tcp4 => Offloads::TX_TSO4,
                GsoKind::Tcp6 => Offloads::TX_TSO6,
                GsoKind::UdpL4 => Offloads::TX_USO,
                GsoKind::Udp => return None,
            };
            if !offloads.contains(needed)
                || size == 0
                || usize::from(header_len) > len
                || header.flags != NEEDS_CSUM
            {
                return None;
            }
            (header.gso_type, header.gso_size, header.hdr_len) = (kind as u8, size, header_len);
        }
        Some(header)
    }
}
