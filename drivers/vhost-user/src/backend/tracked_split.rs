//! A split ring with a record: the device half sees an avail ring of its own, filled from the driver's. The used ring is the
//! driver's.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use netdev::Armed;
use virtio::ring::split::{DeviceOptions, Indexes, SplitDevice, SplitRing};

use crate::inflight::{Cells, SplitRecord};
use crate::message::Request;
use crate::violation::Violation;

pub(super) struct TrackedSplit {
    /// On `copy`.
    device: SplitDevice,
    driver: SplitRing,
    /// The driver's ring, but for the avail ring, which is `_avail`.
    copy: SplitRing,
    _avail: Box<[AtomicU16]>,
    record: SplitRecord,
    /// Chains taken out of the driver's avail ring, oldest first: those from the device half's index to `taken`.
    held: VecDeque<u16>,
    taken: u16,
}

impl TrackedSplit {
    pub(super) fn start(
        driver: SplitRing,
        base: Option<u32>,
        options: DeviceOptions,
        cells: Cells,
        entries: u16,
    ) -> Result<Self, Violation> {
        let base = base.unwrap_or(0);
        u16::try_from(base).map_err(|_| Violation::RingBase(base))?;
        let (size, used) = (driver.size(), driver.load_used_index(Ordering::Relaxed));
        let (record, again) = SplitRecord::open(cells, entries, used)?;
        // The region may have more entries than the ring.
        if again.iter().any(|&head| head >= size.get()) {
            return Err(Violation::Value(Request::SetInflightFd));
        }
        let avail: Box<[_]> = (0..size.avail_bytes() / 2).map(|_| AtomicU16::new(0)).collect();
        let [desc, _, used_part] = driver.addresses().map(part);
        let own = NonNull::from(&*avail).cast();
        let (desc, used_part) = desc.zip(used_part).ok_or(Violation::RingBase(base))?;
        // SAFETY: the driver's parts, valid as long as `driver` is; and an avail ring of the same size, aligned to 2, that
        // the new value keeps, and that atomics may be changed through.
        let copy = unsafe { SplitRing::new(desc, own, used_part, size) };
        copy.store_avail_index(used);
        let device = SplitDevice::new(copy, Indexes { avail: used, used }, options);
        let held = VecDeque::with_capacity(size.get().into());
        let mut ring = Self { device, driver, copy, _avail: avail, record, held, taken: used };
        again.into_iter().for_each(|head| ring.hold(head));
        ring.copy.store_avail_index(ring.taken);
        Ok(ring)
    }

    fn hold(&mut self, head: u16) {
        self.copy.set_avail(self.taken, head);
        self.held.push_back(head);
        self.taken = self.taken.wrapping_add(1);
    }

    /// Takes all that the driver has made available.
    fn take(&mut self) {
        let avail = self.driver.load_avail_index(Ordering::Acquire);
        let size = self.driver.size().get();
        let all = avail.wrapping_sub(self.device.indexes().avail);
        let new = avail.wrapping_sub(self.taken);
        if all > size || usize::from(all) < self.held.len() {
            // More than the ring has, or less than it said before: the device half is to find the ring broken.
            return self
                .copy
                .store_avail_index(self.device.indexes().avail.wrapping_add(size).wrapping_add(1));
        }
        for _ in 0..new {
            let head = self.driver.avail(self.taken);
            self.record.take(head);
            self.hold(head);
        }
        self.copy.store_avail_index(self.taken);
    }

    /// One batch.
    pub(super) fn batch(&mut self, work: impl FnOnce(&mut SplitDevice) -> usize) -> usize {
        if !self.device.is_broken() {
            self.take();
        }
        let before = self.device.indexes().avail;
        let done = work(&mut self.device);
        let after = self.device.indexes();
        let count = usize::from(after.avail.wrapping_sub(before)).min(self.held.len());
        if count > 0 {
            let oldest = self.held.get(count).copied();
            self.record.give_back(self.held.drain(..count), after.used, oldest);
        }
        done
    }

    pub(super) fn should_notify(&mut self) -> bool {
        // Between the store of the index and the driver's wish (virtio 1.2, 2.7.7.2).
        fence(Ordering::SeqCst);
        self.copy.set_avail_flags(self.driver.avail_flags());
        self.copy.set_used_event(self.driver.used_event());
        self.device.should_notify()
    }

    pub(super) fn arm(&mut self) -> Armed {
        if !self.device.is_broken() {
            self.take();
        }
        if self.device.arm() == Armed::PacketsPending {
            return Armed::PacketsPending;
        }
        // (The wish stands, and a fence behind it.)
        let pending = self.driver.load_avail_index(Ordering::Acquire) != self.taken;
        if !pending || self.device.is_broken() {
            return Armed::Armed;
        }
        self.device.disarm();
        Armed::PacketsPending
    }

    pub(super) fn stop(&mut self) -> u32 {
        self.record.put_back(self.held.drain(..));
        self.device.indexes().avail.into()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.device.is_broken()
    }
}

/// A part of a ring, by its address in this process.
fn part(address: u64) -> Option<NonNull<u8>> {
    NonNull::new(std::ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?))
}
