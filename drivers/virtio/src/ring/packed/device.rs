//! The device half of a packed virtqueue: positions, notifications, and what is done when the peer lies.
//!
//! One value serves one queue in one direction, as a [`SplitDevice`](crate::ring::split::SplitDevice) does:
//! [`PackedDevice::receive`] takes frames out of a driver's transmit queue, and [`PackedDevice::transmit`] puts
//! frames into a driver's receive queue (each in a file of its own). Everything that was taken is finished in
//! the same call, in order.
//!
//! Deliberately absent, as there: the notification itself.

use core::sync::atomic::{Ordering, fence};

use netdev::{Armed, DropCause, QueueCounters};

use super::chain::Walked;
use super::layout::{Event, PackedRing, Slot, Word, flags};
use super::position;
use crate::ring::split::{DeviceOptions, Indexes, Wide, detect};

/// The device half of one packed virtqueue.
#[derive(Debug)]
pub struct PackedDevice {
    pub(super) wide: Wide,
    pub(super) ring: PackedRing,
    pub(super) options: DeviceOptions,
    /// The next descriptor to take; never read back from the ring.
    pub(super) avail: u32,
    /// The next descriptor to write.
    pub(super) used: u32,
    /// The used position at the last [`should_notify`](Self::should_notify); `None` before the first.
    notified: Option<u32>,
    armed: bool,
    broken: bool,
}

impl PackedDevice {
    /// Where a fresh ring starts: both wrap counters are 1.
    pub const START: Indexes = Indexes { avail: 1 << 15, used: 1 << 15 };

    /// Takes over a ring that stands at `start`, and tells the driver not to send notifications.
    ///
    /// Each index has its wrap counter in bit 15, as in vhost-user's vring base; it is cut to the ring's size.
    pub fn new(ring: PackedRing, start: Indexes, options: DeviceOptions) -> Self {
        let (avail, used) =
            (position::decode(start.avail, ring.size()), position::decode(start.used, ring.size()));
        let wide = detect();
        let device =
            Self { wide, ring, options, avail, used, notified: None, armed: false, broken: false };
        device.suppress();
        device
    }

    /// Where the ring stands between two bursts, each index with its wrap counter in bit 15.
    pub fn indexes(&self) -> Indexes {
        let size = self.ring.size();
        Indexes {
            avail: position::encode(self.avail, size),
            used: position::encode(self.used, size),
        }
    }

    /// The ring's memory.
    pub fn ring(&self) -> PackedRing {
        self.ring
    }

    /// Whether the driver has published a chain that does not end: nothing is taken any more until the ring is
    /// started again with a new value.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether a burst can be begun: something is available.
    #[inline]
    pub(super) fn begin(&mut self) -> bool {
        if self.armed {
            self.disarm();
        }
        !self.broken && self.is_available()
    }

    /// Whether the driver has made the next descriptor available.
    #[inline]
    pub(super) fn is_available(&self) -> bool {
        self.is_available_at(self.avail)
    }

    /// The same of any position.
    #[inline]
    pub(super) fn is_available_at(&self, position: u32) -> bool {
        let size = self.ring.size();
        let word = self.ring.slot(position::place(position, size)).word();
        word.turn() == position::available(position, size)
    }

    /// Places from here on in which neither the next available nor the next used descriptor wraps.
    #[inline]
    pub(super) fn straight(&self) -> usize {
        let size = self.ring.size();
        position::to_end(self.avail, size).min(position::to_end(self.used, size))
    }

    /// Flags of a used descriptor in the next place.
    #[inline]
    pub(super) fn used_flags(&self) -> u16 {
        position::used(self.used, self.ring.size())
    }

    /// Hands a run of single descriptors back, written as `words`, which carry [`used_flags`](Self::used_flags): from
    /// the last to the first, so that the driver sees none of them, or all.
    #[inline]
    pub(super) fn complete_run(&mut self, words: &[Word]) {
        debug_assert!(words.len() <= self.straight());
        let first = self.ring.slot(position::place(self.used, self.ring.size()));
        // SAFETY: the run does not go beyond the end of the ring.
        unsafe { self.put_words(first, words) };
        self.completed(words.len());
    }

