//! The rings of a back end, each under a lock of its own, so that each can be polled by another thread while control
//! messages change its neighbours.

use crossbeam_utils::CachePadded;

use super::vring::Vring;
use crate::try_lock::{Guard, TryLock};
use crate::violation::Violation;

/// Even: the guest's receive rings. Odd: its transmit rings.
pub(crate) struct Rings(Box<[CachePadded<TryLock<Vring>>]>);

impl Rings {
    /// The rings of so many pairs.
    pub(crate) fn new(pairs: u16) -> Self {
        Self((0..2 * pairs).map(|_| CachePadded::default()).collect())
    }

    /// The ring, unless somebody works on it; what the packet path asks.
    #[inline]
    pub(crate) fn try_lock(&self, ring: usize) -> Option<Guard<'_, Vring>> {
        self.0.get(ring)?.try_lock()
    }

    /// The ring that a message names, once nobody works on it.
    pub(crate) fn lock(&self, index: u32) -> Result<Guard<'_, Vring>, Violation> {
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let ring = self.0.get(place).ok_or(Violation::RingIndex(index.into()))?;
        Ok(ring.lock())
    }

    /// Each ring, one after the other, with its number.
    pub(crate) fn each(&self) -> impl Iterator<Item = (u32, Guard<'_, Vring>)> {
        (0..).zip(&self.0).map(|(index, ring)| (index, ring.lock()))
    }

    /// Forgets what a front end has told.
    pub(crate) fn clear(&self) {
        self.each().for_each(|(_, mut ring)| *ring = Vring::default());
    }
}
