//! A packet of ours on its way to a driver: what its header says, and whether it may go at all. The same for both
//! formats.
#![forbid(unsafe_code)]

use netbuf::{Checksum, Netbuf};
use netdev::{DropCause, Offloads};

use super::header::{BYTES, LARGEST_MERGED, NetHeader};
use super::split::DeviceOptions;

/// Shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;

/// A packet of any shape that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    header: NetHeader,
    /// Bytes of the frame.
    pub(super) len: u32,
}

impl Outgoing {
    /// Looks at what `packet` asks for, and does itself what a driver may not be asked for: completes a partial
    /// checksum in the packet.
    ///
    /// # Errors
    /// Why it is never sent.
    pub(super) fn prepare(packet: &mut Netbuf, options: &DeviceOptions) -> Result<Self, DropCause> {
        let len = packet.len();
        let header =
            Self::header(packet, len, options.ring.offloads).ok_or(DropCause::Unsupported)?;
        let most =
            if packet.gso().is_some() { LARGEST_MERGED } else { usize::from(options.max_frame) };
        let short = u32::try_from(len).map_err(|_| DropCause::Oversize)?;
        if len < MIN_FRAME {
            Err(DropCause::Undersize)
        } else if len > most {
            Err(DropCause::Oversize)
        } else {
            Ok(Self { header, len: short })
        }
    }

    /// `None`: the packet asks for what was not negotiated.
    fn header(packet: &mut Netbuf, len: usize, offloads: Offloads) -> Option<NetHeader> {
        if packet.vlan().is_some() {
            return None;
        }
        let checksums = offloads.contains(Offloads::TX_CHECKSUM);
        if !checksums && packet.gso().is_none() {
            packet.complete_checksum()?;
        }
        let valid = checksums && packet.checksum() == Checksum::Valid;
        NetHeader::request(packet, len, offloads).map(|header| header.valid(valid))
    }

    /// The header's bytes, where the frame goes over so many buffers (virtio 1.2, 5.1.6.4.1).
    pub(super) fn header_over(&self, buffers: u16) -> [u8; BYTES] {
        NetHeader { num_buffers: buffers, ..self.header }.to_bytes()
    }

    /// Bytes with the header.
    pub(super) fn bytes(&self) -> usize {
        BYTES + self.len as usize
    }
}
