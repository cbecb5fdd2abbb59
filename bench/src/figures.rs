//! Plots of cycles per packet: a panel for each ring format, side by side over the same axis, a line for each half.
//!
//! SVG text, so that it can be read in a diff and on a page alike, on light paper and on dark.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// One line of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which half.
    pub name: String,
    /// Cycles per packet, in the order of the plot's marks.
    pub points: Vec<f64>,
}

/// One plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub caption: String,
    /// What the marks are.
    pub label: String,
    /// Where there are points, in equal distances.
    pub marks: Vec<String>,
    /// How many of the first ones are of one kind, and joined by a line.
    pub joined: usize,
    /// Cycles on a logarithmic axis.
    pub logarithmic: bool,
    /// For each format its name, and a series for each half.
    pub panels: Vec<(String, Vec<Series>)>,
}

/// Width and height, in pixels.
const PICTURE: (u32, u32) = (1080, 430);
/// Of all text but the caption, in pixels.
const TEXT: i32 = 13;
/// Colours that stay apart for readers who see fewer, and symbols for those who see none.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(170, 70, 130)];
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// The same on dark paper, by attribute: `(on light paper, on dark)`.
const DARK: [(&str, &str); 7] = [
    ("#FFFFFF", "#14171c"),
    ("#222222", "#dfe3e8"),
    ("#DDDDDD", "#363c45"),
    ("#0072B2", "#4cb1f0"),
    ("#D55E00", "#ff9350"),
    ("#009E73", "#3fd0a4"),
    ("#AA4682", "#e78cc0"),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

impl Plot {
    /// The plot as SVG.
    ///
    /// # Errors
    /// There is nothing to draw, or it cannot be drawn.
    pub fn draw(&self) -> Result<String, Box<dyn Error>> {
        let figures = || self.panels.iter().flat_map(|(_, series)| series).flat_map(|s| &s.points);
        if figures().next().is_none() {
            return Err("there is nothing to draw".into());
        }
        let (least, most) = figures()
            .fold((f64::MAX, 0.0), |(least, most): (f64, f64), &figure| {
                (least.min(figure), most.max(figure))
            });
        let range = match self.logarithmic {
            true => least.log2().floor()..most.log2().ceil(),
            false => 0.0..(most * 1.06).max(1.0),
        };
        let mut svg = String::new();
        {
            let root = SVGBackend::with_string(&mut svg, PICTURE).into_drawing_area();
            root.fill(&PAPER)?;
            root.draw(&text(&self.caption, (16, 12), 17, HPos::Left))?;
            self.legend(&root)?;
            let below = root.margin(66, 4, 4, 8);
            for (area, (name, series)) in
                below.split_evenly((1, self.panels.len())).iter().zip(&self.panels)
            {
                self.panel(area, name, series, range.clone())?;
            }
            root.present()?;
        }
        Ok(with_dark_paper(&svg))
    }

    /// The halves' colours, in a line below the caption.
    fn legend(&self, root: &Area<'_>) -> Drawn {
        let names = self.panels.first().map_or(&[][..], |(_, series)| series);
        for (number, (series, left)) in names.iter().zip((16..).step_by(170)).enumerate() {
            let style = COLOURS[number % COLOURS.len()];
            root.draw(&PathElement::new([(left, 46), (left + 26, 46)], style.stroke_width(2)))?;
            symbol(root, number, (left + 13, 46))?;
            root.draw(&text(&series.name, (left + 33, 40), TEXT, HPos::Left))?;
        }
        Ok(())
    }

    fn panel(
        &self,
        area: &Area<'_>,
        name: &str,
        series: &[Series],
        range: std::ops::Range<f64>,
    ) -> Drawn {
        let (width, height) = area.dim_in_pixel();
        let middle = i32::try_from(width / 2)?;
        area.draw(&text(name, (middle, 0), TEXT + 1, HPos::Center))?;
        let marks = i32::try_from(self.marks.len())?;
        let mut chart = ChartBuilder::on(area);
        chart.margin(4).margin_top(22).x_label_area_size(48).y_label_area_size(58);
        let mut chart =
            chart.build_cartesian_2d(-0.5..f64::from(marks) - 0.5, range.start..range.end)?;
        let logarithmic = self.logarithmic;
        let written = move |y: &f64| format!("{:.0}", if logarithmic { y.exp2() } else { *y });
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(0)
            .y_labels(9)
            .y_desc("TSC cycles per packet")
            .y_label_formatter(&written)
            .label_style(("sans-serif", TEXT).into_font().color(&INK))
            .axis_desc_style(("sans-serif", TEXT).into_font().color(&INK))
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(PAPER)
            .draw()?;
        let (left, _) = area.get_base_pixel();
        let (_, top) = area.get_base_pixel();
        for (at, mark) in self.marks.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(position(at), range.start));
            area.draw(&text(mark, (x - left, y - top + 6), TEXT, HPos::Center))?;
        }
        let bottom = i32::try_from(height)? - 22;
        area.draw(&text(&self.label, (middle + 25, bottom), TEXT, HPos::Center))?;
        let place = |figure: f64| if logarithmic { figure.log2() } else { figure };
        for (number, series) in series.iter().enumerate() {
            let points = || series.points.iter().enumerate().map(|(x, &y)| (position(x), place(y)));
            let style = COLOURS[number % COLOURS.len()].stroke_width(2);
            chart.draw_series(LineSeries::new(points().take(self.joined), style))?;
            for point in points() {
                let (x, y) = chart.backend_coord(&point);
                symbol(area, number, (x - left, y - top))?;
            }
        }
        Ok(())
    }
}

