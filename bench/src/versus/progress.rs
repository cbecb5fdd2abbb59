//! How far a run is, and how long it still takes: so that a quiet hour can be planned.

use std::fmt;
use std::time::{Duration, Instant};

/// Cases of a run.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    began: Instant,
    cases: u32,
    done: u32,
    /// How long a case takes, as long as none is done.
    guess: Duration,
}

impl Progress {
    /// `cases` of `trials` trials and one that is discarded, each of two turns of `turn`, if nothing is disturbed.
    pub fn new(cases: u32, trials: u16, turn: Duration) -> Self {
        let guess = turn * 2 * (u32::from(trials) + 1);
        Self { began: Instant::now(), cases, done: 0, guess }
    }

    /// One more is done.
    pub fn step(&mut self) {
        self.done += 1;
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How long the others take, by what those took that are done.
    fn rest(&self, elapsed: Duration) -> Duration {
        let each = elapsed.checked_div(self.done).unwrap_or(self.guess);
        each * self.cases.saturating_sub(self.done)
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.rest(self.elapsed()).as_secs_f64() / 60.0;
        write!(f, "{} of {} cases; about {minutes:.1} min to go", self.done, self.cases)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_guessed_and_then_known_better() {
        let mut progress = Progress::new(10, 9, Duration::from_secs(1));
        assert_eq!(progress.rest(Duration::from_secs(3)), Duration::from_secs(200));
        assert_eq!(progress.to_string(), "0 of 10 cases; about 3.3 min to go");
        progress.step();
        progress.step();
        assert_eq!(progress.rest(Duration::from_secs(60)), Duration::from_secs(240));
        (2..11).for_each(|_| progress.step());
        assert_eq!(progress.rest(Duration::from_secs(60)), Duration::ZERO);
    }
}
