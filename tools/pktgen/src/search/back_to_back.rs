//! RFC 2544 back-to-back frames: the longest burst at the highest rate without loss (section 26.4), as RFC 9004
//! updates it: the burst is found by halving, many times; the average is the result, and from it and the throughput
//! comes how much the device buffers.

use std::time::Duration;

use serde::Serialize;

use super::lab::{Lab, Measured, Plan};
use super::{Completion, Findings};

/// A search for the longest burst.
#[derive(Clone, Debug, PartialEq)]
pub struct BackToBack {
    /// The longest burst that is tried, as time at the highest rate; the standard wants at least 2 s.
    pub longest: Duration,
    /// How often the burst is searched; the standard wants 50.
    pub repeats: u32,
    /// How close the answer is to the shortest burst that loses, in frames.
    pub resolution: u64,
    /// The throughput (frames per second and direction), if it is known: the buffer is computed with it (RFC 9004,
    /// section 6.4).
    pub throughput: Option<u64>,
}

impl Default for BackToBack {
    fn default() -> Self {
        Self { longest: Duration::from_secs(2), repeats: 50, resolution: 1, throughput: None }
    }
}

/// The longest burst.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct BackToBackOutcome {
    /// The rate of the bursts, in frames per second and direction.
    pub rate: u64,
    /// The average over all searches, in frames: the result.
    pub average: Option<f64>,
    /// The shortest of them.
    pub shortest: Option<u64>,
    /// The longest of them.
    pub longest: Option<u64>,
    /// The standard deviation.
    pub standard_deviation: Option<f64>,
    /// Searches in which the longest burst that is tried lost nothing: then the result says nothing about buffers.
    pub unbounded: u32,
    /// The time in seconds that the device's buffer bridges: the burst's time, less what was forwarded meanwhile at
    /// the throughput (RFC 9004, section 6.4, "Corrected DUT Buffer Time").
    pub buffer_s: Option<f64>,
    /// Each search's result, in frames.
    pub bursts: Vec<u64>,
}

impl BackToBack {
    pub(super) fn check(&self) -> Result<(), String> {
        super::options::check_duration("the longest burst", self.longest)?;
        if !(1..=10_000).contains(&self.repeats) || self.resolution == 0 {
            return Err(
                "no repetition or no resolution; accepted: from 1 to 10000, at least 1".into()
            );
        }
        Ok(())
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        let mut found = BackToBackOutcome { rate: lab.highest(), ..BackToBackOutcome::default() };
        let completion = match self.search(lab, &mut found) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        found.summarize(self.throughput);
        (Findings::BackToBack(found), completion)
    }

    fn search(&self, lab: &mut Lab<'_>, found: &mut BackToBackOutcome) -> Result<(), Completion> {
        let mut repeat = 0;
        while repeat < self.repeats {
            let rate = lab.highest();
            if rate < lab.options.min_rate {
                return Err(Completion::GeneratorTooSlow);
            }
            if rate != found.rate {
                // Bursts of different rates cannot be averaged.
                *found = BackToBackOutcome { rate, ..BackToBackOutcome::default() };
                repeat = 0;
            }
            let left = f64::from(self.repeats - repeat - 1);
            if let Some((burst, bounded)) = self.longest_burst(lab, rate, left)? {
                found.bursts.push(burst);
                found.unbounded += u32::from(!bounded);
                repeat += 1;
            }
        }
        Ok(())
    }

    /// The longest burst without loss, and whether a longer one lost; `None`: the generator did not keep the rate.
    fn longest_burst(
        &self,
        lab: &mut Lab<'_>,
        rate: u64,
        left: f64,
    ) -> Result<Option<(u64, bool)>, Completion> {
        let most = super::lab::to_rate(rate as f64 * self.longest.as_secs_f64()).max(1);
        let (mut good, mut bad, mut frames) = (0, None, most);
        loop {
            let seconds = frames as f64 / rate as f64;
            let halvings = (bad.unwrap_or(most) as f64 / self.resolution as f64).log2().max(0.0);
            let then_s = seconds + left * halvings * seconds;
            let plan = Plan::new(rate, seconds, "burst", then_s);
            match lab.burst(&plan, frames)? {
                Measured::Valid(record) if record.loss_ratio == 0.0 => good = frames,
                Measured::Valid(_) => bad = Some(frames),
                Measured::NotKept(_) => return Ok(None),
            }
            match bad {
                None => return Ok(Some((good, false))),
                Some(bad) if bad - good <= self.resolution => return Ok(Some((good, true))),
                Some(bad) => frames = good + (bad - good) / 2,
            }
        }
    }
}

impl BackToBackOutcome {
    fn summarize(&mut self, throughput: Option<u64>) {
        let count = self.bursts.len() as f64;
        if self.bursts.is_empty() {
            return;
        }
        let average = self.bursts.iter().sum::<u64>() as f64 / count;
        let squares = self.bursts.iter().map(|&b| (b as f64 - average).powi(2)).sum::<f64>();
        self.average = Some(average);
        self.standard_deviation = Some((squares / count).sqrt());
        (self.shortest, self.longest) =
            (self.bursts.iter().min().copied(), self.bursts.iter().max().copied());
        let bounded = self.unbounded == 0 && self.rate > 0;
        self.buffer_s = throughput.filter(|&t| bounded && t > 0).map(|throughput| {
            let implied = average / self.rate as f64;
            (implied - implied * throughput as f64 / self.rate as f64).max(0.0)
        });
    }
}
