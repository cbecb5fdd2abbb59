//! The device half of a split virtqueue: indexes, notifications, and what is done when the peer lies.
//!
//! The vhost-user back end runs on it, and it is the driver half's test partner. One value serves one queue in
//! one direction: [`SplitDevice::receive`] takes frames out of a driver's transmit queue, and
//! [`SplitDevice::transmit`] puts frames into a driver's receive queue (each in a file of its own).
//!
//! Deliberately absent: the notification itself (an eventfd, an interrupt: the caller's).

use core::sync::atomic::{Ordering, fence};

use netbuf::{BURST, Checksum, Netbuf};
use netdev::{Armed, DropCause, Offloads, QueueCounters};

use super::{SplitRing, UsedElem, flags};
use crate::checks::checked;
use crate::ring::RingOptions;

/// Bytes of the header in front of each frame with `VIRTIO_F_VERSION_1` (virtio 1.2, 5.1.6).
pub const HEADER_LEN: u32 = SHORT_HEADER as u32;

/// As many bytes, where a `u16` is wanted.
pub(in crate::ring) const SHORT_HEADER: u16 = 12;

/// As many bytes, where a `usize` is wanted.
pub(in crate::ring) const HEADER_BYTES: usize = SHORT_HEADER as usize;

/// Bytes of an Ethernet header: no frame is shorter.
pub(in crate::ring) const ETHERNET_HEADER: u32 = SHORTEST as u32;

/// As many bytes, where a `u16` is wanted.
pub(in crate::ring) const SHORTEST: u16 = 14;

/// What was negotiated for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// The ring's features.
    ///
    /// [`offloads`](RingOptions::offloads) are named from this side, by what it receives and sends:
    /// on a driver's transmit queue `RX_CHECKSUM` (`VIRTIO_NET_F_CSUM`) and `RX_LRO` and `RX_USO` (`HOST_TSO4`, ..) say what
    /// its headers may ask for, and `RX_CHAINS` that such a frame may be larger than a buffer of the pool; on its
    /// receive queue `TX_CHECKSUM` (`GUEST_CSUM`), `TX_TSO4`, `TX_TSO6` and `TX_USO` (`GUEST_TSO4`, ..) what ours may. One
    /// value serves both queues. A header that asks for more loses its frame ([`DropCause::BadHeader`]); a packet
    /// of ours that is to be cut and may not be asked for loses itself ([`DropCause::Unsupported`]), and a partial
    /// checksum is completed here.
    ///
    /// [`mergeable`](RingOptions::mergeable) matters on a driver's receive queue only. Buffers are used in order in
    /// any case; where [`in_order`](RingOptions::in_order) was negotiated, a run of sent frames is handed back by one
    /// entry (virtio 1.2, 2.7.9 and 2.8.9).
    pub ring: RingOptions,
    /// The largest frame: L2 header included, FCS excluded. Larger ones are dropped as
    /// [`DropCause::Oversize`], but those of up to 65,550 bytes that are to be cut, where that was negotiated.
    /// Received ones that are larger than a buffer of the pool become chains, so set it to no more than
    /// [`Pool::room`](netbuf::Pool::room) where chains were not asked for.
    pub max_frame: u16,
}

impl DeviceOptions {
    /// Whether a packet's header says nothing, and so may go the usual way if it is otherwise plain.
    #[inline]
    pub(in crate::ring) fn says_nothing(&self, packet: &Netbuf) -> bool {
        packet.checksum() != Checksum::Valid || !self.ring.offloads.contains(Offloads::TX_CHECKSUM)
    }
}

/// Where a ring stands: `GET_VRING_BASE` answers with `avail`, and a restarted ring goes on from here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexes {
    /// The next avail ring entry to take.
    pub avail: u16,
    /// The next used ring entry to write.
    pub used: u16,
}

/// Whether the CPU has registers of 256 bits to check and copy with.
#[cfg(target_arch = "x86_64")]
pub(in crate::ring) type Wide = Option<crate::avx2::Avx2>;
#[cfg(not(target_arch = "x86_64"))]
pub(in crate::ring) type Wide = Option<core::convert::Infallible>;

