//! The screen on a backend without a terminal.

use std::time::Duration;

use pktgen::search::GoalBounds;
use pktgen::{Tick, TickDirection, TickStream};
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

fn screen(model: &mut Model, width: u16, height: u16) -> (String, Terminal<TestBackend>) {
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
    let (text, _) = screen(&mut after(30, false), 100, 24);
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
    let red = |model: &mut Model| {
        let (_, terminal) = screen(model, 100, 24);
        terminal.backend().buffer().content().iter().filter(|cell| cell.fg == Color::Red).count()
    };
    assert!(red(&mut after(3, true)) > 0);
    assert_eq!(red(&mut after(3, false)), 0);
}

#[test]
fn every_size_can_be_drawn_and_the_past_is_bounded() {
    let mut model = after(5000, true);
    assert!(model.received.iter().all(|past| past.len() <= 512));
    for (width, height) in [(1, 1), (2, 30), (80, 3), (20, 10), (300, 100)] {
        screen(&mut model, width, height);
    }
    screen(&mut Model::new(None, true), 80, 24);
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
    let (text, _) = screen(&mut model, 80, 24);
    for part in [
        "about 90 s left",
        "now 2.5000 Mpps for 4 s (ndr)",
        "ndr: 2.0000 Mpps to ?",
        "7 trials, 1 of them invalid",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

fn stream(number: u64, second: u64) -> TickStream {
    TickStream {
        name: format!("stream {number}").as_str().into(),
        direction: if number.is_multiple_of(2) { "forward" } else { "backward" },
        sent: number * second * 1000,
        received: number * second * 1000 - number,
        missing: if number == 3 { 7 } else { 0 },
        troubles: 0,
        sent_mpps: 0.5,
        received_mpps: 0.001 * ((number + second) % 9) as f64,
        p99: Some(12_345),
    }
}

fn with_streams(count: u64, colours: bool) -> Model {
    let mut model = Model::new(None, colours);
    for second in 1..20 {
        model.note(&Event::Tick(Tick {
            directions: vec![direction("forward", second, 0), direction("backward", second, 0)],
            streams: (1..=count).map(|number| stream(number, second)).collect(),
            ..Tick::new(Phase::Running, Duration::from_secs(second))
        }));
    }
    model
}

#[test]
fn streams_have_rows_of_their_own() {
    let (text, _) = screen(&mut with_streams(5, false), 110, 30);
    println!("{text}");
    for part in ["streams 1 to 5 of 5", "stream 1 ", "stream 5 ", "94 995", "12.3", "p99 us", "█"]
    {
        assert!(text.contains(part), "{part} is missing");
    }
    assert!(!text.contains("more streams"), "they all fit");
}

#[test]
fn more_streams_than_fit_can_be_scrolled_to() {
    let mut model = with_streams(100, false);
    let (text, _) = screen(&mut model, 80, 24);
    println!("{text}");
    let shown = model.rows_shown;
    assert!(shown >= 4 && text.contains(&format!("streams 1 to {shown} of 100")), "{shown}");
    assert!(text.contains("up, down: more streams"));
    model.scroll(3);
    assert!(screen(&mut model, 80, 24).0.contains("streams 4 to "));
    for (rows, title) in [(isize::MAX, "to 100 of 100"), (isize::MIN, "streams 1 to ")] {
        model.scroll(rows);
        assert!(screen(&mut model, 80, 24).0.contains(title), "{title}");
    }
}

/// In what is narrow, whole columns go; what is left is not cut.
#[test]
fn narrow_screens_keep_what_matters_whole() {
    for width in [40, 60, 80, 100, 120] {
        let mut model = with_streams(6, true);
        let (text, _) = screen(&mut model, width, 40);
        println!("{text}");
        for part in ["forward", "backward", "missing", "Mpps back", "stream 6"] {
            assert!(text.contains(part), "{width}: {part} is missing");
        }
    }
    let (text, _) = screen(&mut after(30, false), 80, 24);
    assert!(text.contains("29 999 700") || !text.contains("29 999"), "{text}");
}
