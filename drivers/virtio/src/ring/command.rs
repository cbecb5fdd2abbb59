//! The driver half of a control queue's ring (virtio 1.2, 5.1.6.5), of either format: one command at a time, in one
//! descriptor that the device reads and one that it writes its answer to.
//!
//! Off the packet path; what is used once is compiled with its user, for size. A device that does not answer, or answers
//! something else, is not asked again.

use core::ptr::NonNull;
use core::sync::atomic::Ordering;

use netbuf::DeviceMemory;
use netdev::RingFormat;

use super::Addresses;
use super::packed::{self, PackedRing, pair};
use super::split::{self, RingSize, SplitRing, flags};

/// Most bytes of a command, its class and number included: more than a filter table of 64 addresses, or a hash key with
/// a table of 128 queues takes.
const MOST: usize = 512;

/// Bytes of memory for a command and, on a line of its own, the answer.
const AREA: usize = MOST + 128;

/// How often the answer is looked for. Devices of a virtual machine answer while they are notified; a second or so
/// passes where another process answers.
const READS: usize = 10_000_000;

/// `VIRTIO_NET_OK`.
const OK: u8 = 0;

/// What the answer holds until the device has written it.
const NO_ANSWER: u8 = 0xff;

#[derive(Clone, Copy)]
enum Ring {
    Split(SplitRing),
    Packed(PackedRing),
}

/// A ring for commands.
pub(crate) struct CommandRing {
    ring: Ring,
    /// Invariant: `AREA` bytes from here on are valid for reads and writes. The device reads the first `MOST` of them
    /// while a command is under way, and may write the one behind them at any time.
    area: NonNull<u8>,
    /// Bytes of the command in the making; `None`: it is too long.
    len: Option<usize>,
    /// Commands so far.
    count: u16,
    /// The device did not answer.
    stuck: bool,
}

impl CommandRing {
    /// Entries: a command takes two.
    pub(crate) const ENTRIES: RingSize = match RingSize::new(4) {
        Some(size) => size,
        None => panic!("four is a power of two"),
    };

    /// Bytes of device memory that the ring and its commands take, in the format that takes more.
    pub(crate) const BYTES: usize = split::ring_bytes(Self::ENTRIES) + AREA;

    /// A ring in [`BYTES`](Self::BYTES) of `memory` from byte `offset` on. `None` where the memory is too small or
    /// `offset` no multiple of 64.
    ///
    /// # Safety
    /// No device and no other ring may use these bytes, now or as long as the ring is in use.
    #[inline]
    pub(crate) unsafe fn new(
        memory: &DeviceMemory,
        offset: usize,
        format: RingFormat,
    ) -> Option<Self> {
        if offset.checked_add(Self::BYTES)? > memory.len() {
            return None;
        }
        // SAFETY: the caller's promise; the sum stays in the region, as just compared.
        unsafe {
            let area = memory.base().add(offset + split::ring_bytes(Self::ENTRIES));
            let ring = match format {
                RingFormat::Packed => Ring::Packed(packed::place(memory, offset, Self::ENTRIES)?),
                _ => Ring::Split(split::place(memory, offset, Self::ENTRIES)?),
            };
            Some(Self { ring, area, len: None, count: 0, stuck: false })
        }
    }

    /// Where the ring lies.
    pub(crate) fn addresses(&self) -> Addresses {
        match self.ring {
            Ring::Split(ring) => {
                let [desc, driver, device] = ring.addresses();
                Addresses { desc, driver, device }
            }
            Ring::Packed(ring) => ring.addresses(),
        }
    }

    /// Begins a command with its class and number.
    pub(crate) fn begin(&mut self, head: [u8; 2]) {
        self.len = Some(0);
        self.push(&head);
    }

    /// Appends to the command in the making.
    #[inline(never)]
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.len.and_then(|len| len.checked_add(bytes.len()));
        // (Of a device that did not answer, the last command may still be under way.)
        let end = end.filter(|&end| end <= MOST && !self.stuck);
        if let (Some(len), Some(_)) = (self.len, end) {
            // SAFETY: `len + bytes.len() <= MOST`. No command is under way, so the device has nothing to read here.
            unsafe {
                self.area
                    .add(len)
                    .copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
            }
        }
        self.len = end;
    }

    /// Publishes the command in the making. `false`: it is too long, or the device does not answer any more.
    #[inline]
    pub(crate) fn publish(&mut self) -> bool {
        let Some(len) = self.len.take() else { return false };
        // SAFETY: inside the area.
        let answer = unsafe { self.area.add(MOST) };
        // SAFETY: valid for writes; volatile, because the device may write it at any time.
        unsafe { answer.write_volatile(NO_ANSWER) };
        let [command, answer] = [self.area, answer].map(|part| part.addr().get() as u64);
        #[expect(clippy::cast_possible_truncation, reason = "at most MOST")]
        let len = len as u32;
        match self.ring {
            Ring::Split(ring) => {
                let desc = |addr, len, flags, next| split::Desc { addr, len, flags, next };
                ring.set_desc(0, desc(command, len, flags::DESC_NEXT, 1));
                ring.set_desc(1, desc(answer, 1, flags::DESC_WRITE, 0));
                ring.set_avail(self.count, 0);
                ring.store_avail_index(self.count.wrapping_add(1));
            }
            Ring::Packed(ring) => pair::publish(&ring, self.count, (command, len), (answer, 1)),
        }
        self.count = self.count.wrapping_add(1);
        true
    }

    /// What the doorbell of `queue` is rung with, if it carries data.
    pub(crate) fn notification(&self, queue: u16) -> u32 {
        let place = match self.ring {
            Ring::Split(_) => self.count,
            Ring::Packed(ring) => pair::next(&ring, self.count),
        };
        u32::from(queue) | u32::from(place) << 16
    }

    /// Waits for the answer to the command that was published last; whether the device has done it.
    #[inline]
    pub(crate) fn wait(&mut self) -> bool {
        let last = self.count.wrapping_sub(1);
        for _ in 0..READS {
            let finished = match self.ring {
                Ring::Split(ring) => {
                    ring.load_used_index(Ordering::Acquire) == self.count && ring.used(last).id == 0
                }
                Ring::Packed(ring) => pair::is_used(&ring, last),
            };
            if finished {
                // SAFETY: inside the area, valid for reads; read once.
                return unsafe { self.area.add(MOST).read_volatile() } == OK;
            }
            core::hint::spin_loop();
        }
        self.stuck = true;
        false
    }
}
