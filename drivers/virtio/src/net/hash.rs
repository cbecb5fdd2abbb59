//! Queues of a device that reports hashes (`VIRTIO_NET_F_HASH_REPORT`; virtio 1.2, 5.1.6): eight more bytes of header.
//!
//! To the rings inside these bytes are the first of each frame; here they are taken off, or put in front. So the paths
//! of all other devices know nothing of them, and this one pays for a second look at each packet.
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::sync::Arc;

use netbuf::{Checksum, Netbuf};
use netdev::{Armed, Burst, DropCause, QueueCounters, QueueStats, RxQueue, TxQueue, WakeSource};

use crate::features::HEADER_BYTES;

/// `hash_value`, `hash_report` and padding of `virtio_net_hdr_v1_hash`.
pub(crate) const HASH_BYTES: u16 = 8;
const BYTES: usize = HASH_BYTES as usize;

/// Shortest frame: an Ethernet header.
const SHORTEST: usize = 14;

/// Counts what a queue inside has counted, without the hashes.
struct Follower {
    counters: Arc<QueueCounters>,
    seen: QueueStats,
    /// Packets that were dropped here, and their bytes.
    lost: u64,
    lost_bytes: u64,
}

impl Follower {
    fn new() -> Self {
        let (counters, seen) = (Arc::default(), QueueStats::default());
        Self { counters, seen, lost: 0, lost_bytes: 0 }
    }

    #[inline(never)]
    fn follow(&mut self, inner: &QueueCounters) {
        let mut now = inner.snapshot();
        now.packets -= self.lost;
        now.bytes -= self.lost_bytes + now.packets * u64::from(HASH_BYTES);
        self.counters.follow(&self.seen, &now);
        self.seen = now;
    }
}

/// The frame's bytes, over all segments.
fn bytes(packet: &Netbuf) -> usize {
    packet.segments().map(|segment| segment.len()).sum()
}

/// A receive queue with hashes.
pub(super) struct HashReceiver {
    inner: Box<dyn RxQueue>,
    follower: Follower,
}

impl HashReceiver {
    #[inline]
    pub(super) fn boxed(inner: Box<dyn RxQueue>) -> Box<dyn RxQueue> {
        Box::new(Self { inner, follower: Follower::new() })
    }

    /// Takes the hash off the front of what the ring gave as a frame. `Err`: it is none without, or its header was about
    /// bytes that are not there.
    fn take(packet: &mut Netbuf) -> Result<(), DropCause> {
        let whole = bytes(packet);
        let Some(&[a, b, c, d, kind @ .., _, _]) = packet.bytes().first_chunk::<BYTES>() else {
            return Err(DropCause::Undersize);
        };
        packet.trim(BYTES).ok_or(DropCause::Undersize)?;
        if whole < BYTES + SHORTEST {
            return Err(DropCause::Undersize);
        }
        if let Checksum::Partial { start, offset } = packet.checksum()
            && usize::from(start) + usize::from(offset) + 2 > whole - BYTES
        {
            return Err(DropCause::BadHeader);
        }
        packet.set_rss_hash((kind != [0, 0]).then_some(u32::from_le_bytes([a, b, c, d])));
        Ok(())
    }
}

impl RxQueue for HashReceiver {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let (before, mut index) = (out.len(), 0);
        self.inner.rx_burst(out);
        let follower = &mut self.follower;
        out.retain(|packet| {
            index += 1;
            if index <= before {
                return true;
            }
            let whole = bytes(packet) as u64;
            let taken = Self::take(packet);
            if let Err(cause) = taken {
                follower.counters.dropped(cause, 1);
                follower.lost += 1;
                follower.lost_bytes += whole;
            }
            taken.is_ok()
        });
        self.follower.follow(self.inner.counters());
        out.len() - before
    }

    fn arm(&mut self) -> Armed {
        self.inner.arm()
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        self.inner.wake_sources(each);
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn wrapped(&mut self) -> Option<&mut Box<dyn RxQueue>> {
        Some(&mut self.inner)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.follower.counters
    }
}

/// A transmit queue with the longer header, in which a driver has nothing to say of a hash.
pub(super) struct HashSender {
    inner: Box<dyn TxQueue>,
    follower: Follower,
}

impl HashSender {
    #[inline]
    pub(super) fn boxed(inner: Box<dyn TxQueue>) -> Box<dyn TxQueue> {
        Box::new(Self { inner, follower: Follower::new() })
    }

    fn put(packet: &mut Netbuf) -> Result<(), DropCause> {
        if bytes(packet) < SHORTEST {
            return Err(DropCause::Undersize);
        }
        let front = packet.make_headroom(BYTES + usize::from(HEADER_BYTES));
        let front = front.and_then(|()| packet.push(BYTES)).ok_or(DropCause::Unsupported)?;
        front.fill(0);
        Ok(())
    }
}

impl TxQueue for HashSender {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let before = packets.len();
        packets.retain(|packet| match Self::put(packet) {
            Ok(()) => true,
            Err(cause) => {
                self.follower.counters.dropped(cause, 1);
                false
            }
        });
        self.inner.tx_burst(packets);
        for packet in &mut *packets {
            let _ = packet.trim(BYTES);
        }
        self.follower.follow(self.inner.counters());
        before - packets.len()
    }

    fn is_broken(&self) -> bool {
        self.inner.is_broken()
    }

    fn wrapped(&mut self) -> Option<&mut Box<dyn TxQueue>> {
        Some(&mut self.inner)
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.follower.counters
    }
}
