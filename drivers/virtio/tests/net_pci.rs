//! PCI devices that describe themselves wrongly (catalogue A: capability list loop, cap_len 0, BAR offset and
//! length overflow, huge notify multiplier): a clear error each, in bounded time.
#![allow(clippy::cast_possible_truncation, reason = "test data")]

use netbuf::DeviceMemory;
use virtio::transport::{
    DeviceStatus, DeviceType, Doorbell, DoorbellTransport, PciDevice, PciRegions, Transport,
    TransportError,
};
use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

const FUNCTION: DeviceFunction = DeviceFunction { bus: 0, device: 3, function: 0 };

/// Offsets in the BAR, and its size.
const COMMON: u32 = 0;
const ISR: u32 = 0x100;
const DEVICE: u32 = 0x200;
const NOTIFY: u32 = 0x300;
const BAR_BYTES: u32 = 0x1000;

/// A configuration space with one 64-bit memory BAR, number 4, that is real memory.
#[derive(Clone)]
struct Space {
    words: [u32; 64],
    masks: [u32; 6],
    bar: usize,
}

impl Space {
    fn new() -> Self {
        // Twice the size, so that a part of it is aligned to its size, as a BAR is.
        let memory = DeviceMemory::from_heap(2 * BAR_BYTES as usize).base();
        let bar = memory.as_ptr().expose_provenance().next_multiple_of(BAR_BYTES as usize);
        let mut words = [0; 64];
        words[0] = 0x1041_1af4;
        words[1] = 1 << 20;
        words[0x34 / 4] = 0x40;
        words[0x10 / 4 + 4] = bar as u32 | 0b100;
        words[0x10 / 4 + 5] = (bar as u64 >> 32) as u32;
        let mut masks = [0; 6];
        masks[4] = !(BAR_BYTES - 1) | 0b100;
        masks[5] = u32::MAX;
        let mut space = Self { words, masks, bar };
        space.capability(0x40, [9, 0x50, 16, 1], [4, COMMON, 56, 0]);
        space.capability(0x50, [9, 0x60, 16, 3], [4, ISR, 4, 0]);
        space.capability(0x60, [9, 0x70, 16, 4], [4, DEVICE, 12, 0]);
        space.capability(0x70, [9, 0, 20, 2], [4, NOTIFY, 0x100, 4]);
        space
    }

    fn capability(
        &mut self,
        at: usize,
        head: [u8; 4],
        [bar, offset, length, multiplier]: [u32; 4],
    ) {
        let words = [u32::from_le_bytes(head), bar, offset, length, multiplier];
        let count = usize::from(head[2]).div_ceil(4).min(5);
        self.words[at / 4..][..count].copy_from_slice(&words[..count]);
    }

    fn changed(change: impl FnOnce(&mut Self)) -> Self {
        let mut space = Self::new();
        change(&mut space);
        space
    }

    fn read(&mut self) -> Result<PciRegions, TransportError> {
        PciRegions::read(self, FUNCTION)
    }

    fn open(&mut self) -> PciDevice {
        let regions = self.read().unwrap();
        // SAFETY: the BAR is heap memory that is never freed.
        unsafe { PciDevice::new(self, &regions) }.unwrap()
    }

    /// A register in the BAR.
    fn register(&self, offset: u32) -> *mut u16 {
        std::ptr::with_exposed_provenance_mut(self.bar + offset as usize)
    }
}

impl ConfigurationAccess for Space {
    fn read_word(&self, _: DeviceFunction, offset: u8) -> u32 {
        assert!(offset.is_multiple_of(4));
        self.words[usize::from(offset / 4)]
    }

    fn write_word(&mut self, _: DeviceFunction, offset: u8, data: u32) {
        let word = usize::from(offset / 4);
        match word {
            1 => self.words[1] = self.words[1] & 0xffff_0000 | data & 0xffff,
            4..10 => {
                let mask = self.masks[word - 4];
                let kept = if word == 8 { 0xf } else { 0 };
                self.words[word] = data & mask | self.words[word] & kept;
            }
            _ => panic!("a write to {offset:#x}"),
        }
    }

    unsafe fn unsafe_clone(&self) -> Self {
        self.clone()
    }
}

