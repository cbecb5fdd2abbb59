//! How the frames of a stream are spread over time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::value::number;
use crate::Rate;

/// How frames are spread over time.
///
/// | text | frames |
/// | --- | --- |
/// | `constant` | evenly |
/// | `poisson[@SEED]` | independently, as many on average |
/// | `burst:N/PAUSE[xCOUNT]` | N at the stream's rate, then nothing for PAUSE (`10ms`), and again; COUNT times |
/// | `ramp:RATE/TIME` | evenly, at a rate that grows or falls from RATE to the stream's within TIME (`30s`), and stays there |
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Profile {
    /// Evenly.
    #[default]
    Constant,
    /// With exponentially distributed gaps; the same in every run with the same seed.
    Poisson {
        /// What makes this sequence different from others.
        seed: u64,
    },
    /// In bursts.
    Burst {
        /// Frames of a burst.
        frames: u64,
        /// From the last frame's end to the next burst.
        pause: Duration,
        /// How many bursts; `None`: no limit.
        count: Option<u64>,
    },
    /// At a changing rate. Both rates count the same: packets, or bits.
    Ramp {
        /// The rate at the start.
        from: Rate,
        /// How long it takes to the stream's rate.
        over: Duration,
    },
}

impl Profile {
    /// Frames in all, where the profile says so.
    pub fn frames(&self) -> Option<u64> {
        match self {
            Self::Burst { frames, count: Some(count), .. } => frames.checked_mul(*count),
            _ => None,
        }
    }
}

/// Reads a time such as `10ms`, `1.5s`, `2m`.
///
/// # Errors
/// In words that say what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ns" => Some(1e-9),
        "us" => Some(1e-6),
        "ms" => Some(1e-3),
        "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let seconds = number.parse::<f64>().ok().zip(factor).map(|(number, factor)| number * factor);
    let time = seconds.filter(|s| *s > 0.0 && *s <= 1e9).map(Duration::from_secs_f64);
    time.filter(|time| !time.is_zero()).ok_or_else(|| {
        format!("`{text}` is no time; accepted: a number above 0 with ns, us, ms, s, m or h, such as 10ms")
    })
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            _ if text == "constant" => Ok(Self::Constant),
            _ if text == "poisson" => Ok(Self::Poisson { seed: 1 }),
            Some(("burst", rest)) => burst(rest),
            Some(("ramp", rest)) => ramp(rest),
            _ => match text.strip_prefix("poisson@") {
                Some(seed) => number(seed, "seed").map(|seed| Self::Poisson { seed }),
                None => Err(format!("`{text}` is no profile")),
            },
        };
        parsed.map_err(|error| {
            format!(
                "{error}; accepted: constant, poisson[@SEED], burst:N/PAUSE[xCOUNT], ramp:RATE/TIME"
            )
        })
    }
}

fn burst(text: &str) -> Result<Profile, String> {
    let (frames, rest) = text.split_once('/').ok_or_else(|| format!("`{text}` has no pause"))?;
    let (pause, count) = rest.split_once('x').map_or((rest, None), |(p, n)| (p, Some(n)));
    let count = count.map(|count| number(count, "number of bursts")).transpose()?;
    let frames = number(frames, "number of frames")?;
    if frames == 0 || count == Some(0) {
        return Err("a burst has at least 1 frame, and there is at least 1 burst".into());
    }
    Ok(Profile::Burst { frames, pause: parse_duration(pause)?, count })
}

fn ramp(text: &str) -> Result<Profile, String> {
    // A rate may hold a slash too (`10Mbit/s`), a time does not.
    let (rate, over) = text.rsplit_once('/').ok_or_else(|| format!("`{text}` has no time"))?;
    let from: Rate = rate.parse().map_err(|error| format!("{error}"))?;
    if from == Rate::Max {
        return Err("a ramp cannot begin at max".into());
    }
    Ok(Profile::Ramp { from, over: parse_duration(over)? })
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson { seed } => write!(f, "poisson@{seed}"),
            Self::Burst { frames, pause, count } => {
                write!(f, "burst:{frames}/{}ns", pause.as_nanos())?;
                count.map_or(Ok(()), |count| write!(f, "x{count}"))
            }
            Self::Ramp { from, over } => write!(f, "ramp:{from}/{}ns", over.as_nanos()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_read_and_print() {
        for (text, printed) in [
            ("constant", "constant"),
            ("poisson", "poisson@1"),
            ("poisson@9", "poisson@9"),
            ("burst:32/10ms", "burst:32/10000000ns"),
            ("burst:32/1usx5", "burst:32/1000nsx5"),
            ("ramp:1kpps/30s", "ramp:1kpps/30000000000ns"),
            ("ramp:10Mbit/s/1s", "ramp:10Mbit/s/1000000000ns"),
        ] {
            assert_eq!(text.parse::<Profile>().unwrap().to_string(), printed);
        }
        assert_eq!("burst:32/1usx5".parse::<Profile>().unwrap().frames(), Some(160));
    }

    #[test]
    fn bad_profiles_say_what_is_accepted() {
        for text in [
            "",
            "even",
            "poisson@",
            "poisson@-1",
            "burst:32",
            "burst:0/1ms",
            "burst:3/1msx0",
            "burst:3/0ms",
            "burst:3/1",
            "ramp:1kpps",
            "ramp:max/1s",
            "ramp:1k/1s",
            "ramp:1kpps/0s",
            "ramp:1kpps/1e3s",
        ] {
            let error = text.parse::<Profile>().expect_err(text);
            assert!(error.contains("accepted: constant"), "{text}: {error}");
        }
    }
}
