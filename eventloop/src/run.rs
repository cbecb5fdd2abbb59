//! The loop itself.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use crate::clock::cycles;
use crate::idle::{self, Idle};
use crate::timers::Timers;
use crate::turn::Arms;
use crate::{Clock, Tick, Turn, Usage};

type Poller<'a> = Box<dyn FnMut(&mut Turn) + 'a>;

/// The event loop of one core. See the [crate's page](crate).
pub struct EventLoop<'a, C: Clock> {
    clock: C,
    hz: u64,
    pollers: Vec<Poller<'a>>,
    timers: Timers<'a>,
    idle: Idle<'a>,
    stop: Option<&'a AtomicBool>,
    usage: Usage,
}

impl<C: Clock> fmt::Debug for EventLoop<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("pollers", &self.pollers.len())
            .field("idle", &self.idle)
            .field("usage", &self.usage)
            .finish_non_exhaustive()
    }
}

impl<'a, C: Clock> EventLoop<'a, C> {
    /// A loop without pollers and timers, that pauses when idle.
    pub fn new(clock: C) -> Self {
        let hz = clock.hz().max(1);
        Self {
            clock,
            hz,
            pollers: Vec::new(),
            timers: Timers::new(),
            idle: Idle::default(),
            stop: None,
            usage: Usage::default(),
        }
    }

    /// Adds a poller; it runs in every turn, after those added before and before the body of [`run`](Self::run).
    pub fn add(&mut self, poller: impl FnMut(&mut Turn) + 'a) -> &mut Self {
        self.pollers.push(Box::new(poller));
        self
    }

    /// Calls `timer` once per `period`, first after one period from now. It keeps to that grid (see
    /// [`Tick::missed`] for when it is late).
    pub fn every(&mut self, period: Duration, timer: impl FnMut(&mut Tick<'_>) + 'a) -> &mut Self {
        let period = cycles(period, self.hz).max(1);
        let due = self.clock.now().saturating_add(period);
        self.timers.add(due, period, Box::new(timer));
        self
    }

    /// Calls `timer` once, after `delay` from now; again where it asks for it ([`Tick::again`]).
    pub fn after(&mut self, delay: Duration, timer: impl FnMut(&mut Tick<'_>) + 'a) -> &mut Self {
        let due = self.clock.now().saturating_add(cycles(delay, self.hz));
        self.timers.add(due, 0, Box::new(timer));
        self
    }

    /// Sets the idle policy.
    pub fn idle(&mut self, policy: Idle<'a>) -> &mut Self {
        self.idle = policy;
        self
    }

    /// Ends [`run`](Self::run) when `flag` is set, by a signal handler or another thread. Looked at once per turn
    /// and before a sleep; whoever sets it must also wake a sleeper.
    pub fn stop_when(&mut self, flag: &'a AtomicBool) -> &mut Self {
        self.stop = Some(flag);
        self
    }

    /// The clock.
    pub fn clock(&self) -> &C {
        &self.clock
    }

    /// The account of all runs so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Runs until a poller, a timer or the flag of [`stop_when`](Self::stop_when) says stop; gives the account.
    pub fn run(&mut self, mut body: impl FnMut(&mut Turn)) -> Usage {
        let mut last = self.clock.now();
        // Turns in a row without work.
        let mut streak: u32 = 0;
        while !self.is_stopped() {
            let mut turn = Turn::new(last, false);
            self.poll(&mut turn, &mut body);
            let now = self.clock.now();
            self.account(&turn, now.saturating_sub(last));
            streak = if turn.packets > 0 { 0 } else { streak.saturating_add(1) };
            let mut stop = turn.stop;
            last = if self.timers.is_due(now) {
                stop |= self.timers.fire(now, self.hz, &self.usage);
                let after = self.clock.now();
                self.usage.timers += after.saturating_sub(now);
                after
            } else if streak > 0 && !stop {
                let (after, wish) = self.rest(streak, now, &mut body);
                stop |= wish;
                after
            } else {
                now
            };
            if stop {
                break;
            }
        }
        self.usage
    }

    #[inline]
    fn poll(&mut self, turn: &mut Turn, body: &mut impl FnMut(&mut Turn)) {
        for poller in &mut self.pollers {
            poller(turn);
        }
        body(turn);
    }

    #[inline]
    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    #[inline]
    fn account(&mut self, turn: &Turn, cycles: u64) {
        let usage = &mut self.usage;
        usage.turns += 1;
        usage.packets += turn.packets;
        usage.polls += turn.polls;
        usage.empty_polls += turn.empty_polls;
        if turn.packets > 0 { usage.busy += cycles } else { usage.idle += cycles }
    }

    /// After a turn without work. When it ended, and whether a poller wishes to stop.
    fn rest(&mut self, streak: u32, now: u64, body: &mut impl FnMut(&mut Turn)) -> (u64, bool) {
        let wish = match self.idle {
            Idle::Spin => return (now, false),
            Idle::Sleep { after, .. } if streak > after => self.arm_and_sleep(now, body),
            Idle::Pause | Idle::Sleep { .. } => {
                idle::pause(streak);
                false
            }
        };
        let after = self.clock.now();
        self.usage.idle += after.saturating_sub(now);
        (after, wish)
    }

    /// Arms the pollers' queues and sleeps, unless there is a reason not to. Whether a poller wishes to stop.
    #[cold]
    fn arm_and_sleep(&mut self, now: u64, body: &mut impl FnMut(&mut Turn)) -> bool {
        let mut turn = Turn::new(now, true);
        self.poll(&mut turn, body);
        // What a poller reports that is not a queue's.
        self.usage.packets += turn.packets;
        self.usage.polls += turn.polls;
        self.usage.empty_polls += turn.empty_polls;
        let awake =
            turn.stop || turn.packets > 0 || turn.arms == Arms::Pending || self.is_stopped();
        let Idle::Sleep { nap, sleeper, .. } = &mut self.idle else { return turn.stop };
        if !awake {
            let deadline = self.timers.next();
            let until = if turn.arms == Arms::All {
                deadline
            } else {
                Some(deadline.unwrap_or(u64::MAX).min(now.saturating_add(*nap)))
            };
            self.usage.sleeps += 1;
            sleeper.sleep(until, &turn.sources);
        }
        turn.stop
    }
}
