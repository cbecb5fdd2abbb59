//! A device on either bus, as one type: the driver's bring-up is compiled once for both, which an image with PCI
//! and MMIO support would otherwise hold twice. Its methods are not inlined, because bring-up calls them often and none
//! of them is on the packet path.

use virtio_drivers::PhysAddr;
use virtio_drivers::transport::InterruptStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{
    BusDoorbell, DeviceStatus, DeviceType, DoorbellTransport, MmioDevice, PciDevice, Transport,
};

/// A device that has its registers in memory. Nothing of the choice is on the packet path: both kinds have the
/// same doorbell.
#[derive(Debug)]
pub enum BusDevice {
    /// Behind PCI.
    Pci(PciDevice),
    /// Behind a window of registers.
    Mmio(MmioDevice),
}

impl From<PciDevice> for BusDevice {
    fn from(device: PciDevice) -> Self {
        Self::Pci(device)
    }
}

impl From<MmioDevice> for BusDevice {
    fn from(device: MmioDevice) -> Self {
        Self::Mmio(device)
    }
}

/// Calls the method of whichever device it is.
macro_rules! either {
    ($self:ident, $device:ident => $call:expr) => {
        match $self {
            Self::Pci($device) => $call,
            Self::Mmio($device) => $call,
        }
    };
}

impl Transport for BusDevice {
    #[inline(never)]
    fn device_type(&self) -> DeviceType {
        either!(self, device => device.device_type())
    }

    #[inline(never)]
    fn read_device_features(&mut self) -> u64 {
        either!(self, device => device.read_device_features())
    }

    #[inline(never)]
    fn write_driver_features(&mut self, driver_features: u64) {
        either!(self, device => device.write_driver_features(driver_features));
    }

    #[inline(never)]
    fn max_queue_size(&mut self, queue: u16) -> u32 {
        either!(self, device => device.max_queue_size(queue))
    }

    #[inline(never)]
    fn notify(&mut self, queue: u16) {
        either!(self, device => device.notify(queue));
    }

    #[inline(never)]
    fn get_status(&self) -> DeviceStatus {
        either!(self, device => device.get_status())
    }

    #[inline(never)]
    fn set_status(&mut self, status: DeviceStatus) {
        either!(self, device => device.set_status(status));
    }

    #[inline(never)]
    fn set_guest_page_size(&mut self, guest_page_size: u32) {
        either!(self, device => device.set_guest_page_size(guest_page_size));
    }

    #[inline(never)]
    fn requires_legacy_layout(&self) -> bool {
        either!(self, device => device.requires_legacy_layout())
    }

    #[inline(never)]
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        either!(self, device => device.queue_set(queue, size, descriptors, driver_area, device_area));
    }

    #[inline(never)]
    fn queue_unset(&mut self, queue: u16) {
        either!(self, device => device.queue_unset(queue));
    }

    #[inline(never)]
    fn queue_used(&mut self, queue: u16) -> bool {
        either!(self, device => device.queue_used(queue))
    }

    #[inline(never)]
    fn ack_interrupt(&mut self) -> InterruptStatus {
        either!(self, device => device.ack_interrupt())
    }

    #[inline(never)]
    fn read_config_generation(&self) -> u32 {
        either!(self, device => device.read_config_generation())
    }

    #[inline(never)]
    fn read_config_space<V: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<V> {
        either!(self, device => device.read_config_space(offset))
    }

    #[inline(never)]
    fn write_config_space<V: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: V,
    ) -> virtio_drivers::Result<()> {
        either!(self, device => device.write_config_space(offset, value))
    }
}

impl DoorbellTransport for BusDevice {
    type Doorbell = BusDoorbell;

    #[inline(never)]
    fn doorbell(&mut self, queue: u16, data: bool) -> Result<BusDoorbell, &'static str> {
        either!(self, device => device.doorbell(queue, data))
    }

    #[inline(never)]
    fn resets_queues(&self) -> bool {
        either!(self, device => device.resets_queues())
    }

    #[inline(never)]
    fn reset_queue(&mut self, queue: u16) -> bool {
        either!(self, device => device.reset_queue(queue))
    }

    #[inline(never)]
    fn wake_source(&self, queue: u16) -> Option<netdev::WakeSource> {
        either!(self, device => device.wake_source(queue))
    }
}
