//! Conditions on a result: `loss>0`, `loss>0.1%`, `rate_error>1%`, `p99>50us`.
//!
//! A condition is looked at for each direction; it holds if it holds for one. A percentile is that of the corrected
//! latency of each stream.
//!
//! Of a search: `ndr<1Mpps`, by the name of a goal, looks at its relevant lower bound (0 where the lowest rate misses
//! it), `throughput<1Mpps` at that of RFC 2544, `burst<1000` at the average of back-to-back, `recovery>10ms` at that of
//! recovery; `loss` at all frames of a soak, and a percentile at each point of a latency search.
//!
//! What a result does not have (a percentile where no latency was measured, a rate error where
//! there was no rate) is an error and not a pass: a check that checks nothing must not succeed.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::Rate;

/// A condition under which a result counts as a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct FailOn {
    text: String,
    figure: Figure,
    comparison: Comparison,
    bound: f64,
    /// Whether the bound is a share of the frames sent.
    share: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Figure {
    /// A count of frames, by the name of its field.
    Frames(&'static str),
    RateError,
    Mpps,
    /// A percentile of the latency; 100 is the highest.
    Latency(f64),
    /// The rate that meets a goal of that name, or the throughput.
    Goal(String),
    /// The longest burst without loss.
    Burst,
    /// How long loss lasts after an overload.
    Recovery,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    NotEqual,
}

const FRAMES: [(&str, &str); 10] = [
    ("sent", "sent"),
    ("received", "received"),
    ("loss", "lost"),
    ("lost", "lost"),
    ("duplicated", "duplicated"),
    ("reordered", "reordered"),
    ("corrupted", "corrupted"),
    ("misdirected", "misdirected"),
    ("late", "late"),
    ("skipped", "skipped"),
];

/// Longer first: `>` begins `>=`.
const COMPARISONS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

const TIMES: [(&str, f64); 4] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];

impl FailOn {
    /// Where the condition holds in `document`, the JSON of a [`Report`](crate::Report) or of a
    /// [`Document`](crate::document::Document): in words, one entry per place.
    ///
    /// # Errors
    /// The document does not have the figure, in words.
    pub fn check(&self, document: &Value) -> Result<Vec<String>, String> {
        self.places(document, true)
    }

    /// Where the condition does not hold, if it is what somebody expects everywhere: as [`check`](Self::check).
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn unmet(&self, document: &Value) -> Result<Vec<String>, String> {
        self.places(document, false)
    }

    fn places(&self, document: &Value, holding: bool) -> Result<Vec<String>, String> {
        let found = match (document.get("search"), &self.figure) {
            (Some(search), _) => self.search(&search["findings"]),
            (None, Figure::Latency(percentile)) => latencies(&document["latency"], *percentile),
            (None, _) => self.directions(document),
        };
        if found.is_empty() {
            return Err(format!(
                "`{self}` cannot be checked: the result does not have this figure"
            ));
        }
        let wanted = found
            .into_iter()
            .filter(|(_, value)| self.comparison.holds(*value, self.bound) == holding);
        let told = |(place, value)| format!("{self}: {place} has {}", self.show(value));
        Ok(wanted.map(told).collect())
    }

    /// Whether only a run at a rate can answer it.
    pub fn needs_rate(&self) -> bool {
        self.figure == Figure::RateError
    }

    /// Whether only a run that measures latency can answer it.
    pub fn needs_latency(&self) -> bool {
        matches!(self.figure, Figure::Latency(_))
    }

    /// Whether only a search can answer it.
    pub fn needs_search(&self) -> bool {
        matches!(self.figure, Figure::Goal(_) | Figure::Burst | Figure::Recovery)
    }

