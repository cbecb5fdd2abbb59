//! A plot: series of points between two axes, as SVG that takes its colours from the page.
//!
//! Written by hand rather than with a plotting crate, because a crate's colours are fixed in the picture, and a page
//! for light and dark needs classes. Titles and legends are HTML in front of the picture, so that no text of the
//! picture can overlap another. There are two pictures of each plot, for wide and for narrow windows: scaling one would
//! scale its texts.

use std::fmt::Write;

use super::canvas::{Canvas, NARROW, WIDE};
use super::html::escape;
use super::scale::Kind;

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

impl Series {
    /// The style sheet's names for it.
    pub(super) fn class(&self) -> String {
        let mark = match self.mark {
            Mark::Line => "line",
            Mark::Dashes => "line dashes",
            Mark::Dots => "dot",
            Mark::Rings => "ring",
            Mark::Band => "band",
        };
        format!("{mark} c{}", (self.colour - 1) % 6 + 1)
    }
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

impl Plot {
    /// The plot as HTML; nothing where there is no point.
    pub(super) fn render(&self) -> String {
        if self.series.iter().all(|series| series.points.is_empty()) {
            return String::new();
        }
        let mut out = format!(
            "<figure>\n<figcaption><h2>{}</h2><p>{}</p></figcaption>\n<ul class=\"legend\">",
            escape(self.title),
            escape(self.note)
        );
        for series in &self.series {
            let _ = write!(out, "<li>{}<span>{}</span></li>", swatch(series), escape(&series.name));
        }
        let _ = writeln!(out, "</ul>\n<p class=\"unit\">{}</p>", escape(self.y.0));
        for shape in [&WIDE, &NARROW] {
            out.push_str(&Canvas::new(shape, self).draw());
        }
        out.push_str("</figure>\n");
        out
    }
}

/// What a series looks like, for the legend.
fn swatch(series: &Series) -> String {
    let class = series.class();
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
