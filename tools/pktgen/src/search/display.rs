//! A search's outcome, for people.

use std::fmt;

use super::{Completion, Findings, GoalOutcome, GoalStatus, SearchOutcome, Verdict};

impl fmt::Display for SearchOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.completion {
            Completion::Complete => {}
            reason => writeln!(f, "PARTIAL RESULT: {reason}")?,
        }
        self.findings.fmt(f)?;
        if let Some(limit) = self.generator_limit {
            writeln!(f, "the generator does not keep {}: what is above was not tried", pps(limit))?;
        }
        match self.ceiling {
            Some(ceiling) => writeln!(f, "generator ceiling {ceiling}")?,
            None => writeln!(f, "generator ceiling not measured")?,
        }
        let counted = self.trials.iter();
        let worst = counted.map(|t| t.result.rate_error.abs()).fold(0.0, f64::max);
        writeln!(
            f,
            "{} trials kept, {} did not count, worst rate error {:.4} %, {:.0} s",
            self.trials.len(),
            self.invalid_trials,
            worst * 100.0,
            self.spent_s
        )
    }
}

impl fmt::Display for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Stopped => f.write_str("stopped"),
            Self::OutOfTime => f.write_str("the time is over"),
            Self::OutOfTrials => f.write_str("there were too many trials"),
            Self::GeneratorTooSlow => f.write_str("the generator does not keep the lowest rate"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

impl fmt::Display for GoalOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = |bound: Option<u64>| bound.map_or("none".into(), pps);
        write!(
            f,
            "{:<8} (loss up to {} %) between {} and {}",
            self.goal.name,
            self.goal.loss_ratio * 100.0,
            bound(self.lower),
            bound(self.upper)
        )?;
        if let Some(rate) = self.conditional_throughput {
            write!(f, ", conditional throughput {:.6} Mpps", rate / 1e6)?;
        }
        match self.status {
            GoalStatus::Regular => Ok(()),
            GoalStatus::NoUpperBound => f.write_str(": the highest rate meets the goal"),
            GoalStatus::GeneratorLimited => {
                f.write_str(": the generator's limit, not the device's")
            }
            GoalStatus::NoLowerBound => f.write_str(": even the lowest rate misses the goal"),
            GoalStatus::Unfinished => f.write_str(": unfinished"),
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = || "none".to_owned();
        match self {
            Self::LossRatios(goals) => goals.iter().try_for_each(|goal| writeln!(f, "{goal}")),
            Self::Throughput(found) => writeln!(
                f,
                "throughput {}, first loss at {}, trials of {} s",
                found.throughput.map_or_else(none, pps),
                found.losing.map_or_else(none, pps),
                found.trial_s
            ),
            Self::Latency(points) => points.iter().try_for_each(|point| {
                writeln!(
                    f,
                    "{} (repetition {}){}",
                    pps(point.rate),
                    point.repeat,
                    note(point.verdict)
                )?;
                match &point.latency {
                    Some(latency) => latency.fmt(f),
                    None => writeln!(f, "no latency was measured"),
                }
            }),
            Self::FrameLoss(points) => points.iter().try_for_each(|point| {
                let (share, loss) = (point.share * 100.0, point.loss_ratio * 100.0);
                writeln!(
                    f,
                    "{share:5.1} % {} {loss:.6} % lost{}",
                    pps(point.rate),
                    note(point.verdict)
                )
            }),
            Self::BackToBack(found) => {
                let average =
                    found.average.map_or_else(none, |frames| format!("{frames:.1} frames"));
                write!(f, "longest burst at {}: {average} on average", pps(found.rate))?;
                if found.unbounded > 0 {
                    write!(f, ", {} times no burst lost", found.unbounded)?;
                }
                match found.buffer_s {
                    Some(seconds) => writeln!(f, ", buffer {:.3} ms", seconds * 1e3),
                    None => writeln!(f),
                }
            }
            Self::Recovery(found) => {
                let time = found.average_s.map_or_else(none, |s| format!("{:.6} s", s));
                writeln!(
                    f,
                    "recovery from {} to {}: {time}",
                    pps(found.overload),
                    pps(found.reduced)
                )
            }
            Self::Soak(found) => writeln!(
                f,
                "soak at {}: {} of {} trials lost something, {:.9} % of all frames",
                pps(found.rate),
                found.trials_with_loss,
                found.trials,
                found.loss_ratio * 100.0
            ),
        }
    }
}

fn pps(rate: u64) -> String {
    format!("{:.6} Mpps", rate as f64 / 1e6)
}

fn note(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "",
        Verdict::BackPressure => ", refused by the device",
        Verdict::RateNotKept => ", NOT VALID: the generator did not keep the rate",
    }
}
