//! What the full-screen view knows: the last event of each kind, and a bounded past.

use std::collections::VecDeque;
use std::time::Duration;

use pktgen::{Phase, Tick};

use crate::output::{Event, TrialState};

/// Seconds of the past that are kept: more than a screen is wide.
const PAST: usize = 512;

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
    /// Loss of the last trials, in millionths.
    pub(crate) trials: VecDeque<(u64, u64, f64)>,
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
                    push(&mut self.trials, (last.number, last.rate, last.loss_ratio));
                }
                self.trial = Some((**trial).clone());
            }
        }
    }

    fn note_second(&mut self, tick: &Tick) {
        let count = tick.directions.len();
        self.received.resize_with(count, VecDeque::new);
        self.lost.resize_with(count, VecDeque::new);
        self.missing.resize(count, 0);
        for (number, d) in tick.directions.iter().enumerate() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a rate, for a picture"
            )]
            push(&mut self.received[number], (d.received_mpps * 1e6) as u64);
            push(&mut self.lost[number], d.missing.saturating_sub(self.missing[number]));
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

fn push<T>(past: &mut VecDeque<T>, value: T) {
    if past.len() == PAST {
        past.pop_front();
    }
    past.push_back(value);
}
