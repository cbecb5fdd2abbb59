//! Benchmarks, and the instruction-count gates that CI enforces.
//!
//! Wall time on a shared machine is noise; the number of instructions is not. So what is *gated* are
//! instructions per packet under `valgrind --tool=callgrind` ([`gates`], limits and recorded values in
//! `bench/gates.json`), and what is measured by the clock is only printed, with its environment.
//!
//! The gates are counted by a harness of our own instead of a benchmarking crate: such crates want a runner
//! program of the same version installed beside them, and all that is needed here is one number per function.
//!
//! Deliberately absent: any assertion on wall time. Each benchmark verifies what it did.

//! [`twin`] is this crate again, with ring halves that believe their peer: only what needs no platform is in it.

pub mod callgrind;
#[cfg(not(barewire_unchecked))]
pub mod ceiling;
#[cfg(not(barewire_unchecked))]
pub mod cycles;
#[cfg(not(barewire_unchecked))]
pub mod edits;
pub mod environment;
#[cfg(not(barewire_unchecked))]
pub mod figures;
pub mod frames;
pub mod gates;
#[cfg(not(barewire_unchecked))]
pub mod generator;
pub mod guest;
#[cfg(not(barewire_unchecked))]
pub mod hashes;
#[cfg(not(barewire_unchecked))]
pub mod page;
pub mod pair;
pub mod record;
pub mod statistics;
#[cfg(not(barewire_unchecked))]
pub mod sweep;
pub mod twin;
#[cfg(not(barewire_unchecked))]
pub mod versus;
