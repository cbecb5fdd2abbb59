//! Checks of the receive path.

use alloc::vec::Vec;

use super::bench::{Bench, ensure, frame, same};
use super::{Outcome, Rig};
use crate::{Armed, BURST, Burst, DropCause, Netbuf, QueueStats};

/// Frames for checks that only count.
const SIZE: usize = 100;
/// More frames than a ring of any check has entries, in bursts of odd size.
const MANY: usize = 500;

/// A port to which nobody sends receives nothing, and says so.
pub(super) fn nothing_is_received_from_silence(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "nothing_is_received_from_silence";
    let mut bench = Bench::start(rig, NAME);
    let mut burst = Burst::new();
    for _ in 0..10 {
        let received = bench.port.rx[0].rx_burst(&mut burst);
        ensure!(NAME, received == 0 && burst.is_empty(), "{received} packets out of nothing");
    }
    let stats = bench.port.rx[0].stats();
    ensure!(
        NAME,
        stats.bursts == 0 && stats.packets == 0,
        "polls of nothing were counted: {stats:?}"
    );
    let _ = bench.stop();
    Outcome::Passed
}

/// Every byte of every size arrives.
pub(super) fn contents_survive_receiving(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "contents_survive_receiving";
    let mut bench = Bench::start(rig, NAME);
    for (number, size) in bench.sizes().into_iter().enumerate() {
        let sent = frame(number, size);
        bench.inject(&sent);
        let mut burst = Burst::new();
        bench.receive_into(&mut burst, 1);
        same(NAME, number, &bytes(&burst[0]), &sent);
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// Many frames, in bursts, come in the order in which they were sent.
pub(super) fn order_survives_receiving(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "order_survives_receiving";
    let mut bench = Bench::start(rig, NAME);
    let (mut sent, mut received) = (0, 0);
    while received < MANY {
        for _ in 0..(sent % 23 + 1).min(MANY - sent) {
            bench.inject(&frame(sent, 60 + sent % 200));
            sent += 1;
        }
        let mut burst = Burst::new();
        bench.receive_into(&mut burst, sent - received);
        for packet in &burst {
            same(NAME, received, &bytes(packet), &frame(received, 60 + received % 200));
            received += 1;
        }
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// What is in the burst already stays there, untouched and in front.
pub(super) fn receiving_appends(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "receiving_appends";
    let mut bench = Bench::start(rig, NAME);
    let mut burst = Burst::new();
    for number in 0..3 {
        burst.push(bench.packet(&frame(number, SIZE)));
    }
    for number in 3..6 {
        bench.inject(&frame(number, SIZE));
    }
    bench.receive_into(&mut burst, 3);
    ensure!(NAME, burst.len() == 6, "{} packets instead of 3 old and 3 new", burst.len());
    for (number, packet) in burst.iter().enumerate() {
        same(NAME, number, &bytes(packet), &frame(number, SIZE));
    }
    drop(burst);
    let _ = bench.stop();
    Outcome::Passed
}

/// A burst with room for two takes two, a full one none; the others come later, none lost.
pub(super) fn receiving_respects_the_room_left(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "receiving_respects_the_room_left";
    let mut bench = Bench::start(rig, NAME);
    for number in 0..5 {
        bench.inject(&frame(number, SIZE));
    }
    let mut burst = Burst::new();
    while burst.remaining_capacity() > 2 {
        burst.push(bench.packet(&frame(99, SIZE)));
    }
    bench.receive_into(&mut burst, 2);
    let received = bench.port.rx[0].rx_burst(&mut burst);
    ensure!(NAME, received == 0 && burst.is_full(), "{received} packets into a full burst");
    let mut rest: Burst = burst.drain(BURST - 2..).collect();
    drop(burst);
    bench.receive_into(&mut rest, 3);
    for (number, packet) in rest.iter().enumerate() {
        same(NAME, number, &bytes(packet), &frame(number, SIZE));
    }
    drop(rest);
    let _ = bench.stop();
    Outcome::Passed
}

/// A received packet has the port's number, the pool's headroom and nothing of what its buffer carried before.
pub(super) fn received_packets_are_fresh(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "received_packets_are_fresh";
    let mut bench = Bench::start(rig, NAME);
    let headroom = usize::from(bench.pool.headroom());
    // More rounds than the pool has buffers, so that used ones come again.
    for round in 0..bench.pool.buffers() + 100 {
        bench.inject(&frame(round, SIZE));
        let mut burst = Burst::new();
        bench.receive_into(&mut burst, 1);
        let packet = &mut burst[0];
        ensure!(NAME, packet.port() == 7, "port {} instead of the configured 7", packet.port());
        ensure!(NAME, packet.headroom() >= headroom, "headroom of {} bytes", packet.headroom());
        ensure!(NAME, packet.vlan().is_none(), "round {round}: a VLAN tag out of nothing");
        ensure!(NAME, !packet.wants_offload(), "round {round}: an offload request out of nothing");
        packet.set_vlan(Some(1));
        packet.set_port(3);
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// The counters are what was moved: packets, bytes, and no more bursts than calls.
pub(super) fn receive_statistics_are_exact(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "receive_statistics_are_exact";
    let mut bench = Bench::start(rig, NAME);
    let before = bench.port.rx[0].stats();
    ensure!(NAME, before == QueueStats::default(), "a fresh queue has counted {before:?}");
    let (mut packets, mut octets) = (0, 0);
    for round in 0..10 {
        for number in 0..=round {
            bench.inject(&frame(number, 60 + 10 * round));
            octets += 60 + 10 * round;
        }
        packets += round + 1;
        bench.receive_into(&mut Burst::new(), round + 1);
    }
    let stats = bench.port.rx[0].stats();
    compare(NAME, &stats, packets, octets);
    ensure!(NAME, stats.drops.total() == 0, "drops were counted: {stats:?}");
    let _ = bench.stop();
    Outcome::Passed
}

/// Packets and bytes as they must be, bursts as they may be.
pub(super) fn compare(name: &str, stats: &QueueStats, packets: usize, octets: usize) {
    let (packets, octets) = (packets as u64, octets as u64);
    ensure!(name, stats.packets == packets, "{} packets counted of {packets}", stats.packets);
    ensure!(name, stats.bytes == octets, "{} bytes counted of {octets}", stats.bytes);
    let fewest = packets.div_ceil(BURST as u64);
    ensure!(
        name,
        (fewest..=packets).contains(&stats.bursts),
        "{} bursts counted for {packets} packets",
        stats.bursts
    );
}

/// The network function keeps every buffer: that is counted, nothing breaks, and when it lets go reception goes
/// on. Frames may be lost meanwhile, not invented.
pub(super) fn exhausted_pool_is_counted_and_recovers(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "exhausted_pool_is_counted_and_recovers";
    let mut bench = Bench::start(rig, NAME);
    let mut hoard = Vec::new();
    while let Some(packet) = bench.pool.alloc() {
        hoard.push(packet);
    }
    let exhausted = bench.pool.stats().exhausted;
    let mut kept = Vec::new();
    let mut next = 0;
    for number in 0..2 * MANY {
        let _ = bench.rig.inject(&frame(number, SIZE));
        let mut burst = Burst::new();
        bench.port.rx[0].rx_burst(&mut burst);
        for packet in burst {
            let found = number_of(NAME, &packet);
            ensure!(NAME, found >= next, "frame {found} came after frame {next}");
            next = found + 1;
            kept.push(packet);
        }
    }
    ensure!(NAME, kept.len() < bench.initial, "more packets received than there are buffers");
    let counted = bench.pool.stats().exhausted > exhausted
        || bench.port.rx[0].stats().drops[DropCause::NoBuffer] > 0;
    ensure!(NAME, counted, "neither the pool nor the queue counted the shortage");
    kept.clear();
    hoard.clear();
    // What waited for a buffer may still come; then a new frame must.
    let last = frame(1_000_000, SIZE);
    let mut patience = bench.rig.patience();
    let mut sent = false;
    loop {
        ensure!(NAME, patience > 0, "nothing is received after the buffers were given back");
        sent = sent || bench.rig.inject(&last);
        let mut burst = Burst::new();
        if bench.port.rx[0].rx_burst(&mut burst) == 0 {
            patience -= 1;
            bench.rig.turn();
        }
        if burst.iter().any(|packet| bytes(packet) == last) {
            break;
        }
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// The number that [`frame`] wrote.
fn number_of(name: &str, packet: &Netbuf) -> usize {
    let found = bytes(packet);
    ensure!(name, found.len() == SIZE, "a frame of {} bytes", found.len());
    let number = u32::from_le_bytes([found[14], found[15], found[16], found[17]]);
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Armed with packets pending must say so, until they are fetched.
pub(super) fn arming_reports_pending_packets(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "arming_reports_pending_packets";
    let mut bench = Bench::start(rig, NAME);
    let idle = bench.port.rx[0].arm();
    ensure!(NAME, idle != Armed::PacketsPending, "packets are pending though none was sent");
    // One fetched and one not: by the time the first is here, the peer is known to work.
    for number in 0..2 {
        bench.inject(&frame(number, SIZE));
    }
    let mut patience = bench.rig.patience();
    while bench.port.rx[0].arm() != Armed::PacketsPending {
        ensure!(NAME, patience > 0, "two frames were sent and arm() never said PacketsPending");
        patience -= 1;
        bench.rig.turn();
    }
    bench.receive_into(&mut Burst::new(), 2);
    let idle = bench.port.rx[0].arm();
    ensure!(NAME, idle != Armed::PacketsPending, "packets are pending though all were fetched");
    // Polling disarms, and a queue that was armed receives as before.
    bench.inject(&frame(2, SIZE));
    let mut burst = Burst::new();
    bench.receive_into(&mut burst, 1);
    same(NAME, 2, &bytes(&burst[0]), &frame(2, SIZE));
    drop(burst);
    let _ = bench.stop();
    Outcome::Passed
}

/// The whole frame, chained or not.
fn bytes(packet: &Netbuf) -> Vec<u8> {
    packet.segments().flatten().copied().collect()
}
