//! The tables, and what stands above the plots.

use std::fmt::Write;

use serde_json::Value;

use super::html::{count, escape, label, pairs, plain, short, table};

/// What a reader must not miss.
pub(super) fn notices(document: &Value) -> String {
    let mut out = String::new();
    let mut notice = |text: &str| {
        let _ = writeln!(out, "<p class=\"notice\">{}</p>", escape(text));
    };
    if document["interrupted"] == Value::Bool(true) {
        notice("Interrupted: the figures are of the part that ran.");
    }
    let search = &document["search"];
    if let Some(completion) = search["completion"].as_str().filter(|c| *c != "complete") {
        let reason =
            search["reason"].as_str().map_or_else(|| completion.replace('_', " "), str::to_owned);
        notice(&format!("Partial result: {reason}"));
    }
    for failed in document["failed"].as_array().into_iter().flatten() {
        notice(&format!("Failed: {}", failed.as_str().unwrap_or("")));
    }
    out
}

/// The exact command, so that a shell takes it.
pub(super) fn command(document: &Value) -> String {
    let words = document["command"].as_array().into_iter().flatten();
    let words: Vec<_> = words.map(|word| quoted(word.as_str().unwrap_or(""))).collect();
    if words.is_empty() {
        String::new()
    } else {
        format!("<pre>{}</pre>\n", escape(&words.join(" ")))
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+:,./@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The few figures that matter most.
pub(super) fn tiles(document: &Value) -> String {
    let mut tiles = Vec::new();
    for d in document["directions"].as_array().into_iter().flatten() {
        let name = d["direction"].as_str().unwrap_or("");
        let mpps = d["mpps"].as_f64().unwrap_or(0.0);
        tiles.push((format!("{mpps:.3} Mpps"), format!("{name}, received"), false));
        let (lost, sent) = (d["lost"].as_u64().unwrap_or(0), d["sent"].as_f64().unwrap_or(0.0));
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = if sent > 0.0 { lost as f64 / sent * 100.0 } else { 0.0 };
        tiles.push((count(lost), format!("{name}, lost ({}%)", short(share)), lost > 0));
    }
    if document["search"]["findings"]["kind"] == "loss_ratios" {
        for goal in document["search"]["findings"]["found"].as_array().into_iter().flatten() {
            let show = |rate: &Value| {
                rate.as_f64().map_or("?".into(), |rate| format!("{:.3}", rate / 1e6))
            };
            let name = goal["name"].as_str().unwrap_or("").to_uppercase();
            tiles.push((
                format!("{}\u{2013}{} Mpps", show(&goal["lower"]), show(&goal["upper"])),
                name,
                false,
            ));
        }
    }
    if tiles.is_empty() {
        return String::new();
    }
    let mut out = String::from("<div class=\"tiles\">\n");
    for (figure, name, bad) in tiles {
        let class = if bad { "tile bad" } else { "tile" };
        let _ = writeln!(
            out,
            "<div class=\"{class}\"><b>{}</b><span>{}</span></div>",
            escape(&figure),
            escape(&name)
        );
    }
    out.push_str("</div>\n");
    out
}

/// All tables that the document has figures for.
pub(super) fn all(document: &Value) -> String {
    let mut out = String::new();
    section(&mut out, "Directions", directions(document));
    section(&mut out, "Streams", objects(&document["streams"]));
    section(&mut out, "Flows", objects(&flows(&document["streams"])));
    section(&mut out, "Latency", latencies(&document["latency"]));
    section(&mut out, "Rates kept", rates(document));
    section(&mut out, "Ports", ports(document));
    section(&mut out, "Recording", fields(&document["capture"]));
    let search = &document["search"];
    section(&mut out, "Findings", findings(search));
    section(
        &mut out,
        "How it was searched",
        fields(&without(search, &["findings", "trials", "version"])),
    );
    let trials = objects(&search["trials"]);
    if !trials.is_empty() {
        let _ = write!(out, "<details><summary>All trials</summary>\n{trials}</details>\n");
    }
    section(&mut out, "Environment", fields(&document["environment"]));
    out
}

fn section(out: &mut String, title: &str, body: String) {
    if !body.is_empty() {
        let _ = write!(out, "<section>\n<h2>{title}</h2>\n{body}</section>\n");
    }
}

const FRAMES: [&str; 8] =
    ["sent", "received", "lost", "duplicated", "reordered", "corrupted", "misdirected", "late"];

fn directions(document: &Value) -> String {
    let all = document["directions"].as_array().into_iter().flatten();
    let row = |d: &Value| {
        let figures = FRAMES.iter().map(|field| plain(&d[field]));
        std::iter::once(plain(&d["direction"])).chain(figures).collect::<Vec<_>>()
    };
    let rows: Vec<_> = all.map(row).collect();
    let heads: Vec<_> = std::iter::once("frames").chain(FRAMES).collect();
    if rows.is_empty() { String::new() } else { table(&heads, &rows) }
}

/// What is known of the streams' flows, each under its stream's name.
fn flows(streams: &Value) -> Value {
    let streams = streams.as_array().into_iter().flatten();
    let known = streams.filter_map(|stream| {
        let mut flows = stream["flows"].as_object()?.clone();
        flows.insert("name".into(), stream["name"].clone());
        Some(Value::Object(flows))
    });
    known.collect()
}

fn rates(document: &Value) -> String {
    let all = document["directions"].as_array().into_iter().flatten();
    let row = |d: &Value| {
        let mpps = |field: &str| d[field].as_f64().map_or("max".into(), |v| format!("{v:.6}"));
        let error =
            d["rate_error"].as_f64().map_or("\u{2013}".into(), |e| format!("{:+.4}%", e * 100.0));
        vec![
            plain(&d["direction"]),
            mpps("offered_mpps"),
            mpps("achieved_mpps"),
            error,
            plain(&d["skipped"]),
            plain(&d["ring_full"]),
            d["duration_s"].as_f64().map_or_else(String::new, |s| format!("{s:.3}")),
        ]
    };
    let rows: Vec<_> = all.map(row).collect();
    let heads = ["", "Mpps offered", "Mpps sent", "rate error", "given up", "port full", "seconds"];
    if rows.is_empty() { String::new() } else { table(&heads, &rows) }
}

fn ports(document: &Value) -> String {
    let all = document["ports"].as_array().into_iter().flatten();
    let drops = |value: &Value| {
        if value.as_object().is_some_and(serde_json::Map::is_empty) {
            "none".into()
        } else {
            plain(value)
        }
    };
    let row = |p: &Value| {
        vec![
            plain(&p["name"]),
            plain(&p["driver"]),
            plain(&p["offloads"]),
            plain(&p["feature_bits"]),
            plain(&p["foreign"]),
            drops(&p["receive_drops"]),
            drops(&p["transmit_drops"]),
        ]
    };
    let rows: Vec<_> = all.map(row).collect();
    let heads = [
        "port",
        "driver",
        "offloads",
        "feature bits",
        "foreign frames",
        "not received",
        "not sent",
    ];
    if rows.is_empty() { String::new() } else { table(&heads, &rows) }
}

const SHOWN: [f64; 6] = [50.0, 90.0, 99.0, 99.9, 99.99, 99.999];

fn latencies(latency: &Value) -> String {
    let micros =
        |ns: &Value| ns.as_f64().map_or("\u{2013}".into(), |ns| format!("{:.1}", ns / 1e3));
    let mut rows = Vec::new();
    for stream in latency["streams"].as_array().into_iter().flatten() {
        for kind in ["corrected", "uncorrected"] {
            let d = &stream[kind];
            let at = |percentile: f64| {
                let all = d["percentiles"].as_array().into_iter().flatten();
                let found = all.into_iter().find(|p| p["percentile"].as_f64() == Some(percentile));
                found.map_or_else(|| "\u{2013}".into(), |p| micros(&p["ns"]))
            };
            let mut row = vec![format!("{} {kind}", plain(&stream["stream"])), plain(&d["count"])];
            row.push(micros(&d["min_ns"]));
            row.extend(SHOWN.map(at));
            row.push(micros(&d["max_ns"]));
            rows.push(row);
        }
    }
    let heads =
        ["microseconds", "frames", "min", "p50", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"];
    if rows.is_empty() { String::new() } else { table(&heads, &rows) }
}

fn findings(search: &Value) -> String {
    match &search["findings"]["found"] {
        found @ Value::Array(_) => objects(found),
        found => fields(found),
    }
}

/// Columns in the order that a reader wants them; others follow.
const FIRST: [&str; 26] = [
    "name",
    "number",
    "direction",
    "stream",
    "purpose",
    "share",
    "rate",
    "repeat",
    "duration_s",
    "loss_ratio",
    "verdict",
    "status",
    "lower",
    "upper",
    "width",
    "conditional_throughput",
    "offered",
    "sent",
    "received",
    "lost",
    "duplicated",
    "reordered",
    "corrupted",
    "misdirected",
    "late",
    "skipped",
];

/// Objects as rows: the fields that are no objects or lists themselves. Lesser fields that are 0 in all rows are left out.
fn objects(values: &Value) -> String {
    let all = || values.as_array().into_iter().flatten();
    let mut names: Vec<&str> = Vec::new();
    for name in all().filter_map(Value::as_object).flat_map(|fields| fields.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.retain(|name| !all().any(|value| value[name].is_object() || value[name].is_array()));
    let matters = |name: &str, value: &Value| {
        !value.is_null() && (FIRST.contains(&name) || value.as_f64() != Some(0.0))
    };
    names.retain(|name| all().any(|value| matters(name, &value[name])));
    // What names the row comes first, then what matters most.
    names.sort_by_key(|name| FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()));
    if names.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> =
        all().map(|value| names.iter().map(|n| plain(&value[n])).collect()).collect();
    let heads: Vec<String> = names.iter().map(|name| name.replace('_', " ")).collect();
    table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

fn fields(value: &Value) -> String {
    let Some(all) = value.as_object().filter(|all| !all.is_empty()) else { return String::new() };
    let rows: Vec<_> = all.iter().map(|(name, value)| (label(name), unit(name, value))).collect();
    pairs(&rows)
}

/// A field's value with the unit that its name tells of.
fn unit(name: &str, value: &Value) -> String {
    match value.as_f64() {
        Some(share) if matches!(name, "busy" | "steal" | "rate_error") => {
            format!("{:.2}%", share * 100.0)
        }
        Some(hz) if name.ends_with("_hz") => format!("{:.3} MHz", hz / 1e6),
        _ => plain(value),
    }
}

fn without(value: &Value, names: &[&str]) -> Value {
    let mut value = value.clone();
    if let Some(fields) = value.as_object_mut() {
        names.iter().for_each(|name| drop(fields.remove(*name)));
    }
    value
}
