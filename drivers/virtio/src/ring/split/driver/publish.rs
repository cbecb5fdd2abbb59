//! Publishing entries, and whether the device wants to hear of it (virtio 1.2, 2.7.13.4 and 2.7.10).

use core::sync::atomic::{Ordering, fence};

use super::super::{SplitRing, flags};

/// The avail index at the last check: EVENT_IDX asks whether the event lies between it and the new one. (With
/// `new - 1` in its place a burst would lose a notification at each wrap.)
pub(super) struct Publisher {
    checked: u16,
    event_idx: bool,
}

impl Publisher {
    pub(super) fn new(event_idx: bool) -> Self {
        Self { checked: 0, event_idx }
    }

    /// Whether notifications go by index.
    pub(super) fn event_idx(&self) -> bool {
        self.event_idx
    }

    /// Publishes the entries before `index`; whether the device is to be notified. One release store, one full
    /// fence, one read of what the device wrote: its worst lie costs a notification.
    #[inline]
    pub(super) fn publish(&mut self, ring: &SplitRing, index: u16) -> bool {
        ring.store_avail_index(index);
        // The device stores its wish and then reads the index; we do it the other way round. Without a full
        // fence on both sides each could miss the other.
        fence(Ordering::SeqCst);
        let checked = core::mem::replace(&mut self.checked, index);
        if self.event_idx {
            let event = ring.avail_event();
            index.wrapping_sub(event).wrapping_sub(1) < index.wrapping_sub(checked)
        } else {
            ring.used_flags() & flags::USED_NO_NOTIFY == 0
        }
    }
}

/// What a doorbell tells that carries data: the queue, and the avail index (virtio 1.2, 2.9).
pub(super) fn notification(queue: u16, index: u16) -> u32 {
    u32::from(queue) | u32::from(index) << 16
}
