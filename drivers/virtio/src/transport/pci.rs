//! virtio over PCI, modern devices (virtio 1.2, 4.1).

use core::ptr::NonNull;

use netdev::WakeSource;
use virtio_drivers::Error;
use virtio_drivers::transport::pci::bus::ConfigurationAccess;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::pci_common::{
    CONFIG_GENERATION, Common, DEVICE_FEATURE, DEVICE_FEATURE_SELECT, DEVICE_STATUS,
    DRIVER_FEATURE, DRIVER_FEATURE_SELECT, QUEUE_ENABLE, QUEUE_MSIX_VECTOR, QUEUE_NOTIFY_OFF,
    QUEUE_SIZE,
};
use super::{BusDoorbell, Doorbell, DoorbellTransport, PciRegions, Span, TransportError};

/// The command register: memory decoding, bus mastering, and no INTx (queues are polled).
const COMMAND: u8 = 0x04;
const COMMAND_BITS: u32 = 1 << 1 | 1 << 2 | 1 << 10;

/// A device on a PCI bus.
#[derive(Debug)]
pub struct PciDevice {
    device_type: DeviceType,
    common: Common,
    /// The device's own configuration, if it has one.
    ///
    /// Invariant: mapped for good, and aligned to 4.
    own: Option<Span>,
    notify: Span,
    notify_multiplier: u32,
    wake: Option<Wake>,
}

/// How a receive queue wakes a sleeper.
#[derive(Clone, Copy, Debug)]
struct Wake {
    /// Entry of the function's MSI-X table.
    entry: u16,
    /// The interrupt vector that the platform wrote there.
    vector: u8,
}

impl PciDevice {
    /// The device whose registers were found at `regions`; switches on its memory and its bus mastering.
    ///
    /// # Errors
    /// Where a structure is not aligned as it must be.
    ///
    /// # Safety
    /// The [`bars`](PciRegions::bars) must be mapped at their own addresses, uncached as device memory wants
    /// it, for ever, and used by nobody else.
    pub unsafe fn new<C: ConfigurationAccess>(
        access: &mut C,
        regions: &PciRegions,
    ) -> Result<Self, TransportError> {
        let command = access.read_word(regions.function, COMMAND) & 0xffff;
        access.write_word(regions.function, COMMAND, command | COMMAND_BITS);
        // SAFETY: as the caller promised; the structure lies inside a BAR.
        let common = unsafe { Common::new(regions.common) };
        let aligned = |span: &Span| span.address.is_multiple_of(4);
        match common.filter(|_| regions.device.as_ref().is_none_or(aligned)) {
            Some(common) => Ok(Self {
                device_type: regions.device_type,
                common,
                own: regions.device,
                notify: regions.notify,
                notify_multiplier: regions.notify_multiplier,
                wake: None,
            }),
            None => Err(TransportError::Malformed("a capability's structure is not aligned")),
        }
    }

    /// States that entry `entry` of the function's MSI-X table, which is on, raises `vector`: receive queues that
    /// are started from now on can wake a sleeper.
    pub fn wake_by(&mut self, entry: u16, vector: u8) {
        self.wake = Some(Wake { entry, vector });
    }

    /// Names the MSI-X entry of a receive queue, before the queue is enabled (virtio 1.2, 4.1.5.1.3). A device
    /// that refuses it cannot wake anybody.
    fn name_vector(&mut self, queue: u16) {
        let Some(wake) = self.wake.filter(|_| is_receive(queue)) else { return };
        self.common.select(queue);
        self.common.write(QUEUE_MSIX_VECTOR, wake.entry);
        if self.common.read(QUEUE_MSIX_VECTOR) != wake.entry {
            self.wake = None;
        }
    }

