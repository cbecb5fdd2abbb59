//! Drawing the full-screen view.

mod columns;
mod parts;
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
use parts::Parts;

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let searching = model.trial.is_some();
    let parts = Parts::of(area.height, model.directions(), model.streams(), searching);
    let Parts { title, gauge, directions, streams, plots, search, foot, framed } = parts;
    let rows = [title, gauge, directions, streams, plots, search, foot].map(Constraint::Length);
    let [title, gauge, directions, streams, plots, search, foot] =
        Layout::vertical(rows).areas(area);
    draw_title(frame, title, model);
    draw_gauge(frame, gauge, model);
    tables::directions(frame, directions, framed, model);
    tables::streams(frame, streams, model);
    plots::draw(frame, plots, model);
    search::draw(frame, search, model);
    let hint = if model.stopping { "stopping; press again to end at once" } else { "q: stop" };
    let more = if model.can_scroll() { "  up, down: more streams" } else { "" };
    frame.render_widget(Paragraph::new(Span::styled(format!("{hint}{more}"), faint(model))), foot);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model) {
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
    frame.render_widget(Paragraph::new(title_line), area);
}

fn draw_gauge(frame: &mut Frame<'_>, area: Rect, model: &Model) {
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
        frame.render_widget(gauge_widget, area);
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
