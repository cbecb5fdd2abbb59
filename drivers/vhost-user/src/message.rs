//! The messages: the header, feature bits, and the fixed-size payloads.
//!
//! Why our own: the usual crate refuses the order in which QEMU 7.2 speaks. A message is a 12-byte header
//! {request, flags, size} and `size` bytes, all little-endian here (the specification says host order, and
//! the hosts are little-endian). Not here: sockets, and what a message does.
//!
//! Source: QEMU, docs/interop/vhost-user.rst ("the specification" in this crate).

pub use crate::request::Request;

/// Bytes of a message header.
pub const HEADER_BYTES: usize = 12;

/// Most payload bytes that we take: a memory table of eight regions, with room for a `GET_CONFIG` of 256.
pub const MAX_PAYLOAD: usize = 280;

/// Most file descriptors that one message carries, and most regions of a memory table.
pub const MAX_FDS: usize = 8;

/// Bits of a header's `flags`.
pub mod flag {
    /// The protocol's version, in bits 0 and 1.
    pub const VERSION: u32 = 1;
    /// The bits that hold the version.
    pub const VERSION_MASK: u32 = 3;
    /// The message answers a request.
    pub const REPLY: u32 = 1 << 2;
    /// The sender wants an answer even where the request has none of its own (REPLY_ACK).
    pub const NEED_REPLY: u32 = 1 << 3;
}

/// Virtio feature bits that vhost-user gives a meaning of its own, and those that the two roles name.
pub mod feature {
    /// Migration log: not offered by our back end.
    pub const LOG_ALL: u64 = 1 << 26;
    /// The protocol features can be negotiated.
    pub const PROTOCOL_FEATURES: u64 = 1 << 30;
}

/// Bits of the protocol features.
pub mod protocol {
    /// `GET_QUEUE_NUM` tells how many queue pairs there can be.
    pub const MQ: u64 = 1 << 0;
    /// `SET_LOG_BASE` carries the log's memory.
    pub const LOG_SHMFD: u64 = 1 << 1;
    /// `SEND_RARP` asks for the broadcast of a guest's address.
    pub const RARP: u64 = 1 << 2;
    /// Any request can ask for an acknowledgement.
    pub const REPLY_ACK: u64 = 1 << 3;
    /// `NET_SET_MTU` tells the MTU.
    pub const MTU: u64 = 1 << 4;
    /// `GET_CONFIG` and `SET_CONFIG` reach the device's configuration space.
    pub const CONFIG: u64 = 1 << 9;
    /// `GET_INFLIGHT_FD` and `SET_INFLIGHT_FD` carry memory that records what is in flight.
    pub const INFLIGHT_SHMFD: u64 = 1 << 12;
    /// `RESET_DEVICE` resets the device.
    pub const RESET_DEVICE: u64 = 1 << 13;
    /// Memory regions are added and removed one by one.
    pub const CONFIGURE_MEM_SLOTS: u64 = 1 << 15;
    /// `SET_STATUS` and `GET_STATUS` carry the virtio device status.
    pub const STATUS: u64 = 1 << 16;
}

/// `SET_VRING_KICK`, `_CALL` and `_ERR`: the ring has no descriptor (poll it).
pub const VRING_NO_FD: u64 = 1 << 8;
/// `SET_VRING_KICK`, `_CALL` and `_ERR`: the bits that hold the ring's number.
pub const VRING_INDEX_MASK: u64 = 0xff;

/// A message header as it stands on the wire; any values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A [`Request`], perhaps.
    pub request: u32,
    /// See [`flag`].
    pub flags: u32,
    /// Bytes of the payload.
    pub size: u32,
}

impl Header {
    /// Reads a header.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self { request: word(bytes, 0), flags: word(bytes, 4), size: word(bytes, 8) }
    }

    /// The header's bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.request.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.flags.to_le_bytes());
        bytes[8..].copy_from_slice(&self.size.to_le_bytes());
        bytes
    }
}

