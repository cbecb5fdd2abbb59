//! The plots of a search: its path, the loss curve, latency at each rate.

use serde_json::{Value, json};

use super::figures::latency;
use super::plot::{Mark, Plot, Series};
use super::scale::Kind;

/// All plots that the document has figures for.
pub(super) fn all(document: &Value) -> String {
    let search = &document["search"];
    let found = &search["findings"]["found"];
    let mut out = String::new();
    match search["findings"]["kind"].as_str() {
        Some("latency") => out.push_str(&latency(&by_rate(found), "rate").render()),
        Some("frame_loss") => out.push_str(&loss_curve(found).render()),
        Some("soak") => out.push_str(&loss_in_time(search).render()),
        Some(_) => out.push_str(&loss_of_trials(search).render()),
        None => {}
    }
    out.push_str(&path(search).render());
    out
}

fn trials(search: &Value) -> impl Iterator<Item = &Value> {
    search["trials"].as_array().into_iter().flatten()
}

fn mpps(rate: &Value) -> Option<f64> {
    Some(rate.as_f64()? / 1e6)
}

fn is_invalid(trial: &Value) -> bool {
    trial["verdict"] == "rate_not_kept"
}

/// How the search came to its result.
fn path(search: &Value) -> Plot {
    let of = |wanted: fn(&Value) -> bool| -> Vec<(f64, f64)> {
        let chosen = trials(search).filter(|trial| wanted(trial));
        chosen
            .filter_map(|trial| Some((trial["number"].as_f64()?, mpps(&trial["rate"])?)))
            .collect()
    };
    let mut series = bounds(search);
    for (name, colour, mark, wanted) in [
        (
            "nothing lost",
            3,
            Mark::Dots,
            (|t| !is_invalid(t) && t["loss_ratio"].as_f64() <= Some(0.0)) as fn(&Value) -> bool,
        ),
        ("something lost", 5, Mark::Dots, |t| {
            !is_invalid(t) && t["loss_ratio"].as_f64() > Some(0.0)
        }),
        ("invalid: rate not kept", 6, Mark::Rings, is_invalid),
    ] {
        let points = of(wanted);
        if !points.is_empty() {
            series.push(Series { name: name.into(), colour, mark, points });
        }
    }
    Plot {
        title: "Path of the search",
        note: "The rate of each trial in each direction, in order, and what became of it.",
        x: ("trial", Kind::Whole),
        y: ("Mpps", Kind::Linear),
        series,
    }
}

/// The interval of each goal.
fn bounds(search: &Value) -> Vec<Series> {
    if search["findings"]["kind"] != "loss_ratios" {
        return Vec::new();
    }
    let goals = search["findings"]["found"].as_array().into_iter().flatten().enumerate();
    let band = |(number, goal): (usize, &Value)| {
        let (lower, upper) = (mpps(&goal["lower"])?, mpps(&goal["upper"])?);
        let name = format!("interval of {}", goal["name"].as_str().unwrap_or(""));
        Some(Series {
            name,
            colour: [1, 4, 2][number % 3],
            mark: Mark::Band,
            points: vec![(0.0, lower), (0.0, upper)],
        })
    };
    goals.filter_map(band).collect()
}

/// Loss over rate, as RFC 2544 draws it.
fn loss_curve(points: &Value) -> Plot {
    let all = || points.as_array().into_iter().flatten();
    let place = |p: &Value| Some((mpps(&p["rate"])?, p["loss_ratio"].as_f64()? * 100.0));
    let mut line: Vec<(f64, f64)> = all().filter_map(place).collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    let invalid: Vec<_> = all().filter(|p| is_invalid(p)).filter_map(place).collect();
    let mut series = vec![
        Series { name: "loss".into(), colour: 1, mark: Mark::Line, points: line.clone() },
        Series { name: "trial".into(), colour: 1, mark: Mark::Dots, points: line },
    ];
    if !invalid.is_empty() {
        series.push(Series {
            name: "invalid: rate not kept".into(),
            colour: 6,
            mark: Mark::Rings,
            points: invalid,
        });
    }
    Plot {
        title: "Frame loss",
        note: "The share of frames that was lost at each rate.",
        x: ("Mpps offered in each direction", Kind::Linear),
        y: ("percent", Kind::Linear),
        series,
    }
}

/// Loss over rate, of all trials that count.
fn loss_of_trials(search: &Value) -> Plot {
    let valid = trials(search).filter(|trial| !is_invalid(trial));
    let points = valid.filter_map(|t| Some((mpps(&t["rate"])?, t["loss_ratio"].as_f64()? * 100.0)));
    Plot {
        title: "Frame loss",
        note: "The share of frames that was lost in each trial that counts.",
        x: ("Mpps offered in each direction", Kind::Linear),
        y: ("percent", Kind::Linear),
        series: vec![Series {
            name: "trial".into(),
            colour: 1,
            mark: Mark::Dots,
            points: points.collect(),
        }],
    }
}

fn loss_in_time(search: &Value) -> Plot {
    let points = trials(search)
        .filter_map(|t| Some((t["start_s"].as_f64()?, t["loss_ratio"].as_f64()? * 100.0)));
    Plot {
        title: "Frame loss over time",
        note: "The share of frames that was lost in each trial of the soak.",
        x: ("seconds", Kind::Linear),
        y: ("percent", Kind::Linear),
        series: vec![Series {
            name: "trial".into(),
            colour: 1,
            mark: Mark::Line,
            points: points.collect(),
        }],
    }
}

/// The first stream's latencies of the first repetition at each rate, as if each were a stream.
fn by_rate(points: &Value) -> Value {
    let first = points.as_array().into_iter().flatten().filter(|p| p["repeat"].as_u64() == Some(1));
    let stream = |point: &Value| {
        let mut stream = point["latency"]["streams"].get(0)?.clone();
        stream["name"] = json!(format!("{:.3} Mpps", mpps(&point["rate"])?));
        Some(stream)
    };
    first.filter_map(stream).collect()
}
