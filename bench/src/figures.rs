//! A plot of cycles per packet: over the burst size, and over the frame size.
//!
//! SVG text, so that it can be read in a diff and on a page alike.

use std::error::Error;

use plotters::prelude::*;

/// One line of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which half, of which format.
    pub name: String,
    /// Burst or frame size, and cycles per packet.
    pub points: Vec<(u32, f64)>,
}

/// Width and height, in pixels.
const PICTURE: (u32, u32) = (1100, 520);
/// Colours that stay apart for readers who see fewer: the first four for the first format, darker ones for the next.
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];

/// Draws two plots side by side; `caption` goes on top, `note` below it.
///
/// # Errors
/// There is nothing to draw, or it cannot be drawn.
pub fn draw(
    caption: &str,
    note: &str,
    over_burst: &[Series],
    over_size: &[Series],
) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, PICTURE).into_drawing_area();
        root.fill(&WHITE)?;
        root.draw(&Text::new(caption.to_owned(), (20, 14), ("sans-serif", 18).into_font()))?;
        root.draw(&Text::new(note.to_owned(), (20, 40), ("sans-serif", 12).into_font()))?;
        let (left, right) = root.margin(60, 5, 5, 5).split_horizontally(PICTURE.0 / 2);
        plot(&left, "packets per burst (more than 32: several calls)", over_burst, true)?;
        plot(&right, "bytes per frame (bursts of 32)", over_size, false)?;
        root.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn plot(area: &Area, label: &str, series: &[Series], log: bool) -> Result<(), Box<dyn Error>> {
    let points = || series.iter().flat_map(|series| series.points.iter().copied());
    let (Some(from), Some(to)) = (points().map(|p| p.0).min(), points().map(|p| p.0).max()) else {
        return Err("there is nothing to draw".into());
    };
    let most = points().map(|point| point.1).fold(0.0, f64::max) * 1.08;
    let mut chart = ChartBuilder::on(area);
    chart.margin(8).x_label_area_size(42).y_label_area_size(52);
    // The axis is of exponents where it is logarithmic, so that its marks are powers of two.
    let place = |x: u32| if log { f64::from(x).log2() } else { f64::from(x) };
    let mut chart =
        chart.build_cartesian_2d(place(from)..place(to.max(from + 1)), 0.0..most.max(1.0))?;
    let mark = |x: &f64| if log { format!("{:.0}", x.exp2()) } else { format!("{x:.0}") };
    chart
        .configure_mesh()
        .x_desc(label)
        .y_desc("TSC cycles per packet")
        .x_labels(if log { 9 } else { 8 })
        .x_label_formatter(&mark)
        .light_line_style(WHITE)
        .draw()?;
    for (number, series) in series.iter().enumerate() {
        let style = style_of(number);
        let line = series.points.iter().map(|&(x, y)| (place(x), y));
        chart
            .draw_series(LineSeries::new(line.clone(), style))?
            .label(series.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        chart.draw_series(line.map(|point| Circle::new(point, 2, style.filled())))?;
    }
    let corner = if log { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::UpperLeft };
    chart
        .configure_series_labels()
        .position(corner)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

/// The second format has thin, paler lines.
fn style_of(number: usize) -> ShapeStyle {
    let colour = COLOURS[number % COLOURS.len()];
    match number / COLOURS.len() {
        0 => colour.stroke_width(2),
        _ => colour.mix(0.55).stroke_width(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_every_series_and_its_labels() {
        let series =
            |name: &str| Series { name: name.into(), points: vec![(1, 90.0), (256, 30.5)] };
        let svg =
            draw("caption", "note", &[series("one"), series("two")], &[series("three")]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in [
            "caption",
            "note",
            "one",
            "two",
            "three",
            "packets per burst",
            "bytes per frame",
            "256",
        ] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(draw("", "", &[], &[]).is_err());
    }
}
