//! A plot: series of points between two axes, as SVG that takes its colours from the page.
//!
//! Written by hand rather than with a plotting crate, because a crate's colours are fixed in the picture, and a page
//! for light and dark needs classes. Titles and legends are HTML in front of the picture, so that no text of the
//! picture can overlap another.

use std::fmt::Write;

use super::html::escape;
use super::scale::{Kind, Scale};

/// How points are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Joined by a line.
    Line,
    /// Joined by a broken line.
    Dashes,
    /// Each a dot.
    Dots,
    /// Each an empty ring.
    Rings,
    /// A band over the whole width, from the lowest to the highest point.
    Band,
}

/// Points with a name.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the page's colours, from 1.
    pub(super) colour: usize,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// What it shows, in a sentence.
    pub(super) note: &'static str,
    pub(super) x: (&'static str, Kind),
    pub(super) y: (&'static str, Kind),
    pub(super) series: Vec<Series>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 34.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// More points than a picture this wide can show.
const MOST_POINTS: usize = 1500;

impl Plot {
    /// The plot as HTML; nothing where there is no point.
    pub(super) fn render(&self) -> String {
        if self.series.iter().all(|series| series.points.is_empty()) {
            return String::new();
        }
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let banded = |series: &&Series| series.mark != Mark::Band;
        let xs =
            self.series.iter().filter(banded).flat_map(|series| series.points.iter().map(|p| p.0));
        let x = Scale::over(self.x.1, xs, 8);
        let y = Scale::over(self.y.1, points().map(|p| p.1), 5);
        let mut out = format!(
            "<figure>\n<figcaption><h2>{}</h2><p>{}</p></figcaption>\n<ul class=\"legend\">",
            escape(self.title),
            escape(self.note)
        );
        for series in &self.series {
            let _ = write!(out, "<li>{}{}</li>", swatch(series), escape(&series.name));
        }
        let _ = write!(
            out,
            "</ul>\n<p class=\"unit\">{}</p>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.y.0),
            escape(self.title)
        );
        self.draw_axes(&mut out, &x, &y);
        for series in &self.series {
            draw(&mut out, series, &x, &y);
        }
        out.push_str("</svg>\n</figure>\n");
        out
    }

    fn draw_axes(&self, out: &mut String, x: &Scale, y: &Scale) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &y.ticks {
            let at = vertical(y, *value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                LEFT - 8.0,
                at + 4.0
            );
        }
        for (value, text) in &x.ticks {
            let at = horizontal(x, *value);
            let _ = writeln!(
                out,
                "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{text}</text>",
                bottom + 5.0,
                bottom + 19.0
            );
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"middle name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (LEFT + right) / 2.0,
            HEIGHT - 6.0,
            escape(self.x.0)
        );
    }
}

fn horizontal(x: &Scale, value: f64) -> f64 {
    LEFT + x.place(value) * (WIDTH - LEFT - RIGHT)
}

fn vertical(y: &Scale, value: f64) -> f64 {
    HEIGHT - BOTTOM - y.place(value) * (HEIGHT - TOP - BOTTOM)
}

/// What a series looks like, for the legend.
fn swatch(series: &Series) -> String {
    let class = class(series);
    let shape = match series.mark {
        Mark::Line | Mark::Dashes => {
            format!("<line class=\"{class}\" x1=\"0\" x2=\"22\" y1=\"6\" y2=\"6\"/>")
        }
        Mark::Dots | Mark::Rings => {
            format!("<circle class=\"{class}\" cx=\"11\" cy=\"6\" r=\"4\"/>")
        }
        Mark::Band => {
            format!("<rect class=\"{class}\" x=\"0\" y=\"1\" width=\"22\" height=\"10\"/>")
        }
    };
    format!(
        "<svg viewBox=\"0 0 22 12\" width=\"22\" height=\"12\" aria-hidden=\"true\">{shape}</svg>"
    )
}

fn class(series: &Series) -> String {
    let mark = match series.mark {
        Mark::Line => "line",
        Mark::Dashes => "line dashes",
        Mark::Dots => "dot",
        Mark::Rings => "ring",
        Mark::Band => "band",
    };
    format!("{mark} c{}", (series.colour - 1) % 6 + 1)
}

fn draw(out: &mut String, series: &Series, x: &Scale, y: &Scale) {
    let class = class(series);
    let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
    let points: Vec<_> = series.points.iter().filter(finite).copied().collect();
    let points = thinned(&points);
    match series.mark {
        Mark::Band => draw_band(out, &class, &points, y),
        Mark::Line | Mark::Dashes if points.len() > 1 => {
            let places =
                points.iter().map(|p| format!("{:.1},{:.1}", horizontal(x, p.0), vertical(y, p.1)));
            let places = places.collect::<Vec<_>>().join(" ");
            let _ = writeln!(out, "<polyline class=\"{class}\" points=\"{places}\"/>");
        }
        mark => {
            // A line of one point is a dot, or it would not be seen.
            let class = if matches!(mark, Mark::Line | Mark::Dashes) {
                class.replace("line", "dot")
            } else {
                class
            };
            for p in points {
                let (cx, cy) = (horizontal(x, p.0), vertical(y, p.1));
                let _ = writeln!(
                    out,
                    "<circle class=\"{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>"
                );
            }
        }
    }
}

fn draw_band(out: &mut String, class: &str, points: &[(f64, f64)], y: &Scale) {
    let ys = || points.iter().map(|p| vertical(y, p.1));
    let (top, bottom) =
        (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
    if top <= bottom {
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            WIDTH - LEFT - RIGHT,
            (bottom - top).max(2.0)
        );
    }
}

/// The extremes of each stretch of points, where there are too many.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let extremes = points.chunks(stretch).flat_map(|chunk| {
        let lowest = chunk.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = chunk.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut both = [lowest, highest];
        both.sort_by(|a, b| {
            a.map(|p| p.0).partial_cmp(&b.map(|p| p.0)).unwrap_or(std::cmp::Ordering::Equal)
        });
        both.into_iter().flatten().copied().collect::<Vec<_>>()
    });
    extremes.collect()
}
