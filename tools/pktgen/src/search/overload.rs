//! An overload on ports: two streams in one run, of which one ends in the middle.
//!
//! The base stream goes on at the reduced rate from beginning to end; the other one adds what is missing to the
//! overload, as many frames as that takes. The rate drops without a pause, and what the base stream misses afterwards
//! tells how long the device took to recover.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use super::RecoveryTimes;
use super::gaps::Gaps;
use crate::latency::Sampling;
use crate::stream::SizeSpec;
use crate::{Error, Options, Rate, Report, Runner, StreamSpec, Tick};

/// The name of the stream that goes on.
const BASE: &str = "base";

/// How far the generator may be from its rates.
const RATE_ERROR: f64 = 0.005;

/// One overload of `duration`, and as long at the reduced rate; and the report of the run.
pub(super) fn recover(
    runner: &mut Runner,
    options: &Options,
    (overload, reduced): (u64, u64),
    duration: Duration,
    each: &mut dyn FnMut(&Tick) -> ControlFlow<()>,
) -> Result<(RecoveryTimes, Report), Error> {
    let more = overload.saturating_sub(reduced).max(1);
    let frames = super::lab::to_rate(more as f64 * duration.as_secs_f64());
    runner.set_options(Options {
        streams: streams(options, reduced, more, frames)?,
        latency: Some(Sampling::ALL),
        count: None,
        duration: Some(2 * duration),
        ..options.clone()
    })?;
    let gaps = Rc::new(RefCell::new(Gaps::new(reduced, duration)));
    let before = runner.swap_observer(Some(gaps.clone()));
    let report = runner.run(each);
    runner.swap_observer(before);
    let report = report?;
    if report.interrupted {
        return Err(Error::Interrupted);
    }
    let times = times(&report, &gaps.borrow());
    Ok((times, report))
}

/// The base stream, and the one that is added to it.
fn streams(options: &Options, base: u64, more: u64, frames: u64) -> Result<Vec<StreamSpec>, Error> {
    let like = match &options.streams[..] {
        [] => StreamSpec { size: SizeSpec::Fixed(options.size.bytes()), ..StreamSpec::default() },
        [one] => one.clone(),
        _ => {
            return Err(Error::Usage(
                "a recovery test has one stream; accepted: at most one".into(),
            ));
        }
    };
    let stream = |name: &str, rate, count| StreamSpec {
        name: name.into(),
        rate: Some(Rate::Packets(rate)),
        count,
        ..like.clone()
    };
    Ok(vec![stream(BASE, base, None), stream("overload", more, Some(frames.max(1)))])
}

fn times(report: &Report, gaps: &Gaps) -> RecoveryTimes {
    let base = report.streams.iter().enumerate().filter(|(_, stream)| stream.name == BASE);
    let ends: Vec<_> = base.map(|(number, stream)| gaps.stream(number, stream.sent)).collect();
    let lost: u64 = report.directions.iter().map(|d| d.lost + d.corrupted).sum();
    let lost_after: u64 = ends.iter().map(|stream| stream.missing).sum();
    let last = ends.iter().map(|stream| stream.last).max().unwrap_or_default();
    let kept = report.directions.iter().all(|d| d.skipped as f64 <= RATE_ERROR * d.sent as f64);
    RecoveryTimes {
        lost_overloaded: lost.saturating_sub(lost_after),
        lost_after,
        last_loss_s: Duration::from_nanos(last).as_secs_f64(),
        rates_kept: kept,
        took_s: 0.0,
    }
}
