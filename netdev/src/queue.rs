//! The packet path: two traits, one call per burst.

use alloc::boxed::Box;
use alloc::sync::Arc;

use netbuf::Burst;

use crate::{QueueCounters, QueueStats};

/// What [`RxQueue::arm`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "sleeping while packets are pending loses the wake-up"]
pub enum Armed {
    /// Nothing is pending; the next packet wakes the sleeper.
    Armed,
    /// Packets are pending and nothing was armed: poll again.
    PacketsPending,
    /// The queue cannot wake anybody: poll it on a timer.
    Unsupported,
}

/// Something that the platform can sleep on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WakeSource {
    /// A file descriptor of a Linux process that becomes readable.
    Fd(i32),
    /// An interrupt vector of the bare machine.
    Vector(u8),
}

/// A queue that packets come out of. One owner; polled.
pub trait RxQueue {
    /// Appends what has been received to `out`, as far as there is room; how many. Also refills the
    /// device's buffers from the pool. Frames that could not be received are counted, not returned.
    fn rx_burst(&mut self, out: &mut Burst) -> usize;

    /// Interrupt mode: asks for a wake-up at the next packet (`uk_netdev_rxq_intr_enable`). Polling
    /// disarms. Checks for packets after arming, so that none is slept over.
    fn arm(&mut self) -> Armed {
        Armed::Unsupported
    }

    /// Tells `each` what wakes the sleeper once the queue is armed. Asked after every [`arm`](Self::arm): the sources
    /// change when a peer reconnects.
    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        let _ = each;
    }

    /// Whether the peer has put the ring out of order beyond repair ([`RingBroken`](crate::DropCause::RingBroken)):
    /// [`Control::reset_queue`](crate::Control::reset_queue) helps, or a restart of the port.
    fn is_broken(&self) -> bool {
        false
    }

    /// Of a wrapper: the queue inside, so that a driver can put another one in its place.
    fn wrapped(&mut self) -> Option<&mut Box<dyn RxQueue>> {
        None
    }

    /// The live counters: written by the polling core, readable from any.
    fn counters(&self) -> &Arc<QueueCounters>;

    /// A snapshot of the counters.
    fn stats(&self) -> QueueStats {
        self.counters().snapshot()
    }
}

/// A queue that packets go into. One owner.
pub trait TxQueue {
    /// Takes packets from the front of `packets`, in order, as far as the ring has room; how many. What it
    /// did not take stays in `packets`, in order.
    ///
    /// A packet that can never be sent (too large, an offload that was not negotiated) is taken, dropped and
    /// counted; it is not among [`QueueStats::packets`]. Buffers of sent packets return to their pools here,
    /// lazily: call with an empty burst to reclaim without sending.
    fn tx_burst(&mut self, packets: &mut Burst) -> usize;

    /// As [`RxQueue::is_broken`].
    fn is_broken(&self) -> bool {
        false
    }

    /// As [`RxQueue::wrapped`].
    fn wrapped(&mut self) -> Option<&mut Box<dyn TxQueue>> {
        None
    }

    /// The live counters: written by the polling core, readable from any.
    fn counters(&self) -> &Arc<QueueCounters>;

    /// A snapshot of the counters.
    fn stats(&self) -> QueueStats {
        self.counters().snapshot()
    }
}

/// One queue of a port, to be changed as a whole.
pub enum QueueMut<'a> {
    /// A receive queue.
    Rx(&'a mut Box<dyn RxQueue>),
    /// A transmit queue.
    Tx(&'a mut Box<dyn TxQueue>),
}
