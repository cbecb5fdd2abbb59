//! What several threads found, as one report and one tick.
//!
//! Frames whose stream is told by their headers alone (those without stamps, and corrupted ones) may have been counted by
//! another thread than the one that sent them: what is lost is found from the sums.

use std::collections::BTreeMap;

use crate::latency::LatencyReport;
use crate::worker::Part;
use crate::{
    DirectionReport, Phase, PortReport, Report, StreamReport, Tick, TickDirection, TickStream,
};

/// The report of a run by one thread.
pub(crate) fn single(part: Part) -> Report {
    let latency = part.recorder.map(|recorder| recorder.report());
    Report { latency, ..part.report }
}

/// The report of a run by several; `None` without any.
pub(crate) fn parts(parts: Vec<Part>) -> Option<Report> {
    let frames = |part: &Part| {
        let each = part.report.directions.iter().map(|d| d.sent + d.received);
        Some((part.report.cycles_per_packet?, each.sum::<u64>()))
    };
    let cycles_per_packet = mean(parts.iter().filter_map(frames));
    let latency = latency(&parts);
    let mut reports = parts.into_iter().map(|part| part.report);
    let mut sum = reports.next()?;
    for report in reports {
        sum.interrupted |= report.interrupted;
        sum.warm_up_s = sum.warm_up_s.max(report.warm_up_s);
        sum.directions.iter_mut().zip(report.directions).for_each(|(sum, one)| direction(sum, one));
        sum.ports.iter_mut().zip(report.ports).for_each(|(sum, one)| port(sum, one));
        sum.streams.iter_mut().zip(report.streams).for_each(|(sum, one)| stream(sum, &one));
    }
    Some(Report { cycles_per_packet, latency, ..sum })
}

fn latency(parts: &[Part]) -> Option<LatencyReport> {
    let mut recorders = parts.iter().filter_map(|part| part.recorder.as_ref());
    let mut sum = recorders.next()?.clone();
    recorders.for_each(|recorder| sum.merge(recorder));
    Some(sum.report())
}

/// The mean of values that stand for so many frames each.
#[expect(clippy::cast_precision_loss, reason = "a mean needs fewer digits than a float has")]
fn mean(values: impl Iterator<Item = (f64, u64)>) -> Option<f64> {
    let (sum, frames) = values
        .fold((0.0, 0), |(sum, frames), (value, each)| (sum + value * each as f64, frames + each));
    (frames > 0).then(|| sum / frames as f64)
}

fn direction(sum: &mut DirectionReport, one: DirectionReport) {
    sum.sent += one.sent;
    sum.received += one.received;
    sum.duplicated += one.duplicated;
    sum.reordered += one.reordered;
    sum.corrupted += one.corrupted;
    sum.misdirected += one.misdirected;
    sum.late += one.late;
    sum.lost = lost(sum.lost + one.lost, sum.sent, sum.received - sum.duplicated + sum.corrupted);
    add(&mut sum.not_sent, one.not_sent);
    sum.mpps += one.mpps;
    sum.duration_s = sum.duration_s.max(one.duration_s);
    sum.offered_mpps = sum.offered_mpps.zip(one.offered_mpps).map(|(sum, one)| sum + one);
    sum.achieved_mpps += one.achieved_mpps;
    sum.rate_error = sum.offered_mpps.map(|offered| sum.achieved_mpps / offered - 1.0);
    sum.skipped += one.skipped;
    sum.ring_full += one.ring_full;
    // One thread's frames waited while the other's did not: the share of the run is that of the worse one.
    sum.ring_full_s = sum.ring_full_s.max(one.ring_full_s);
}

/// Of `sent` frames, those that are not among `back`; none where no thread missed any.
fn lost(by_threads: u64, sent: u64, back: u64) -> u64 {
    by_threads.min(sent.saturating_sub(back))
}

fn port(sum: &mut PortReport, one: PortReport) {
    sum.foreign += one.foreign;
    add(&mut sum.receive_drops, one.receive_drops);
    add(&mut sum.transmit_drops, one.transmit_drops);
}

fn add(sum: &mut BTreeMap<String, u64>, one: BTreeMap<String, u64>) {
    for (cause, count) in one {
        *sum.entry(cause).or_default() += count;
    }
}

