//! The injector of one queue: packets go in at one end and come out, maltreated, at the other.
//!
//! Two stores of fixed size: `held` keeps packets that wait for a time or to be overtaken, in order of arrival;
//! `ready` those that may leave. Nothing here knows which way the packets go.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::Cell;

use netbuf::{BURST, Burst, Netbuf, Pool};

use super::random::Random;
use super::{FaultCounts, Faults, MILLION};
use crate::TimeSource;

/// Packets that one queue can hold back; beyond it packets pass at once and count as untouched.
const HELD: usize = 1024;
/// A backlog below a burst, a burst with its duplicates, and everything held released beside it.
const READY: usize = 3 * BURST + HELD;

pub(super) struct Injector {
    faults: Faults,
    random: Random,
    pool: Pool,
    time: Option<TimeSource>,
    polls: u64,
    /// Packets admitted so far: the number of the next.
    admitted: u64,
    /// One past the highest number released so far.
    horizon: u64,
    /// Packets released so far.
    released: u64,
    held: VecDeque<Held>,
    ready: VecDeque<Netbuf>,
    /// Calls left of a stretch in which the ring plays full.
    stalled: u32,
    counts: Rc<Cell<FaultCounts>>,
}

struct Held {
    number: u64,
    /// Passes at this time at the latest.
    due: u64,
    /// Passes when so many have been released; `u64::MAX` for a delayed packet.
    overtaken: u64,
    packet: Netbuf,
}

enum Fate {
    Pass,
    Lose,
    Duplicate,
    Reorder,
    Corrupt,
    Delay,
}

impl Injector {
    pub(super) fn new(
        faults: Faults,
        random: Random,
        pool: Pool,
        time: Option<TimeSource>,
        counts: Rc<Cell<FaultCounts>>,
    ) -> Self {
        Self {
            faults,
            random,
            pool,
            time,
            polls: 0,
            admitted: 0,
            horizon: 0,
            released: 0,
            held: VecDeque::with_capacity(HELD),
            ready: VecDeque::with_capacity(READY),
            stalled: 0,
            counts,
        }
    }

    /// Begins a call of the queue: time passes, and what is due becomes ready.
    pub(super) fn poll(&mut self) -> u64 {
        self.polls += 1;
        let now = self.time.as_ref().map_or(self.polls, |time| time());
        self.release_held(now);
        now
    }

    /// Whether this call is to find the ring full.
    pub(super) fn plays_full(&mut self) -> bool {
        if self.stalled == 0 && self.faults.stall > 0 {
            let begins = self.random.below(MILLION) < u64::from(self.faults.stall);
            self.stalled = if begins { self.faults.stall_calls } else { 0 };
        }
        if self.stalled == 0 {
            return false;
        }
        self.stalled -= 1;
        self.count(|counts| counts.refusals += 1);
        true
    }

