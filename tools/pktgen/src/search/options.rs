//! What every search obeys: its rates, what makes a trial valid, and when it is enough.

use std::time::Duration;

/// What every search obeys.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchOptions {
    /// The lowest rate that is tried, in frames per second and direction.
    pub min_rate: u64,
    /// The highest rate that is tried, in frames per second and direction: the link's, or what the generator can do.
    pub max_rate: u64,
    /// How far a trial's rate may be from what was asked, as a share.
    pub rate_error: f64,
    /// From which share of the time with a full port the device counts as slow: then frames that were not sent are its
    /// loss and not the generator's failure.
    pub ring_full: f64,
    /// How often a trial that does not count is made again, before its rate is held to be more than the generator can
    /// keep.
    pub repeats: u32,
    /// The search ends with what it has after so long, the first wait for the device aside; `None`: no limit. A trial
    /// that would take longer than what is left is not begun, and one that does is ended.
    pub max_time: Option<Duration>,
    /// The search ends with what it has after so many trials: a bound on its memory.
    pub max_trials: u64,
}

impl Default for SearchOptions {
    /// From 1000 frames per second to 14.88 million (10 GbE with frames of 60 bytes); rates kept to half a percent.
    fn default() -> Self {
        Self {
            min_rate: 1_000,
            max_rate: 14_880_952,
            rate_error: 0.005,
            ring_full: 0.05,
            repeats: 3,
            max_time: None,
            max_trials: 10_000,
        }
    }
}

impl SearchOptions {
    /// Why a search cannot obey this; what would be accepted.
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { min_rate, max_rate, rate_error, ring_full, .. } = *self;
        if min_rate == 0 || min_rate >= max_rate {
            return Err(format!(
                "a search from {min_rate} to {max_rate} frames per second; accepted: a lowest rate of at least 1 \
                 below the highest"
            ));
        }
        for (name, share) in [("rate error", rate_error), ("ring-full share", ring_full)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(format!("a {name} of {share}; accepted: above 0 and below 1"));
            }
        }
        if self.max_trials == 0 || self.max_time == Some(Duration::ZERO) {
            return Err("a search without trials; accepted: at least 1, and more than 0 s".into());
        }
        Ok(())
    }
}

/// Whether `duration` can be a trial's; `name` is what the message calls it.
pub(super) fn check_duration(name: &str, duration: Duration) -> Result<(), String> {
    if duration.is_zero() || duration > Duration::from_secs(1_000_000) {
        let seconds = duration.as_secs_f64();
        return Err(format!("{name} of {seconds} s; accepted: above 0 and at most 1000000 s"));
    }
    Ok(())
}

/// Whether `rate` is within the search's; `name` is what the message calls it.
pub(super) fn check_rate(name: &str, rate: u64, options: &SearchOptions) -> Result<(), String> {
    let (min, max) = (options.min_rate, options.max_rate);
    if (min..=max).contains(&rate) {
        return Ok(());
    }
    Err(format!("{name} of {rate} frames per second; accepted: the search's, from {min} to {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_options_are_refused_in_words() {
        let good = SearchOptions::default();
        assert_eq!(good.check(), Ok(()));
        for (bad, word) in [
            (SearchOptions { min_rate: 0, ..good.clone() }, "lowest rate"),
            (SearchOptions { max_rate: 1_000, ..good.clone() }, "lowest rate"),
            (SearchOptions { rate_error: f64::NAN, ..good.clone() }, "rate error"),
            (SearchOptions { rate_error: 0.0, ..good.clone() }, "rate error"),
            (SearchOptions { ring_full: 1.5, ..good.clone() }, "ring-full"),
            (SearchOptions { max_trials: 0, ..good.clone() }, "without trials"),
            (SearchOptions { max_time: Some(Duration::ZERO), ..good.clone() }, "without trials"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.contains(word) && error.contains("accepted"), "{error}");
        }
    }
}