fn stream(sum: &mut StreamReport, one: &StreamReport) {
    let extents =
        [(sum.reordering_extent_mean, sum.reordered), (one.reordering_extent_mean, one.reordered)];
    sum.reordering_extent_mean = mean(extents.into_iter()).unwrap_or_default();
    sum.reordering_extent_max = sum.reordering_extent_max.max(one.reordering_extent_max);
    sum.sent += one.sent;
    sum.received += one.received;
    sum.duplicated += one.duplicated;
    sum.reordered += one.reordered;
    sum.corrupted += one.corrupted;
    sum.misdirected += one.misdirected;
    sum.late += one.late;
    sum.skipped += one.skipped;
    sum.lost = lost(sum.lost + one.lost, sum.sent, sum.received - sum.duplicated + sum.corrupted);
}

/// Ticks of several threads, put together second by second.
pub(crate) struct Ticks {
    /// The newest of each thread that is in no sum, and the one before.
    threads: Vec<(Option<Tick>, Option<Tick>)>,
}

impl Ticks {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| (None, None)).collect() }
    }

    /// Thread `number` told; the sum, once all have. One that told twice meanwhile does not wait for the others: theirs
    /// is then what they told last, at a rate of 0.
    pub(crate) fn add(&mut self, number: usize, tick: Tick) -> Option<Tick> {
        let ready = self.threads[number].0.is_some();
        let sum = if ready { self.sum() } else { None };
        self.threads[number].0 = Some(tick);
        let all = self.threads.iter().all(|(new, _)| new.is_some());
        if all { self.sum() } else { sum }
    }

    fn sum(&mut self) -> Option<Tick> {
        let mut ticks = Vec::with_capacity(self.threads.len());
        for (new, old) in &mut self.threads {
            match new.take() {
                Some(tick) => {
                    ticks.push(tick.clone());
                    *old = Some(tick);
                }
                None => ticks.extend(old.clone().map(stale)),
            }
        }
        let per_packet = ticks.iter().filter_map(|tick| tick.cycles_per_packet);
        let cycles_per_packet = mean(per_packet.map(|cycles| (cycles, 1)));
        let fills = ticks.iter().filter_map(|tick| tick.burst_fill);
        let burst_fill = mean(fills.map(|fill| (fill, 1)));
        // (A thread that still warms up has no directions to add to.)
        ticks.sort_by_key(|tick| {
            (tick.phase != Phase::Running, std::cmp::Reverse(tick.directions.len()))
        });
        let sum = ticks.into_iter().reduce(tick)?;
        Some(Tick { cycles_per_packet, burst_fill, ..sum })
    }
}

/// What a thread told before, now.
fn stale(mut tick: Tick) -> Tick {
    for direction in &mut tick.directions {
        (direction.sent_mpps, direction.received_mpps) = (0.0, 0.0);
    }
    for stream in &mut tick.streams {
        (stream.sent_mpps, stream.received_mpps) = (0.0, 0.0);
    }
    Tick { cycles_per_packet: None, burst_fill: None, ..tick }
}

fn tick(mut sum: Tick, one: Tick) -> Tick {
    for (sum, one) in sum.directions.iter_mut().zip(one.directions) {
        let TickDirection { sent, received, missing, troubles, sent_mpps, received_mpps, .. } = one;
        sum.sent += sent;
        sum.received += received;
        sum.missing += missing;
        sum.troubles += troubles;
        sum.sent_mpps += sent_mpps;
        sum.received_mpps += received_mpps;
    }
    for (sum, one) in sum.streams.iter_mut().zip(one.streams) {
        let TickStream { sent, received, missing, troubles, sent_mpps, received_mpps, p99, .. } =
            one;
        sum.sent += sent;
        sum.received += received;
        sum.missing += missing;
        sum.troubles += troubles;
        sum.sent_mpps += sent_mpps;
        sum.received_mpps += received_mpps;
        sum.p99 = sum.p99.max(p99);
    }
    sum.latency = match (sum.latency, one.latency) {
        (Some(sum), Some(one)) => Some(sum.worse(one)),
        (sum, one) => sum.or(one),
    };
    sum
}
