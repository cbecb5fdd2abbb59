//! Which field of a frame takes which values: `ipv4.source=inc:10.0.0.1-10.0.0.254`.
//!
//! A field is named by its layer (`udp.source`; `vlan#2.id` for the second layer of a kind, counted from the outside)
//! or by its place (`@14+2`: two bytes at offset 14). How its values follow each other:
//!
//! | text | value of frame number `k` |
//! | --- | --- |
//! | `fixed:V` or `V` | V |
//! | `inc:FROM-TO[/STEP]` | FROM + (k x STEP modulo the length of the range) |
//! | `dec:FROM-TO[/STEP]` | TO - (k x STEP modulo the length of the range) |
//! | `random:FROM-TO[@SEED]` | uniform, a function of SEED and k |
//! | `list:V,V,...` | the k-th of the list, and again from the first |
//!
//! With `flows = N` in its stream, `k` is the frame's number modulo N: N combinations, over and over.

use std::fmt;
use std::str::FromStr;

use super::value::parse;

/// A field and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The field: `LAYER.FIELD`, `LAYER#N.FIELD` or `@OFFSET+WIDTH`.
    pub name: String,
    /// Its values.
    pub values: Values,
}

/// The values that a field takes, from frame to frame. Addresses are the numbers that their bytes make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// One.
    Fixed(u128),
    /// Upward, and again from the lowest.
    Increment {
        /// The lowest.
        from: u128,
        /// The highest.
        to: u128,
        /// From one to the next.
        step: u64,
    },
    /// Downward, and again from the highest.
    Decrement {
        /// The lowest.
        from: u128,
        /// The highest.
        to: u128,
        /// From one to the next.
        step: u64,
    },
    /// Uniformly distributed; the same in every run with the same seed.
    Random {
        /// The lowest.
        from: u128,
        /// The highest.
        to: u128,
        /// What makes this sequence different from others.
        seed: u64,
    },
    /// In this order, and again from the first.
    List(Vec<u128>),
}

impl Values {
    /// The lowest value and the highest.
    pub fn bounds(&self) -> (u128, u128) {
        match self {
            Self::Fixed(value) => (*value, *value),
            Self::Increment { from, to, .. }
            | Self::Decrement { from, to, .. }
            | Self::Random { from, to, .. } => (*from, *to),
            Self::List(list) => {
                let lowest = list.iter().min().copied().unwrap_or_default();
                (lowest, list.iter().max().copied().unwrap_or_default())
            }
        }
    }
}

const ACCEPTED: &str = "accepted: NAME=V, NAME=inc:FROM-TO[/STEP], NAME=dec:FROM-TO[/STEP], \
                        NAME=random:FROM-TO[@SEED] or NAME=list:V,V,...";

impl FromStr for FieldSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, values)) = text.split_once('=') else {
            return Err(format!("`{text}` sets no field; {ACCEPTED}"));
        };
        if name.is_empty() {
            return Err(format!("`{text}` names no field; {ACCEPTED}"));
        }
        let values = parse_values(values).map_err(|error| format!("field {name}: {error}"))?;
        Ok(Self { name: name.into(), values })
    }
}

fn parse_values(text: &str) -> Result<Values, String> {
    // An address may hold colons too, so only a known word before the first one counts.
    let Some((word, rest)) = text.split_once(':') else { return Ok(Values::Fixed(parse(text)?)) };
    match word {
        "fixed" => Ok(Values::Fixed(parse(rest)?)),
        "inc" => range(rest, '/').map(|(from, to, step)| Values::Increment {
            from,
            to,
            step: step.unwrap_or(1),
        }),
        "dec" => range(rest, '/').map(|(from, to, step)| Values::Decrement {
            from,
            to,
            step: step.unwrap_or(1),
        }),
        "random" => range(rest, '@').map(|(from, to, seed)| Values::Random {
            from,
            to,
            seed: seed.unwrap_or(1),
        }),
        "list" => rest.split(',').map(parse).collect::<Result<_, _>>().map(Values::List),
        _ => parse(text).map(Values::Fixed).map_err(|error| format!("{error}; {ACCEPTED}")),
    }
}

/// `FROM-TO`, and a number behind `mark`.
fn range(text: &str, mark: char) -> Result<(u128, u128, Option<u64>), String> {
    let (range, number) = match text.split_once(mark) {
        Some((range, number)) => (range, Some(super::value::number(number, "step or seed")?)),
        None => (text, None),
    };
    let Some((from, to)) = range.split_once('-') else {
        return Err(format!("`{range}` is no range; accepted: FROM-TO"));
    };
    let (from, to) = (parse(from)?, parse(to)?);
    if from > to {
        return Err(format!("the range {range} is reversed; accepted: FROM-TO with FROM <= TO"));
    }
    if mark == '/' && number == Some(0) {
        return Err(format!("`{text}` has a step of 0; accepted: a step of at least 1"));
    }
    Ok((from, to, number))
}

impl fmt::Display for FieldSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.name)?;
        match &self.values {
            Values::Fixed(value) => write!(f, "{value}"),
            Values::Increment { from, to, step } => write!(f, "inc:{from}-{to}/{step}"),
            Values::Decrement { from, to, step } => write!(f, "dec:{from}-{to}/{step}"),
            Values::Random { from, to, seed } => write!(f, "random:{from}-{to}@{seed}"),
            Values::List(list) => {
                let words: Vec<_> = list.iter().map(u128::to_string).collect();
                write!(f, "list:{}", words.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_vary() {
        for (text, printed) in [
            ("udp.source=7", "udp.source=7"),
            ("ipv4.source=inc:10.0.0.1-10.0.0.9", "ipv4.source=inc:167772161-167772169/1"),
            ("vlan#2.id=dec:1-4/3", "vlan#2.id=dec:1-4/3"),
            ("udp.source=random:1-9@5", "udp.source=random:1-9@5"),
            ("ethernet.source=fixed:00:00:00:00:00:05", "ethernet.source=5"),
            ("ethernet.source=00:00:00:00:00:05", "ethernet.source=5"),
            ("ipv6.source=inc:::1-::5", "ipv6.source=inc:1-5/1"),
            ("@14+2=list:1,0x10,3", "@14+2=list:1,16,3"),
        ] {
            let field: FieldSpec = text.parse().unwrap();
            assert_eq!(field.to_string(), printed);
            assert_eq!(printed.parse::<FieldSpec>().unwrap(), field);
        }
    }

    #[test]
    fn bad_fields_say_what_is_accepted() {
        for text in [
            "",
            "udp.source",
            "=5",
            "a=",
            "a=inc:5",
            "a=inc:5-1",
            "a=inc:1-5/0",
            "a=inc:1-5/-1",
            "a=inc:1-5@2",
            "a=random:1-5@x",
            "a=list:",
            "a=list:1,,2",
            "a=up:1-2",
            "a=inc:-5",
            "a=NaN",
            "a=1e400",
        ] {
            let error = text.parse::<FieldSpec>().expect_err(text);
            assert!(error.contains("accepted:"), "{text}: {error}");
        }
    }
}
