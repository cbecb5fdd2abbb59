//! One core per side.

use std::fmt;
use std::str::FromStr;

use plat_linux::allowed_cores;
use serde::Serialize;

/// The core of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cores {
    /// Of the back end.
    pub back_end: usize,
    /// Of the driver.
    pub driver: usize,
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.back_end, self.driver)
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let both = text.split_once(',').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match both {
            Some((back_end, driver)) if back_end != driver => Ok(Self { back_end, driver }),
            _ => Err("two different cores are needed, such as 0,1".into()),
        }
    }
}

/// The cores that were asked for, or the first two that this process may use.
///
/// # Errors
/// There are fewer, or those asked for are not among them; in words.
pub fn two_cores(asked: Option<Cores>) -> Result<Cores, String> {
    choose(asked, &allowed_cores().map_err(|error| error.to_string())?)
}

fn choose(asked: Option<Cores>, allowed: &[usize]) -> Result<Cores, String> {
    match (asked, allowed) {
        (Some(Cores { back_end, driver }), _) => {
            let missing = [back_end, driver].into_iter().find(|core| !allowed.contains(core));
            match missing {
                None => Ok(Cores { back_end, driver }),
                Some(core) => Err(format!("core {core} cannot be used; possible: {allowed:?}")),
            }
        }
        (None, &[back_end, driver, ..]) => Ok(Cores { back_end, driver }),
        (None, _) => Err(format!(
            "two cores are needed, one per side; this process may use {}: {allowed:?}",
            allowed.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_different_cores_or_an_error_in_words() {
        assert_eq!("3,1".parse(), Ok(Cores { back_end: 3, driver: 1 }));
        for bad in ["", "1", "1,1", "1,x", "1,2,3", "-1,2"] {
            assert!(bad.parse::<Cores>().is_err(), "{bad}");
        }
        assert_eq!(choose(None, &[2, 5, 7]), Ok(Cores { back_end: 2, driver: 5 }));
        let error = choose(None, &[4]).unwrap_err();
        assert_eq!(error, "two cores are needed, one per side; this process may use 1: [4]");
        let asked = Some(Cores { back_end: 0, driver: 9 });
        assert_eq!(choose(asked, &[0, 1]).unwrap_err(), "core 9 cannot be used; possible: [0, 1]");
    }
}
