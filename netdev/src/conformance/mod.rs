//! What every driver must do, as checks that any crate's tests can run.
//!
//! A test implements [`Rig`] for its driver: a fresh device and a peer that can be told to send and asked what
//! arrived. [`run_all`] then runs every check of [`CHECKS`]; a check panics, as an assertion does, with its
//! name and what was wrong.
//!
//! ```text
//!   check  --tx_burst-->  [ device ]  --wire-->  [ peer ]  --> Rig::take
//!   check  <--rx_burst--  [ device ]  <--wire--  [ peer ]  <-- Rig::inject
//! ```
//!
//! Deliberately absent: anything that a kind of device has and others have not (offloads, link changes, a peer
//! that lies), and time: a check polls a bounded number of times and never looks at a clock.

mod bench;
mod lanes;
mod receive;
mod start;
mod stop;
mod transmit;

use alloc::boxed::Box;
use alloc::vec::Vec;

use netbuf::{DeviceMemory, Pool, PoolConfig};

use crate::Device;

/// A driver under test, with its peer.
pub trait Rig {
    /// A device that is not started, and whose peer is ready. Called for each check anew; the last one's is
    /// gone by then, and frames that were on their way are forgotten.
    fn device(&mut self) -> Box<dyn Device>;

    /// Has the peer send one frame to receive queue 0 of the device; whether it could, now.
    fn inject(&mut self, frame: &[u8]) -> bool;

    /// The next frame that the device sent on transmit queue 0, as the peer received it, in order. Makes room
    /// in the device's transmit ring for one more frame. `None` where nothing has arrived.
    fn take(&mut self) -> Option<Vec<u8>>;

    /// Lets the peer work; called after every poll that found nothing. A peer in another process or thread
    /// may sleep a little here.
    fn turn(&mut self) {}

    /// Polls that find nothing before a check gives up.
    fn patience(&self) -> usize {
        1000
    }

    /// A pool for the device; from the heap unless it needs other memory.
    fn pool(&mut self, config: PoolConfig) -> Pool {
        Pool::new(DeviceMemory::from_heap(config.device_bytes()), config)
            .unwrap_or_else(|error| panic!("conformance: {error}"))
    }

    /// Shortest frame, in bytes, that passes both ways unchanged.
    fn min_frame(&self) -> usize {
        14
    }
}

/// How a check ended, if it did not panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a skipped check has not passed"]
pub enum Outcome {
    /// The device does what the check asks.
    Passed,
    /// The check does not apply, for the reason given.
    Skipped(&'static str),
}

/// A check and its name.
pub struct Check {
    /// Also the start of each of its panic messages, as `conformance: name: ...`.
    pub name: &'static str,
    /// The check.
    pub run: fn(&mut dyn Rig) -> Outcome,
}

macro_rules! checks {
    ($($module:ident :: $name:ident,)+) => {
        /// Every check, in the order in which [`run_all`] runs them: what comes earlier is relied on later.
        pub const CHECKS: &[Check] =
            &[$(Check { name: stringify!($name), run: $module::$name },)+];
    };
}

checks! {
    start::info_is_sane,
    start::started_port_matches_its_configuration,
    start::no_queue_is_refused,
    start::too_many_queues_are_refused,
    start::ring_size_that_is_no_power_of_two_is_refused,
    start::ring_size_beyond_the_limits_is_refused,
    start::frame_beyond_the_limits_is_refused,
    start::headroom_too_small_is_refused,
    start::pool_too_small_is_refused,
    start::offloads_that_are_not_offered_are_refused,
    lanes::impossible_lanes_are_refused,
    lanes::lanes_are_as_many_as_asked_for,
    receive::nothing_is_received_from_silence,
    receive::contents_survive_receiving,
    receive::order_survives_receiving,
    receive::receiving_appends,
    receive::receiving_respects_the_room_left,
    receive::received_packets_are_fresh,
    receive::receive_statistics_are_exact,
    receive::exhausted_pool_is_counted_and_recovers,
    receive::arming_reports_pending_packets,
    transmit::contents_survive_sending,
    transmit::order_survives_sending,
    transmit::empty_burst_is_no_operation,
    transmit::full_ring_takes_nothing_and_loses_nothing,
    transmit::oversize_is_taken_and_counted,
    transmit::send_statistics_are_exact,
    stop::stopping_an_idle_port_leaks_nothing,
    stop::stopping_under_load_leaks_nothing,
    stop::stopped_device_starts_again,
}

/// Runs every check; the names and outcomes, for the caller to print what was skipped.
///
/// # Panics
/// Where a check fails.
pub fn run_all(rig: &mut dyn Rig) -> Vec<(&'static str, Outcome)> {
    CHECKS.iter().map(|check| (check.name, (check.run)(rig))).collect()
}