/// The place of a mark.
#[expect(clippy::cast_precision_loss, reason = "a few marks")]
fn position(at: usize) -> f64 {
    at as f64
}

/// A point of a series: each has a shape of its own.
fn symbol(area: &Area<'_>, number: usize, at: (i32, i32)) -> Drawn {
    let style = COLOURS[number % COLOURS.len()].filled();
    let (x, y) = at;
    match number % COLOURS.len() {
        0 => area.draw(&Circle::new(at, 4, style))?,
        1 => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], style))?,
        2 => area.draw(&TriangleMarker::new(at, 5, style))?,
        _ => area.draw(&Polygon::new([(x - 5, y), (x, y - 5), (x + 5, y), (x, y + 5)], style))?,
    }
    Ok(())
}

fn text(words: &str, at: (i32, i32), size: i32, anchor: HPos) -> Text<'static, (i32, i32), String> {
    let style = ("sans-serif", size).into_font().color(&INK).pos(Pos::new(anchor, VPos::Top));
    Text::new(words.to_owned(), at, style)
}

/// Has the colours follow the reader's paper.
fn with_dark_paper(svg: &str) -> String {
    let rules: String = DARK
        .iter()
        .map(|(light, dark)| {
            format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
        })
        .collect();
    let style = format!("<style>@media (prefers-color-scheme: dark){{{rules}}}</style>\n");
    match svg.find('>') {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(logarithmic: bool) -> Plot {
        let series = |name: &str| Series { name: name.into(), points: vec![90.0, 30.5, 700.0] };
        let halves = || vec![series("one half"), series("another")];
        Plot {
            caption: "a caption".into(),
            label: "a label".into(),
            marks: ["64", "1518", "IMIX"].map(String::from).to_vec(),
            joined: 2,
            logarithmic,
            panels: vec![("first".into(), halves()), ("second".into(), halves())],
        }
    }

    #[test]
    fn a_plot_has_every_series_and_its_labels() {
        for logarithmic in [false, true] {
            let svg = plot(logarithmic).draw().unwrap();
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            for text in
                ["a caption", "a label", "one half", "another", "first", "second", "1518", "IMIX"]
            {
                assert!(svg.contains(text), "{text}");
            }
            // Lines join the first two points of four series, and the legend names two of them.
            let lines = svg
                .lines()
                .filter(|line| line.contains("<polyline") && line.contains("stroke-width=\"2\""));
            assert_eq!(lines.count(), 4 + 2);
        }
        assert!(Plot { panels: Vec::new(), ..plot(false) }.draw().is_err());
    }

    #[test]
    fn every_colour_has_a_dark_twin() {
        let svg = plot(false).draw().unwrap();
        let colours =
            svg.split(['"', '\'']).filter(|word| word.starts_with('#') && word.len() == 7);
        for colour in colours {
            assert!(DARK.iter().any(|(light, _)| *light == colour), "{colour}");
        }
        assert!(svg.contains("prefers-color-scheme: dark"));
    }
}
