//! A packed ring with a record: the device half works on a ring of its own, filled from the driver's; what it writes there
//! as used is copied to the driver's, the first of a batch last.

use std::collections::VecDeque;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use netdev::Armed;
use virtio::ring::packed::{Desc, Event, PackedDevice, PackedRing, flags};
use virtio::ring::split::{DeviceOptions, Indexes, RingSize};

use super::live_ring::packed_base;
use crate::inflight::{Cells, Opened, PackedRecord, Spot, Taken};
use crate::violation::Violation;

/// A descriptor's place in private memory.
#[repr(align(16))]
struct Slot(#[expect(dead_code, reason = "reached by its address")] [AtomicU64; 2]);

pub(super) struct TrackedPacked {
    /// On `copy`.
    device: PackedDevice,
    driver: PackedRing,
    /// In `_slots` and `_events`.
    copy: PackedRing,
    _slots: Box<[Slot]>,
    _events: Box<[AtomicU32; 2]>,
    record: PackedRecord,
    /// Chains taken out of the driver's ring, oldest first, and how many descriptors they have: those from `used` to
    /// `next`.
    held: VecDeque<Taken>,
    descs: u16,
    used: Spot,
    next: Spot,
    /// One chain, while it is read.
    chain: Vec<Desc>,
    armed: bool,
}

impl TrackedPacked {
    pub(super) fn start(
        driver: PackedRing,
        base: Option<u32>,
        options: DeviceOptions,
        cells: Cells,
        entries: u16,
    ) -> Result<Self, Violation> {
        let size = driver.size();
        let start = packed_base(base, size)?.used;
        let start = Spot::decode(start, size).ok_or(Violation::RingBase(start.into()))?;
        let flags_at = |index| driver.desc(index).flags;
        let Opened { record, used, again } =
            PackedRecord::open(cells, entries, size, start, flags_at)?;
        let slots: Box<[_]> = (0..size.get()).map(|_| Slot(Default::default())).collect();
        let events = Box::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let copy = ring(&slots, &events, size);
        let at = used.index | u16::from(used.wrap) << 15;
        let device = PackedDevice::new(copy, Indexes { avail: at, used: at }, options);
        let entries = usize::from(size.get());
        let (held, chain) = (VecDeque::with_capacity(entries), Vec::with_capacity(entries));
        let mut ring = Self {
            device,
            driver,
            copy,
            _slots: slots,
            _events: events,
            record,
            held,
            descs: 0,
            used,
            next: used,
            chain,
            armed: false,
        };
        for again in again {
            ring.chain.clone_from(&again.descs);
            ring.show();
            ring.hold(again.taken);
        }
        ring.tell_wish();
        Ok(ring)
    }

    /// Shows `chain` to the device half as the next one.
    fn show(&self) {
        let mut spot = self.next;
        for desc in &self.chain {
            // (Whatever the driver wrote behind the head: nothing is available before it is taken.)
            let desc = Desc { flags: spot.available(desc.flags), ..*desc };
            self.copy.set_desc(spot.index, desc);
            spot = spot.after(1, self.copy.size());
        }
    }

    fn hold(&mut self, taken: Taken) {
        self.held.push_back(taken);
        self.descs += taken.descs;
        self.next = self.next.after(taken.descs, self.copy.size());
    }

    /// Takes all that the driver has made available.
    fn take(&mut self) {
        while let Some(ends) = self.read_chain() {
            if !ends {
                // It is the device half that finds the ring broken, once it comes to the chain.
                if self.descs == 0 {
                    self.show();
                }
                return;
            }
            let Some(taken) = self.record.take(&self.chain) else { return };
            self.show();
            self.hold(taken);
        }
    }

    /// Reads the next chain, if there is one; whether it ends among the descriptors that are left.
    fn read_chain(&mut self) -> Option<bool> {
        let size = self.driver.size();
        let left = size.get() - self.descs;
        let mut desc = self.driver.desc(self.next.index);
        if left == 0 || !self.next.is_available(desc.flags) {
            return None;
        }
        self.chain.clear();
        let mut spot = self.next;
        loop {
            self.chain.push(desc);
            if desc.flags & flags::DESC_NEXT == 0 {
                return Some(true);
            }
            if self.chain.len() >= usize::from(left) {
                return Some(false);
            }
            spot = spot.after(1, size);
            desc = self.driver.desc(spot.index);
        }
    }

    /// One batch.
    pub(super) fn batch(&mut self, work: impl FnOnce(&mut PackedDevice) -> usize) -> usize {
        if self.armed {
            self.disarm();
        }
        if !self.device.is_broken() {
            self.take();
        }
        let done = work(&mut self.device);
        let size = self.copy.size();
        let Some(used) = Spot::decode(self.device.indexes().used, size) else { return done };
        let (mut count, mut spot) = (0, self.used);
        while spot != used
            && let Some(taken) = self.held.get(count)
        {
            spot = spot.after(taken.descs, size);
            self.descs -= taken.descs;
            count += 1;
        }
        if count > 0 {
            self.record.prepare(self.held.range(..count).copied(), spot);
            self.publish(count, spot);
            self.record.commit(self.held.drain(..count), spot);
            self.used = spot;
        }
        done
    }

    /// Shows the driver what the device half has written for the oldest `count` chains, up to `end`.
    fn publish(&self, count: usize, end: Spot) {
        let size = self.copy.size();
        let mut spot = end;
        for taken in self.held.range(..count).rev() {
            // Back by so many is on by the rest of two laps.
            let lap = size.get() - taken.descs;
            spot = spot.after(lap, size);
            spot.wrap = !spot.wrap;
            let desc = self.copy.desc(spot.index);
            // Where the order is known, one stands for many.
            if spot.is_used(desc.flags) {
                self.driver.set_used(spot.index, desc.len, desc.id, desc.flags);
            }
        }
    }

    pub(super) fn should_notify(&mut self) -> bool {
        // Between the store of the descriptor and the driver's wish.
        fence(Ordering::SeqCst);
        self.copy.set_driver_event(self.driver.driver_event());
        self.device.should_notify()
    }

    /// Passes the device half's wish for notifications on.
    fn tell_wish(&self) {
        self.driver.set_device_event(self.copy.device_event());
    }

    pub(super) fn arm(&mut self) -> Armed {
        if !self.device.is_broken() {
            self.take();
        }
        if self.device.arm() == Armed::PacketsPending {
            return Armed::PacketsPending;
        }
        self.tell_wish();
        self.armed = true;
        fence(Ordering::SeqCst);
        let Desc { flags, .. } = self.driver.desc(self.next.index);
        if self.device.is_broken() || !self.next.is_available(flags) {
            return Armed::Armed;
        }
        self.disarm();
        Armed::PacketsPending
    }

    fn disarm(&mut self) {
        self.armed = false;
        self.device.disarm();
        self.tell_wish();
    }

    pub(super) fn stop(&mut self) -> u32 {
        while let Some(taken) = self.held.pop_back() {
            self.record.put_back(taken);
        }
        let Indexes { avail, used } = self.device.indexes();
        u32::from(avail) | u32::from(used) << 16
    }

    pub(super) fn is_broken(&self) -> bool {
        self.device.is_broken()
    }
}

/// A ring in private memory: nothing in it is available.
fn ring(slots: &[Slot], events: &[AtomicU32; 2], size: RingSize) -> PackedRing {
    let of = Event::default();
    let [driver, device] = [&events[0], &events[1]].map(|event| NonNull::from(event).cast());
    // SAFETY: as many descriptors as the ring has, aligned to 16, and two structures aligned to 4, all of atomics; the
    // caller keeps them as long as the view.
    let ring = unsafe { PackedRing::new(NonNull::from(slots).cast(), driver, device, size) };
    ring.set_driver_event(of);
    ring
}
