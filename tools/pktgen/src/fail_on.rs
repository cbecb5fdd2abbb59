//! Conditions on a result: `loss>0`, `loss>0.1%`, `rate_error>1%`, `p99>50us`.
//!
//! A condition is looked at for each direction; it holds if it holds for one. A percentile is that of the corrected
//! latency of each stream. What a result does not have (a percentile where no latency was measured, a rate error where
//! there was no rate) is an error and not a pass: a check that checks nothing must not succeed.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    /// A count of frames, by the name of its field.
    Frames(&'static str),
    RateError,
    Mpps,
    /// A percentile of the latency; 100 is the highest.
    Latency(f64),
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

const FRAMES: [(&str, &str); 8] = [
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
    /// Where the condition holds in `document`, the JSON of a [`Report`](crate::Report): in words, one entry per
    /// place.
    ///
    /// # Errors
    /// The document does not have the figure, in words.
    pub fn check(&self, document: &Value) -> Result<Vec<String>, String> {
        let found = match self.figure {
            Figure::Latency(percentile) => latencies(document, percentile),
            _ => self.directions(document),
        };
        if found.is_empty() {
            return Err(format!(
                "`{self}` cannot be checked: the result does not have this figure"
            ));
        }
        let held = found.into_iter().filter(|(_, value)| self.comparison.holds(*value, self.bound));
        Ok(held.map(|(place, value)| format!("{self}: {place} has {}", self.show(value))).collect())
    }

    /// Whether only a run at a rate can answer it.
    pub fn needs_rate(&self) -> bool {
        self.figure == Figure::RateError
    }

    /// Whether only a run that measures latency can answer it.
    pub fn needs_latency(&self) -> bool {
        matches!(self.figure, Figure::Latency(_))
    }

    fn directions(&self, document: &Value) -> Vec<(String, f64)> {
        let figure = |direction: &Value| match self.figure {
            Figure::Frames(field) => {
                let count = direction[field].as_f64()?;
                let sent = direction["sent"].as_f64()?;
                Some(if self.share { if sent > 0.0 { count / sent } else { 0.0 } } else { count })
            }
            Figure::RateError => direction["rate_error"].as_f64().map(f64::abs),
            Figure::Mpps => direction["mpps"].as_f64(),
            Figure::Latency(_) => None,
        };
        let directions = document["directions"].as_array().into_iter().flatten();
        directions.filter_map(|d| Some((d["direction"].as_str()?.to_owned(), figure(d)?))).collect()
    }

    fn show(&self, value: f64) -> String {
        match self.figure {
            Figure::Latency(_) => format!("{:.3} us", value / 1e3),
            Figure::RateError => format!("{:.4}%", value * 100.0),
            Figure::Mpps => format!("{value:.6} Mpps"),
            Figure::Frames(_) if self.share => format!("{:.6}%", value * 100.0),
            Figure::Frames(_) => format!("{value}"),
        }
    }
}

/// The corrected latency of each stream at `percentile`, in nanoseconds.
fn latencies(document: &Value, percentile: f64) -> Vec<(String, f64)> {
    let streams = document["latency"]["streams"].as_array().into_iter().flatten();
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
                "`{text}` {what}; accepted: FIGURE COMPARISON BOUND with the figures loss, duplicated, reordered, \
                 corrupted, misdirected, late, skipped (frames, or % of those sent), rate_error (%), mpps, p50, p90, \
                 p99, p99.9, p99.99, p99.999, max (ns, us, ms, s) and the comparisons > >= < <= == !=, such as \
                 loss>0, loss>0.1%, rate_error>1%, p99>50us"
            )
        };
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let split = COMPARISONS.iter().find_map(|(sign, comparison)| {
            let (figure, bound) = plain.split_once(sign)?;
            Some((figure, *comparison, bound))
        });
        let (name, comparison, bound) = split.ok_or_else(|| error("compares nothing"))?;
        let figure = figure(name).ok_or_else(|| error("names no figure"))?;
        let (bound, share) =
            bounded(figure, bound).ok_or_else(|| error("has no bound that fits"))?;
        Ok(Self { text: text.to_owned(), figure, comparison, bound, share })
    }
}

fn figure(name: &str) -> Option<Figure> {
    match name {
        "rate_error" => return Some(Figure::RateError),
        "mpps" => return Some(Figure::Mpps),
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
fn bounded(figure: Figure, text: &str) -> Option<(f64, bool)> {
    let (number, factor, share) = match figure {
        Figure::Latency(_) => {
            let (unit, factor) = TIMES.iter().find(|(unit, _)| text.ends_with(unit))?;
            (text.strip_suffix(unit)?, *factor, false)
        }
        Figure::Mpps => (text, 1.0, false),
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
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "directions": [
                {"direction": "forward", "sent": 1000, "lost": 0, "duplicated": 2, "rate_error": -0.02, "mpps": 1.5},
                {"direction": "backward", "sent": 1000, "lost": 5, "duplicated": 0, "rate_error": 0.001, "mpps": 2.0},
            ],
            "latency": {"streams": [
                {"stream": 0, "corrected": {"count": 9, "max_ns": 90_000, "percentiles": [
                    {"percentile": 50.0, "ns": 7_000}, {"percentile": 99.9, "ns": 80_000}]}},
                {"stream": 1, "corrected": {"count": 0, "max_ns": 0, "percentiles": []}},
            ]},
        })
    }

    #[test]
    fn conditions_hold_where_they_hold() {
        for (text, places) in [
            ("loss>0", &["backward"][..]),
            ("loss > 5", &[]),
            ("loss>=5", &["backward"]),
            ("loss>0.4%", &["backward"]),
            ("loss>0.5%", &[]),
            ("lost==0", &["forward"]),
            ("duplicated!=0", &["forward"]),
            ("rate_error>1%", &["forward"]),
            ("rate_error>0.05", &[]),
            ("mpps<1.75", &["forward"]),
            ("mpps<=2", &["forward", "backward"]),
            ("p50>6.9us", &["stream 0"]),
            ("p50>7us", &[]),
            ("p99.9<1ms", &["stream 0"]),
            ("max>0.00001s", &["stream 0"]),
        ] {
            let held = text.parse::<FailOn>().unwrap().check(&document()).unwrap();
            println!("{held:?}");
            assert_eq!(held.len(), places.len(), "{text}: {held:?}");
            assert!(held.iter().zip(places).all(|(held, place)| held.contains(place)), "{held:?}");
        }
    }

    #[test]
    fn what_cannot_be_checked_does_not_pass() {
        for (text, document) in [
            ("p99>1us", document()),
            ("p50>1us", json!({"directions": []})),
            ("loss>0", json!({"directions": []})),
            (
                "rate_error>1%",
                json!({"directions": [{"direction": "forward", "sent": 1, "rate_error": null}]}),
            ),
        ] {
            let error = text.parse::<FailOn>().unwrap().check(&document).unwrap_err();
            assert!(error.contains("cannot be checked"), "{error}");
        }
    }

    #[test]
    fn bad_conditions_say_what_is_accepted() {
        for text in [
            "",
            "loss",
            ">0",
            "loss>",
            "loss>x",
            "loss>-1",
            "loss>NaN",
            "loss>1e400",
            "loss>inf",
            "loss=0",
            "losses>0",
            "loss>5us",
            "p99>5",
            "p98.7>5us",
            "p>5us",
            "p99>5%",
            "mpps<50%",
            "loss>0>1",
            "rate_error>1us",
        ] {
            let error = text.parse::<FailOn>().expect_err(text);
            assert!(error.contains("accepted: FIGURE"), "{error}");
        }
    }
}