fn refused(what: &str, change: impl FnOnce(&mut Space)) {
    let error = Space::changed(change).read().unwrap_err();
    assert!(error.to_string().contains(what), "{error} (should say: {what})");
}

#[test]
fn a_device_by_the_rules() {
    let mut space = Space::new();
    let before = space.words;
    let regions = space.read().unwrap();
    assert_eq!(regions.device_type(), DeviceType::Network);
    let bars: Vec<_> = regions.bars().map(|bar| (bar.address as usize, bar.len)).collect();
    assert_eq!(bars, [(space.bar, u64::from(BAR_BYTES))]);
    assert_eq!(space.words, before, "the BARs and the command are as they were");

    let mut device = space.open();
    assert_eq!(space.words[1] & 0b110, 0b110, "memory and bus mastering are on");
    device.set_status(DeviceStatus::ACKNOWLEDGE);
    assert_eq!(device.get_status(), DeviceStatus::ACKNOWLEDGE);
    let mac: u8 = device.read_config_space(5).unwrap();
    assert_eq!(mac, 0);
    assert!(device.read_config_space::<u16>(12).is_err(), "behind the device's configuration");
    // queue_notify_off is 3 and the multiplier 4: the register is at 12.
    // SAFETY: inside the BAR.
    unsafe { space.register(COMMON + 30).write_volatile(3) };
    device.doorbell(1, false).unwrap().ring(1 | 7 << 16);
    // SAFETY: inside the BAR.
    let (rung, selected) = unsafe {
        (space.register(NOTIFY + 12).read_volatile(), space.register(COMMON + 22).read_volatile())
    };
    assert_eq!((rung, selected), (1, 1));
    drop(device);
    // SAFETY: inside the BAR.
    assert_eq!(unsafe { space.register(COMMON + 20).cast::<u8>().read_volatile() }, 0);
}

#[test]
fn nothing_there_or_something_else() {
    let absent = Space::changed(|space| space.words[0] = u32::MAX).read().unwrap_err();
    assert_eq!(absent, TransportError::Absent);
    let other = Space::changed(|space| space.words[0] = 0x10d3_8086).read().unwrap_err();
    assert_eq!(other, TransportError::NotVirtio { found: 0x10d3_8086 });
    let unknown = Space::changed(|space| space.words[0] = 0x1fff_1af4).read().unwrap_err();
    assert_eq!(unknown, TransportError::UnknownDevice(0x1fff));
}

#[test]
fn capability_list_loop() {
    refused("loop", |space| space.capability(0x40, [9, 0x40, 16, 1], [4, COMMON, 56, 0]));
    refused("loop", |space| space.capability(0x70, [9, 0x40, 20, 2], [4, NOTIFY, 0x100, 4]));
    refused("header", |space| space.words[0x34 / 4] = 0x10);
}

#[test]
fn capabilities_missing_or_too_short() {
    refused("legacy", |space| space.words[1] = 0);
    for cap_len in [0, 4, 15] {
        refused("legacy", |space| {
            space.words[0x40 / 4] = u32::from_le_bytes([9, 0x50, cap_len, 1]);
        });
    }
    refused("legacy", |space| space.words[0x70 / 4] = u32::from_le_bytes([9, 0, 16, 2]));
    // At the very end of the space nothing behind it is read.
    refused("legacy", |space| space.words[0x60 / 4] = u32::from_le_bytes([9, 0xfc, 16, 4]));
    refused("too short", |space| space.words[0x40 / 4 + 3] = 55);
}

#[test]
fn bars_that_are_not_what_a_capability_needs() {
    for bar in [6, 7, 63, 255] {
        refused("does not exist", |space| space.words[0x40 / 4 + 1] = bar);
    }
    refused("not there", |space| space.words[0x40 / 4 + 1] = 0);
    refused("not memory", |space| space.words[0x10 / 4 + 4] |= 1);
    refused("second half", |space| {
        space.words[0x10 / 4 + 5] = 0b100;
        space.masks[5] = u32::MAX;
        space.words[0x40 / 4 + 1] = 5;
    });
    refused("no address", |space| {
        space.words[0x10 / 4 + 4] = 0b100;
        space.words[0x10 / 4 + 5] = 0;
    });
    refused("address space", |space| {
        space.words[0x10 / 4 + 4] = 0xffff_f004;
        space.words[0x10 / 4 + 5] = u32::MAX;
    });
}

