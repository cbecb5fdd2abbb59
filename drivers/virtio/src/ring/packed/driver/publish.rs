//! Whether the device wants to hear of published descriptors (virtio 1.2, 2.8.10 and 2.8.21.3.1).

use core::sync::atomic::{Ordering, fence};

use super::super::layout::{Event, PackedRing, flags};
use super::super::position;

/// The position at the last check: EVENT_IDX asks whether the event lies between it and the new one.
pub(super) struct Publisher {
    checked: u32,
    event_idx: bool,
}

impl Publisher {
    /// For a ring in which nothing is published. The device shall not interrupt.
    pub(super) fn new(ring: &PackedRing, event_idx: bool) -> Self {
        disarm(ring);
        Self { checked: 0, event_idx }
    }

    /// Whether the device is to be notified of the descriptors up to `position`, which are published. One full
    /// fence, one read of what the device wrote: its worst lie costs a notification, or brings one in vain.
    #[inline]
    pub(super) fn check(&mut self, ring: &PackedRing, position: u32) -> bool {
        // The device stores its wish and then looks at the ring; we do it the other way round. Without a full
        // fence on both sides each could miss the other.
        fence(Ordering::SeqCst);
        let checked = core::mem::replace(&mut self.checked, position);
        let Event { off_wrap, flags } = ring.device_event();
        match flags {
            flags::EVENT_DISABLE => false,
            flags::EVENT_DESC if self.event_idx => {
                position::passes(off_wrap, checked, position, ring.size())
            }
            _ => true,
        }
    }

    /// Asks for an interrupt when the descriptor at `position` is used.
    pub(super) fn arm(&self, ring: &PackedRing, position: u32) {
        let flags = if self.event_idx { flags::EVENT_DESC } else { flags::EVENT_ENABLE };
        ring.set_driver_event(Event { off_wrap: position::encode(position, ring.size()), flags });
        fence(Ordering::SeqCst);
    }
}

/// No interrupts.
pub(super) fn disarm(ring: &PackedRing) {
    ring.set_driver_event(Event { off_wrap: 0, flags: flags::EVENT_DISABLE });
}

/// What a doorbell tells that carries data: the queue, and where the next descriptor will be made available
/// (virtio 1.2, 2.9).
pub(super) fn notification(ring: &PackedRing, queue: u16, position: u32) -> u32 {
    u32::from(queue) | u32::from(position::encode(position, ring.size())) << 16
}
