//! A pair of queues as its driver set it up: one receive and one transmit ring, which the driver knows as 0 and 1.

use std::sync::Arc;

use rustix::io;
use virtio::transport::DeviceStatus;

use crate::event::Event;

/// A receive and a transmit queue.
pub(super) const QUEUES: usize = 2;

/// A queue as the driver set it up.
pub(super) struct Queue {
    pub(super) size: u32,
    pub(super) desc: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
    pub(super) kick: Arc<Event>,
    pub(super) call: Arc<Event>,
    /// The back end was told to use it.
    pub(super) running: bool,
}

/// What a bus device would have in registers, for one pair.
pub(super) struct Pair {
    pub(super) driver_features: u64,
    pub(super) status: DeviceStatus,
    pub(super) queues: [Queue; QUEUES],
    /// The connection ended while the driver ran.
    pub(super) cut: bool,
    /// Wakes the pair's thread when the peer has come or gone, which another thread may have noticed.
    pub(super) nudge: Arc<Event>,
}

impl Queue {
    fn new() -> io::Result<Self> {
        Ok(Self {
            size: 0,
            desc: 0,
            avail: 0,
            used: 0,
            kick: Arc::new(Event::new()?),
            call: Arc::new(Event::new()?),
            running: false,
        })
    }
}

impl Pair {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            driver_features: 0,
            status: DeviceStatus::empty(),
            queues: [Queue::new()?, Queue::new()?],
            cut: false,
            nudge: Arc::new(Event::new()?),
        })
    }

    /// Whether the back end uses one of its rings.
    pub(super) fn is_running(&self) -> bool {
        self.queues.iter().any(|queue| queue.running)
    }

    /// The device no longer works for its driver, if that runs.
    pub(super) fn fail(&mut self) {
        if self.status.contains(DeviceStatus::DRIVER_OK) {
            self.status |= DeviceStatus::DEVICE_NEEDS_RESET;
        }
    }

    /// Whether the driver runs on a connection that is no longer there.
    pub(super) fn is_lost(&self) -> bool {
        self.status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }
}
