//! Drawing the full-screen view.

use pktgen::{Phase, TickDirection};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, LineGauge, Paragraph, Row, Sparkline, Table};

use super::model::Model;
use crate::output::{gauges, mpps, span};

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let directions = u16::try_from(model.received.len()).unwrap_or(0);
    let trials = if model.trial.is_some() { 8 } else { 0 };
    let [head, table, plots, search, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(directions + 3),
        Constraint::Min(if directions > 0 { 6 } else { 0 }),
        Constraint::Length(trials),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, model);
    draw_table(frame, table, model);
    draw_plots(frame, plots, model);
    if model.trial.is_some() {
        draw_search(frame, search, model);
    }
    let hint = if model.stopping { "stopping; press again to end at once" } else { "q: stop" };
    frame.render_widget(Paragraph::new(Span::styled(hint, faint(model))), foot);
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

const COLUMNS: [&str; 7] = ["", "sent", "received", "missing", "trouble", "Mpps out", "Mpps back"];

fn draw_table(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let Some(tick) = &model.tick else { return };
    let rows = tick.directions.iter().map(|d| row(d, model));
    let head = Row::new(COLUMNS.map(|name| Cell::from(Line::from(name).right_aligned())))
        .style(faint(model));
    let widths = [10, 16, 16, 12, 10, 10, 10].map(Constraint::Length);
    let title = format!("directions{}", gauges(tick));
    let table = Table::new(rows, widths).header(head).block(Block::bordered().title(title));
    frame.render_widget(table, area);
}

fn row(d: &TickDirection, model: &Model) -> Row<'static> {
    let number = |value: u64| Cell::from(Line::from(grouped(value)).right_aligned());
    let trouble = |value: u64| {
        let cell = number(value);
        if value > 0 {
            cell.style(colour(model, Color::Red).add_modifier(Modifier::BOLD))
        } else {
            cell
        }
    };
    let rate = |value: f64| Cell::from(Line::from(format!("{value:.3}")).right_aligned());
    Row::new([
        Cell::from(d.direction.to_string()),
        number(d.sent),
        number(d.received),
        trouble(d.missing),
        trouble(d.troubles),
        rate(d.sent_mpps),
        rate(d.received_mpps),
    ])
}

fn draw_plots(frame: &mut Frame<'_>, area: Rect, model: &Model) {
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
            Layout::horizontal([Constraint::Fill(2), Constraint::Fill(1)]).areas(*row);
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

fn draw_search(frame: &mut Frame<'_>, area: Rect, model: &Model) {
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
    let room = usize::from(area.height).saturating_sub(2 + lines.len());
    for (number, rate, loss) in model.trials.iter().rev().take(room) {
        let text = format!("trial {number}: {} {:.4}% lost", mpps(*rate), loss * 100.0);
        let style = if *loss > 0.0 { colour(model, Color::Red) } else { Style::new() };
        lines.push(Line::from(Span::styled(text, style)));
    }
    let title = format!("search: {} trials, {} of them invalid", trial.trials, trial.invalid);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
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
mod tests {
    use std::time::Duration;

    use pktgen::Tick;
    use pktgen::search::GoalBounds;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::output::{Event, TrialState};

    fn direction(name: &'static str, second: u64, missing: u64) -> TickDirection {
        TickDirection {
            direction: name,
            sent: second * 1_000_000,
            received: second * 1_000_000 - missing,
            missing,
            troubles: 0,
            sent_mpps: 1.0,
            received_mpps: 0.99,
        }
    }

    fn after(seconds: u64, colours: bool) -> Model {
        let mut model = Model::new(Some(Duration::from_secs(100)), colours);
        for second in 1..=seconds {
            model.note(&Event::Tick(Tick {
                directions: vec![
                    direction("forward", second, 10 * second),
                    direction("backward", second, 0),
                ],
                cycles_per_packet: Some(123.4),
                ..Tick::new(Phase::Running, Duration::from_secs(second))
            }));
        }
        model
    }

    fn screen(model: &Model, width: u16, height: u16) -> (String, Terminal<TestBackend>) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        let text: Vec<String> =
            rows.map(|row| row.iter().map(|cell| cell.symbol()).collect()).collect();
        (text.join("\n"), terminal)
    }

    #[test]
    fn figures_and_the_past_are_on_the_screen() {
        let (text, _) = screen(&after(30, false), 100, 24);
        println!("{text}");
        for part in [
            "running, 30 s",
            "70 s left",
            "30 000 000",
            "29 999 700",
            "forward: received, up to 0.9900 Mpps",
            "forward: missing, up to 10",
            "backward: missing, up to 0",
            "123 cycles/packet",
            "q: stop",
        ] {
            assert!(text.contains(part), "{part} is missing");
        }
        assert!(text.contains('█'), "sparklines");
    }

    #[test]
    fn trouble_is_red_and_nothing_is_without_colours() {
        let red = |model: &Model| {
            let (_, terminal) = screen(model, 100, 24);
            terminal
                .backend()
                .buffer()
                .content()
                .iter()
                .filter(|cell| cell.fg == Color::Red)
                .count()
        };
        assert!(red(&after(3, true)) > 0);
        assert_eq!(red(&after(3, false)), 0);
    }

    #[test]
    fn every_size_can_be_drawn_and_the_past_is_bounded() {
        let model = after(5000, true);
        assert!(model.received.iter().all(|past| past.len() <= 512));
        for (width, height) in [(1, 1), (2, 30), (80, 3), (20, 10), (300, 100)] {
            screen(&model, width, height);
        }
        screen(&Model::new(None, true), 80, 24);
    }

    #[test]
    fn a_search_shows_its_bounds_and_the_time_that_remains() {
        let mut model = Model::new(None, false);
        model.note(&Event::Trial(Box::new(TrialState {
            trials: 7,
            invalid: 1,
            next: Some((2_500_000, 4.0)),
            purpose: "ndr".into(),
            last: None,
            spent_s: 30.0,
            remaining_s: 90.0,
            bounds: vec![GoalBounds { name: "ndr".into(), lower: Some(2_000_000), upper: None }],
        })));
        let (text, _) = screen(&model, 80, 24);
        for part in [
            "about 90 s left",
            "now 2.5000 Mpps for 4 s (ndr)",
            "ndr: 2.0000 Mpps to ?",
            "7 trials, 1 of them invalid",
        ] {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
    }
}
