//! Figures in Prometheus' text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! Each figure once, with its meaning and type in front; times in seconds, rates in frames per second.

use std::fmt::{Display, Write};
use std::time::Duration;

use pktgen::{Tick, TickDirection, TickStream};

use super::{Event, TrialState};

/// The page before anything has happened.
pub(super) fn first() -> String {
    let mut page = Page(String::new());
    page.family("pktgen_up", "gauge", "1: pktgen runs.");
    page.sample("pktgen_up", &[], 1);
    page.0
}

/// The page for an event.
pub(super) fn page(event: &Event) -> String {
    let mut page = Page(first());
    match event {
        Event::Tick(tick) => tick_figures(&mut page, tick),
        Event::Trial(trial) => trial_figures(&mut page, trial),
    }
    page.0
}

/// A page in the making.
struct Page(String);

impl Page {
    /// Begins a figure; its samples follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            let opening = if number == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{opening}{label}=\"{}\"", escaped(text));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A figure without labels, where it is known.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Name, type, meaning and value of a figure of a `T`.
type Figure<T> = (&'static str, &'static str, &'static str, fn(&T) -> String);

const DIRECTIONS: [Figure<TickDirection>; 6] = [
    ("pktgen_sent_frames_total", "counter", "Frames sent.", |d| d.sent.to_string()),
    ("pktgen_received_frames_total", "counter", "Frames received intact.", |d| {
        d.received.to_string()
    }),
    ("pktgen_missing_frames", "gauge", "Frames overtaken that have not come.", |d| {
        d.missing.to_string()
    }),
    ("pktgen_trouble_frames_total", "counter", "Frames duplicated, reordered or corrupted.", |d| {
        d.troubles.to_string()
    }),
    ("pktgen_sent_frames_per_second", "gauge", "Frames sent during the last second.", |d| {
        per_second(d.sent_mpps)
    }),
    (
        "pktgen_received_frames_per_second",
        "gauge",
        "Frames received during the last second.",
        |d| per_second(d.received_mpps),
    ),
];

const STREAMS: [Figure<TickStream>; 4] = [
    ("pktgen_stream_sent_frames_total", "counter", "Frames of a stream sent.", |s| {
        s.sent.to_string()
    }),
    (
        "pktgen_stream_received_frames_total",
        "counter",
        "Frames of a stream received intact.",
        |s| s.received.to_string(),
    ),
    (
        "pktgen_stream_missing_frames",
        "gauge",
        "Frames of a stream overtaken that have not come.",
        |s| s.missing.to_string(),
    ),
    (
        "pktgen_stream_trouble_frames_total",
        "counter",
        "Frames of a stream duplicated, reordered, corrupted or misdirected.",
        |s| s.troubles.to_string(),
    ),
];

fn per_second(mpps: f64) -> String {
    (mpps * 1e6).to_string()
}

fn tick_figures(page: &mut Page, tick: &Tick) {
    let seconds = tick.elapsed.as_secs_f64();
    page.single("pktgen_elapsed_seconds", "gauge", "Time since this phase began.", Some(seconds));
    for (name, kind, help, value) in DIRECTIONS {
        if !tick.directions.is_empty() {
            page.family(name, kind, help);
        }
        for d in &tick.directions {
            page.sample(name, &[("direction", d.direction)], value(d));
        }
    }
    for (name, kind, help, value) in STREAMS {
        if !tick.streams.is_empty() {
            page.family(name, kind, help);
        }
        for (number, s) in tick.streams.iter().enumerate() {
            // Two streams may have one name.
            let number = number.to_string();
            let labels = [("stream", &*s.name), ("number", &number), ("direction", s.direction)];
            page.sample(name, &labels, value(s));
        }
    }
    let (cycles, fill) = (tick.cycles_per_packet, tick.burst_fill);
    page.single("pktgen_cycles_per_packet", "gauge", "Cycles per frame sent or received.", cycles);
    page.single("pktgen_burst_fill", "gauge", "Frames that a port took per burst.", fill);
    if let Some(latency) = tick.latency {
        page.family("pktgen_latency_seconds", "gauge", "Corrected latency since the start.");
        let [p50, p99, p999, max] = [latency.p50, latency.p99, latency.p99_9, latency.max];
        // Prometheus keeps `quantile` for summaries.
        for (percentile, nanos) in [("50", p50), ("99", p99), ("99.9", p999), ("100", max)] {
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            page.sample("pktgen_latency_seconds", &[("percentile", percentile)], seconds);
        }
    }
}

fn trial_figures(page: &mut Page, trial: &TrialState) {
    #[expect(clippy::cast_precision_loss, reason = "a count of trials")]
    let (trials, invalid) = (trial.trials as f64, trial.invalid as f64);
    page.single("pktgen_search_trials_total", "counter", "Trials so far.", Some(trials));
    page.single(
        "pktgen_search_invalid_trials_total",
        "counter",
        "Trials whose rate was not kept.",
        Some(invalid),
    );
    page.single("pktgen_search_spent_seconds", "gauge", "Time spent.", Some(trial.spent_s));
    let remaining = Some(trial.remaining_s).filter(|seconds| seconds.is_finite());
    page.single("pktgen_search_remaining_seconds", "gauge", "Time that is left, about.", remaining);
    for (bound, pick) in [("lower", 0), ("upper", 1)] {
        let name = format!("pktgen_search_{bound}_bound_frames_per_second");
        let known = trial
            .bounds
            .iter()
            .filter_map(|goal| Some((&goal.name, [goal.lower, goal.upper][pick]?)));
        for (number, (goal, rate)) in known.enumerate() {
            if number == 0 {
                page.family(&name, "gauge", &format!("The {bound} bound of a goal so far."));
            }
            page.sample(&name, &[("goal", goal)], rate);
        }
    }
}
