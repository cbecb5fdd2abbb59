//! What the threads of one run share: how far each has come, and what each has heard of the others' frames.
//!
//! A run by one thread has a board too, with nobody else on it. On the packet path a thread writes only words of its
//! own, but for the [`SharedWindow`]s, whose words are taken by compare-and-swap; it waits for the others before the
//! first frame and after the last.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::departures::Ring;
use crate::shared_window::SharedWindow;
use crate::tracker::Counts;

/// The place of one thread in a run.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// The thread's number.
    pub(crate) member: usize,
    /// How many there are.
    pub(crate) members: usize,
    pub(crate) board: Arc<Board>,
}

impl Seat {
    /// Of a run by one thread.
    pub(crate) fn alone() -> Self {
        Self { member: 0, members: 1, board: Arc::new(Board::new(1)) }
    }

    /// Whether there is nobody else.
    pub(crate) fn is_alone(&self) -> bool {
        self.members == 1
    }

    /// The part of `whole` that is this thread's: parts differ by at most one.
    pub(crate) fn part(&self, whole: u64) -> u64 {
        let (member, members) = (self.member as u64, self.members as u64);
        whole / members + u64::from(member < whole % members)
    }
}

/// What the threads of one run share.
#[derive(Debug)]
pub(crate) struct Board {
    members: usize,
    /// Arrivals at meeting points, over all of them.
    arrived: AtomicUsize,
    failed: AtomicBool,
    /// Threads that still offer traffic.
    offering: AtomicUsize,
    /// Threads to which nothing more is to come.
    finished: AtomicUsize,
    heard: OnceLock<Box<[AtomicBool]>>,
    streams: OnceLock<Box<[SharedStream]>>,
}

/// What is shared of a stream.
#[derive(Debug)]
pub(crate) struct SharedStream {
    pub(crate) window: Arc<SharedWindow>,
    /// What each thread has counted.
    lanes: Box<[SharedCounts]>,
    /// When sampled frames left; made by the thread that sends them.
    pub(crate) departures: Arc<OnceLock<Ring>>,
}

/// One thread's counts of a stream, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SharedCounts([AtomicU64; Counts::FIELDS]);

impl Board {
    /// For so many threads.
    pub(crate) fn new(members: usize) -> Self {
        Self {
            members,
            arrived: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
            offering: AtomicUsize::new(members),
            finished: AtomicUsize::new(0),
            heard: OnceLock::new(),
            streams: OnceLock::new(),
        }
    }

    /// A thread cannot go on: the others shall not wait for it.
    pub(crate) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether a thread could not go on.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Waits until all threads have come to meeting point number `point` (from 1); `false` if one never will.
    pub(crate) fn meet(&self, point: usize) -> bool {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        while self.arrived.load(Ordering::Acquire) < point * self.members {
            if self.has_failed() {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    /// This thread has offered all its traffic.
    pub(crate) fn stop_offering(&self) {
        self.offering.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether some thread still offers traffic.
    pub(crate) fn is_offering(&self) -> bool {
        self.offering.load(Ordering::Acquire) > 0
    }

    /// Nothing more is to come to this thread.
    pub(crate) fn finish(&self) {
        self.finished.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nothing more is to come to any thread, or one of them is gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire) >= self.members || self.has_failed()
    }

    /// For each of `probes` kinds of probes: whether one was heard by anybody.
    pub(crate) fn heard(&self, probes: usize) -> &[AtomicBool] {
        self.heard.get_or_init(|| (0..probes).map(|_| AtomicBool::new(false)).collect())
    }

    /// What is shared of the `count` streams of all threads.
    pub(crate) fn streams(&self, count: usize) -> &[SharedStream] {
        self.streams.get_or_init(|| (0..count).map(|_| SharedStream::new(self.members)).collect())
    }
}

impl SharedStream {
    fn new(members: usize) -> Self {
        Self {
            window: Arc::default(),
            lanes: (0..members).map(|_| SharedCounts::default()).collect(),
            departures: Arc::default(),
        }
    }

    /// Publishes what thread `member` has counted.
    #[inline]
    pub(crate) fn publish(&self, member: usize, counts: &Counts) {
        for (shared, own) in self.lanes[member].0.iter().zip(counts.fields()) {
            shared.store(own, Ordering::Relaxed);
        }
    }

    /// What all threads have counted together.
    pub(crate) fn counts(&self) -> Counts {
        let lane = |lane: &SharedCounts| {
            Counts::from_fields(std::array::from_fn(|n| lane.0[n].load(Ordering::Relaxed)))
        };
        self.lanes.iter().map(lane).fold(Counts::default(), |sum, lane| sum.beside(&lane))
    }
}
