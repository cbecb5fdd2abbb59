//! What becomes of a received buffer that the fast paths leave alone: its length and header are checked, its header's
//! claims put on the packet, and buffers of one frame made a chain (virtio 1.2, 5.1.6.4).
//!
//! One buffer at a time, and the same for both formats and all headers. A frame may be complete only some calls
//! later; a device that never completes it holds its own buffers back, and nothing else.
#![forbid(unsafe_code)]

use netbuf::Netbuf;
use netdev::{DropCause, Offloads, QueueCounters};

use super::header::{BYTES, BadHeader, MERGING, NetHeader};
use super::{ReceiveSetup, RingOptions};

/// Shortest frame: an Ethernet header.
const MIN_FRAME: usize = 14;

/// Most buffers of one frame: what a chain is built of stays bounded, whatever pieces a device cuts.
const MOST_BUFFERS: u16 = 256;

/// A frame of which buffers are missing.
struct Open {
    /// What is there of it; nothing where it will be dropped.
    packet: Option<Netbuf>,
    header: NetHeader,
    len: usize,
    /// Buffers still to come.
    missing: u16,
    /// Why it will be dropped.
    cause: DropCause,
}

/// Takes a ring's buffers as the device gives them back.
pub(super) struct Assembly {
    open: Option<Open>,
    options: RingOptions,
    /// Whether the device may say something in a header.
    reads: bool,
    headroom: u16,
    room: u16,
    port: u16,
    max_frame: usize,
    /// The largest frame that the device has merged of several.
    max_merged: usize,
}

/// A buffer as the device gave it back.
pub(super) struct Returned {
    pub(super) packet: Netbuf,
    /// The header in front of the frame, read once.
    pub(super) header: [u8; BYTES],
    /// Bytes written, as the device claims, header included.
    pub(super) len: u32,
    /// Buffers that the device had, this one included.
    pub(super) outstanding: usize,
}

impl Assembly {
    #[inline(never)]
    pub(super) fn new(setup: &ReceiveSetup, reads: bool) -> Self {
        let max_frame = usize::from(setup.max_frame);
        let merging = setup.options.offloads.intersects(MERGING);
        Self {
            open: None,
            options: setup.options,
            reads,
            headroom: setup.pool.headroom(),
            room: setup.pool.room(),
            port: setup.port,
            max_frame,
            max_merged: if merging { usize::from(u16::MAX) } else { max_frame },
        }
    }

    /// Whether the next buffer belongs to a frame that has begun.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes one buffer; the frame and its length, if that completes one.
    #[cold]
    pub(super) fn take(
        &mut self,
        returned: Returned,
        counters: &QueueCounters,
    ) -> Option<(Netbuf, u64)> {
        let mut frame = match self.open.take() {
            None => match self.begin(returned) {
                Ok(frame) => frame,
                Err(cause) => {
                    counters.dropped(cause, 1);
                    return None;
                }
            },
            Some(mut frame) => {
                self.go_on(&mut frame, returned);
                frame
            }
        };
        if frame.missing > 0 {
            self.open = Some(frame);
            return None;
        }
        let len = frame.len;
        match self.finish(&mut frame) {
            Some(packet) => Some((packet, len as u64)),
            None => {
                counters.dropped(frame.cause, 1);
                None
            }
        }
    }

    /// The first buffer of a frame.
    fn begin(&self, returned: Returned) -> Result<Open, DropCause> {
        let Returned { mut packet, header, len, outstanding } = returned;
        let frame = usize::try_from(len).ok().and_then(|len| len.checked_sub(BYTES));
        let frame = frame.ok_or(DropCause::Undersize)?;
        let fits = u16::try_from(frame).ok().filter(|&frame| frame <= self.room);
        let piece = fits.ok_or(DropCause::BadDescriptor)?;
        let header = if self.reads { NetHeader::from_bytes(header) } else { NetHeader::PLAIN };
        let buffers = if self.options.mergeable { header.num_buffers } else { 1 };
        if buffers == 0 || usize::from(buffers) > outstanding {
            return Err(DropCause::BadHeader);
        }
        packet.set_received(self.headroom, piece, self.port).ok_or(DropCause::BadDescriptor)?;
        let chains = self.options.offloads.contains(Offloads::RX_CHAINS);
        let accepted = buffers == 1 || (chains && buffers <= MOST_BUFFERS);
        Ok(Open {
            packet: accepted.then_some(packet),
            header,
            len: frame,
            missing: buffers - 1,
            cause: DropCause::Oversize,
        })
    }

    /// A further buffer, which has no header of its own.
    fn go_on(&self, frame: &mut Open, returned: Returned) {
        frame.missing -= 1;
        let Returned { packet: mut piece, len, .. } = returned;
        let Some(packet) = &mut frame.packet else { return };
        let start = self.headroom.saturating_sub(crate::features::HEADER_BYTES);
        let len = u16::try_from(len).ok().filter(|&len| len > 0);
        let cause =
            match len.and_then(|len| Some((len, piece.set_received(start, len, self.port)?))) {
                None => DropCause::BadDescriptor,
                Some((len, ())) => {
                    frame.len += usize::from(len);
                    if frame.len <= self.max_merged {
                        packet.chain(piece);
                        return;
                    }
                    DropCause::Oversize
                }
            };
        (frame.packet, frame.cause) = (None, cause);
    }

    /// The whole frame. `None`: it is to be dropped, for the cause that then stands there.
    fn finish(&self, frame: &mut Open) -> Option<Netbuf> {
        let mut packet = frame.packet.take()?;
        frame.cause = if frame.len < MIN_FRAME {
            DropCause::Undersize
        } else {
            let described = frame.header.describe(&mut packet, frame.len, self.options.offloads);
            let most = if packet.gso().is_some() { self.max_merged } else { self.max_frame };
            match described {
                Err(BadHeader) => DropCause::BadHeader,
                Ok(()) if frame.len > most => DropCause::Oversize,
                Ok(()) => return Some(packet),
            }
        };
        None
    }
}
