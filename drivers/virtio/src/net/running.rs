//! What the device may still do with rings and buffers: known to the queues and to the controls.

use alloc::rc::Rc;
use core::cell::Cell;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The device runs, and start has not returned yet.
    Starting,
    Running,
    /// Stopped, and the device did not confirm it: it may still write.
    Lost,
    /// Stopped, and the device accesses nothing any more.
    Reset,
}

/// Shared by the parts of one port.
#[derive(Clone, Debug)]
pub(super) struct Running(Rc<Cell<State>>);

impl Running {
    /// The device is about to run.
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

    /// Whether it runs. A queue that outlives its port does nothing: the rings may be another's by now.
    #[inline]
    pub(super) fn get(&self) -> bool {
        matches!(self.0.get(), State::Starting | State::Running)
    }

    /// Whether buffers may go back to their pools.
    pub(super) fn is_reset(&self) -> bool {
        self.0.get() == State::Reset
    }

    /// The port was stopped, and the device cannot be relied on.
    pub(super) fn lost(&self) {
        self.0.set(State::Lost);
    }

    /// The port was stopped.
    ///
    /// # Safety
    /// The device was reset and confirmed it.
    pub(super) unsafe fn reset(&self) {
        self.0.set(State::Reset);
    }
}
