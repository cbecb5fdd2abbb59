//! The tables: a row per direction, and a row per stream where there are more streams than directions.

use pktgen::{TickDirection, TickStream};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Paragraph};

use super::columns::{Column, table, width};
use super::parts::FRAME;
use super::{colour, faint, grouped};
use crate::output::gauges;
use crate::tui::model::Model;

/// Characters of a stream's past.
const PAST: usize = 12;
/// Characters of a name.
const NAME: usize = 24;

fn column<T>(
    rows: &[T],
    head: &'static str,
    rank: u8,
    cell: impl Fn(&T) -> (String, Style),
) -> Column {
    Column { head, rank, words: false, cells: rows.iter().map(cell).collect() }
}

fn plain<T>(value: impl Fn(&T) -> String) -> impl Fn(&T) -> (String, Style) {
    move |row| (value(row), Style::new())
}

/// A number that is red unless it is zero.
fn trouble<T>(model: &Model, value: impl Fn(&T) -> u64) -> impl Fn(&T) -> (String, Style) {
    let red = colour(model, Color::Red).add_modifier(Modifier::BOLD);
    move |row| (grouped(value(row)), if value(row) > 0 { red } else { Style::new() })
}

fn mpps(rate: f64) -> String {
    format!("{rate:.3}")
}

/// The directions' table, with a frame or without.
pub(super) fn directions(frame: &mut Frame<'_>, area: Rect, framed: bool, model: &Model) {
    let Some(tick) = &model.tick else { return };
    let rows = &tick.directions[..];
    let name = column(rows, "", 0, plain(|d: &TickDirection| d.direction.to_string()));
    let columns = vec![
        Column { words: true, ..name },
        column(rows, "sent", 3, plain(|d: &TickDirection| grouped(d.sent))),
        column(rows, "received", 4, plain(|d: &TickDirection| grouped(d.received))),
        column(rows, "missing", 0, trouble(model, |d: &TickDirection| d.missing)),
        column(rows, "trouble", 1, trouble(model, |d: &TickDirection| d.troubles)),
        column(rows, "Mpps out", 2, plain(|d: &TickDirection| mpps(d.sent_mpps))),
        column(rows, "Mpps back", 0, plain(|d: &TickDirection| mpps(d.received_mpps))),
    ];
    let block = if framed {
        Block::bordered().title(format!("directions{}", gauges(tick)))
    } else {
        Block::new()
    };
    let table = table(columns, block.inner(area).width, faint(model)).block(block);
    frame.render_widget(table, area);
}

/// The streams' table: as many rows as there is room for, from the one that was scrolled to.
pub(super) fn streams(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    model.rows_shown = usize::from(area.height.saturating_sub(FRAME));
    if area.is_empty() {
        return;
    }
    let first = model.first_shown();
    let Some(tick) = &model.tick else { return };
    let all = &tick.streams[..];
    let last = (first + model.rows_shown).min(all.len());
    let rows: Vec<(usize, &TickStream)> = (first..last).map(|n| (n, &all[n])).collect();
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(""), area);
        return;
    }
    type Numbered<'a> = (usize, &'a TickStream);
    let rows = &rows[..];
    let green = colour(model, Color::Green);
    let name = column(rows, "", 0, plain(|(_, s): &Numbered<'_>| shortened(&s.name)));
    let way = column(rows, "way", 2, plain(|(_, s): &Numbered<'_>| s.direction.to_string()));
    let past = |(number, _): &Numbered<'_>| (bars(model.past_of(*number), PAST), green);
    let mut columns = vec![
        Column { words: true, ..name },
        Column { words: true, ..way },
        column(rows, "sent", 5, plain(|(_, s): &Numbered<'_>| grouped(s.sent))),
        column(rows, "received", 6, plain(|(_, s): &Numbered<'_>| grouped(s.received))),
        column(rows, "missing", 0, trouble(model, |(_, s): &Numbered<'_>| s.missing)),
        column(rows, "trouble", 1, trouble(model, |(_, s): &Numbered<'_>| s.troubles)),
        column(rows, "Mpps out", 4, plain(|(_, s): &Numbered<'_>| mpps(s.sent_mpps))),
        column(rows, "Mpps back", 0, plain(|(_, s): &Numbered<'_>| mpps(s.received_mpps))),
        Column { words: true, ..column(rows, "course", 3, past) },
    ];
    if all.iter().any(|stream| stream.p99.is_some()) {
        let micros = |(_, s): &Numbered<'_>| s.p99.map_or(String::new(), crate::output::micros);
        columns.push(column(rows, "p99 us", 2, plain(micros)));
    }
    let title = format!("streams {} to {} of {}", first + 1, last, all.len());
    let block = Block::bordered().title(title);
    let table = table(columns, area.width.saturating_sub(2), faint(model)).block(block);
    frame.render_widget(table, area);
}

/// What of a name there is room for.
fn shortened(name: &str) -> String {
    if width(name) <= NAME {
        return name.to_owned();
    }
    let mut short = String::new();
    for c in name.chars() {
        short.push(c);
        if width(&short) >= NAME {
            short.pop();
            break;
        }
    }
    short.push('\u{2026}');
    short
}

/// The newest values as bars of eight heights, the highest as high as can be.
fn bars(past: impl DoubleEndedIterator<Item = u64>, width: usize) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut values: Vec<u64> = past.rev().take(width).collect();
    values.reverse();
    let top = values.iter().max().copied().unwrap_or(0).max(1);
    let bar = |value: u64| {
        let height = usize::try_from(u128::from(value) * 7 / u128::from(top)).unwrap_or(7);
        if value == 0 { ' ' } else { HEIGHTS[height.min(7)] }
    };
    values.into_iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_the_newest_and_scale_to_the_highest() {
        assert_eq!(bars([9, 0, 1, 4, 8].into_iter(), 4), " ▁▄█");
        assert_eq!(bars([u64::MAX].into_iter(), 4), "█");
        assert_eq!(bars([].into_iter(), 4), "");
        assert_eq!(shortened(&"x".repeat(30)).chars().count(), NAME);
        assert_eq!(width(&shortened(&"\u{7db2}".repeat(30))), NAME - 1, "two columns each");
    }
}
