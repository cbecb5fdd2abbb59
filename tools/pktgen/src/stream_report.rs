//! What became of each stream, and on request of each of its flows.

use serde::Serialize;

use crate::sink::{FlowCounts, StreamFigures};

/// The most flows that a report names.
const WORST: usize = 16;

/// One stream's figures, by the rules of the [`tracker`](crate::tracker) and the [`sink`](crate::sink).
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// Its name.
    pub name: String,
    /// Its direction.
    pub direction: &'static str,
    /// Frames that the port took. What the port itself dropped is left out only where the direction has one stream.
    pub sent: u64,
    /// Intact frames that came out of the right port, duplicates included.
    pub received: u64,
    /// Frames that never came out of the right port.
    pub lost: u64,
    /// Frames that had come out before.
    pub duplicated: u64,
    /// Frames that came out after one with a higher sequence number.
    pub reordered: u64,
    /// The largest extent of a reordered frame, in frames (RFC 4737, section 4.2.1).
    pub reordering_extent_max: u64,
    /// The mean extent of the reordered frames; 0 without any.
    pub reordering_extent_mean: f64,
    /// Frames whose contents had changed.
    pub corrupted: u64,
    /// Intact frames that came out of the wrong port.
    pub misdirected: u64,
    /// Frames so late that it is not known whether they came before.
    pub late: u64,
    /// Frames that were due and given up.
    pub skipped: u64,
    /// The flows, where figures per flow were asked for.
    pub flows: Option<FlowsReport>,
}

/// A stream's flows.
#[derive(Clone, Debug, Serialize)]
pub struct FlowsReport {
    /// How many there are.
    pub flows: u64,
    /// How many lost a frame. A corrupted frame cannot be told by flow: it counts as lost here.
    pub with_loss: u64,
    /// How many had a frame duplicated.
    pub with_duplicates: u64,
    /// How many had a frame overtaken by one of the same flow.
    pub with_reordering: u64,
    /// Those that lost most, the worst first; at most 16.
    pub worst: Vec<FlowReport>,
}

/// One flow's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowReport {
    /// Its number: that of its first frame.
    pub flow: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that came back intact, each counted once.
    pub received: u64,
    /// Frames that did not.
    pub lost: u64,
    /// Frames that came back again.
    pub duplicated: u64,
    /// Frames overtaken by another of the same flow.
    pub reordered: u64,
}

impl StreamReport {
    pub(crate) fn new(
        name: String,
        direction: &'static str,
        sent: u64,
        figures: &StreamFigures<'_>,
    ) -> Self {
        let counts = figures.counts;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a mean needs fewer digits than a float has"
        )]
        let mean = counts.extent_sum as f64 / counts.reordered.max(1) as f64;
        Self {
            name,
            direction,
            sent,
            received: counts.received(),
            lost: counts.lost(sent),
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            reordering_extent_max: counts.extent_max,
            reordering_extent_mean: mean,
            corrupted: counts.corrupted,
            misdirected: counts.misdirected,
            late: counts.late,
            skipped: 0,
            flows: (!figures.flows.is_empty()).then(|| flows(figures.flows, sent)),
        }
    }
}

fn flows(counts: &[FlowCounts], sent: u64) -> FlowsReport {
    let number = counts.len() as u64;
    let report = |(flow, counts): (u64, &FlowCounts)| {
        let sent = sent / number + u64::from(flow < sent % number);
        FlowReport {
            flow,
            sent,
            received: counts.unique,
            lost: sent.saturating_sub(counts.unique),
            duplicated: counts.duplicated,
            reordered: counts.reordered,
        }
    };
    let mut worst: Vec<FlowReport> = (0..).zip(counts).map(report).collect();
    let with =
        |which: fn(&FlowReport) -> u64| worst.iter().filter(|flow| which(flow) > 0).count() as u64;
    let (with_loss, with_duplicates, with_reordering) =
        (with(|f| f.lost), with(|f| f.duplicated), with(|f| f.reordered));
    worst.retain(|flow| flow.lost > 0);
    worst.sort_by_key(|flow| std::cmp::Reverse(flow.lost));
    worst.truncate(WORST);
    FlowsReport { flows: number, with_loss, with_duplicates, with_reordering, worst }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_shared_among_flows_in_turn() {
        let counts = [3, 3, 1, 2].map(|unique| FlowCounts { unique, ..FlowCounts::default() });
        let report = flows(&counts, 11);
        assert_eq!((report.flows, report.with_loss), (4, 1), "11 frames: 3, 3, 3 and 2");
        let worst = report.worst[0];
        assert_eq!((worst.flow, worst.sent, worst.lost), (2, 3, 2));
    }
}
