//! Several loss ratios at once, by the MLRsearch method.
//!
//! Every goal has a seeker, all seekers share all trials, and of the rates they ask for the lowest is tried: the
//! cautious one, that most others can learn from. The search ends when no seeker asks for more. The choice of rates is
//! ours (the draft leaves it free); what makes a bound and a result is the draft's.

use super::bounds::{Bounds, Trials};
use super::lab::{Lab, Measured, Plan, to_rate};
use super::outcome::GoalBounds;
use super::seeker::{Candidate, Range, Seeker};
use super::{Completion, Findings, Goal, GoalOutcome, GoalStatus, TrialRecord};

/// A search for the rates at which the loss reaches given ratios.
#[derive(Clone, Debug, PartialEq)]
pub struct LossRatios {
    /// The goals; at least one, each with its own name.
    pub goals: Vec<Goal>,
}

impl LossRatios {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.goals.is_empty() {
            return Err("a search without a goal; accepted: at least one".into());
        }
        for (number, goal) in self.goals.iter().enumerate() {
            goal.check()?;
            if self.goals[..number].iter().any(|other| other.name == goal.name) {
                return Err(format!(
                    "two goals are called {}; accepted: a name for each",
                    goal.name
                ));
            }
        }
        Ok(())
    }

    pub(super) fn run(&self, lab: &mut Lab<'_>) -> (Findings, Completion) {
        lab.find_ceiling();
        let mut quest = Quest { trials: Trials::default(), seekers: Vec::new() };
        let completion = match quest.search(&self.goals, lab) {
            Ok(()) => Completion::Complete,
            Err(completion) => completion,
        };
        if quest.seekers.is_empty() {
            quest.seekers =
                self.goals.iter().map(|goal| Seeker::new(goal, Bounds::default())).collect();
        }
        (Findings::LossRatios(quest.outcomes(lab)), completion)
    }
}

struct Quest<'g> {
    trials: Trials,
    seekers: Vec<Seeker<'g>>,
}

impl<'g> Quest<'g> {
    fn search(&mut self, goals: &'g [Goal], lab: &mut Lab<'_>) -> Result<(), Completion> {
        let guess = self.first_guess(goals, lab)?;
        self.seekers = goals.iter().map(|goal| Seeker::new(goal, guess)).collect();
        loop {
            let range = range(lab)?;
            let Some((candidate, purpose)) = self.best_candidate(range) else { return Ok(()) };
            let plan = self.plan(candidate, purpose, range);
            self.measure(lab, &plan)?;
        }
    }

    /// A trial at the highest rate, and one at the rate of what came back of it: the device's rough capacity.
    fn first_guess(&mut self, goals: &[Goal], lab: &mut Lab<'_>) -> Result<Bounds, Completion> {
        let duration = goals.iter().map(|goal| goal.initial_trial).min().unwrap_or_default();
        let duration_s = duration.as_secs_f64();
        let then_s: f64 = goals.iter().map(|g| 5.0 * g.duration_sum.as_secs_f64()).sum();
        let returned =
            |record: &TrialRecord| to_rate(record.rate as f64 * (1.0 - record.loss_ratio));
        let upper = loop {
            let plan = Plan::new(range(lab)?.max, duration_s, "highest rate", then_s);
            if let Some(record) = self.measure(lab, &plan)? {
                break returned(&record).clamp(lab.options.min_rate, record.rate);
            }
        };
        let plan = Plan::new(upper, duration_s, "rate of what came back", then_s);
        let known = self.measure(lab, &plan)?;
        let lower = known.map_or(upper, |record| returned(&record));
        Ok(Bounds { lower: Some(lower.clamp(lab.options.min_rate, upper)), upper: Some(upper) })
    }

    /// The lowest rate that any seeker asks for; of equal ones, the longest trial.
    fn best_candidate(&mut self, range: Range) -> Option<(Candidate, &'g str)> {
        let Self { trials, seekers } = self;
        let nominated = seekers.iter_mut().filter_map(|seeker| {
            Some((seeker.nominate(trials, range)?, seeker.goal.name.as_str()))
        });
        nominated.min_by(|(a, _), (b, _)| {
            a.rate.cmp(&b.rate).then(b.duration_s.total_cmp(&a.duration_s))
        })
    }

    fn plan(&self, candidate: Candidate, purpose: &'g str, range: Range) -> Plan<'g> {
        let all: f64 = self.seekers.iter().map(|s| s.remaining_s(&self.trials, range)).sum();
        let then_s = (all - candidate.duration_s).max(0.0);
        Plan {
            bounds: self.bounds(),
            ..Plan::new(candidate.rate, candidate.duration_s, purpose, then_s)
        }
    }

    fn bounds(&self) -> Vec<GoalBounds> {
        let named = self.seekers.iter().map(|seeker| {
            let Bounds { lower, upper } = seeker.bounds(&self.trials);
            GoalBounds { name: seeker.goal.name.clone(), lower, upper }
        });
        named.collect()
    }

    /// Makes a trial and remembers it, if it counts.
    fn measure(
        &mut self,
        lab: &mut Lab<'_>,
        plan: &Plan<'_>,
    ) -> Result<Option<TrialRecord>, Completion> {
        match lab.measure(plan)? {
            Measured::Valid(record) => {
                self.trials.add(&record);
                Ok(Some(record))
            }
            Measured::NotKept(_) => Ok(None),
        }
    }

    fn outcomes(&self, lab: &Lab<'_>) -> Vec<GoalOutcome> {
        let range = Range { min: lab.options.min_rate, max: lab.highest() };
        self.seekers.iter().map(|seeker| self.outcome(seeker, lab, range)).collect()
    }

    fn outcome(&self, seeker: &Seeker<'_>, lab: &Lab<'_>, range: Range) -> GoalOutcome {
        let done = seeker.is_done(&self.trials, range);
        let target = seeker.last_target();
        let bounds = if done { self.trials.bounds(target) } else { seeker.bounds(&self.trials) };
        let status = match (done, bounds.lower, bounds.upper) {
            (false, ..) => GoalStatus::Unfinished,
            (true, None, _) => GoalStatus::NoLowerBound,
            (true, Some(_), Some(_)) if seeker.is_close(bounds) => GoalStatus::Regular,
            (true, Some(_), _) if lab.is_limited() => GoalStatus::GeneratorLimited,
            (true, Some(_), _) => GoalStatus::NoUpperBound,
        };
        let typical = |rate: u64| rate as f64 * (1.0 - target.typical_loss(self.trials.at(rate)));
        GoalOutcome {
            goal: seeker.goal.clone(),
            status,
            lower: bounds.lower,
            upper: bounds.upper,
            width: bounds
                .lower
                .zip(bounds.upper)
                .map(|(lower, upper)| (upper - lower) as f64 / upper as f64),
            conditional_throughput: bounds.lower.filter(|_| done).map(typical),
        }
    }
}

/// The rates that may be tried now.
fn range(lab: &Lab<'_>) -> Result<Range, Completion> {
    let range = Range { min: lab.options.min_rate, max: lab.highest() };
    if range.max < range.min { Err(Completion::GeneratorTooSlow) } else { Ok(range) }
}
