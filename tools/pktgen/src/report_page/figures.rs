//! The plots of a run: throughput and loss over time, latency by percentile.

use serde_json::Value;

use super::plot::{Mark, Plot, Series};
use super::scale::Kind;

/// All plots that the document has figures for.
pub(super) fn all(document: &Value) -> String {
    let plots =
        [throughput(document), loss(document), latency(&document["latency"]["streams"], "stream")];
    plots.iter().map(Plot::render).collect()
}

/// A figure of a direction at each moment: `(seconds, value)`.
fn course(document: &Value, direction: usize, field: &str) -> Vec<(f64, f64)> {
    let seconds = document["timeline"].as_array().into_iter().flatten();
    let point = |second: &Value| {
        Some((second["elapsed_s"].as_f64()?, second["directions"][direction][field].as_f64()?))
    };
    seconds.filter_map(point).collect()
}

fn directions(document: &Value) -> impl Iterator<Item = (usize, &str)> {
    let directions = document["directions"].as_array().into_iter().flatten().enumerate();
    directions.map(|(number, d)| (number, d["direction"].as_str().unwrap_or("")))
}

fn throughput(document: &Value) -> Plot {
    let mut series = Vec::new();
    for (number, name) in directions(document) {
        for (field, word, mark) in
            [("received_mpps", "received", Mark::Line), ("sent_mpps", "sent", Mark::Dashes)]
        {
            series.push(Series {
                name: format!("{name}, {word}"),
                colour: number + 1,
                mark,
                points: course(document, number, field),
            });
        }
    }
    Plot {
        title: "Throughput",
        note: "Frames sent and received in each second.",
        x: ("seconds", Kind::Linear),
        y: ("Mpps", Kind::Linear),
        series,
    }
}

fn loss(document: &Value) -> Plot {
    let of = |(number, name): (usize, &str)| {
        let totals = course(document, number, "missing");
        let before = std::iter::once((0.0, 0.0)).chain(totals.iter().copied());
        let rates = before
            .zip(&totals)
            .map(|((t0, m0), (t1, m1))| (*t1, ((m1 - m0) / (t1 - t0).max(1e-9)).max(0.0)));
        Series {
            name: name.to_owned(),
            colour: number + 1,
            mark: Mark::Line,
            points: rates.collect(),
        }
    };
    Plot {
        title: "Loss",
        note: "Frames per second that were overtaken and had not come back. The table has what was lost in the end.",
        x: ("seconds", Kind::Linear),
        y: ("frames per second", Kind::Linear),
        series: directions(document).map(of).collect(),
    }
}

/// Latency by percentile; `streams` is an array of what a recorder found, `word` names one of them.
pub(super) fn latency(streams: &Value, word: &str) -> Plot {
    let mut series = Vec::new();
    for (number, stream) in streams.as_array().into_iter().flatten().take(6).enumerate() {
        let name = stream["name"]
            .as_str()
            .map_or_else(|| format!("{word} {}", stream["stream"]), str::to_owned);
        for (field, mark) in [("corrected", Mark::Line), ("uncorrected", Mark::Dashes)] {
            series.push(Series {
                name: format!("{name}, {field}"),
                colour: number + 1,
                mark,
                points: percentiles(&stream[field]),
            });
        }
    }
    Plot {
        title: "Latency by percentile",
        note: "Corrected: from when a frame was to leave. Uncorrected: from when it left, which hides stalls.",
        x: ("percentile", Kind::Nines),
        y: ("microseconds", Kind::Log),
        series,
    }
}

fn percentiles(distribution: &Value) -> Vec<(f64, f64)> {
    if distribution["count"].as_u64().unwrap_or(0) == 0 {
        return Vec::new();
    }
    let all = distribution["percentiles"].as_array().into_iter().flatten();
    let micros = |ns: &Value| Some(ns.as_f64()?.max(1.0) / 1e3);
    let lowest = micros(&distribution["min_ns"]).map(|us| (0.0, us));
    let points = all.filter_map(|p| Some((p["percentile"].as_f64()?, micros(&p["ns"])?)));
    lowest.into_iter().chain(points).collect()
}
