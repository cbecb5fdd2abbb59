//! The Linux process as a machine: huge pages, cores, clock, signals, sleeping, and facts for reports.
//!
//! What a network function finds in a process as `plat-kvm` gives it on the bare machine. The facade puts
//! the two behind one face.
//!
//! Deliberately absent: packets, devices and their memory's meaning (a [`Region`] is bytes and a file
//! descriptor), threads, and logging: the one message that this crate prints says that huge pages are missing.
//!
//! `unsafe` stands in `region.rs` (mapping memory), `clock.rs` (reading the time stamp counter) and `sleep.rs`
//! (polling file descriptors by number).

#[cfg(barewire_unchecked)]
compile_error!(
    "checks on what a peer wrote are never left out of a program that runs on a platform"
);

mod affinity;
mod clock;
mod environment;
mod region;
mod signals;
mod sleep;

pub use affinity::{CoreError, allowed_cores, keep_off_core, pin_to_core};
pub use clock::{Clock, ClockSource};
pub use environment::{CpuTimes, Environment};
pub use region::{Backing, HUGE_PAGE, Region, RegionError};
pub use signals::StopFlag;
pub use sleep::wait_readable;
