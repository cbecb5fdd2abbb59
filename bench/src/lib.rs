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

pub mod callgrind;
pub mod ceiling;
pub mod cycles;
pub mod edits;
pub mod environment;
pub mod figures;
pub mod frames;
pub mod gates;
pub mod generator;
pub mod guest;
pub mod pair;
pub mod record;
pub mod statistics;
pub mod versus;