    /// Where `T` stands in the device's own configuration.
    fn own<T>(&self, offset: usize) -> virtio_drivers::Result<NonNull<T>> {
        let own = self.own.ok_or(Error::ConfigSpaceMissing)?;
        let end = (offset as u64).checked_add(size_of::<T>() as u64);
        let fits = end.is_some_and(|end| end <= own.len)
            && align_of::<T>() <= 4
            && offset.is_multiple_of(align_of::<T>());
        let place = pointer(own.address + if fits { offset as u64 } else { 0 });
        place.filter(|_| fits).map(NonNull::cast).ok_or(Error::ConfigSpaceTooSmall)
    }
}

/// Receive queues have the even numbers (virtio 1.2, 5.1.2).
fn is_receive(queue: u16) -> bool {
    queue.is_multiple_of(2)
}

impl Drop for PciDevice {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
    }
}

impl Transport for PciDevice {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |select| {
            self.common.write(DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read(DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        let [low, high] = [driver_features, driver_features >> 32];
        for (select, half) in [(0, low), (1, high)] {
            self.common.write(DRIVER_FEATURE_SELECT, select);
            #[expect(clippy::cast_possible_truncation, reason = "both halves are written")]
            self.common.write(DRIVER_FEATURE, half as u32);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.common.select(queue);
        self.common.read(QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        if let Ok(mut doorbell) = self.doorbell(queue, false) {
            doorbell.ring(queue.into());
        }
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.common.read(DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        #[expect(clippy::cast_possible_truncation, reason = "all bits are in the first byte")]
        self.common.write(DEVICE_STATUS, status.bits() as u8);
    }

    /// Legacy devices want it.
    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, desc: u64, driver: u64, device: u64) {
        self.name_vector(queue);
        self.common.select(queue);
        #[expect(clippy::cast_possible_truncation, reason = "at most `max_queue_size`")]
        self.common.write(QUEUE_SIZE, size as u16);
        self.common.set_addresses([desc, driver, device]);
        self.common.write(QUEUE_ENABLE, 1);
    }

    /// There is no way: a queue can be reset, if at all ([`DoorbellTransport::reset_queue`]).
    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, queue: u16) -> bool {
        self.common.select(queue);
        self.common.read(QUEUE_ENABLE) == 1
    }

    /// INTx is off, and MSI-X asks for no answer.
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read(CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let place = self.own(offset)?;
        // SAFETY: inside the configuration, and aligned; any bytes make a `T`.
        Ok(unsafe { place.read_volatile() })
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> virtio_drivers::Result<()> {
        let place = self.own(offset)?;
        // SAFETY: as for reading.
        unsafe { place.write_volatile(value) };
        Ok(())
    }
}

impl DoorbellTransport for PciDevice {
    type Doorbell = BusDoorbell;

    fn doorbell(&mut self, queue: u16, data: bool) -> Result<BusDoorbell, &'static str> {
        self.common.select(queue);
        let place = self.common.read(QUEUE_NOTIFY_OFF);
        let offset = u64::from(place) * u64::from(self.notify_multiplier);
        let bytes = if data { 4 } else { 2 };
        if offset + bytes > self.notify.len {
            return Err("a queue's doorbell lies outside the notify structure");
        }
        let register = pointer(self.notify.address + offset)
            .filter(|register| (register.addr().get() as u64).is_multiple_of(bytes))
            .ok_or("a queue's doorbell is not aligned")?;
        // SAFETY: inside the notify structure, which lies inside a mapped BAR, and aligned: just compared.
        Ok(unsafe {
            if data {
                BusDoorbell::data(register.cast(), queue)
            } else {
                BusDoorbell::word(register.cast(), queue)
            }
        })
    }

    fn resets_queues(&self) -> bool {
        self.common.has_reset()
    }

    fn reset_queue(&mut self, queue: u16) -> bool {
        self.common.select(queue);
        self.common.reset()
    }

    fn wake_source(&self, queue: u16) -> Option<WakeSource> {
        self.wake.filter(|_| is_receive(queue)).map(|wake| WakeSource::Vector(wake.vector))
    }
}

/// The pointer to a device address: the two are equal.
pub(super) fn pointer(address: u64) -> Option<NonNull<u8>> {
    NonNull::new(core::ptr::with_exposed_provenance_mut(usize::try_from(address).ok()?))
}
