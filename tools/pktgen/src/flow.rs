//! One direction of traffic: from a source, at a pace, into a port.

use netdev::Burst;

use crate::endpoint::Endpoint;
use crate::pacer::Pacer;
use crate::source::Source;

/// One direction of traffic.
pub(crate) struct Flow {
    pub(crate) name: &'static str,
    /// The port that frames go into.
    pub(crate) from: usize,
    /// The port that they are expected from.
    pub(crate) to: usize,
    pub(crate) source: Box<dyn Source>,
    pub(crate) pacer: Pacer,
    /// Frames that the port had no room for; they go first.
    pub(crate) waiting: Burst,
    /// Frames that were made and never handed over.
    given_up: u64,
    /// When the port took the first frame, and the last.
    pub(crate) first_taken: Option<u64>,
    pub(crate) last_taken: u64,
    /// How often the port had no room.
    pub(crate) ring_full: u64,
    /// Cycles during which frames waited for room.
    pub(crate) blocked: u64,
    /// When the frames that wait were last offered.
    blocked_at: Option<u64>,
    /// Whether nothing is expected back.
    pub(crate) one_way: bool,
}

impl Flow {
    pub(crate) fn new(
        name: &'static str,
        (from, to): (usize, usize),
        source: Box<dyn Source>,
        pacer: Pacer,
    ) -> Self {
        Self {
            name,
            from,
            to,
            source,
            pacer,
            waiting: Burst::new(),
            given_up: 0,
            first_taken: None,
            last_taken: 0,
            ring_full: 0,
            blocked: 0,
            blocked_at: None,
            one_way: false,
        }
    }

    /// Makes what is due and offers it to the port; how many frames it took.
    #[inline]
    pub(crate) fn offer(&mut self, port: &mut Endpoint, now: u64, stamp: u32) -> usize {
        if self.waiting.is_empty() {
            self.source.fill(&mut self.waiting, &port.pool, &mut self.pacer, now, stamp);
        }
        // With nothing to send, this lets the port reclaim what it has sent.
        let taken = port.send(&mut self.waiting);
        if taken > 0 {
            self.first_taken.get_or_insert(now);
            self.last_taken = now;
        }
        if self.waiting.is_empty() && self.blocked_at.is_none() {
            return taken;
        }
        self.count_blocked(now);
        taken
    }

    #[cold]
    fn count_blocked(&mut self, now: u64) {
        self.blocked += self.blocked_at.map_or(0, |before| now.saturating_sub(before));
        let full = !self.waiting.is_empty();
        self.blocked_at = full.then_some(now);
        self.ring_full += u64::from(full);
    }

    /// Frames that were due and given up.
    pub(crate) fn skipped(&self) -> u64 {
        self.pacer.skipped() + self.source.skipped()
    }

    /// Frames that the port took, whatever it did with them.
    pub(crate) fn taken(&self) -> u64 {
        self.source.made() - self.given_up - self.waiting.len() as u64
    }

    /// Gives up the frames that wait: they count as never made.
    pub(crate) fn give_up_waiting(&mut self) {
        self.given_up += self.waiting.len() as u64;
        self.source.give_up(self.waiting.len());
        self.waiting.clear();
    }

    /// Whether everything was handed over.
    pub(crate) fn is_done(&self) -> bool {
        self.source.is_exhausted() && self.waiting.is_empty() && self.given_up == 0
    }
}