#[test]
fn bar_offset_and_length_overflow() {
    for (offset, length) in
        [(BAR_BYTES, 56), (0, BAR_BYTES + 1), (u32::MAX, 56), (56, u32::MAX), (u32::MAX, u32::MAX)]
    {
        refused("beyond its BAR", |space| {
            space.words[0x40 / 4 + 2] = offset;
            space.words[0x40 / 4 + 3] = length;
        });
    }
    let mut odd = Space::changed(|space| space.words[0x40 / 4 + 2] = 2);
    let regions = odd.read().unwrap();
    // SAFETY: the BAR is heap memory that is never freed.
    let error = unsafe { PciDevice::new(&mut odd, &regions) }.unwrap_err();
    assert!(error.to_string().contains("aligned"), "{error}");
}

#[test]
fn notify_multiplier_odd_or_huge() {
    refused("odd", |space| space.words[0x70 / 4 + 4] = 3);
    for multiplier in [0x100, 0xffff_fffe] {
        let mut space = Space::changed(|space| space.words[0x70 / 4 + 4] = multiplier);
        let mut device = space.open();
        // SAFETY: inside the BAR.
        unsafe { space.register(COMMON + 30).write_volatile(0xffff) };
        assert!(device.doorbell(0, false).is_err());
        assert!(device.doorbell(0, true).is_err());
        device.notify(0);
        // SAFETY: inside the BAR.
        unsafe { space.register(COMMON + 30).write_volatile(0) };
        assert!(device.doorbell(0, false).is_ok());
    }
}

/// Reads a register of the common structure.
fn common<T>(space: &Space, offset: u32) -> T {
    // SAFETY: inside the BAR, which is heap memory that is never freed; a number.
    unsafe { space.register(COMMON + offset).cast::<T>().read_volatile() }
}

#[test]
fn features_and_queues_are_written_where_they_belong() {
    let mut space = Space::new();
    let mut device = space.open();
    // SAFETY: inside the BAR.
    unsafe { space.register(COMMON + 4).cast::<u32>().write_volatile(0x1234_5678) };
    assert_eq!(device.read_device_features(), 0x1234_5678_1234_5678);
    device.write_driver_features(0xfedc_ba98_0000_0001);
    assert_eq!((common::<u32>(&space, 8), common::<u32>(&space, 12)), (1, 0xfedc_ba98));
    device.queue_set(3, 256, 0x1_0000_2000, 0x3_0000_4000, 0x5_0000_6000);
    assert_eq!((common::<u16>(&space, 22), common::<u16>(&space, 24)), (3, 256));
    assert_eq!(common::<[u64; 3]>(&space, 32), [0x1_0000_2000, 0x3_0000_4000, 0x5_0000_6000]);
    assert_eq!(common::<u16>(&space, 28), 1, "enabled");
    assert!(device.queue_used(3));
    assert_eq!(device.max_queue_size(3), 256);
}

#[test]
fn a_queue_is_reset_where_the_structure_has_a_register_for_it() {
    let mut short = Space::new();
    let mut device = short.open();
    assert!(!device.resets_queues() && !device.reset_queue(1));
    assert_eq!(common::<u16>(&short, 58), 0, "not touched");

    let mut space = Space::changed(|space| space.words[0x40 / 4 + 3] = 60);
    let mut device = space.open();
    assert!(device.resets_queues());
    device.queue_set(1, 256, 0, 0, 0);
    // A device that never says that it is done.
    assert!(!device.reset_queue(1));
    assert_eq!((common::<u16>(&space, 22), common::<u16>(&space, 58)), (1, 1));
    // One that takes a while.
    let registers = space.clone();
    // SAFETY: inside the BAR.
    unsafe { space.register(COMMON + 58).write_volatile(0) };
    let finishes = std::thread::spawn(move || {
        while common::<u16>(&registers, 58) == 0 {
            std::hint::spin_loop();
        }
        // SAFETY: inside the BAR.
        unsafe {
            registers.register(COMMON + 28).write_volatile(0);
            registers.register(COMMON + 58).write_volatile(0);
        }
    });
    while !device.reset_queue(1) {}
    finishes.join().unwrap();
    assert!(!device.queue_used(1));
}
