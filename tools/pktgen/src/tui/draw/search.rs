//! The state of a search.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

use super::colour;
use crate::output::mpps;
use crate::tui::model::Model;

/// Bounds, and the last trials.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(trial) = &model.trial else { return };
    let mut lines = vec![Line::from(match trial.next {
        Some((rate, seconds)) => format!("now {} for {seconds} s ({})", mpps(rate), trial.purpose),
        None => "done".into(),
    })];
    for goal in &trial.bounds {
        let show = |rate: Option<u64>| rate.map_or("?".into(), mpps);
        lines.push(Line::from(format!(
            "{}: {} to {}",
            goal.name,
            show(goal.lower),
            show(goal.upper)
        )));
    }
    // A frame only where it hides nothing.
    let framed = usize::from(area.height) >= 2 + lines.len();
    let frame_rows = if framed { 2 } else { 0 };
    let room = usize::from(area.height).saturating_sub(frame_rows + lines.len());
    for (number, rate, loss) in model.trials.iter().rev().take(room) {
        let text = format!("trial {number}: {} {:.4}% lost", mpps(*rate), loss * 100.0);
        let style = if *loss > 0.0 { colour(model, Color::Red) } else { Style::new() };
        lines.push(Line::from(Span::styled(text, style)));
    }
    let title = format!("search: {} trials, {} of them invalid", trial.trials, trial.invalid);
    let block = if framed { Block::bordered().title(title) } else { Block::new() };
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
