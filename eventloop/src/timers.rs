//! Timers: closures that run when their time has come.
//!
//! Rules. A timer never fires early. Timers that are due in the same turn fire in the order of their due times, then
//! in the order in which they were added. A periodic timer stays on the grid of its first due time: it does not
//! drift, however late single calls are. Where it is late by a period or more, it fires once, and says how many
//! periods it [`missed`](Tick::missed). Nothing allocates once the timers are added.
//!
//! A turn compares one number; only a turn in which something is due looks at all of them. That is right for
//! dozens of timers, and deliberately not a timer wheel for thousands.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use crate::Usage;
use crate::clock::cycles;

/// What a timer's closure is given.
#[derive(Debug)]
pub struct Tick<'t> {
    now: u64,
    hz: u64,
    due: u64,
    missed: u64,
    usage: &'t Usage,
    again: Option<Duration>,
    stop: bool,
}

impl Tick<'_> {
    /// Now, in cycles of the loop's clock; the same for all timers of a turn.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Cycles per second of the loop's clock.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// When the timer was due, in cycles.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Periods that went by entirely before this call, beyond the one that it is for.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The loop's account up to now, this turn's pollers included.
    pub fn usage(&self) -> &Usage {
        self.usage
    }

    /// Fires this timer again after `delay` from now. For a periodic timer: once, and the grid starts anew there.
    pub fn again(&mut self, delay: Duration) {
        self.again = Some(delay);
    }

    /// Ends the loop after this turn's timers.
    pub fn stop(&mut self) {
        self.stop = true;
    }
}

struct Timer<'a> {
    /// `u64::MAX`: not running.
    due: u64,
    /// Zero: fires once.
    period: u64,
    call: Box<dyn FnMut(&mut Tick<'_>) + 'a>,
}

/// All timers of a loop.
pub(crate) struct Timers<'a> {
    timers: Vec<Timer<'a>>,
    next: u64,
}

const NEVER: u64 = u64::MAX;

impl<'a> Timers<'a> {
    pub(crate) fn new() -> Self {
        Self { timers: Vec::new(), next: NEVER }
    }

    /// A period of zero: fires once.
    pub(crate) fn add(&mut self, due: u64, period: u64, call: Box<dyn FnMut(&mut Tick<'_>) + 'a>) {
        self.timers.push(Timer { due, period, call });
        self.next = self.next.min(due);
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<u64> {
        (self.next != NEVER).then_some(self.next)
    }

    #[inline]
    pub(crate) fn is_due(&self, now: u64) -> bool {
        self.next <= now && self.next != NEVER
    }

    /// Fires what is due; whether a timer asked to stop. Each fires at most once: what it is set to is after `now`.
    #[cold]
    pub(crate) fn fire(&mut self, now: u64, hz: u64, usage: &Usage) -> bool {
        let mut stop = false;
        while let Some(timer) = self.timers.iter_mut().min_by_key(|timer| timer.due) {
            if timer.due > now || timer.due == NEVER {
                break;
            }
            let late = (now - timer.due).checked_div(timer.period);
            let mut tick = Tick {
                now,
                hz,
                due: timer.due,
                missed: late.unwrap_or(0),
                usage,
                again: None,
                stop: false,
            };
            (timer.call)(&mut tick);
            stop |= tick.stop;
            timer.due = match (tick.again, late) {
                (Some(delay), _) => now.saturating_add(cycles(delay, hz).max(1)),
                (None, Some(late)) => {
                    timer.due.saturating_add(timer.period.saturating_mul(late.saturating_add(1)))
                }
                (None, None) => NEVER,
            };
        }
        self.next = self.timers.iter().map(|timer| timer.due).min().unwrap_or(NEVER);
        stop
    }
}