    /// Whether the search called `search`, as in [`SearchOutcome::search`](crate::search::SearchOutcome::search), with
    /// goals of these names, can answer it.
    pub fn fits_search(&self, search: &str, goals: &[&str]) -> bool {
        match &self.figure {
            Figure::Goal(name) if search == "loss-ratios" => goals.contains(&name.as_str()),
            Figure::Goal(name) => search == "throughput" && name == "throughput",
            Figure::Burst => search == "back-to-back",
            Figure::Recovery => search == "recovery",
            Figure::Latency(_) => search == "latency",
            Figure::Frames("lost") => search == "soak",
            Figure::Frames(_) | Figure::RateError | Figure::Mpps => false,
        }
    }

    /// The figure in what a search found.
    fn search(&self, findings: &Value) -> Vec<(String, f64)> {
        let found = &findings["found"];
        let all = || found.as_array().into_iter().flatten();
        let one =
            |value: Option<f64>| value.map(|v| (self.kind().to_owned(), v)).into_iter().collect();
        match (findings["kind"].as_str().unwrap_or_default(), &self.figure) {
            ("loss_ratios", Figure::Goal(name)) => {
                one(all().find(|goal| goal["name"] == **name).and_then(goal_rate))
            }
            ("throughput", Figure::Goal(_)) => {
                let none = (!found["losing"].is_null()).then_some(0.0);
                one(found["throughput"].as_f64().or(none))
            }
            ("back_to_back", Figure::Burst) => one(found["average"].as_f64()),
            ("recovery", Figure::Recovery) => one(found["average_s"].as_f64().map(|s| s * 1e9)),
            ("soak", Figure::Frames("lost")) => {
                let field = if self.share { "loss_ratio" } else { "lost" };
                let trials = found["trials"].as_u64().unwrap_or_default();
                one(found[field].as_f64().filter(|_| trials > 0))
            }
            ("latency", Figure::Latency(percentile)) => {
                all().flat_map(|point| latencies(&point["latency"], *percentile)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The figure's name in a sentence.
    fn kind(&self) -> &str {
        match &self.figure {
            Figure::Goal(name) => name,
            Figure::Burst => "back-to-back",
            Figure::Recovery => "recovery",
            _ => "the search",
        }
    }

    fn directions(&self, document: &Value) -> Vec<(String, f64)> {
        let figure = |direction: &Value| match &self.figure {
            Figure::Frames(field) => {
                let count = direction[*field].as_f64()?;
                let sent = direction["sent"].as_f64()?;
                Some(if self.share { if sent > 0.0 { count / sent } else { 0.0 } } else { count })
            }
            Figure::RateError => direction["rate_error"].as_f64().map(f64::abs),
            Figure::Mpps => direction["mpps"].as_f64(),
            _ => None,
        };
        let directions = document["directions"].as_array().into_iter().flatten();
        directions.filter_map(|d| Some((d["direction"].as_str()?.to_owned(), figure(d)?))).collect()
    }

    fn show(&self, value: f64) -> String {
        match self.figure {
            Figure::Latency(_) | Figure::Recovery => format!("{:.3} us", value / 1e3),
            Figure::Goal(_) => format!("{:.6} Mpps", value / 1e6),
            Figure::Burst => format!("{value:.0} frames"),
            Figure::RateError => format!("{:.4}%", value * 100.0),
            Figure::Mpps => format!("{value:.6} Mpps"),
            Figure::Frames(_) if self.share => format!("{:.6}%", value * 100.0),
            Figure::Frames(_) => format!("{value}"),
        }
    }
}

/// The rate that a goal's result stands for; `None` where the search ended before it knew.
fn goal_rate(goal: &Value) -> Option<f64> {
    goal["lower"].as_f64().or_else(|| (goal["status"] == "no_lower_bound").then_some(0.0))
}

/// The corrected latency of each stream at `percentile`, in nanoseconds; of a latency report.
fn latencies(report: &Value, percentile: f64) -> Vec<(String, f64)> {
    let streams = report["streams"].as_array().into_iter().flatten();
    let figure = |stream: &Value| {
        let corrected = &stream["corrected"];
        if corrected["count"].as_u64()? == 0 {
            return None;
        }
        if percentile == 100.0 {
            return corrected["max_ns"].as_f64();
        }
        let all = corrected["percentiles"].as_array()?;
        all.iter().find(|p| p["percentile"].as_f64() == Some(percentile))?["ns"].as_f64()
    };
    streams.filter_map(|s| Some((format!("stream {}", s["stream"]), figure(s)?))).collect()
}

impl Comparison {
    #[expect(
        clippy::float_cmp,
        reason = "counts are whole numbers, and equality is what was asked for"
    )]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Above => value > bound,
            Self::AtLeast => value >= bound,
            Self::Below => value < bound,
            Self::AtMost => value <= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
        }
    }
}

