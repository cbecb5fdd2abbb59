//! The contract's own suite over the virtio-net driver: split rings, with notifications by flag and by index,
//! and a device that completes in order or in pairs the wrong way round.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

mod net_fake;

use std::sync::atomic::Ordering;

use net_fake::{Fake, HEADER, USUAL};
use netdev::Device;
use netdev::conformance::{Outcome, Rig, run_all};
use virtio::features::Features;
use virtio::ring::split::UsedElem;

/// A peer that obeys the rules.
struct Peer {
    features: Features,
    /// Finishes sent packets in pairs, the second one first.
    swaps: bool,
    fake: Fake,
    taken: [u16; 2],
    done: [u16; 2],
    held: Option<u16>,
    /// How often the device was reset when the cursors were last used.
    resets: u32,
}

impl Peer {
    fn new(features: Features, swaps: bool) -> Self {
        let (taken, done) = ([0; 2], [0; 2]);
        Self { features, swaps, fake: Fake::new(), taken, done, held: None, resets: 0 }
    }

    /// The next entry that the driver published.
    fn next(&mut self, queue: usize) -> Option<u16> {
        let ring = self.fake.0.borrow().rings[queue]?;
        if self.taken[queue] == ring.load_avail_index(Ordering::Acquire) {
            return None;
        }
        let head = ring.avail(self.taken[queue]);
        self.taken[queue] = self.taken[queue].wrapping_add(1);
        Some(head)
    }

    fn finish(&mut self, queue: usize, head: u16, len: u32) {
        let ring = self.fake.ring(queue);
        ring.set_used(self.done[queue], UsedElem { id: head.into(), len });
        self.done[queue] = self.done[queue].wrapping_add(1);
        ring.store_used_index(self.done[queue]);
    }

    fn finish_sent(&mut self, head: u16) {
        if !self.swaps {
            return self.finish(1, head, 0);
        }
        match self.held.take() {
            None => self.held = Some(head),
            Some(held) => {
                self.finish(1, head, 0);
                self.finish(1, held, 0);
            }
        }
    }
}

impl Rig for Peer {
    fn device(&mut self) -> Box<dyn Device> {
        let features = self.features;
        self.fake = Fake::with(|registers| {
            registers.features = features.bits();
            registers.queue_sizes = vec![256; 2];
        });
        (self.taken, self.done, self.held) = ([0; 2], [0; 2], None);
        Box::new(self.fake.open().unwrap())
    }

    fn inject(&mut self, frame: &[u8]) -> bool {
        self.forget_if_restarted();
        let Some(head) = self.next(0) else { return false };
        let desc = self.fake.ring(0).desc(head);
        assert!(HEADER + frame.len() <= desc.len as usize);
        // SAFETY: the driver gave the buffer to the device, and it is as long as was compared.
        unsafe {
            let at = desc.addr as *mut u8;
            at.write_bytes(0, HEADER);
            at.add(10).write(1);
            at.add(HEADER).copy_from_nonoverlapping(frame.as_ptr(), frame.len());
        }
        self.finish(0, head, (HEADER + frame.len()) as u32);
        true
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        self.forget_if_restarted();
        let head = self.next(1)?;
        let desc = self.fake.ring(1).desc(head);
        // SAFETY: the driver gave the packet to the device.
        let bytes =
            unsafe { std::slice::from_raw_parts(desc.addr as *const u8, desc.len as usize) };
        let frame = bytes[HEADER..].to_vec();
        self.finish_sent(head);
        Some(frame)
    }

    fn turn(&mut self) {
        self.forget_if_restarted();
        if let Some(held) = self.held.take() {
            self.finish(1, held, 0);
        }
    }
}

impl Peer {
    /// A device that was reset starts at zero.
    fn forget_if_restarted(&mut self) {
        let resets = self.fake.0.borrow().resets;
        if self.resets != resets {
            (self.taken, self.done, self.held) = ([0; 2], [0; 2], None);
            self.resets = resets;
        }
    }
}

fn conform(features: Features, swaps: bool) {
    for (name, outcome) in run_all(&mut Peer::new(features, swaps)) {
        if let Outcome::Skipped(reason) = outcome {
            println!("skipped: {name}: {reason}");
        }
    }
}

#[test]
fn notifications_by_flag() {
    conform(USUAL, false);
}

#[test]
fn notifications_by_index() {
    conform(USUAL | Features::EVENT_IDX, false);
}

#[test]
fn completions_out_of_order() {
    conform(USUAL | Features::EVENT_IDX, true);
}

#[test]
fn a_device_that_says_little() {
    conform(Features::VERSION_1, false);
}
