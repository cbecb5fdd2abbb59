//! The account of a loop: where the cycles went, and for how many packets.

use core::ops::Sub;

/// What a loop has done since it was made. Subtract an earlier copy to get an interval.
///
/// Every cycle between the start of [`run`](crate::EventLoop::run) and the end of the last turn is in exactly one of
/// `busy`, `idle` and `timers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Cycles of turns that moved at least one packet.
    pub busy: u64,
    /// Cycles of turns that moved none, with the pauses and sleeps after them.
    pub idle: u64,
    /// Cycles in timers.
    pub timers: u64,
    /// Packets received, or reported as [`worked`](crate::Turn::worked).
    pub packets: u64,
    /// Times that a queue was polled.
    pub polls: u64,
    /// Those of them that found nothing.
    pub empty_polls: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Times that the loop slept.
    pub sleeps: u64,
}

impl Usage {
    /// Cycles in all.
    pub fn elapsed(&self) -> u64 {
        self.busy + self.idle + self.timers
    }

    /// The share of cycles that were not idle, in thousandths. 0 where no cycle has passed.
    pub fn busy_per_mille(&self) -> u64 {
        ratio(self.busy + self.timers, 1000, self.elapsed()).unwrap_or(0)
    }

    /// Busy cycles per packet: receive, work and transmit. `None` without packets.
    pub fn cycles_per_packet(&self) -> Option<u64> {
        ratio(self.busy, 1, self.packets)
    }

    /// Packets per poll that found some, in tenths. `None` without such a poll.
    pub fn burst_fill_tenths(&self) -> Option<u64> {
        ratio(self.packets, 10, self.polls - self.empty_polls)
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            idle: self.idle.saturating_sub(earlier.idle),
            timers: self.timers.saturating_sub(earlier.timers),
            packets: self.packets.saturating_sub(earlier.packets),
            polls: self.polls.saturating_sub(earlier.polls),
            empty_polls: self.empty_polls.saturating_sub(earlier.empty_polls),
            turns: self.turns.saturating_sub(earlier.turns),
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
        }
    }
}

/// `count * unit / of`, rounded to the nearest, without overflow on the way; `None` where `of` is zero.
pub(crate) fn ratio(count: u64, unit: u64, of: u64) -> Option<u64> {
    let product = u128::from(count) * u128::from(unit) + u128::from(of / 2);
    product.checked_div(u128::from(of)).map(|r| u64::try_from(r).unwrap_or(u64::MAX))
}
