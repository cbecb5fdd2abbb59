//! What a driver half offers to the network driver above it, whatever the ring's format.
//!
//! The virtio-net queues are generic over these traits, so that the format, the header and its meaning are
//! chosen once, at start, by type; nothing of them is tested per packet. A further format is a further
//! module that implements them.
//!
//! Deliberately absent: the doorbell. A ring says whether the device wants to be notified; ringing is the
//! caller's.

use core::ptr::NonNull;

use netbuf::{Burst, Netbuf, Pool};
use netdev::{Offloads, QueueCounters};

use super::{RingOptions, header};
use crate::raw::{Pair, read_once};

/// Shortest frame: an Ethernet header.
const MIN_FRAME: u16 = 14;

/// The header that stands in front of each frame, in the last bytes before its first.
pub trait Header: 'static {
    /// Its size.
    const BYTES: u16;

    /// Whether a device may say something of a received frame in it. If not, it is never read.
    const SPEAKS: bool;

    /// Makes the header of a plain frame: no checksum to complete, nothing to cut.
    ///
    /// # Safety
    /// The [`BYTES`](Self::BYTES) from `header` on must be valid for reads and writes.
    unsafe fn write_plain(header: NonNull<u8>);

    /// Whether [`write_plain`](Self::write_plain) finds nothing to write in any of several headers: of the OR of the
    /// sixteen bytes that each of them ends.
    fn is_plain(before: Pair) -> bool;

    /// Zero only if the header that ends these sixteen bytes says nothing of its frame but that it has one buffer.
    /// (So is then the OR of several.)
    fn oddity(before: Pair) -> Pair;
}

/// The sixteen bytes that a header ends, each read once.
///
/// # Safety
/// The header must end where a pool's headroom does: this is whole lines, from the start of a line on.
#[inline(always)]
pub(super) unsafe fn before_frame<H: Header>(header: NonNull<u8>) -> Pair {
    const { assert!(H::BYTES <= 16) };
    // SAFETY: in the last line of the headroom, whose end is a multiple of 16.
    unsafe { Pair::read(header.as_ptr().sub(16 - usize::from(H::BYTES)).cast()) }
}

/// Makes the headers of packets plain, `front` bytes into their buffers.
///
/// # Safety
/// The headers must lie in the buffers.
#[cold]
#[inline(never)]
pub(super) unsafe fn write_plain<H: Header>(packets: &[Netbuf], front: u16) {
    for packet in packets {
        // SAFETY: the caller's promise.
        unsafe { H::write_plain(packet.room().add(front.into())) }
    }
}

/// Whether a received header says something of its frame. See [`Header::oddity`].
///
/// # Safety
/// The packets must be posted ones: their headers end `headroom` bytes into their buffers.
#[inline(always)]
pub(super) unsafe fn oddity<H: Header>(packets: &[Netbuf], headroom: u16) -> bool {
    if !H::SPEAKS {
        return false;
    }
    let all = packets.iter().fold(Pair::both(0), |all, packet| {
        // SAFETY: the header lies in the buffer, and ends where the headroom does.
        let before = unsafe { before_frame::<H>(packet.room().add((headroom - H::BYTES).into())) };
        all.or(H::oddity(before))
    });
    all.words() != [0, 0]
}

/// Reads the header of a posted packet once, if it can say anything.
///
/// # Safety
/// As [`oddity`].
pub(super) unsafe fn read_header<H: Header>(packet: &Netbuf, headroom: u16) -> [u8; header::BYTES] {
    if !H::SPEAKS {
        return [0; header::BYTES];
    }
    // SAFETY: the header lies in the buffer.
    unsafe { read_once(packet.room().add(usize::from(headroom - H::BYTES)).as_ptr()) }
}

/// Device addresses of a virtqueue's parts (virtio 1.2, 2.6): for a split ring the descriptor table, the
/// avail ring and the used ring; for a packed one the descriptors, and the event suppression structures that
/// the driver and the device write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The descriptor area.
    pub desc: u64,
    /// The driver area.
    pub driver: u64,
    /// The device area.
    pub device: u64,
}

