//! `Transport` for a wrapper around one of virtio-drivers' transports: everything but dropping is passed on.

/// Implements `Transport` for `$wrapper` by its field `inner`.
macro_rules! delegate_transport {
    ($wrapper:ty) => {
        impl virtio_drivers::transport::Transport for $wrapper {
            fn device_type(&self) -> virtio_drivers::transport::DeviceType {
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
                // (The inner one would panic where a device names a place outside its region.)
                if let Ok(mut doorbell) =
                    $crate::transport::DoorbellTransport::doorbell(self, queue, false)
                {
                    $crate::transport::Doorbell::ring(&mut doorbell, queue.into());
                }
            }

            fn get_status(&self) -> virtio_drivers::transport::DeviceStatus {
                self.inner.get_status()
            }

            fn set_status(&mut self, status: virtio_drivers::transport::DeviceStatus) {
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
                descriptors: virtio_drivers::PhysAddr,
                driver_area: virtio_drivers::PhysAddr,
                device_area: virtio_drivers::PhysAddr,
            ) {
                self.before_queue_set(queue);
                self.inner.queue_set(queue, size, descriptors, driver_area, device_area);
            }

            fn queue_unset(&mut self, queue: u16) {
                self.inner.queue_unset(queue);
            }

            fn queue_used(&mut self, queue: u16) -> bool {
                self.inner.queue_used(queue)
            }

            fn ack_interrupt(&mut self) -> virtio_drivers::transport::InterruptStatus {
                self.inner.ack_interrupt()
            }

            fn read_config_generation(&self) -> u32 {
                self.inner.read_config_generation()
            }

            fn read_config_space<V: zerocopy::FromBytes + zerocopy::IntoBytes>(
                &self,
                offset: usize,
            ) -> virtio_drivers::Result<V> {
                self.inner.read_config_space(offset)
            }

            fn write_config_space<V: zerocopy::IntoBytes + zerocopy::Immutable>(
                &mut self,
                offset: usize,
                value: V,
            ) -> virtio_drivers::Result<()> {
                self.inner.write_config_space(offset, value)
            }
        }
    };
}

pub(super) use delegate_transport;
