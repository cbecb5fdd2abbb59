//! A line per second, or per trial of a search.

use std::fmt::Write;

use pktgen::search::TrialRecord;
use pktgen::{Phase, Tick, TickDirection};

use super::{Event, Style, TrialState};

/// The line for an event, without its end.
pub(crate) fn line(event: &Event, style: Style) -> String {
    match event {
        Event::Tick(tick) => tick_line(tick, style),
        Event::Trial(trial) => trial_line(trial, style),
    }
}

fn tick_line(tick: &Tick, style: Style) -> String {
    let time = style.faint(format_args!("{:6.1} s", tick.elapsed.as_secs_f64()));
    let mut line = match tick.phase {
        Phase::WarmUp => return format!("{time}  waiting for a first frame to come through"),
        Phase::Running => time,
        Phase::Draining => style.faint("     end"),
    };
    for d in &tick.directions {
        let TickDirection { direction, sent, received, missing, troubles, .. } = *d;
        let _ = write!(line, "  {direction} ");
        let missing = style.bad_if(missing > 0, format_args!("{missing} missing"));
        let _ = match tick.phase {
            Phase::Running => write!(
                line,
                "{:.3} Mpps out {:.3} Mpps back {missing}",
                d.sent_mpps, d.received_mpps
            ),
            _ => write!(line, "{sent} out {received} back {missing}"),
        };
        if troubles > 0 {
            let what = format_args!("{troubles} duplicated, reordered or corrupted");
            let _ = write!(line, " {}", style.bad_if(true, what));
        }
    }
    line.push_str(&gauges(tick));
    line
}

/// What the generator itself did, and latency, each where it is known.
pub(crate) fn gauges(tick: &Tick) -> String {
    let mut text = String::new();
    if let Some(cycles) = tick.cycles_per_packet {
        let _ = write!(text, "  {cycles:.0} cycles/packet");
    }
    if let Some(fill) = tick.burst_fill {
        let _ = write!(text, "  bursts of {fill:.1}");
    }
    if let Some(latency) = tick.latency {
        let [p50, p99, p999, max] =
            [latency.p50, latency.p99, latency.p99_9, latency.max].map(micros);
        let _ = write!(text, "  latency p50 {p50} p99 {p99} p99.9 {p999} max {max} us");
    }
    text
}

/// Nanoseconds as microseconds.
pub(crate) fn micros(nanos: u64) -> String {
    format!("{}.{}", nanos / 1000, nanos / 100 % 10)
}

fn trial_line(trial: &TrialState, style: Style) -> String {
    let mut line = style.faint(format_args!("{:6.1} s", trial.spent_s));
    if let Some(last) = &trial.last {
        let _ = write!(line, "  {}", outcome(last, style));
    }
    if let Some((rate, seconds)) = trial.next {
        let purpose = &trial.purpose;
        let _ = write!(line, "  now {} for {seconds} s ({purpose})", mpps(rate));
    }
    for bounds in &trial.bounds {
        let show = |rate: Option<u64>| rate.map_or("?".into(), mpps);
        let _ = write!(line, "  {} {} to {}", bounds.name, show(bounds.lower), show(bounds.upper));
    }
    match trial.next {
        Some(_) => {
            let _ = write!(
                line,
                "  {}",
                style.faint(format_args!("about {} left", span(trial.remaining_s)))
            );
        }
        None => {
            let _ = write!(line, "  {} trials, {} of them invalid", trial.trials, trial.invalid);
        }
    }
    line
}

fn outcome(last: &TrialRecord, style: Style) -> String {
    use pktgen::search::Verdict;
    let loss =
        style.bad_if(last.loss_ratio > 0.0, format_args!("{:.4}% lost", last.loss_ratio * 100.0));
    let verdict = match last.verdict {
        Verdict::Valid => "",
        Verdict::BackPressure => ", port full",
        Verdict::RateNotKept => ", invalid: rate not kept",
    };
    format!("trial {}: {} {loss}{verdict}", last.number, mpps(last.rate))
}

/// A rate in frames per second, in the millions.
pub(crate) fn mpps(rate: u64) -> String {
    let (millions, rest) = (rate / 1_000_000, rate % 1_000_000);
    format!("{millions}.{:04} Mpps", rest / 100)
}

/// A time that is about right.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "?".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn tick(phase: Phase, missing: u64, troubles: u64) -> Event {
        let directions = vec![TickDirection {
            direction: "forward",
            sent: 3_000_000,
            received: 2_999_990,
            missing,
            troubles,
            sent_mpps: 1.0,
            received_mpps: 0.999_99,
        }];
        Event::Tick(Tick { directions, ..Tick::new(phase, Duration::from_secs(3)) })
    }

    #[test]
    fn a_second_is_a_line() {
        let plain = Style::with_colours(false);
        assert_eq!(
            line(&tick(Phase::Running, 0, 0), plain),
            "   3.0 s  forward 1.000 Mpps out 1.000 Mpps back 0 missing"
        );
        assert_eq!(
            line(&tick(Phase::Draining, 10, 2), plain),
            "     end  forward 3000000 out 2999990 back 10 missing 2 duplicated, reordered or corrupted"
        );
        assert!(line(&tick(Phase::WarmUp, 0, 0), plain).contains("waiting for a first frame"));
    }

    #[test]
    fn what_is_known_beyond_rates_follows() {
        let latency =
            Some(pktgen::TickLatency { p50: 5_250, p99: 40_000, p99_9: 1_000_000, max: 2_000_000 });
        let quiet = Tick::new(Phase::Running, Duration::from_secs(1));
        let tick =
            Tick { cycles_per_packet: Some(81.6), burst_fill: Some(31.96), latency, ..quiet };
        assert_eq!(
            line(&Event::Tick(tick), Style::with_colours(false)),
            "   1.0 s  82 cycles/packet  bursts of 32.0  latency p50 5.2 p99 40.0 p99.9 1000.0 max 2000.0 us"
        );
    }

    #[test]
    fn only_trouble_is_red_and_only_with_colours() {
        let coloured = Style::with_colours(true);
        assert!(!line(&tick(Phase::Running, 0, 0), coloured).contains("\x1b[1;31m"));
        assert!(line(&tick(Phase::Running, 1, 0), coloured).contains("\x1b[1;31m1 missing\x1b[0m"));
        assert!(!line(&tick(Phase::Running, 1, 1), Style::with_colours(false)).contains('\x1b'));
    }

    #[test]
    fn a_trial_is_a_line_with_the_time_that_remains() {
        let mut state = TrialState {
            trials: 4,
            invalid: 1,
            next: Some((1_234_567, 2.0)),
            purpose: "ndr".into(),
            last: None,
            spent_s: 12.5,
            remaining_s: 600.0,
            bounds: Vec::new(),
        };
        let show = |state: &TrialState| {
            line(&Event::Trial(Box::new(state.clone())), Style::with_colours(false))
        };
        assert_eq!(show(&state), "  12.5 s  now 1.2345 Mpps for 2 s (ndr)  about 10 min left");
        state.next = None;
        assert_eq!(show(&state), "  12.5 s  4 trials, 1 of them invalid");
    }
}