/// What a receive ring is started with.
#[derive(Clone, Copy, Debug)]
pub struct ReceiveSetup {
    /// What was negotiated.
    pub options: RingOptions,
    /// Where buffers come from; its headroom must hold the header.
    pub pool: Pool,
    /// The number that received packets carry.
    pub port: u16,
    /// Largest frame in bytes, L2 header included, FCS excluded; at most the pool's room, unless a frame may span
    /// several buffers.
    pub max_frame: u16,
}

impl ReceiveSetup {
    /// Whether a buffer of the pool holds the header, and as many of them as a frame may span the largest frame.
    pub(super) fn fits(&self, header: u16) -> bool {
        let spans = self.options.mergeable && self.options.offloads.contains(Offloads::RX_CHAINS);
        self.pool.headroom() >= header && (spans || self.max_frame <= self.pool.room())
    }

    /// By how many bytes the largest frame of one buffer is longer than an Ethernet header.
    pub(super) fn span(&self) -> u32 {
        u32::from(self.max_frame.min(self.pool.room()).saturating_sub(MIN_FRAME))
    }
}

/// What a transmit ring is started with.
#[derive(Clone, Copy, Debug)]
pub struct TransmitSetup {
    /// What was negotiated.
    pub options: RingOptions,
    /// Where most packets will come from: they are the cheapest to give back. Found again whenever the ring
    /// is empty.
    pub home: Pool,
    /// Largest frame in bytes, L2 header included, FCS excluded.
    pub max_frame: u16,
}

/// The driver half of a ring that the device fills.
///
/// Dropping it leaks the buffers that the device holds, because the device may still write to them;
/// [`release`](Self::release) frees them.
pub trait ReceiveRing: 'static {
    /// Where the ring lies.
    fn addresses(&self) -> Addresses;

    /// Appends received frames to `out`, as far as there is room, and counts them; how many.
    fn receive(&mut self, out: &mut Burst, counters: &QueueCounters) -> usize;

    /// Posts buffers from the pool where enough entries are free; whether the device is to be notified.
    #[must_use]
    fn refill(&mut self) -> bool;

    /// Asks for an interrupt at the next completion, and looks again. `false`: something is pending, and
    /// nothing was asked for. The next [`receive`](Self::receive) takes the wish back.
    fn arm(&mut self) -> bool;

    /// What the doorbell of `queue` is rung with where `VIRTIO_F_NOTIFICATION_DATA` was negotiated (virtio 1.2, 2.9).
    fn notification(&self, queue: u16) -> u32;

    /// Whether the device has put the ring out of order beyond repair.
    fn is_broken(&self) -> bool;

    /// Frees every buffer.
    ///
    /// # Safety
    /// The device must not access the ring and its buffers any more.
    unsafe fn release(&mut self);
}

/// What [`TransmitRing::transmit`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transmitted {
    /// Packets taken from the front of the burst, those included that were dropped.
    pub taken: usize,
    /// Whether the device is to be notified.
    pub notify: bool,
}

/// The driver half of a ring that the device empties. About dropping, see [`ReceiveRing`].
pub trait TransmitRing: 'static {
    /// Where the ring lies.
    fn addresses(&self) -> Addresses;

    /// Takes packets from the front as far as there is room, publishes them once, and counts them. Frees
    /// what the device has sent when the ring is short, or `packets` empty.
    fn transmit(&mut self, packets: &mut Burst, counters: &QueueCounters) -> Transmitted;

    /// See [`ReceiveRing::notification`].
    fn notification(&self, queue: u16) -> u32;

    /// See [`ReceiveRing::is_broken`].
    fn is_broken(&self) -> bool;

    /// Frees every packet that is still in the ring.
    ///
    /// # Safety
    /// The device must not access the ring and its packets any more.
    unsafe fn release(&mut self);
}
