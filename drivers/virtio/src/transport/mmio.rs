//! virtio over MMIO (virtio 1.2, 4.2).

use core::ptr::NonNull;

use netdev::WakeSource;
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{BusDoorbell, DoorbellTransport, TransportError, reset_ends};

/// `"virt"`, little-endian.
const MAGIC: u32 = 0x7472_6976;

/// Byte offsets of the registers that are read before virtio-drivers is asked.
const VERSION: usize = 0x04;
const DEVICE_ID: usize = 0x08;
const QUEUE_NOTIFY: usize = 0x50;

/// Those of a queue's reset (virtio 1.2, 4.2.2).
const QUEUE_SELECT: usize = 0x30;
const QUEUE_RESET: usize = 0xc0;

/// Where the device's own configuration starts: fewer bytes make no device.
const CONFIG: usize = 0x100;

/// A device behind a window of registers.
#[derive(Debug)]
pub struct MmioDevice {
    inner: MmioTransport<'static>,
    base: NonNull<u8>,
    /// The interrupt vector of the device's line, if the platform has one.
    wake: Option<u8>,
}

impl MmioDevice {
    /// The device whose registers are the `len` bytes from `base` on.
    ///
    /// # Errors
    /// [`TransportError::Absent`] for a slot with no device behind it, and what else is wrong.
    ///
    /// # Safety
    /// The bytes must be a window of virtio-mmio registers (or memory that behaves like them), valid for ever,
    /// aligned to 4 and used by nobody else.
    pub unsafe fn new(base: NonNull<u8>, len: usize) -> Result<Self, TransportError> {
        if len < CONFIG || !base.addr().get().is_multiple_of(4) {
            return Err(TransportError::Malformed(
                "a virtio-mmio window has at least 256 bytes and is aligned to 4",
            ));
        }
        // SAFETY: inside the window and aligned, both just compared.
        let read = |offset| unsafe { base.add(offset).cast::<u32>().read_volatile() };
        match (read(0), read(VERSION), read(DEVICE_ID)) {
            (found, _, _) if found != MAGIC => return Err(TransportError::NotVirtio { found }),
            (_, _, 0) => return Err(TransportError::Absent),
            (_, 2, _) => (),
            (_, version, _) => return Err(TransportError::Version(version)),
        }
        // SAFETY: as the caller promised.
        let inner = unsafe { MmioTransport::new(base.cast::<VirtIOHeader>(), len) };
        match inner {
            Ok(inner) => Ok(Self { inner, base, wake: None }),
            Err(MmioError::InvalidDeviceID(_)) => {
                Err(TransportError::UnknownDevice(read(DEVICE_ID)))
            }
            Err(_) => Err(TransportError::Malformed("the registers change while they are read")),
        }
    }
}

impl MmioDevice {
    /// States that the device's interrupt line has been given `vector`: its receive queues can wake a sleeper.
    pub fn wake_by(&mut self, vector: u8) {
        self.wake = Some(vector);
    }
}

/// As virtio-drivers does it.
impl Transport for MmioDevice {
    fn device_type(&self) -> DeviceType {
        self.inner.device_type()
    }

    fn read_device_features(&mut self) -> u64 {
        self.inner.read_device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.inner.write_driver_features(driver_features);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.inner.max_queue_size(queue)
    }

    fn notify(&mut self, queue: u16) {
        self.inner.notify(queue);
    }

    fn get_status(&self) -> DeviceStatus {
        self.inner.get_status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.inner.set_status(status);
    }

    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        self.inner.set_guest_page_size(guest_page_size);
    }

    fn requires_legacy_layout(&self) -> bool {
        self.inner.requires_legacy_layout()
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.inner.queue_set(queue, size, descriptors, driver_area, device_area);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.inner.queue_unset(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.inner.queue_used(queue)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        self.inner.ack_interrupt()
    }

    fn read_config_generation(&self) -> u32 {
        self.inner.read_config_generation()
    }

    fn read_config_space<V: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<V> {
        self.inner.read_config_space(offset)
    }

    fn write_config_space<V: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: V,
    ) -> virtio_drivers::Result<()> {
        self.inner.write_config_space(offset, value)
    }
}

