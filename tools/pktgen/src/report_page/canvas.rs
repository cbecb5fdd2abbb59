//! A picture of a plot in one of two shapes: axes, ticks, and the series' points, as SVG.

use std::fmt::Write;

use super::html::escape;
use super::plot::{Mark, Plot, Series};
use super::scale::Scale;

/// A picture's measures, in pixels where the window is as wide as it is made for.
pub(super) struct Shape {
    /// The style sheet's name for it.
    class: &'static str,
    width: f64,
    height: f64,
    /// Room for the y axis' figures.
    left: f64,
    /// Room for half of the last of the x axis' figures.
    right: f64,
    /// Ticks wanted along x and y.
    ticks: (u32, u32),
    /// More points than a picture this wide can show.
    points: usize,
}

/// For the window of a computer.
pub(super) const WIDE: Shape = Shape {
    class: "wide",
    width: 760.0,
    height: 300.0,
    left: 64.0,
    right: 34.0,
    ticks: (8, 5),
    points: 1500,
};

/// For that of a telephone.
pub(super) const NARROW: Shape = Shape {
    class: "narrow",
    width: 360.0,
    height: 260.0,
    left: 54.0,
    right: 26.0,
    ticks: (4, 5),
    points: 600,
};

const TOP: f64 = 12.0;
const BOTTOM: f64 = 46.0;
/// The width of a figure's character, at most.
const CHARACTER: f64 = 8.3;
/// Between two figures, at least.
const GAP: f64 = 6.0;

/// A picture that is to be drawn.
pub(super) struct Canvas<'a> {
    shape: &'a Shape,
    plot: &'a Plot,
    x: Scale,
    y: Scale,
}

impl<'a> Canvas<'a> {
    /// The picture of `plot` in this shape.
    pub(super) fn new(shape: &'a Shape, plot: &'a Plot) -> Self {
        let all = || plot.series.iter();
        // A band goes over the whole width: it has no place in x.
        let placed = all().filter(|series| series.mark != Mark::Band);
        let xs = placed.flat_map(|series| series.points.iter().map(|p| p.0));
        let x = Scale::over(plot.x.1, xs, shape.ticks.0);
        let ys = all().flat_map(|series| series.points.iter().map(|p| p.1));
        let y = Scale::over(plot.y.1, ys, shape.ticks.1);
        Self { shape, plot, x, y }
    }

    /// The picture as SVG.
    pub(super) fn draw(&self) -> String {
        let Shape { class, width, height, .. } = *self.shape;
        let mut out = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.plot.title)
        );
        self.draw_axes(&mut out);
        for series in &self.plot.series {
            self.draw_series(&mut out, series);
        }
        out.push_str("</svg>\n");
        out
    }

    fn right(&self) -> f64 {
        self.shape.width - self.shape.right
    }

    fn bottom(&self) -> f64 {
        self.shape.height - BOTTOM
    }

    fn horizontal(&self, value: f64) -> f64 {
        self.shape.left + self.x.place(value) * (self.right() - self.shape.left)
    }

    fn vertical(&self, value: f64) -> f64 {
        self.bottom() - self.y.place(value) * (self.bottom() - TOP)
    }

    fn draw_axes(&self, out: &mut String) {
        let (left, right, bottom) = (self.shape.left, self.right(), self.bottom());
        for (value, text) in &self.y.ticks {
            let at = self.vertical(*value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{text}</text>",
                left - 8.0,
                at + 4.0
            );
        }
        // Where a figure's predecessor ends.
        let mut taken = f64::NEG_INFINITY;
        for (value, text) in &self.x.ticks {
            let at = self.horizontal(*value);
            let _ = write!(
                out,
                "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>",
                bottom + 5.0
            );
            let half = CHARACTER * text.len() as f64 / 2.0;
            if at - half >= taken + GAP {
                taken = at + half;
                let place = bottom + 19.0;
                let _ = write!(
                    out,
                    "<text class=\"middle\" x=\"{at:.1}\" y=\"{place:.1}\">{text}</text>"
                );
            }
            out.push('\n');
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{left}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"middle name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            (left + right) / 2.0,
            self.shape.height - 6.0,
            escape(self.plot.x.0)
        );
    }

    fn draw_series(&self, out: &mut String, series: &Series) {
        let class = series.class();
        let finite = |p: &&(f64, f64)| p.0.is_finite() && p.1.is_finite();
        let points: Vec<_> = series.points.iter().filter(finite).copied().collect();
        let points = thinned(&points, self.shape.points);
        match series.mark {
            Mark::Band => self.draw_band(out, &class, &points),
            Mark::Line | Mark::Dashes if points.len() > 1 => {
                let place = |p: &(f64, f64)| {
                    format!("{:.1},{:.1}", self.horizontal(p.0), self.vertical(p.1))
                };
                let places = points.iter().map(place).collect::<Vec<_>>().join(" ");
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
                    let (cx, cy) = (self.horizontal(p.0), self.vertical(p.1));
                    let _ = writeln!(
                        out,
                        "<circle class=\"{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>"
                    );
                }
            }
        }
    }

    fn draw_band(&self, out: &mut String, class: &str, points: &[(f64, f64)]) {
        let ys = || points.iter().map(|p| self.vertical(p.1));
        let (top, bottom) =
            (ys().fold(f64::INFINITY, f64::min), ys().fold(f64::NEG_INFINITY, f64::max));
        if top <= bottom {
            let left = self.shape.left;
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{left}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                self.right() - left,
                (bottom - top).max(2.0)
            );
        }
    }
}

/// The extremes of each stretch of points, where there are more than `most`.
fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(most / 2);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_keeps_its_extremes() {
        let points: Vec<_> = (0..10_000).map(|n| (f64::from(n), f64::from(n % 97))).collect();
        let few = thinned(&points, 600);
        assert!((400..=600).contains(&few.len()), "{}", few.len());
        assert!(few.is_sorted_by(|a, b| a.0 <= b.0), "in order");
        assert!(few.iter().any(|p| p.1 == 96.0) && few.iter().any(|p| p.1 == 0.0));
        assert_eq!(thinned(&points[..600], 600).len(), 600);
    }
}
