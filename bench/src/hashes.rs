//! Hashes taken off received packets (`VIRTIO_NET_F_HASH_REPORT`): what such a device's receive queue costs beside its ring.

use std::sync::Arc;

use netbuf::{BURST, Burst, Netbuf, Pool};
use netdev::{QueueCounters, RxQueue};
use virtio::net::HashReceiver;

use crate::frames::frame;
use crate::gates::{FRAME, Gate, PACKETS, ROUNDS, new_pool, numbers};

/// The queue with hashes over one that only gives out, and without that one.
pub const GATES: &[Gate] = &[
    Gate::new("give", "measured_giver", "a queue gives out what it has, and nothing else", give),
    RECEIVE,
    RECEIVE.without("give", "receive-hash-alone", "the same less the giving: beside a ring"),
];

const RECEIVE: Gate = Gate::new(
    "receive-hash",
    "measured_hashes",
    "a queue gives out, hashes are taken off and told",
    receive,
);

/// A queue that gives out what it was filled with, a burst at each call, and counts that.
struct Giver {
    packets: Vec<Netbuf>,
    counters: Arc<QueueCounters>,
}

impl Giver {
    /// Frames of all rounds as a ring has them where hashes are reported: `hash_value`, `hash_report` (5: TCP over IPv6)
    /// and padding in front of each (virtio 1.2, 5.1.6).
    fn new(pool: &Pool) -> Self {
        let hashed = |number: u32| {
            let [a, b, c, d] = number.to_le_bytes();
            let bytes = [&[a, b, c, d, 5, 0, 0, 0][..], &frame(number, FRAME)].concat();
            pool.copy_from(&bytes).expect("enough buffers")
        };
        let packets = (0..ROUNDS).rev().flat_map(numbers).map(hashed).collect();
        Self { packets, counters: Arc::default() }
    }
}

impl RxQueue for Giver {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        let rest = self.packets.len() - BURST;
        out.extend(self.packets.drain(rest..));
        self.counters.burst(BURST, (BURST * (8 + FRAME)) as u64);
        BURST
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

#[inline(never)]
fn measured_giver(queue: &mut Giver, burst: &mut Burst) -> usize {
    queue.rx_burst(burst)
}

fn give() {
    let pool = new_pool(4096);
    let mut giver = Giver::new(&pool);
    for round in 0..ROUNDS {
        let mut burst = Burst::new();
        assert_eq!(measured_giver(&mut giver, &mut burst), BURST);
        for (packet, number) in burst.iter().zip(numbers(round)) {
            assert_eq!(packet.bytes()[8..], frame(number, FRAME));
        }
    }
}

#[inline(never)]
fn measured_hashes(queue: &mut dyn RxQueue, burst: &mut Burst) -> usize {
    queue.rx_burst(burst)
}

fn receive() {
    let pool = new_pool(4096);
    let mut queue = HashReceiver::boxed(Box::new(Giver::new(&pool)));
    for round in 0..ROUNDS {
        let mut burst = Burst::new();
        assert_eq!(measured_hashes(&mut *queue, &mut burst), BURST);
        for (packet, number) in burst.iter().zip(numbers(round)) {
            assert_eq!(packet.bytes(), frame(number, FRAME));
            assert_eq!(packet.rss_hash(), Some(number));
        }
    }
    let stats = queue.stats();
    assert_eq!((stats.packets, stats.bytes), (PACKETS, PACKETS * FRAME as u64));
}