impl DoorbellTransport for MmioDevice {
    type Doorbell = BusDoorbell;

    fn doorbell(&mut self, queue: u16, data: bool) -> Result<BusDoorbell, &'static str> {
        let make = if data { BusDoorbell::data } else { BusDoorbell::long };
        // SAFETY: the register lies inside the window, which is valid for ever and aligned.
        Ok(unsafe { make(self.base.add(QUEUE_NOTIFY).cast(), queue) })
    }

    /// The register is part of the window, whether the device knows of it or not. (QEMU's does not up to version 7.2 at
    /// least, and offers the feature nevertheless.)
    fn resets_queues(&self) -> bool {
        true
    }

    fn reset_queue(&mut self, queue: u16) -> bool {
        // SAFETY: both registers lie inside the window and are aligned.
        unsafe {
            self.base.add(QUEUE_SELECT).cast::<u32>().write_volatile(queue.into());
            let register = self.base.add(QUEUE_RESET).cast::<u32>();
            register.write_volatile(1);
            reset_ends(|| register.read_volatile() != 0)
        }
    }

    fn wake_source(&self, _queue: u16) -> Option<WakeSource> {
        self.wake.map(WakeSource::Vector)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::{Doorbell, Transport};
    use netbuf::DeviceMemory;

    fn window(words: &[(usize, u32)]) -> NonNull<u8> {
        let base = DeviceMemory::from_heap(512).base();
        for &(offset, word) in words {
            // SAFETY: offsets below 512, in memory that is never freed.
            unsafe { base.add(offset).cast::<u32>().write(word) };
        }
        base
    }

    fn open(words: &[(usize, u32)]) -> Result<MmioDevice, TransportError> {
        // SAFETY: 512 bytes of heap that is never freed and nobody else uses.
        unsafe { MmioDevice::new(window(words), 512) }
    }

    #[test]
    fn wrong_magic_version_or_device() {
        let wrong = open(&[(0, 0x1234_5678)]).unwrap_err();
        assert_eq!(wrong, TransportError::NotVirtio { found: 0x1234_5678 });
        assert_eq!(open(&[(0, MAGIC), (4, 2)]).unwrap_err(), TransportError::Absent);
        for version in [0, 1, 3, u32::MAX] {
            let wrong = open(&[(0, MAGIC), (4, version), (8, 1)]).unwrap_err();
            assert_eq!(wrong, TransportError::Version(version));
        }
        let unknown = open(&[(0, MAGIC), (4, 2), (8, 999)]).unwrap_err();
        assert_eq!(unknown, TransportError::UnknownDevice(999));
        // SAFETY: as in `open`.
        let short = unsafe { MmioDevice::new(window(&[]), 255) };
        assert!(matches!(short.unwrap_err(), TransportError::Malformed(_)));
    }

    #[test]
    fn the_doorbell_is_one_store_of_the_queue() {
        let base = window(&[(0, MAGIC), (4, 2), (8, 1), (QUEUE_NOTIFY, u32::MAX)]);
        // SAFETY: as in `open`.
        let mut device = unsafe { MmioDevice::new(base, 512) }.unwrap();
        // SAFETY: inside the window.
        let notified = || unsafe { base.add(QUEUE_NOTIFY).cast::<u32>().read_volatile() };
        device.doorbell(1, false).unwrap().ring(1 | 5 << 16);
        assert_eq!(notified(), 1);
        device.doorbell(1, true).unwrap().ring(1 | 5 << 16);
        assert_eq!(notified(), 1 | 5 << 16);
        device.notify(0);
        assert_eq!(notified(), 0);
    }

    #[test]
    fn a_queue_reset_that_the_device_does_not_finish() {
        let base = window(&[(0, MAGIC), (4, 2), (8, 1)]);
        // SAFETY: as in `open`.
        let mut device = unsafe { MmioDevice::new(base, 512) }.unwrap();
        assert!(device.resets_queues() && !device.reset_queue(3));
        // SAFETY: inside the window.
        let word = |offset| unsafe { base.add(offset).cast::<u32>().read_volatile() };
        assert_eq!((word(QUEUE_SELECT), word(QUEUE_RESET)), (3, 1));
    }
}
