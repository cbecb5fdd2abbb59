//! What the loop does when a turn moved nothing.

use alloc::boxed::Box;
use core::fmt;

use netdev::WakeSource;

/// Puts the core to sleep; the platform's part.
pub trait Sleeper {
    /// Returns when one of `sources` fires, when the clock reaches `until` (in cycles of the loop's clock; `None`:
    /// never), or earlier for any reason. The queues are armed when this is called: a source that has fired
    /// before the sleep begins must end it at once.
    fn sleep(&mut self, until: Option<u64>, sources: &[WakeSource]);
}

/// Every closure of the right shape is a sleeper.
impl<F: FnMut(Option<u64>, &[WakeSource])> Sleeper for F {
    fn sleep(&mut self, until: Option<u64>, sources: &[WakeSource]) {
        self(until, sources);
    }
}

/// The idle policy.
#[derive(Default)]
pub enum Idle<'a> {
    /// Polls again at once: the lowest latency, one core at full power.
    Spin,
    /// Pauses the core for a growing number of `pause` instructions, at most 64, which leaves a sibling
    /// hyperthread its resources.
    #[default]
    Pause,
    /// After `after` turns without work (paused as above), arms every queue that the pollers receive from, and
    /// sleeps unless packets are pending. Queues that cannot wake anybody limit each sleep to `nap` cycles.
    Sleep {
        /// Empty turns in a row before the first sleep.
        after: u32,
        /// Longest sleep, in cycles, while a queue cannot wake the sleeper.
        nap: u64,
        /// The platform's sleep.
        sleeper: Box<dyn Sleeper + 'a>,
    },
}

impl fmt::Debug for Idle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spin => "Spin",
            Self::Pause => "Pause",
            Self::Sleep { .. } => "Sleep",
        })
    }
}

/// Pauses for the `streak`-th turn in a row without work: 1, 2, 4, ... 64 pause instructions.
pub(crate) fn pause(streak: u32) {
    for _ in 0..1u32 << streak.saturating_sub(1).min(6) {
        core::hint::spin_loop();
    }
}
