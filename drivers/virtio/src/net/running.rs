//! What the device may still do with a queue's ring and buffers: known to the queue and to the controls.

use alloc::rc::Rc;
use core::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The queue runs, and what it does is bring-up's doing.
    Starting,
    Running,
    /// Stopped, and the device did not confirm it: it may still write.
    Lost,
    /// Stopped, and the device accesses nothing of it any more.
    Reset,
}

/// Of one queue; shared by it and its port.
#[derive(Clone, Debug)]
pub(super) struct Running(Rc<Cell<State>>);

/// What a port knows of each of its queues.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) running: Running,
    /// Entries of its ring.
    pub(super) entries: u16,
    /// Where that begins in the rings' memory, in bytes.
    pub(super) offset: usize,
}

impl Running {
    /// The queue is about to run.
    #[inline(never)]
    pub(super) fn new() -> Self {
        Self(Rc::new(Cell::new(State::Starting)))
    }

    /// From now on what the queues do is the caller's doing, and counted.
    pub(super) fn started(&self) {
        self.0.set(State::Running);
    }

    /// Whether what a queue does is the caller's doing.
    pub(super) fn is_started(&self) -> bool {
        self.0.get() == State::Running
    }

    /// Whether it runs. A queue that outlives its port or its ring does nothing: the memory may be another's by now.
    #[inline]
    pub(super) fn get(&self) -> bool {
        matches!(self.0.get(), State::Starting | State::Running)
    }

    /// Whether buffers may go back to their pools.
    pub(super) fn is_reset(&self) -> bool {
        self.0.get() == State::Reset
    }

    /// The queue was stopped, and the device cannot be relied on.
    pub(super) fn lost(&self) {
        self.0.set(State::Lost);
    }

    /// The queue was stopped.
    ///
    /// # Safety
    /// The device, or this queue of it, was reset and confirmed it.
    pub(super) unsafe fn reset(&self) {
        self.0.set(State::Reset);
    }
}
