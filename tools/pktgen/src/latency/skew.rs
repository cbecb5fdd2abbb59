//! The skew between two cores' clocks, measured by ping-pong.
//!
//! Two threads, pinned to the two cores, throw a word back and forth. The far one answers with its clock; if that was
//! read in the middle of the round trip, the difference to the middle is the skew. It was read somewhere within the
//! round trip, so half the shortest round trip bounds the error, whatever the machine did.
//!
//! Deliberately absent: subtracting it. A latency between cores is reported as measured, beside its skew.

use std::fmt;
use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use plat_linux::{Clock, CoreError, pin_to_core};
use serde::Serialize;

/// Round trips that are made.
const ROUNDS: u64 = 20_000;

/// How far the clock of core `to` is ahead of that of core `from`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Skew {
    /// The core that asks: the sender's.
    pub from: usize,
    /// The core that answers: the receiver's.
    pub to: usize,
    /// Nanoseconds that `to` is ahead, by the shortest round trip.
    pub ahead_ns: f64,
    /// The true skew is within so many nanoseconds of it: half the shortest round trip.
    pub bound_ns: f64,
    /// Round trips that were made.
    pub rounds: u64,
}

/// Why a skew could not be measured.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkewError {
    /// A thread could not be pinned.
    Core(CoreError),
}

impl fmt::Display for SkewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core(error) => write!(f, "the clock skew cannot be measured: {error}"),
        }
    }
}

impl std::error::Error for SkewError {}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, ahead_ns, bound_ns, .. } = self;
        if from == to {
            return write!(f, "none, both sides run on core {from}");
        }
        write!(f, "core {to} is {ahead_ns:.0} ns ahead of core {from}, known to {bound_ns:.0} ns")
    }
}

/// The word that is thrown, and where the answer lies.
#[derive(Default)]
struct Table {
    /// The number of the question; its answer stands in `answered`.
    asked: AtomicU64,
    answered: AtomicU64,
    /// The far clock, valid for `answered`.
    clock: AtomicU64,
    failed: AtomicBool,
}

/// Measures the skew between two cores with `clock`; takes some milliseconds. The caller's own thread is not moved.
///
/// # Errors
/// The process may not use a core.
pub fn measure_skew(clock: &Clock, from: usize, to: usize) -> Result<Skew, SkewError> {
    if from == to {
        return Ok(Skew { from, to, ahead_ns: 0.0, bound_ns: 0.0, rounds: 0 });
    }
    let (table, start) = (Table::default(), Barrier::new(2));
    let (asked, answered) = thread::scope(|scope| {
        let near = scope.spawn(|| {
            let pinned = pin(from, &table, &start);
            pinned.map(|both| if both { ask(clock, &table) } else { Vec::new() })
        });
        let far = scope.spawn(|| {
            let pinned = pin(to, &table, &start);
            pinned.map(|both| {
                if both {
                    answer(clock, &table)
                }
            })
        });
        (near.join(), far.join())
    });
    let flatten = |_| SkewError::Core(CoreError::NotAllowed { core: from, allowed: Vec::new() });
    answered.map_err(flatten)??;
    let trips = asked.map_err(flatten)??;
    Ok(shortest(clock, from, to, &trips))
}

/// Pins the thread and meets the other one; whether both are pinned.
fn pin(core: usize, table: &Table, start: &Barrier) -> Result<bool, SkewError> {
    let pinned = pin_to_core(core);
    if pinned.is_err() {
        table.failed.store(true, Ordering::Release);
    }
    start.wait();
    pinned.map_err(SkewError::Core)?;
    Ok(!table.failed.load(Ordering::Acquire))
}

/// One round trip: when it began, the far clock, and when it ended.
type Trip = (u64, u64, u64);

fn ask(clock: &Clock, table: &Table) -> Vec<Trip> {
    let mut best: Option<Trip> = None;
    for number in 1..=ROUNDS {
        let before = clock.now();
        table.asked.store(number, Ordering::Release);
        while table.answered.load(Ordering::Acquire) != number {
            spin_loop();
        }
        let after = clock.now_after_loads();
        let trip = (before, table.clock.load(Ordering::Acquire), after);
        if best.is_none_or(|(b, _, a)| after.wrapping_sub(before) < a.wrapping_sub(b)) {
            best = Some(trip);
        }
    }
    best.into_iter().collect()
}

fn answer(clock: &Clock, table: &Table) {
    for number in 1..=ROUNDS {
        while table.asked.load(Ordering::Acquire) != number {
            spin_loop();
        }
        table.clock.store(clock.now_after_loads(), Ordering::Release);
        table.answered.store(number, Ordering::Release);
    }
}

/// The skew by the shortest of `trips`.
fn shortest(clock: &Clock, from: usize, to: usize, trips: &[Trip]) -> Skew {
    let best = trips.iter().min_by_key(|(before, _, after)| after.wrapping_sub(*before));
    let (ahead, width) = best.map_or((0, 0), |&(before, far, after)| {
        let width = after.wrapping_sub(before);
        (far.wrapping_sub(before.wrapping_add(width / 2)).cast_signed(), width)
    });
    let nanos = 1e9 / clock.hz() as f64;
    Skew {
        from,
        to,
        ahead_ns: ahead as f64 * nanos,
        bound_ns: width as f64 / 2.0 * nanos,
        rounds: ROUNDS,
    }
}

#[cfg(test)]
mod tests {
    use plat_linux::allowed_cores;

    use super::*;

    #[test]
    fn a_known_skew_is_found_within_its_bound() {
        let clock = Clock::new();
        let hz = clock.hz();
        // The far clock is a second ahead; it answers anywhere within the round trip.
        for (width, at) in [(100, 0), (100, 50), (100, 100), (7, 3)] {
            let trips = [(1_000, 1_000 + at + hz, 1_000 + width), (0, 0, 1_000_000)];
            let skew = shortest(&clock, 0, 1, &trips);
            assert!((skew.ahead_ns - 1e9).abs() <= skew.bound_ns + 1.0, "{skew}");
        }
        let behind = shortest(&clock, 0, 1, &[(5_000_000, 4_000_000, 5_000_000)]);
        assert!(behind.ahead_ns < 0.0);
    }

    #[test]
    fn one_core_has_no_skew_and_a_core_that_is_not_there_is_named() {
        let clock = Clock::new();
        let same = measure_skew(&clock, 3, 3).unwrap();
        assert_eq!((same.ahead_ns, same.bound_ns), (0.0, 0.0));
        let error = measure_skew(&clock, 0, 100_000).unwrap_err().to_string();
        assert!(error.contains("core 100000"), "{error}");
    }

    #[test]
    fn two_cores_agree_both_ways() {
        let cores = allowed_cores().unwrap();
        let [a, b, ..] = cores[..] else {
            println!("skipped: the skew needs two cores, and there is one");
            return;
        };
        let clock = Clock::new();
        let there = measure_skew(&clock, a, b).unwrap();
        let back = measure_skew(&clock, b, a).unwrap();
        println!("{there}; {back}");
        // What one says and the other denies is at most what both do not know.
        let difference = (there.ahead_ns + back.ahead_ns).abs();
        assert!(difference <= there.bound_ns + back.bound_ns, "{there}; {back}");
        assert!(there.bound_ns > 0.0 && there.rounds == ROUNDS);
    }
}
