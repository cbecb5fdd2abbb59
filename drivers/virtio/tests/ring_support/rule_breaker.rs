//! A device that breaks the rules on demand, towards a driver half: it says whatever it is told to say.

use std::sync::atomic::Ordering;

use virtio::ring::split::{SplitRing, UsedElem};

/// Something that a device may not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// One used element with this id and length.
    Used(u32, u32),
    /// The used index moves by so many, with nothing written.
    Jump(u16),
    /// An outstanding entry is completed twice in one burst.
    Twice(u32),
}

pub struct RuleBreaker(pub SplitRing);

impl RuleBreaker {
    /// Writes and publishes elements as they are.
    pub fn complete(&self, elems: &[UsedElem]) {
        let at = self.0.load_used_index(Ordering::Relaxed);
        for (index, elem) in (0..).map(|offset| at.wrapping_add(offset)).zip(elems) {
            self.0.set_used(index, *elem);
        }
        self.0.store_used_index(at.wrapping_add(u16::try_from(elems.len()).unwrap()));
    }

    pub fn tell(&self, lie: Lie) {
        match lie {
            Lie::Used(id, len) => self.complete(&[UsedElem { id, len }]),
            Lie::Twice(id) => self.complete(&[UsedElem { id, len: 72 }; 2]),
            Lie::Jump(by) => {
                let at = self.0.load_used_index(Ordering::Relaxed);
                self.0.store_used_index(at.wrapping_add(by));
            }
        }
    }

    /// Overwrites what only the driver may write: descriptors and the avail ring's entries.
    pub fn poison(&self) {
        for index in 0..self.0.size().get() {
            let desc = virtio::ring::split::Desc {
                addr: u64::MAX,
                len: u32::MAX,
                flags: 0xffff,
                next: index ^ 0x5555,
            };
            self.0.set_desc(index, desc);
            self.0.set_avail(index, 0xfff0 | index);
        }
    }
}
