//! What a tick tells of each stream.

use std::sync::Arc;

use crate::flow::Flow;
use crate::session::mega;
use crate::sink::Sink;
use crate::tick::{MOST_TICK_STREAMS, TickLatency, TickStream};

/// The streams' names, and where they stood at the last tick.
pub(crate) struct StreamTicks {
    names: Vec<Arc<str>>,
    /// Frames sent and received, by the stream's number.
    last: Vec<(u64, u64)>,
}

impl StreamTicks {
    /// `names`: of the streams, by number.
    pub(crate) fn new(names: &[String]) -> Self {
        let names: Vec<_> =
            names.iter().take(MOST_TICK_STREAMS).map(|n| n.as_str().into()).collect();
        Self { last: vec![(0, 0); names.len()], names }
    }

    /// The streams now, `seconds` after the last tick; `latencies` by the stream's number.
    pub(crate) fn take(
        &mut self,
        flows: &[Flow],
        sink: &dyn Sink,
        latencies: &[(usize, TickLatency)],
        seconds: f64,
    ) -> Vec<TickStream> {
        let mut ticks = Vec::with_capacity(self.names.len());
        for flow in flows {
            for (number, sent, _) in flow.source.streams() {
                let (Some(name), Some(last)) = (self.names.get(number), self.last.get_mut(number))
                else {
                    continue;
                };
                let Some(figures) = sink.stream(number) else { continue };
                let counts = figures.counts;
                let received = counts.received();
                let (sent_before, received_before) = std::mem::replace(last, (sent, received));
                ticks.push(TickStream {
                    name: name.clone(),
                    direction: flow.name,
                    sent,
                    received,
                    missing: if flow.one_way { 0 } else { counts.missing() },
                    troubles: counts.duplicated
                        + counts.reordered
                        + counts.corrupted
                        + counts.misdirected,
                    sent_mpps: mega(sent.saturating_sub(sent_before), seconds),
                    received_mpps: mega(received.saturating_sub(received_before), seconds),
                    p99: latencies
                        .iter()
                        .find(|(of, _)| *of == number)
                        .map(|(_, latency)| latency.p99),
                });
            }
        }
        ticks
    }
}
