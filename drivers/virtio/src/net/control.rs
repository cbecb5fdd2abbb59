//! A running device's controls: link, address, stop.

use alloc::boxed::Box;
use alloc::vec::Vec;

use netdev::{Control, Device, Link, MacAddress, RxQueue, TxQueue};

use super::VirtioNet;
use super::bring_up::end;
use super::config_space::read_link_up;
use super::running::Running;
use crate::features::{Features, Negotiated};
use crate::transport::{DeviceStatus, DoorbellTransport};

/// Everything of the device but its queues.
pub(super) struct NetControl<T: DoorbellTransport> {
    pub(super) device: VirtioNet<T>,
    pub(super) negotiated: Negotiated,
    pub(super) running: Running,
}

impl<T: DoorbellTransport + 'static> Control for NetControl<T> {
    /// Down also for a device that asks for a reset or has reset itself: stop and start it again.
    fn link(&mut self) -> Link {
        let status = self.device.transport.get_status();
        let alive = status.contains(DeviceStatus::DRIVER_OK)
            && !status.contains(DeviceStatus::DEVICE_NEEDS_RESET);
        let stated = self.negotiated.features.contains(Features::STATUS);
        let up = alive && (!stated || read_link_up(&self.device.transport).unwrap_or(false));
        Link { up, speed: None, announce: false }
    }

    fn mac(&self) -> MacAddress {
        self.device.mac()
    }

    /// Resets the device. A device that does not confirm may still write to the buffers that it was given:
    /// they are then lost, and a further start will fail for the same reason.
    fn stop(
        mut self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        end(&mut self.device.transport, &self.running);
        drop((rx, tx));
        Box::new(self.device)
    }
}
