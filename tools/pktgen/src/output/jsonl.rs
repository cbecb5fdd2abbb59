//! A JSON object per line: `schema/line.schema.json`.

use pktgen::document::SCHEMA_VERSION;
use pktgen::timeline::Second;
use pktgen::{Phase, Tick, TickStream};
use serde_json::{Value, json};

use super::{Event, TrialState};

/// The object for an event.
pub(crate) fn object(event: &Event) -> Value {
    let mut value = match event {
        Event::Tick(tick) => second(tick),
        Event::Trial(trial) => step(trial),
    };
    value["schema"] = "pktgen".into();
    value["schema_version"] = SCHEMA_VERSION.into();
    value
}

/// The object for the result: the document, and its type in front.
pub(crate) fn result(document: &Value) -> Value {
    let mut value = document.clone();
    value["type"] = "result".into();
    value
}

fn second(tick: &Tick) -> Value {
    let phase = match tick.phase {
        Phase::WarmUp => "warm-up",
        Phase::Running => "running",
        Phase::Draining => "draining",
    };
    let mut value = serde_json::to_value(Second::from(tick)).unwrap_or_default();
    value["type"] = "second".into();
    value["phase"] = phase.into();
    value["streams"] = tick.streams.iter().map(stream).collect();
    value
}

fn stream(stream: &TickStream) -> Value {
    json!({
        "name": *stream.name,
        "direction": stream.direction,
        "sent": stream.sent,
        "received": stream.received,
        "missing": stream.missing,
        "troubles": stream.troubles,
        "sent_mpps": stream.sent_mpps,
        "received_mpps": stream.received_mpps,
        "p99_ns": stream.p99,
    })
}

fn step(trial: &TrialState) -> Value {
    json!({
        "type": "trial",
        "trials": trial.trials,
        "invalid": trial.invalid,
        "purpose": trial.purpose,
        "next_rate": trial.next.map(|(rate, _)| rate),
        "next_duration_s": trial.next.map(|(_, seconds)| seconds),
        "spent_s": trial.spent_s,
        "remaining_s": trial.remaining_s,
        "last": trial.last,
        "bounds": trial.bounds,
    })
}