/// Asks for them.
pub(in crate::ring) fn wide() -> Wide {
    #[cfg(target_arch = "x86_64")]
    return crate::avx2::Avx2::detect();
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// The device half of one split virtqueue.
#[derive(Debug)]
pub struct SplitDevice {
    pub(super) wide: Wide,
    pub(super) ring: SplitRing,
    pub(super) options: DeviceOptions,
    /// Never read back from the ring, where the peer could change them.
    pub(super) at: Indexes,
    /// The driver's index at the last look: between `at.avail` and a ring's size ahead of it.
    seen: u16,
    /// The used index at the last [`should_notify`](Self::should_notify); `None` before the first.
    notified: Option<u16>,
    armed: bool,
    broken: bool,
}

impl SplitDevice {
    /// Takes over a ring that stands at `start`, and tells the driver not to send notifications.
    ///
    /// A caller that knows only the avail index (`SET_VRING_BASE`) takes the used index from the ring
    /// ([`SplitRing::load_used_index`]): no more than the device half ever wrote there matters, and a wrong one
    /// only hurts the peer.
    pub fn new(ring: SplitRing, start: Indexes, options: DeviceOptions) -> Self {
        let (wide, at) = (wide(), start);
        let (seen, notified) = (start.avail, None);
        let device = Self { wide, ring, options, at, seen, notified, armed: false, broken: false };
        device.suppress();
        device
    }

    /// Where the ring stands between two bursts.
    pub fn indexes(&self) -> Indexes {
        self.at
    }

    /// The ring's memory.
    pub fn ring(&self) -> SplitRing {
        self.ring
    }

    /// Whether the driver has published more entries than the ring has: nothing is taken any more until the
    /// ring is started again with a new value.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Entries that the driver has published and we have not taken. Zero once the ring is broken, which is
    /// counted where it is found.
    #[inline]
    pub(super) fn available(&mut self, counters: &QueueCounters) -> usize {
        if self.armed {
            self.disarm();
        }
        let seen = self.ring.load_avail_index(Ordering::Acquire);
        let ahead = seen.wrapping_sub(self.at.avail);
        if !checked(ahead <= self.ring.size().get()) {
            self.break_ring(counters);
            return 0;
        }
        if self.broken {
            return 0;
        }
        self.seen = seen;
        usize::from(ahead)
    }

    /// The same where `wanted` are enough: what was seen at the last look is, if there were as many, because looking
    /// takes the line with the index away from the driver.
    #[inline]
    pub(super) fn available_for(&mut self, wanted: usize, counters: &QueueCounters) -> usize {
        let known = usize::from(self.seen.wrapping_sub(self.at.avail));
        if known < wanted || self.armed { self.available(counters) } else { known }
    }

    /// [`available`](Self::available) in the middle of a burst, where what was seen at its start is not enough.
    #[cold]
    pub(super) fn available_now(&mut self, counters: &QueueCounters) -> usize {
        self.available(counters)
    }

    /// Has the next call look at the driver's index, whatever it wants.
    fn look_again(&mut self) {
        self.seen = self.at.avail;
    }

    #[cold]
    fn break_ring(&mut self, counters: &QueueCounters) {
        self.look_again();
        if !self.broken {
            self.broken = true;
            counters.dropped(DropCause::RingBroken, 1);
        }
    }

    /// Takes note that `count` entries are consumed, for which used elements are written: for the next
    /// [`publish`](Self::publish).
    #[inline]
    pub(super) fn completed(&mut self, count: usize) {
        self.at.avail = self.at.avail.wrapping_add(count16(count));
        self.at.used = self.at.used.wrapping_add(count16(count));
    }

    /// The next entries are consumed, which name `heads`, and nothing was written into their chains: for the next
    /// [`publish`](Self::publish). Where the order is known, the last one stands for all (virtio 1.2, 2.7.9). An index
    /// beyond the table, `outside` of them, names no chain.
    #[inline]
    pub(super) fn complete_heads(&mut self, heads: &[u16], outside: usize) {
        if outside > 0 {
            return heads.iter().for_each(|&head| self.complete_one(head, 0));
        }
        match heads.last() {
            Some(&last) if self.options.ring.in_order => {
                self.ring.set_used(self.at.used, UsedElem { id: last.into(), len: 0 });
            }
            _ => self.set_used_heads(heads),
        }
        self.completed(heads.len());
    }

    #[inline]
    fn set_used_heads(&self, heads: &[u16]) {
        #[cfg(target_arch = "x86_64")]
        if self.wide.is_some() {
            // SAFETY: the CPU has AVX2.
            return unsafe { super::wide::set_used_heads(&self.ring, self.at.used, heads) };
        }
        self.ring.set_used_heads(self.at.used, heads);
    }

    /// The next entry is consumed, and its chain done, with `len` bytes written: for the next
    /// [`publish`](Self::publish).
    pub(super) fn complete_one(&mut self, head: u16, len: u32) {
        self.at.avail = self.at.avail.wrapping_add(1);
        // An index beyond the table names no chain.
        if head < self.ring.size().get() {
            self.ring.set_used(self.at.used, UsedElem { id: head.into(), len });
            self.at.used = self.at.used.wrapping_add(1);
        }
    }

    /// Lets the driver see all that was written since `before`, at once.
    #[inline]
    pub(super) fn publish(&self, before: u16) {
        if self.at.used != before {
            self.ring.store_used_index(self.at.used);
        }
    }

    /// Whether the driver wants to be notified of what was published since the last call. Call it once per
    /// burst; it costs one full fence where anything was published. The first call stands for whatever an
    /// earlier device half may have published last.
    ///
    /// The fence stands between the index store and the read of the driver's suppression word, as virtio 1.2,
    /// 2.7.7.2 requires: before the store it would lose notifications.
    #[inline]
    pub fn should_notify(&mut self) -> bool {
        let new = self.at.used;
        let old = self.notified.replace(new);
        if old == Some(new) || self.broken {
            return false;
        }
        fence(Ordering::SeqCst);
        if !self.options.ring.event_idx {
            return self.ring.avail_flags() & flags::AVAIL_NO_INTERRUPT == 0;
        }
        // A predecessor of ours may have published and died before it notified: the first check always does.
        let Some(old) = old else { return true };
        needs_event(self.ring.used_event(), new, old)
    }

    /// Asks the driver for a notification at the next entry that it publishes, and looks again afterwards, so
    /// that no entry is slept over. Where entries are pending nothing stays armed. Polling disarms.
    pub fn arm(&mut self) -> Armed {
        if self.options.ring.event_idx {
            self.ring.set_avail_event(self.at.avail);
        } else {
            self.ring.set_used_flags(0);
        }
        self.armed = true;
        // The driver stores its index and then reads our wish; we do it the other way round.
        fence(Ordering::SeqCst);
        if self.broken || self.ring.load_avail_index(Ordering::Acquire) == self.at.avail {
            return Armed::Armed;
        }
        self.disarm();
        Armed::PacketsPending
    }

    /// Takes the wish of [`arm`](Self::arm) back: a polling device needs no notifications.
    pub fn disarm(&mut self) {
        self.armed = false;
        self.suppress();
    }

    fn suppress(&self) {
        if self.options.ring.event_idx {
            // Just behind: the driver meets it again after 65,536 entries, and then sends one in vain.
            self.ring.set_avail_event(self.at.avail.wrapping_sub(1));
        } else {
            self.ring.set_used_flags(flags::USED_NO_NOTIFY);
        }
    }
}

/// Whether going from `old` to `new` passes `event` (virtio 1.2, 2.7.7.1), where `old` is the index at the last
/// check.
#[inline]
fn needs_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[expect(clippy::cast_possible_truncation, reason = "counts of one burst")]
const fn count16(count: usize) -> u16 {
    debug_assert!(count <= BURST);
    count as u16
}
