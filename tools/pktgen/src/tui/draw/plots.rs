//! The past, as sparklines.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::widgets::{Block, Sparkline};

use super::{colour, grouped};
use crate::output::mpps;
use crate::tui::model::Model;

/// Rates received and frames missing, by direction.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let count = model.received.len();
    if count == 0 || area.height < 3 {
        return;
    }
    let rows = Layout::vertical(vec![Constraint::Fill(1); count]).split(area);
    for (number, row) in rows.iter().enumerate() {
        let name = model
            .tick
            .as_ref()
            .and_then(|tick| tick.directions.get(number))
            .map_or("", |d| d.direction);
        let [rate, loss] =
            Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(*row);
        let received = &model.received[number];
        let top = received.iter().max().copied().unwrap_or(0);
        let title = format!("{name}: received, up to {}", mpps(top));
        sparkline(frame, rate, received.iter().copied(), title, colour(model, Color::Green));
        let lost = &model.lost[number];
        let most = lost.iter().max().copied().unwrap_or(0);
        let title = format!("{name}: missing, up to {}", grouped(most));
        sparkline(frame, loss, lost.iter().copied(), title, colour(model, Color::Red));
    }
}

/// The newest that fit, at the right edge.
fn sparkline(
    frame: &mut Frame<'_>,
    area: Rect,
    past: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator,
    title: String,
    style: Style,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let skip = past.len().saturating_sub(width);
    let data: Vec<u64> = past.skip(skip).collect();
    let widget = Sparkline::default().data(data).style(style).block(Block::bordered().title(title));
    frame.render_widget(widget, area);
}
