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

    /// Counts a packet of so many bytes that is dropped here.
    #[cold]
    fn lose(&mut self, cause: DropCause, bytes: u64) {
        self.counters.dropped(cause, 1);
        self.lost += 1;
        self.lost_bytes += bytes;
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

/// Keeps, of what is in a burst from `first` on, those whose bit is set.
#[cold]
fn keep(burst: &mut Burst, first: usize, mut bits: u32) {
    let mut index = 0;
    burst.retain(|_| {
        index += 1;
        index <= first || {
            let kept = bits & 1 == 1;
            bits >>= 1;
            kept
        }
    });
}

/// A receive queue with hashes, over one whose frames each begin with one.
pub struct HashReceiver {
    inner: Box<dyn RxQueue>,
    follower: Follower,
}

impl HashReceiver {
    /// The queue over `inner`.
    #[inline]
    pub fn boxed(inner: Box<dyn RxQueue>) -> Box<dyn RxQueue> {
        Box::new(Self { inner, follower: Follower::new() })
    }

    /// Takes the hash off the front of what the ring gave as a frame. `Err`: it is none without, or its header was about
    /// bytes that are not there.
    #[inline]
    fn take(packet: &mut Netbuf) -> Result<(), DropCause> {
        let whole = packet.len();
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
        let before = out.len();
        self.inner.rx_burst(out);
        // (A bit for each, of which there are no more than a burst.)
        let (mut frames, mut bit) = (u32::MAX, 1u32);
        for packet in out.iter_mut().skip(before) {
            let whole = packet.len() as u64;
            if let Err(cause) = Self::take(packet) {
                self.follower.lose(cause, whole);
                frames &= !bit;
            }
            bit <<= 1;
        }
        if frames != u32::MAX {
            keep(out, before, frames);
        }
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
        if packet.len() < SHORTEST {
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