/// A whole message, header and payload.
///
/// # Panics
/// If `payload` is longer than [`MAX_PAYLOAD`], which no message of ours is.
pub fn encode(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() <= MAX_PAYLOAD, "a payload of {} bytes", payload.len());
    let size = u32::try_from(payload.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend_from_slice(&Header { request, flags: flags | flag::VERSION, size }.to_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Payload of `SET_VRING_NUM`, `_BASE`, `_ENABLE` and `GET_VRING_BASE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringState {
    /// The ring's number.
    pub index: u32,
    /// Size, index or 0/1, by request.
    pub num: u32,
}

impl VringState {
    /// Reads the payload; `None` unless it has exactly eight bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 8).then(|| Self { index: word(bytes, 0), num: word(bytes, 4) })
    }

    /// The payload's bytes.
    pub fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.index) | u64::from(self.num) << 32).to_le_bytes()
    }
}

/// Payload of `SET_VRING_ADDR`: the parts' places in the front end's user addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VringAddr {
    /// The ring's number.
    pub index: u32,
    /// Bit 0: log the writes to the used ring.
    pub flags: u32,
    /// Descriptor table.
    pub desc: u64,
    /// Used ring.
    pub used: u64,
    /// Avail ring.
    pub avail: u64,
    /// Where writes to the used ring are logged.
    pub log: u64,
}

impl VringAddr {
    /// Reads the payload; `None` unless it has exactly 40 bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 40).then(|| Self {
            index: word(bytes, 0),
            flags: word(bytes, 4),
            desc: quad(bytes, 8),
            used: quad(bytes, 16),
            avail: quad(bytes, 24),
            log: quad(bytes, 32),
        })
    }

    /// The payload's bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&self.index.to_le_bytes());
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        for address in [self.desc, self.used, self.avail, self.log] {
            bytes.extend_from_slice(&address.to_le_bytes());
        }
        bytes
    }
}

/// One region of `SET_MEM_TABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemRegion {
    /// Where the driver's descriptors see it.
    pub guest_address: u64,
    /// Bytes.
    pub size: u64,
    /// Where the front end's process sees it.
    pub user_address: u64,
    /// Bytes from the start of the region's file.
    pub mmap_offset: u64,
}

impl MemRegion {
    /// Bytes of a region in a message.
    pub const BYTES: usize = 32;

    fn parse(bytes: &[u8]) -> Self {
        Self {
            guest_address: quad(bytes, 0),
            size: quad(bytes, 8),
            user_address: quad(bytes, 16),
            mmap_offset: quad(bytes, 24),
        }
    }

    /// The regions of a `SET_MEM_TABLE` payload. `None` if their number is 0 or more than [`MAX_FDS`], or
    /// does not match the payload's size.
    pub fn parse_table(bytes: &[u8]) -> Option<Vec<Self>> {
        if bytes.len() < 8 {
            return None;
        }
        let count = usize::try_from(word(bytes, 0)).ok()?;
        let possible = (1..=MAX_FDS).contains(&count);
        if !possible || bytes.len() != 8 + count * Self::BYTES {
            return None;
        }
        Some(bytes[8..].chunks_exact(Self::BYTES).map(Self::parse).collect())
    }

    /// The region of an `ADD_MEM_REG` or `REM_MEM_REG` payload: eight unused bytes stand before it.
    pub fn parse_slot(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == 8 + Self::BYTES).then(|| Self::parse(&bytes[8..]))
    }

    /// The payload of `ADD_MEM_REG` and `REM_MEM_REG`.
    pub fn slot_bytes(self) -> Vec<u8> {
        let mut bytes = Self::table_bytes(&[self]);
        bytes[..8].fill(0);
        bytes
    }

    /// The payload of `SET_MEM_TABLE`.
    pub fn table_bytes(regions: &[Self]) -> Vec<u8> {
        let mut bytes = (regions.len() as u64).to_le_bytes().to_vec();
        for region in regions {
            for field in
                [region.guest_address, region.size, region.user_address, region.mmap_offset]
            {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        bytes
    }
}

/// A payload of one 64-bit number; `None` unless it has exactly eight bytes.
pub fn parse_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn quad(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_payloads_survive_a_round_trip() {
        let header = Header { request: 5, flags: 9, size: 40 };
        assert_eq!(Header::parse(&header.to_bytes()), header);
        let state = VringState { index: 1, num: 0xffff_ffff };
        assert_eq!(VringState::parse(&state.to_bytes()), Some(state));
        let addr = VringAddr { index: 1, flags: 2, desc: 3, used: 4, avail: 5, log: u64::MAX };
        assert_eq!(VringAddr::parse(&addr.to_bytes()), Some(addr));
        let region =
            MemRegion { guest_address: 1, size: u64::MAX, user_address: 3, mmap_offset: 4 };
        let table = MemRegion::table_bytes(&[region, region]);
        assert_eq!(MemRegion::parse_table(&table), Some(vec![region, region]));
    }

    #[test]
    fn payloads_of_the_wrong_size_are_refused() {
        for size in (0..64).filter(|&size| size != 8) {
            assert_eq!(VringState::parse(&vec![0; size]), None);
            assert_eq!(parse_u64(&vec![0; size]), None);
        }
        assert_eq!(VringAddr::parse(&[0; 39]), None);
        for regions in [0u64, 9, u64::from(u32::MAX)] {
            let mut table = MemRegion::table_bytes(
                &[MemRegion { guest_address: 0, size: 1, user_address: 0, mmap_offset: 0 }; 8],
            );
            table[..8].copy_from_slice(&regions.to_le_bytes());
            assert_eq!(MemRegion::parse_table(&table), None, "{regions} regions");
        }
        assert_eq!(MemRegion::parse_table(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }

    #[test]
    fn the_longest_table_fits_the_largest_payload() {
        const { assert!(8 + MAX_FDS * MemRegion::BYTES <= MAX_PAYLOAD) };
        assert_eq!(Request::from_code(40), Some(Request::GetStatus));
        assert_eq!(Request::from_code(0), None);
        assert_eq!(Request::from_code(u32::MAX), None);
    }
}