impl fmt::Display for FailOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for FailOn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = |what: &str| {
            format!(
                "`{text}` {what}; accepted: FIGURE COMPARISON BOUND with the figures sent, received, loss, duplicated, \
                 reordered, corrupted, misdirected, late, skipped (frames, or % of those sent), rate_error (%), mpps, p50, p90, \
                 p99, p99.9, p99.99, p99.999, max (ns, us, ms, s), of searches the name of a goal or throughput (pps), burst, recovery and \
                 loss, and the comparisons > >= < <= == !=, such as \
                 loss>0, loss>0.1%, rate_error>1%, p99>50us, ndr<1Mpps"
            )
        };
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let split = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (figure, bound) = plain.split_once(sign)?;
            Some((figure, *comparison, bound))
        });
        let (name, comparison, bound) = split.ok_or_else(|| error("compares nothing"))?;
        let figure =
            figure(name).or_else(|| goal(name, bound)).ok_or_else(|| error("names no figure"))?;
        let (bound, share) =
            bounded(&figure, bound).ok_or_else(|| error("has no bound that fits"))?;
        Ok(Self { text: text.to_owned(), figure, comparison, bound, share })
    }
}

/// A figure that only its bound tells: a rate.
fn goal(name: &str, bound: &str) -> Option<Figure> {
    let named = !name.is_empty() && matches!(bound.parse(), Ok(Rate::Packets(_)));
    named.then(|| Figure::Goal(name.to_owned()))
}

fn figure(name: &str) -> Option<Figure> {
    match name {
        "rate_error" => return Some(Figure::RateError),
        "mpps" => return Some(Figure::Mpps),
        "burst" => return Some(Figure::Burst),
        "recovery" => return Some(Figure::Recovery),
        "max" => return Some(Figure::Latency(100.0)),
        _ => {}
    }
    if let Some(percentile) = name.strip_prefix('p') {
        let value: f64 = percentile.parse().ok()?;
        return crate::latency::PERCENTILES.contains(&value).then_some(Figure::Latency(value));
    }
    FRAMES.iter().find(|(word, _)| *word == name).map(|(_, field)| Figure::Frames(field))
}

/// The bound in the figure's unit, and whether it is a share.
fn bounded(figure: &Figure, text: &str) -> Option<(f64, bool)> {
    let (number, factor, share) = match figure {
        Figure::Goal(_) => {
            let Ok(rate @ Rate::Packets(_)) = text.parse::<Rate>() else { return None };
            return rate.packets_per_second(64).map(|pps| (pps, false));
        }
        Figure::Latency(_) | Figure::Recovery => {
            let (unit, factor) = TIMES.iter().find(|(unit, _)| text.ends_with(unit))?;
            (text.strip_suffix(unit)?, *factor, false)
        }
        Figure::Mpps | Figure::Burst => (text, 1.0, false),
        _ => match text.strip_suffix('%') {
            Some(number) => (number, 0.01, true),
            None => (text, 1.0, false),
        },
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = number.parse::<f64>().ok().filter(|value| plain && value.is_finite())?;
    Some((value * factor, share))
}

#[cfg(test)]
mod tests;
