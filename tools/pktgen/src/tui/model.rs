//! What the full-screen view knows: the last event of each kind, and a bounded past.

use std::collections::VecDeque;
use std::time::Duration;

use pktgen::{Phase, Tick};

use crate::output::{Event, TrialState};

/// Seconds of the past that are kept: more than a screen is wide.
const PAST: usize = 512;
/// The same of each stream.
const STREAM_PAST: usize = 32;

/// What is shown.
pub(crate) struct Model {
    pub(crate) duration: Option<Duration>,
    pub(crate) colours: bool,
    /// Somebody asked for the end.
    pub(crate) stopping: bool,
    pub(crate) tick: Option<Tick>,
    pub(crate) trial: Option<TrialState>,
    /// By direction: frames received and missing in each second.
    pub(crate) received: Vec<VecDeque<u64>>,
    pub(crate) lost: Vec<VecDeque<u64>>,
    /// The last totals of missing frames.
    missing: Vec<u64>,
    /// The last trials: number, rate, loss ratio.
    pub(crate) trials: VecDeque<(u64, u64, f64)>,
    /// By stream: frames received in each of the last seconds.
    streams: Vec<VecDeque<u64>>,
    /// The stream that was scrolled to.
    scrolled: usize,
    /// Rows that the table of streams had last.
    pub(crate) rows_shown: usize,
}

impl Model {
    pub(crate) fn new(duration: Option<Duration>, colours: bool) -> Self {
        Self {
            duration,
            colours,
            stopping: false,
            tick: None,
            trial: None,
            received: Vec::new(),
            lost: Vec::new(),
            missing: Vec::new(),
            trials: VecDeque::new(),
            streams: Vec::new(),
            scrolled: 0,
            rows_shown: 0,
        }
    }

    /// Takes note of an event.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Tick(tick) => {
                if tick.phase == Phase::Running {
                    self.note_second(tick);
                }
                self.tick = Some(tick.clone());
            }
            Event::Trial(trial) => {
                if let Some(last) = &trial.last
                    && self.trials.back().is_none_or(|(number, ..)| *number != last.number)
                {
                    push(&mut self.trials, (last.number, last.rate, last.loss_ratio), PAST);
                }
                self.trial = Some((**trial).clone());
            }
        }
    }

    /// Directions there are.
    pub(crate) fn directions(&self) -> usize {
        self.tick.as_ref().map_or(0, |tick| tick.directions.len())
    }

    /// Streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.tick.as_ref().map_or(0, |tick| tick.streams.len())
    }

    /// Whether there are more streams than are shown.
    pub(crate) fn can_scroll(&self) -> bool {
        self.rows_shown > 0 && self.streams() > self.rows_shown
    }

    /// The first stream to show.
    pub(crate) fn first_shown(&self) -> usize {
        self.scrolled.min(self.streams().saturating_sub(self.rows_shown))
    }

    /// Shows later streams, or earlier ones.
    pub(crate) fn scroll(&mut self, rows: isize) {
        self.scrolled = self.first_shown().saturating_add_signed(rows).min(self.streams());
    }

    /// Frames that a stream received in the last seconds.
    pub(crate) fn past_of(&self, stream: usize) -> impl DoubleEndedIterator<Item = u64> {
        self.streams.get(stream).into_iter().flatten().copied()
    }

    fn note_second(&mut self, tick: &Tick) {
        self.streams.resize_with(tick.streams.len(), VecDeque::new);
        for (past, stream) in self.streams.iter_mut().zip(&tick.streams) {
            push(past, whole(stream.received_mpps), STREAM_PAST);
        }
        let count = tick.directions.len();
        self.received.resize_with(count, VecDeque::new);
        self.lost.resize_with(count, VecDeque::new);
        self.missing.resize(count, 0);
        for (number, d) in tick.directions.iter().enumerate() {
            push(&mut self.received[number], whole(d.received_mpps), PAST);
            push(&mut self.lost[number], d.missing.saturating_sub(self.missing[number]), PAST);
            self.missing[number] = d.missing;
        }
    }

    /// How much of the run is over, where that is known.
    pub(crate) fn share(&self) -> Option<f64> {
        if let Some(trial) = &self.trial {
            let all = trial.spent_s + trial.remaining_s;
            return (all > 0.0 && all.is_finite()).then(|| trial.spent_s / all);
        }
        let (tick, duration) = (self.tick.as_ref()?, self.duration?);
        let running = tick.phase == Phase::Running;
        running.then(|| (tick.elapsed.as_secs_f64() / duration.as_secs_f64()).min(1.0))
    }
}

/// Frames per second, for a picture.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for a picture")]
fn whole(mpps: f64) -> u64 {
    (mpps * 1e6) as u64
}

fn push<T>(past: &mut VecDeque<T>, value: T, most: usize) {
    if past.len() == most {
        past.pop_front();
    }
    past.push_back(value);
}
