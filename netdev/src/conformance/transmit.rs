//! Checks of the transmit path.

use alloc::vec::Vec;

use super::bench::{Bench, ensure, frame, same};
use super::receive::compare;
use super::{Outcome, Rig};
use crate::{BURST, Burst, DropCause, QueueStats};

const SIZE: usize = 100;
const MANY: usize = 500;

/// Every byte of every size arrives at the peer.
pub(super) fn contents_survive_sending(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "contents_survive_sending";
    let mut bench = Bench::start(rig, NAME);
    for (number, size) in bench.sizes().into_iter().enumerate() {
        let sent = frame(number, size);
        let mut burst = Burst::from_iter([bench.packet(&sent)]);
        let mut arrived = Vec::new();
        bench.send(&mut burst, &mut arrived);
        bench.await_arrivals(&mut arrived, 1);
        same(NAME, number, &arrived[0], &sent);
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// Many frames, in bursts of every size, arrive in the order in which they were sent.
pub(super) fn order_survives_sending(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "order_survives_sending";
    let mut bench = Bench::start(rig, NAME);
    let (mut sent, mut arrived) = (0, Vec::new());
    while sent < MANY {
        let mut burst = Burst::new();
        for _ in 0..(sent % BURST + 1).min(MANY - sent) {
            burst.push(bench.packet(&frame(sent, 60 + sent % 200)));
            sent += 1;
        }
        bench.send(&mut burst, &mut arrived);
        bench.collect(&mut arrived);
    }
    bench.await_arrivals(&mut arrived, MANY);
    for (number, found) in arrived.iter().enumerate() {
        same(NAME, number, found, &frame(number, 60 + number % 200));
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// An empty burst takes nothing, sends nothing, counts nothing.
pub(super) fn empty_burst_is_no_operation(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "empty_burst_is_no_operation";
    let mut bench = Bench::start(rig, NAME);
    for _ in 0..10 {
        let taken = bench.transmit(&mut Burst::new());
        ensure!(NAME, taken == 0, "{taken} packets taken of none");
    }
    let stats = bench.port.tx[0].stats();
    ensure!(NAME, stats.packets == 0 && stats.bursts == 0, "something was counted: {stats:?}");
    bench.await_arrivals(&mut Vec::new(), 0);
    let _ = bench.stop();
    Outcome::Passed
}

/// While the peer takes nothing the ring fills: tx_burst takes from the front and leaves the rest in order,
/// then takes nothing. When the peer takes again, every frame arrives once, in order.
pub(super) fn full_ring_takes_nothing_and_loses_nothing(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "full_ring_takes_nothing_and_loses_nothing";
    let mut bench = Bench::start(rig, NAME);
    let (mut made, mut burst) = (0, Burst::new());
    let mut refusals = 0;
    while refusals < 3 {
        while burst.len() < BURST - 3 {
            let Some(packet) = bench.pool.copy_from(&frame(made, SIZE)) else { break };
            burst.push(packet);
            made += 1;
        }
        if burst.is_empty() || made > 16 * bench.initial {
            let _ = bench.stop();
            return Outcome::Skipped("the ring cannot be filled: the peer takes frames by itself");
        }
        let front = made - burst.len();
        let taken = bench.transmit(&mut burst);
        for (at, packet) in burst.iter().enumerate() {
            same(NAME, front + taken + at, packet.bytes(), &frame(front + taken + at, SIZE));
        }
        refusals = if taken == 0 { refusals + 1 } else { 0 };
    }
    let lost = bench.port.tx[0].stats().drops.total();
    ensure!(NAME, lost == 0, "{lost} packets were dropped because the ring was full");
    let mut arrived = Vec::new();
    bench.send(&mut burst, &mut arrived);
    bench.await_arrivals(&mut arrived, made);
    for (number, found) in arrived.iter().enumerate() {
        same(NAME, number, found, &frame(number, SIZE));
    }
    let _ = bench.stop();
    Outcome::Passed
}

/// A frame beyond `max_frame` is taken, dropped and counted, and those around it are sent.
pub(super) fn oversize_is_taken_and_counted(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "oversize_is_taken_and_counted";
    let mut bench = Bench::start(rig, NAME);
    let sizes = [SIZE, bench.max_frame() + 1, SIZE];
    if bench.max_frame() >= usize::from(bench.pool.room()) {
        return Outcome::Skipped("no buffer holds a frame that is too large");
    }
    let frames = [0, 1, 2].map(|number| frame(number, sizes[number]));
    let mut burst = frames.iter().map(|frame| bench.packet(frame)).collect();
    let mut arrived = Vec::new();
    bench.send(&mut burst, &mut arrived);
    bench.await_arrivals(&mut arrived, 2);
    same(NAME, 0, &arrived[0], &frames[0]);
    same(NAME, 2, &arrived[1], &frames[2]);
    let stats = bench.port.tx[0].stats();
    let counted = stats.drops[DropCause::Oversize];
    ensure!(NAME, counted == 1, "{counted} packets counted as oversize instead of 1: {stats:?}");
    compare(NAME, &stats, 2, 2 * SIZE);
    let _ = bench.stop();
    Outcome::Passed
}

/// The counters are what was moved.
pub(super) fn send_statistics_are_exact(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "send_statistics_are_exact";
    let mut bench = Bench::start(rig, NAME);
    let before = bench.port.tx[0].stats();
    ensure!(NAME, before == QueueStats::default(), "a fresh queue has counted {before:?}");
    let (mut packets, mut octets, mut arrived) = (0, 0, Vec::new());
    for round in 0..10 {
        let mut burst = Burst::new();
        for number in 0..=round {
            burst.push(bench.packet(&frame(number, 60 + 10 * round)));
            octets += 60 + 10 * round;
        }
        packets += burst.len();
        bench.send(&mut burst, &mut arrived);
        bench.await_arrivals(&mut arrived, packets);
    }
    let stats = bench.port.tx[0].stats();
    compare(NAME, &stats, packets, octets);
    ensure!(NAME, stats.drops.total() == 0, "drops were counted: {stats:?}");
    let _ = bench.stop();
    Outcome::Passed
}