    /// Whether no packet is inside.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.ready.is_empty()
    }

    /// Packets that wait to leave now.
    pub(super) fn backlog(&self) -> usize {
        self.ready.len()
    }

    /// Moves what may leave to `out`, as far as there is room; packets and bytes.
    pub(super) fn drain(&mut self, out: &mut Burst) -> (usize, u64) {
        let (mut packets, mut bytes) = (0, 0);
        while !out.is_full() {
            let Some(packet) = self.ready.pop_front() else { break };
            packets += 1;
            bytes += packet.len() as u64;
            out.push(packet);
        }
        (packets, bytes)
    }

    /// Puts back what [`drain`](Self::drain) gave and nobody took, in front.
    pub(super) fn put_back(&mut self, burst: &mut Burst) {
        while let Some(packet) = burst.pop() {
            self.ready.push_front(packet);
        }
    }

    /// Takes one packet in. Returns how many were lost on purpose: 0 or 1. At most [`BURST`] while
    /// the backlog is below a burst, which is what `ready` has room for.
    pub(super) fn admit(&mut self, mut packet: Netbuf, now: u64) -> u64 {
        let number = self.admitted;
        self.admitted += 1;
        self.count(|counts| counts.packets += 1);
        match self.fate() {
            Fate::Lose => {
                self.count(|counts| counts.lost += 1);
                return 1;
            }
            Fate::Reorder if self.held.len() < HELD => {
                let overtaken = self.released + u64::from(self.faults.reorder_distance.max(1));
                let due = now.saturating_add(self.faults.reorder_patience);
                self.held.push_back(Held { number, due, overtaken, packet });
            }
            Fate::Delay if self.held.len() < HELD => {
                self.count(|counts| counts.delayed += 1);
                let due = now.saturating_add(self.faults.delay_ticks);
                self.held.push_back(Held { number, due, overtaken: u64::MAX, packet });
            }
            Fate::Duplicate => {
                let copy = self.copy(&packet);
                self.release(number, packet);
                if let Some(copy) = copy {
                    self.count(|counts| counts.duplicated += 1);
                    self.ready.push_back(copy);
                }
            }
            // Out of the order's account: a receiver cannot tell which packet it was.
            Fate::Corrupt if self.corrupt(&mut packet) => self.leave(packet),
            Fate::Pass | Fate::Reorder | Fate::Delay | Fate::Corrupt => {
                self.release(number, packet)
            }
        }
        self.release_held(now);
        0
    }

    /// One draw decides, so that a packet suffers at most one fault.
    fn fate(&mut self) -> Fate {
        let Faults { loss, duplication, reordering, corruption, delay, .. } = self.faults;
        if loss | duplication | reordering | corruption | delay == 0 {
            return Fate::Pass;
        }
        let mut draw = self.random.below(MILLION);
        for (rate, fate) in [
            (loss, Fate::Lose),
            (duplication, Fate::Duplicate),
            (reordering, Fate::Reorder),
            (corruption, Fate::Corrupt),
            (delay, Fate::Delay),
        ] {
            match draw.checked_sub(u64::from(rate)) {
                None => return fate,
                Some(rest) => draw = rest,
            }
        }
        Fate::Pass
    }

    fn release(&mut self, number: u64, packet: Netbuf) {
        if number < self.horizon {
            self.count(|counts| counts.reordered += 1);
        }
        self.horizon = self.horizon.max(number + 1);
        self.leave(packet);
    }

    fn leave(&mut self, packet: Netbuf) {
        self.released += 1;
        self.ready.push_back(packet);
    }

    /// Each release may be the one that another packet waits for.
    fn release_held(&mut self, now: u64) {
        while let Some(at) =
            self.held.iter().position(|held| held.due <= now || held.overtaken <= self.released)
        {
            let Some(held) = self.held.remove(at) else { return };
            self.release(held.number, held.packet);
        }
    }

    /// A duplicate carries the bytes and the port; requests to a device would be granted twice, and are not
    /// duplicated (such a packet passes once).
    fn copy(&self, packet: &Netbuf) -> Option<Netbuf> {
        if packet.wants_offload() || packet.len() > usize::from(self.pool.room()) {
            return None;
        }
        let mut copy = self.pool.alloc()?;
        packet.copy_to(copy.append(packet.len())?);
        copy.set_port(packet.port());
        Some(copy)
    }

    /// Flips a bit; whether there was one to flip.
    fn corrupt(&mut self, packet: &mut Netbuf) -> bool {
        let spared = usize::from(self.faults.corrupt_from);
        let bytes = packet.len().saturating_sub(spared) as u64;
        if bytes == 0 {
            return false;
        }
        let bit = self.random.below(bytes * 8);
        // `bit / 8` is below `bytes`, which came from a `usize`.
        let mut at = spared + usize::try_from(bit / 8).unwrap_or(0);
        for segment in packet.segments_mut() {
            if let Some(byte) = segment.get_mut(at) {
                *byte ^= 1 << (bit % 8);
                break;
            }
            at -= segment.len();
        }
        self.count(|counts| counts.corrupted += 1);
        true
    }

    fn count(&self, change: impl FnOnce(&mut FaultCounts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let inside = (self.held.len() + self.ready.len()) as u64;
        self.count(|counts| counts.abandoned += inside);
    }
}
