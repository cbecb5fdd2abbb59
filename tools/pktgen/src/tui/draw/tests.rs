//! The screen on a backend without a terminal.

use std::time::Duration;

use pktgen::search::{GoalBounds, TrialRecord, TrialResult, Verdict};
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

/// States from before anything is known to more than any screen holds.
fn states() -> Vec<(&'static str, Model)> {
    let mut warming_up = Model::new(None, true);
    warming_up.note(&Event::Tick(Tick::new(Phase::WarmUp, Duration::from_secs(3))));
    let mut names = with_streams(3, true);
    let mut tick = names.tick.clone().unwrap();
    for (stream, name) in
        tick.streams.iter_mut().zip(["\u{7db2}".repeat(40), "\x1b[31m\r\n\0".into(), String::new()])
    {
        stream.name = name.as_str().into();
        stream.sent = u64::MAX;
        stream.p99 = Some(u64::MAX);
    }
    tick.directions[0].sent_mpps = f64::INFINITY;
    names.note(&Event::Tick(tick));
    let mut stopping = after(10, true);
    stopping.stopping = true;
    vec![
        ("nothing", Model::new(None, true)),
        ("warming up", warming_up),
        ("two directions", after(600, true)),
        ("stopping", stopping),
        ("256 streams", with_streams(256, true)),
        ("names", names),
        ("search", searching(1)),
        ("search with many goals", searching(40)),
    ]
}

fn searching(goals: usize) -> Model {
    let mut model = Model::new(None, true);
    for number in 1..=30 {
        let mut state = trial(number);
        state.bounds = (0..goals)
            .map(|n| GoalBounds { name: format!("goal {n}"), lower: Some(2_000_000), upper: None })
            .collect();
        model.note(&Event::Trial(Box::new(state)));
    }
    model
}

#[test]
fn every_size_can_be_drawn_and_the_past_is_bounded() {
    let model = after(5000, true);
    assert!(model.received.iter().all(|past| past.len() <= 512));
    for (name, mut model) in states() {
        println!("{name}");
        for width in [1, 2, 3, 7, 20, 40, 80, 200, 400] {
            for height in (1..=30).chain([60, 200]) {
                let (text, _) = screen(&mut model, width, height);
                assert!(!text.contains('\x1b'), "what a name holds does not reach the terminal");
            }
        }
    }
}

/// The smallest screen that is of use shows what each direction does, and no frames.
#[test]
fn a_small_screen_shows_figures_instead_of_frames() {
    let (text, _) = screen(&mut after(30, false), 20, 5);
    println!("{text}");
    for part in ["pktgen running, 30 s", "forward", "backward", "0.990", "300", "q: stop"] {
        assert!(text.contains(part), "{part} is missing");
    }
    let (text, _) = screen(&mut searching(1), 60, 5);
    println!("{text}");
    for part in
        ["now 2.5000 Mpps for 4 s", "goal 0: 2.0000 Mpps to ?", "about 90 s left", "q: stop"]
    {
        assert!(text.contains(part), "{part} is missing");
    }
}

#[test]
fn a_large_screen_is_filled() {
    let (text, _) = screen(&mut with_streams(40, false), 200, 60);
    println!("{text}");
    assert!(text.contains("streams 1 to 40 of 40") && text.contains("backward: received, up to"));
    let (text, _) = screen(&mut searching(2), 200, 60);
    println!("{text}");
    assert!(text.contains("trial 30: ") && text.contains("trial 1: "), "all trials");
}

fn trial(number: u64) -> TrialState {
    let last = TrialRecord {
        number,
        start_s: 0.0,
        purpose: "ndr".into(),
        rate: 2_500_000 + number,
        duration_s: 4.0,
        loss_ratio: if number.is_multiple_of(2) { 0.01 } else { 0.0 },
        verdict: Verdict::Valid,
        result: TrialResult::default(),
    };
    TrialState {
        trials: number,
        invalid: 1,
        next: Some((2_500_000, 4.0)),
        purpose: "ndr".into(),
        last: Some(last),
        spent_s: 30.0,
        remaining_s: 90.0,
        bounds: vec![GoalBounds { name: "ndr".into(), lower: Some(2_000_000), upper: None }],
    }
}

#[test]
fn a_search_shows_its_bounds_and_the_time_that_remains() {
    let mut model = Model::new(None, false);
    model.note(&Event::Trial(Box::new(TrialState { last: None, ..trial(7) })));
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
