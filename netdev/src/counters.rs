//! Statistics: plain adds by the core that polls, readable from any other without stopping it.

use core::ops::{Add, Index, Sub};
use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! drop_causes {
    ($($(#[doc = $doc:literal])+ $name:ident = $text:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum DropCause {
            $($(#[doc = $doc])+ $name,)+
        }

        impl DropCause {
            /// Every cause, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The name in reports and JSON.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

drop_causes! {
    /// The pool had no buffer to receive into.
    NoBuffer = "no_buffer",
    /// The frame is larger than `max_frame`, or than a buffer where chains were not negotiated.
    Oversize = "oversize",
    /// The frame is shorter than an Ethernet header.
    Undersize = "undersize",
    /// The peer named a descriptor, address or length that is not its to name.
    BadDescriptor = "bad_descriptor",
    /// The peer's packet header contradicts the packet or the negotiation.
    BadHeader = "bad_header",
    /// The ring is out of order beyond repair; the queue stands still until the device is restarted.
    RingBroken = "ring_broken",
    /// The peer is absent, or has not started the ring.
    LinkDown = "link_down",
    /// The peer offered no buffer to send into.
    PeerFull = "peer_full",
    /// The transmit ring was full and the sender did not keep the packet.
    RingFull = "ring_full",
    /// The packet asks for an offload or a number of segments that was not negotiated.
    Unsupported = "unsupported",
    /// The frame's destination is another station's address.
    Filtered = "filtered",
    /// The device reported that it could not send or receive the frame.
    DeviceError = "device_error",
    /// Lost on purpose, by a fault injector.
    Injected = "injected",
}

const CAUSES: usize = DropCause::ALL.len();

/// Dropped packets by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; CAUSES]);

impl Drops {
    /// Dropped packets over all causes.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The causes that occurred, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropCause, u64)> + '_ {
        DropCause::ALL.iter().map(|&cause| (cause, self[cause])).filter(|&(_, count)| count > 0)
    }
}

impl Index<DropCause> for Drops {
    type Output = u64;

    fn index(&self, cause: DropCause) -> &u64 {
        &self.0[cause as usize]
    }
}

/// A queue's counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueStats {
    /// Packets received or sent.
    pub packets: u64,
    /// Their bytes, L2 header included, FCS excluded.
    pub bytes: u64,
    /// Calls that moved at least one packet: `packets / bursts` is the burst fill.
    pub bursts: u64,
    /// Notifications (kicks, interrupts) sent to the peer.
    pub notifications: u64,
    /// Packets dropped, by cause.
    pub drops: Drops,
}

impl Add for QueueStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let mut drops = self.drops;
        for (sum, count) in drops.0.iter_mut().zip(other.drops.0) {
            *sum += count;
        }
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            bursts: self.bursts + other.bursts,
            notifications: self.notifications + other.notifications,
            drops,
        }
    }
}

/// What was counted between two snapshots of the same queue, the earlier on the right.
impl Sub for QueueStats {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let mut drops = self.drops;
        for (count, before) in drops.0.iter_mut().zip(earlier.drops.0) {
            *count = count.wrapping_sub(before);
        }
        Self {
            packets: self.packets.wrapping_sub(earlier.packets),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            bursts: self.bursts.wrapping_sub(earlier.bursts),
            notifications: self.notifications.wrapping_sub(earlier.notifications),
            drops,
        }
    }
}

/// The live counters of one queue. One writer; any number of readers, each value by itself exact.
#[derive(Debug, Default)]
pub struct QueueCounters {
    packets: AtomicU64,
    bytes: AtomicU64,
    bursts: AtomicU64,
    notifications: AtomicU64,
    drops: [AtomicU64; CAUSES],
}

impl QueueCounters {
    /// Counts one burst.
    #[inline]
    pub fn burst(&self, packets: usize, bytes: u64) {
        add(&self.packets, packets as u64);
        add(&self.bytes, bytes);
        add(&self.bursts, 1);
    }

    /// Counts one notification sent to the peer.
    #[inline]
    pub fn notification(&self) {
        add(&self.notifications, 1);
    }

    /// Counts `packets` dropped for one cause.
    #[cold]
    pub fn dropped(&self, cause: DropCause, packets: u64) {
        add(&self.drops[cause as usize], packets);
    }

    /// Counts what other counters have counted between two snapshots of them: for a queue whose inner queue is
    /// replaced now and then and begins anew.
    pub fn follow(&self, before: &QueueStats, now: &QueueStats) {
        add(&self.packets, now.packets.wrapping_sub(before.packets));
        add(&self.bytes, now.bytes.wrapping_sub(before.bytes));
        add(&self.bursts, now.bursts.wrapping_sub(before.bursts));
        add(&self.notifications, now.notifications.wrapping_sub(before.notifications));
        for (live, (now, before)) in self.drops.iter().zip(now.drops.0.iter().zip(before.drops.0)) {
            add(live, now.wrapping_sub(before));
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> QueueStats {
        let mut drops = Drops::default();
        for (copy, live) in drops.0.iter_mut().zip(&self.drops) {
            *copy = live.load(Ordering::Relaxed);
        }
        QueueStats {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            bursts: self.bursts.load(Ordering::Relaxed),
            notifications: self.notifications.load(Ordering::Relaxed),
            drops,
        }
    }
}

/// A plain add: there is one writer, so no locked instruction is needed.
#[inline]
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
