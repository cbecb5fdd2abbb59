//! What becomes of a packet to send that the fast paths leave alone: it is made sendable as far as that was
//! negotiated, with its requests in its header (virtio 1.2, 5.1.6.2), or refused. The same for both formats.

use netbuf::{DeviceMemory, Netbuf};
use netdev::{DropCause, Offloads};

use super::TransmitSetup;
use super::header::{BYTES, NetHeader};
use super::split::RingSize;
use super::table::{Buffer, MOST_SEGMENTS, Tables, direct};

/// Shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;

/// What packets may ask for.
pub(super) struct Requests {
    offloads: Offloads,
    max_frame: usize,
    /// Where packets of several segments may be sent.
    tables: Option<Tables>,
}

impl Requests {
    /// The tables, if there are any, lie in `memory` from byte `offset` on. `None` where it is too small.
    ///
    /// # Safety
    /// No device and nobody else may use these bytes, now or as long as the ring is in use.
    #[inline(never)]
    pub(super) unsafe fn new(
        setup: &TransmitSetup,
        memory: &DeviceMemory,
        offset: usize,
        size: RingSize,
    ) -> Option<Self> {
        let chains = setup.options.offloads.contains(Offloads::TX_CHAINS);
        let tables = if chains && setup.options.indirect {
            // SAFETY: the caller's promise.
            Some(unsafe { Tables::place(memory, offset, size) }?)
        } else {
            None
        };
        let (offloads, max_frame) = (setup.options.offloads, setup.max_frame.into());
        Some(Self { offloads, max_frame, tables })
    }

    /// Makes a packet sendable: its header stands in front of its first segment, and its metadata asks for nothing
    /// any more. The frame's length.
    pub(super) fn prepare(&self, packet: &mut Netbuf) -> Result<usize, DropCause> {
        let len = packet.len();
        let most = if packet.gso().is_some() { u16::MAX.into() } else { self.max_frame };
        if len < MIN_FRAME {
            return Err(DropCause::Undersize);
        } else if len > most {
            return Err(DropCause::Oversize);
        }
        self.make_sendable(packet, len).map(|()| len).ok_or(DropCause::Unsupported)
    }

    /// `None`: it asks for what was not negotiated.
    fn make_sendable(&self, packet: &mut Netbuf, len: usize) -> Option<()> {
        if packet.is_chained() {
            let count = packet.segments().count();
            if !self.offloads.contains(Offloads::TX_CHAINS) {
                return None;
            } else if self.tables.is_none() || count > MOST_SEGMENTS {
                packet.linearize()?;
            }
        }
        if packet.vlan().is_some() {
            return None;
        }
        if !self.offloads.contains(Offloads::TX_CHECKSUM) && packet.gso().is_none() {
            packet.complete_checksum()?;
        }
        let header = NetHeader::request(packet, len, self.offloads)?;
        packet.make_headroom(BYTES)?;
        let place = packet.push(BYTES)?;
        let bytes = header.to_bytes();
        // What stands in `num_buffers` means nothing here; a line that is right already stays shared.
        if place[..BYTES - 2] != bytes[..BYTES - 2] {
            place.copy_from_slice(&bytes);
        }
        packet.trim(BYTES)?;
        packet.set_checksum(netbuf::Checksum::Unknown);
        packet.set_gso(None);
        Some(())
    }

    /// Where a prepared packet lies, for entry `id` of a split ring (or else of a packed one), whose table is
    /// written if it takes one. (It does not take more than it was prepared for.)
    pub(super) fn buffer(&self, id: u32, packet: &Netbuf, split: bool) -> Option<Buffer> {
        match &self.tables {
            Some(tables) if packet.is_chained() => tables.write(id, packet, BYTES, split),
            _ => Some(direct(packet, crate::features::HEADER_BYTES)),
        }
    }
}