    /// See [`Slot::put_words`].
    ///
    /// # Safety
    /// As there.
    #[inline]
    unsafe fn put_words(&self, first: Slot, words: &[Word]) {
        // SAFETY: the caller's promise; and the CPU has AVX2.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if self.wide.is_some() {
                return super::wide::put_words(first, words);
            }
            first.put_words(words);
        }
    }

    /// As [`complete_run`](Self::complete_run), for buffers of which no length is of interest: where the order is
    /// known, the last one's name, in the first one's place, stands for all (virtio 1.2, 2.8.9).
    #[inline]
    pub(super) fn complete_unwritten(&mut self, words: &[Word]) {
        if !self.options.ring.in_order {
            return self.complete_run(words);
        }
        let Some(last) = words.last() else { return };
        self.ring.slot(position::place(self.used, self.ring.size())).publish(*last);
        self.completed(words.len());
    }

    /// As many descriptors are done with.
    #[inline]
    fn completed(&mut self, count: usize) {
        #[expect(clippy::cast_possible_truncation, reason = "at most a burst")]
        let count = count as u32;
        self.avail = self.avail.wrapping_add(count);
        self.used = self.used.wrapping_add(count);
    }

    /// Hands a chain back, of which `len` bytes were written; or takes note that there is no going on behind it.
    pub(super) fn complete_chain<E>(
        &mut self,
        walked: Result<Walked, E>,
        len: u32,
        counters: &QueueCounters,
    ) {
        match walked {
            Ok(walked) => {
                let (slot, word) = self.used_chain(walked, len);
                slot.publish(word);
            }
            Err(_) => self.break_ring(counters),
        }
    }

    /// Takes note that there is no going on.
    #[cold]
    pub(super) fn break_ring(&mut self, counters: &QueueCounters) {
        self.broken = true;
        counters.dropped(DropCause::RingBroken, 1);
    }

    /// Goes on behind a chain of which `len` bytes were written; what is to be written where, to hand it back.
    pub(super) fn used_chain(&mut self, Walked { id, descs }: Walked, len: u32) -> (Slot, Word) {
        let size = self.ring.size();
        // WRITE says that `len` means something (virtio 1.2, 2.8.5).
        let written = if len > 0 { flags::DESC_WRITE } else { 0 };
        let word = Word::new(len, id, position::used(self.used, size) | written);
        let slot = self.ring.slot(position::place(self.used, size));
        self.avail = self.avail.wrapping_add(descs.into());
        self.used = self.used.wrapping_add(descs.into());
        (slot, word)
    }

    /// Whether the loop over a burst is to end.
    #[inline]
    pub(super) fn is_stuck(&self) -> bool {
        self.broken || !self.is_available()
    }

    /// Whether the driver wants to be notified of what was published since the last call. Call it once per
    /// burst; it costs one full fence where anything was published. The first call stands for whatever an
    /// earlier device half may have published last.
    #[inline]
    pub fn should_notify(&mut self) -> bool {
        let new = self.used;
        let old = self.notified.replace(new);
        if old == Some(new) || self.broken {
            return false;
        }
        fence(Ordering::SeqCst);
        let Event { off_wrap, flags } = self.ring.driver_event();
        match flags {
            flags::EVENT_DISABLE => false,
            flags::EVENT_DESC if self.options.ring.event_idx => {
                // A predecessor may have published and died before it notified: the first check always does.
                old.is_none_or(|old| position::passes(off_wrap, old, new, self.ring.size()))
            }
            _ => true,
        }
    }

    /// Asks the driver for a notification at the next descriptor that it makes available, and looks again
    /// afterwards, so that none is slept over. Where one is pending nothing stays armed. Polling disarms.
    pub fn arm(&mut self) -> Armed {
        let flags =
            if self.options.ring.event_idx { flags::EVENT_DESC } else { flags::EVENT_ENABLE };
        let off_wrap = position::encode(self.avail, self.ring.size());
        self.ring.set_device_event(Event { off_wrap, flags });
        self.armed = true;
        // The driver makes descriptors available and then reads our wish; we do it the other way round.
        fence(Ordering::SeqCst);
        if self.is_stuck() {
            return Armed::Armed;
        }
        self.disarm();
        Armed::PacketsPending
    }

    /// Takes the wish of [`arm`](Self::arm) back: a polling device needs no notifications.
    pub fn disarm(&mut self) {
        self.armed = false;
        self.suppress();
    }

    fn suppress(&self) {
        self.ring.set_device_event(Event { off_wrap: 0, flags: flags::EVENT_DISABLE });
    }
}
