//! The file of limits and recorded counts, `bench/gates.json`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// One gate's numbers, in instructions per packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// More than this fails.
    pub limit: f64,
    /// What is aimed at. Once `recorded` is not above it, it is a limit as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    /// What was counted when the file was last recorded.
    pub recorded: f64,
    /// The same of the twin that believes its peer ([`twin`](crate::twin)): of ring halves only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unchecked: Option<f64>,
}

/// What a count is, beside a gate's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within the limit, and within the goal if there is one.
    Good,
    /// Within the limit; the goal is not reached.
    AboveGoal,
    /// Over the limit, or over a goal that had been reached.
    Exceeded,
}

impl Numbers {
    /// What is enforced: the limit, and the goal once it was reached.
    pub fn enforced(&self) -> f64 {
        match self.goal {
            Some(goal) if self.recorded <= goal => self.limit.min(goal),
            _ => self.limit,
        }
    }

    /// Judges a count.
    pub fn verdict(&self, now: f64) -> Verdict {
        if now > self.enforced() {
            Verdict::Exceeded
        } else if self.goal.is_some_and(|goal| now > goal) {
            Verdict::AboveGoal
        } else {
            Verdict::Good
        }
    }
}

/// The file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Where `recorded` was counted.
    pub environment: Environment,
    /// By name.
    pub gates: BTreeMap<String, Numbers>,
}

/// The file cannot be used: its path, and why.
#[derive(Debug)]
pub struct RecordError(PathBuf, String);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.display(), self.1)
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// The repository's own file.
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("gates.json")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is absent or not what [`Record`] says.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let fail = |why: String| RecordError(path.to_owned(), why);
        let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| fail(error.to_string()))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let fail = |why: String| RecordError(path.to_owned(), why);
        let text = serde_json::to_string_pretty(self).map_err(|error| fail(error.to_string()))?;
        std::fs::write(path, text + "\n").map_err(|error| fail(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gates::all;

    /// Instructions per packet that the project set out to reach, bursts of 32 frames of 64 bytes, checks included. Of a
    /// device half they are meant without the bytes' copy.
    const GOALS: [(&str, f64); 9] = [
        ("pool", 6.0),
        ("driver-receive", 30.0),
        ("driver-transmit", 30.0),
        ("packed-driver-receive", 30.0),
        ("packed-driver-transmit", 30.0),
        ("device-receive-without-copy", 35.0),
        ("device-transmit-without-copy", 35.0),
        ("packed-device-receive-without-copy", 35.0),
        ("packed-device-transmit-without-copy", 35.0),
    ];

    fn record() -> Record {
        Record::read(&Record::path()).unwrap()
    }

    #[test]
    fn every_gate_has_numbers_and_all_numbers_have_a_gate() {
        let record = record();
        let gates: BTreeSet<&str> = all().map(|gate| gate.name).collect();
        assert_eq!(record.gates.keys().map(String::as_str).collect::<BTreeSet<_>>(), gates);
        for (name, numbers) in &record.gates {
            assert!(numbers.recorded > 0.0, "{name} was never recorded");
            assert!(numbers.recorded <= numbers.limit, "{name}: {numbers:?}");
            assert!(numbers.limit < numbers.recorded * 1.1, "{name}: a limit that limits nothing");
        }
    }

    #[test]
    fn goals_stay_and_what_was_reached_is_not_given_up() {
        let record = record();
        for (name, goal) in GOALS {
            assert_eq!(record.gates[name].goal, Some(goal), "{name}");
        }
        for (name, numbers) in record.gates.iter().filter(|(_, numbers)| numbers.goal.is_some()) {
            let goal = numbers.goal.unwrap_or_default();
            let kept = numbers.recorded > goal || numbers.limit <= goal;
            assert!(kept, "{name}: the goal was reached, so it is the highest limit: {numbers:?}");
        }
    }

    #[test]
    fn a_goal_that_was_reached_is_a_limit() {
        let numbers =
            |recorded| Numbers { limit: 33.0, goal: Some(30.0), recorded, unchecked: None };
        let verdicts =
            |recorded| [29.0, 30.0, 30.1, 33.1].map(|now| numbers(recorded).verdict(now));
        use Verdict::{AboveGoal, Exceeded, Good};
        assert_eq!(verdicts(30.0), [Good, Good, Exceeded, Exceeded]);
        assert_eq!(verdicts(32.0), [Good, Good, AboveGoal, Exceeded]);
        let without = Numbers { goal: None, ..numbers(30.0) };
        assert_eq!((without.verdict(33.0), without.verdict(33.1)), (Good, Exceeded));
    }
}
