//! Drawing the full-screen view.

mod columns;
mod plots;
mod search;
mod tables;

use pktgen::Phase;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph};

use super::model::Model;
use crate::output::span;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let (directions, streams) = (model.directions(), model.streams());
    let table = if directions > 0 { directions + 3 } else { 0 };
    let search = if model.trial.is_some() { 8 } else { 0 };
    // What is left after head and foot; the streams may have what the plots can do without.
    let rest = usize::from(area.height).saturating_sub(3 + table + search);
    let plots = if directions > 0 { 3 * directions } else { 0 };
    let shown =
        if streams > directions { (streams + 3).min(rest.saturating_sub(plots)) } else { 0 };
    let length = |rows: usize| Constraint::Length(u16::try_from(rows).unwrap_or(u16::MAX));
    let [head, table, streams, plots, search, foot] = Layout::vertical([
        Constraint::Length(2),
        length(table),
        length(if shown > 3 { shown } else { 0 }),
        Constraint::Min(0),
        length(search),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, head, model);
    tables::directions(frame, table, model);
    tables::streams(frame, streams, model);
    plots::draw(frame, plots, model);
    search::draw(frame, search, model);
    let hint = if model.stopping { "stopping; press again to end at once" } else { "q: stop" };
    let more = if model.can_scroll() { "  up, down: more streams" } else { "" };
    frame.render_widget(Paragraph::new(Span::styled(format!("{hint}{more}"), faint(model))), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let [title, gauge] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(area);
    let state = match &model.tick {
        _ if model.stopping => "stopping".into(),
        None => "opening the ports".into(),
        Some(tick) => {
            let seconds = tick.elapsed.as_secs_f64();
            match tick.phase {
                Phase::WarmUp => {
                    format!("waiting for a first frame to come through, {seconds:.0} s")
                }
                Phase::Running => format!("running, {seconds:.0} s"),
                Phase::Draining => "waiting for the last frames".into(),
            }
        }
    };
    let title_line = Line::from(vec![
        Span::styled("pktgen", Style::new().add_modifier(Modifier::BOLD)),
        " ".into(),
        state.into(),
    ]);
    frame.render_widget(Paragraph::new(title_line), title);
    if let Some(share) = model.share() {
        let left = match (&model.trial, &model.tick, model.duration) {
            (Some(trial), ..) => format!("about {} left", span(trial.remaining_s)),
            (None, Some(tick), Some(duration)) => {
                format!("{} left", span(duration.saturating_sub(tick.elapsed).as_secs_f64()))
            }
            _ => String::new(),
        };
        let gauge_widget = LineGauge::default()
            .ratio(share.clamp(0.0, 1.0))
            .label(left)
            .filled_style(colour(model, Color::Cyan));
        frame.render_widget(gauge_widget, gauge);
    }
}

fn colour(model: &Model, colour: Color) -> Style {
    if model.colours { Style::new().fg(colour) } else { Style::new() }
}

fn faint(model: &Model) -> Style {
    if model.colours { Style::new().add_modifier(Modifier::DIM) } else { Style::new() }
}

/// A count with spaces between thousands.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
