//! One turn of the loop, as pollers see it.
//!
//! The same poller runs in two modes: to move packets and, before a sleep, to arm its queues. It need not know:
//! in the second, [`Turn::receive`] arms instead of receiving, and gives no packet.

use arrayvec::ArrayVec;
use netdev::{Armed, Burst, DropCause, RxQueue, TxQueue, WakeSource};

/// Most sources that a sleep can have; queues beyond them bound it to a nap.
const SOURCES: usize = 64;

/// What a poller is given. It receives through it, so that the loop knows of work and can sleep when there is none.
#[derive(Debug)]
pub struct Turn {
    now: u64,
    arming: bool,
    pub(crate) packets: u64,
    pub(crate) polls: u64,
    pub(crate) empty_polls: u64,
    pub(crate) arms: Arms,
    /// What the armed queues wake by.
    pub(crate) sources: ArrayVec<WakeSource, SOURCES>,
    pub(crate) stop: bool,
}

/// What arming the queues of all pollers found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arms {
    /// No queue was offered: the loop does not know what to sleep on.
    Nothing,
    /// Each queue will wake the sleeper.
    All,
    /// At least one queue cannot wake anybody.
    Blind,
    /// At least one queue has packets.
    Pending,
}

impl Turn {
    pub(crate) fn new(now: u64, arming: bool) -> Self {
        Self {
            now,
            arming,
            packets: 0,
            polls: 0,
            empty_polls: 0,
            arms: Arms::Nothing,
            sources: ArrayVec::new(),
            stop: false,
        }
    }

    /// When the turn began, in cycles of the loop's clock. Costs nothing.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Receives what `queue` has into `out`; how many. Before a sleep it arms the queue instead, and gives
    /// nothing: a poller must come through here in every turn, whatever it found in the last.
    #[inline]
    pub fn receive(&mut self, queue: &mut dyn RxQueue, out: &mut Burst) -> usize {
        if self.arming {
            self.arm(queue);
            return 0;
        }
        let received = queue.rx_burst(out);
        self.worked(received);
        received
    }

    /// Sends `packets` and empties the burst; how many were taken. What the ring has no room for is dropped and
    /// counted under [`DropCause::RingFull`]. (To keep it instead, call [`TxQueue::tx_burst`].) With an empty
    /// burst the queue reclaims.
    #[inline]
    pub fn send(&mut self, queue: &mut dyn TxQueue, packets: &mut Burst) -> usize {
        let taken = queue.tx_burst(packets);
        if !packets.is_empty() {
            queue.counters().dropped(DropCause::RingFull, packets.len() as u64);
            packets.clear();
        }
        taken
    }

    /// Accounts for one poll of something else than a queue, or of a queue that was polled directly: it moved
    /// `packets`. Zero is an empty poll.
    #[inline]
    pub fn worked(&mut self, packets: usize) {
        self.packets += packets as u64;
        self.polls += 1;
        self.empty_polls += u64::from(packets == 0);
    }

    /// Ends the loop after this turn.
    pub fn stop(&mut self) {
        self.stop = true;
    }

    /// Keeps the graver of what was and what is found; one pending queue is enough to poll again, so the others
    /// are not armed.
    #[cold]
    fn arm(&mut self, queue: &mut dyn RxQueue) {
        if self.arms == Arms::Pending {
            return;
        }
        self.arms = match (queue.arm(), self.arms) {
            (Armed::PacketsPending, _) => Arms::Pending,
            (Armed::Unsupported, _) | (Armed::Armed, Arms::Blind) => Arms::Blind,
            (Armed::Armed, _) => Arms::All,
        };
        queue.wake_sources(&mut |source| {
            if self.sources.try_push(source).is_err() {
                self.arms = Arms::Blind;
            }
        });
    }
}
