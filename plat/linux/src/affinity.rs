//! Cores: which ones the process may use, and staying on one of them.
//!
//! A polling thread that moves loses its caches, so it is pinned. The list of cores is the kernel's (a
//! container or `taskset` may have made it short).

use std::fmt;

use rustix::io::Errno;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Why a thread could not be pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CoreError {
    /// The process may not use the core, or there is no such core.
    NotAllowed {
        /// The core asked for.
        core: usize,
        /// The cores that can be had.
        allowed: Vec<usize>,
    },
    /// The kernel refused, though the core is allowed.
    Kernel(Errno),
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed { core, allowed } => {
                write!(f, "core {core} cannot be used; possible: {}", Ranges(allowed))
            }
            Self::Kernel(cause) => write!(f, "the kernel did not pin the thread: {cause}"),
        }
    }
}

impl std::error::Error for CoreError {}

/// The cores that this thread may run on, in rising order.
///
/// # Errors
/// The kernel's, when it does not say.
pub fn allowed_cores() -> Result<Vec<usize>, CoreError> {
    let set = sched_getaffinity(None).map_err(CoreError::Kernel)?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

/// Binds the calling thread to one core.
///
/// # Errors
/// See [`CoreError`].
pub fn pin_to_core(core: usize) -> Result<(), CoreError> {
    let allowed = allowed_cores()?;
    if !allowed.contains(&core) {
        return Err(CoreError::NotAllowed { core, allowed });
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(CoreError::Kernel)
}

/// Lets the calling thread, and what it starts, run on the cores that it may use but `core`; does nothing where there is
/// no other.
///
/// # Errors
/// The kernel's.
pub fn keep_off_core(core: usize) -> Result<(), CoreError> {
    let mut set = CpuSet::new();
    allowed_cores()?.into_iter().filter(|&other| other != core).for_each(|other| set.set(other));
    if set.count() == 0 {
        return Ok(());
    }
    sched_setaffinity(None, &set).map_err(CoreError::Kernel)
}

/// Prints `0-3,8` for the cores 0, 1, 2, 3 and 8.
struct Ranges<'a>(&'a [usize]);

impl fmt::Display for Ranges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let consecutive = self.0.chunk_by(|a, b| a + 1 == *b);
        for (index, run) in consecutive.enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match run {
                [one] => write!(f, "{comma}{one}")?,
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                [] => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_pinned() {
        let core = *allowed_cores().unwrap().last().expect("the test runs somewhere");
        std::thread::spawn(move || {
            pin_to_core(core).unwrap();
            assert_eq!(allowed_cores().unwrap(), [core]);
            assert_eq!(rustix::thread::sched_getcpu(), core);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_keeps_off_a_core_where_it_can() {
        let all = allowed_cores().unwrap();
        let core = *all.last().expect("the test runs somewhere");
        std::thread::spawn(move || {
            keep_off_core(core).unwrap();
            let left = allowed_cores().unwrap();
            assert_eq!(left.contains(&core), all == [core]);
            assert_eq!(left.len(), (all.len() - 1).max(1));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn unknown_cores_are_named_with_the_known_ones() {
        for core in [1023, 1024, usize::MAX] {
            let error = pin_to_core(core).expect_err("no machine has so many").to_string();
            assert!(
                error.starts_with(&format!("core {core} cannot be used; possible: ")),
                "{error}"
            );
        }
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(Ranges(&[0, 1, 2, 3, 8]).to_string(), "0-3,8");
        assert_eq!(Ranges(&[5]).to_string(), "5");
        assert_eq!(Ranges(&[]).to_string(), "");
    }
}
