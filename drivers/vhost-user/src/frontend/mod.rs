//! The front end: the *driver* half. To the virtio-net driver it is a transport like PCI or MMIO; behind it
//! is a device in another process (OVS-DPDK, VPP, testpmd, our own back end).
//!
//! What a bus device has in registers is either asked of the peer (features) or made up here: status,
//! address and link state of the configuration space. Device addresses are this process's own addresses, and
//! the memory table says so.
//!
//! Nothing here waits for the peer but the reset, which must know that the rings are no longer used, and
//! does not wait for long.

mod config;
mod healer;
mod line;
mod peer;
mod queues;
mod user;

use std::cell::RefCell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::rc::Rc;

use netdev::{MacAddress, WakeSource};
use virtio::transport::{DeviceStatus, DeviceType, Doorbell, DoorbellTransport, Transport};
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::InterruptStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use self::line::Line;
pub use self::user::{VirtioUser, VirtioUserError};
use crate::endpoint::{Endpoint, EndpointError};
use crate::event::Event;
use crate::monitor::Monitor;

/// Memory of this process that the device may use: a part of a file that is mapped shared.
#[derive(Clone, Copy, Debug)]
pub struct SharedMemory {
    /// The file. It is sealed against shrinking if it allows that (`MFD_ALLOW_SEALING`): otherwise a peer that
    /// truncates it ends this process.
    pub file: BorrowedFd<'static>,
    /// Bytes from the start of the file to the start of the mapping.
    pub offset: u64,
    /// Where it is mapped. Never read or written here.
    pub base: NonNull<u8>,
    /// Bytes.
    pub len: usize,
}

/// The transport to a vhost-user back end.
pub struct VhostUserFrontend {
    line: Rc<RefCell<Line>>,
}

impl VhostUserFrontend {
    /// A front end that connects to a back end, which may come later. All rings and packets of the driver
    /// must lie in `memory`, at most eight regions.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn connect(
        path: impl AsRef<std::path::Path>,
        memory: &[SharedMemory],
    ) -> Result<Self, EndpointError> {
        Self::new(Endpoint::connect(path)?, memory)
    }

    /// A front end that a back end connects to. The socket file is made now, and removed in the end.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn listen(
        path: impl AsRef<std::path::Path>,
        memory: &[SharedMemory],
    ) -> Result<Self, EndpointError> {
        Self::new(Endpoint::listen(path)?, memory)
    }

    fn new(endpoint: Endpoint, memory: &[SharedMemory]) -> Result<Self, EndpointError> {
        let line = Line::new(endpoint, memory)?;
        Ok(Self { line: Rc::new(RefCell::new(line)) })
    }

    /// Gives the device an address; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(self, mac: MacAddress) -> Self {
        self.line.borrow_mut().mac = mac;
        self
    }

    /// Looks for the peer and for what it has sent; whether the device can be started, or runs. Does not wait.
    pub fn poll(&self) -> bool {
        let mut line = self.line.borrow_mut();
        line.poll();
        line.is_ready()
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.line.borrow().monitor.clone()
    }
}

impl Transport for VhostUserFrontend {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn read_device_features(&mut self) -> u64 {
        let mut line = self.line.borrow_mut();
        line.poll();
        line.device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.line.borrow_mut().driver_features = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        // A back end states no limit; this is the format's own (virtio 1.2, 2.7).
        if usize::from(queue) < line::QUEUES { 1 << 15 } else { 0 }
    }

    fn notify(&mut self, queue: u16) {
        if let Some(queue) = self.line.borrow().queues.get(usize::from(queue)) {
            queue.kick.signal();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let mut line = self.line.borrow_mut();
        line.poll();
        line.status()
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.line.borrow_mut().set_status(status);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        if let Some(queue) = self.line.borrow_mut().queues.get_mut(usize::from(queue)) {
            queue.size = size;
            queue.desc = descriptors;
            queue.avail = driver_area;
            queue.used = device_area;
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.line.borrow_mut().stop_queue(queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.line.borrow().queues.get(usize::from(queue)).is_some_and(|queue| queue.size != 0)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let line = self.line.borrow();
        let mut any = false;
        for queue in &line.queues {
            any |= queue.call.drain();
        }
        if any { InterruptStatus::QUEUE_INTERRUPT } else { InterruptStatus::empty() }
    }

    fn read_config_generation(&self) -> u32 {
        self.line.borrow().generation
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let mut line = self.line.borrow_mut();
        line.poll();
        config::read(&config::space(line.mac, line.is_ready()), offset)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _offset: usize,
        _value: T,
    ) -> virtio_drivers::Result<()> {
        // Nothing in it is the driver's to write (virtio 1.2, 5.1.4).
        Err(virtio_drivers::Error::Unsupported)
    }
}

/// Rings by writing an eventfd: one system call, and only when the device asked for it.
pub struct EventDoorbell(Rc<Event>);

impl Doorbell for EventDoorbell {
    fn ring(&mut self, _data: u32) {
        self.0.signal();
    }
}

impl DoorbellTransport for VhostUserFrontend {
    type Doorbell = EventDoorbell;

    /// An eventfd carries no data; the front end passes `VIRTIO_F_NOTIFICATION_DATA` on to nobody.
    fn doorbell(&mut self, queue: u16, _data: bool) -> Result<EventDoorbell, &'static str> {
        let line = self.line.borrow();
        let queue = line.queues.get(usize::from(queue)).ok_or("there is no such queue")?;
        Ok(EventDoorbell(Rc::clone(&queue.kick)))
    }

    fn wake_source(&self, queue: u16) -> Option<WakeSource> {
        let line = self.line.borrow();
        let call = line.queues.get(usize::from(queue))?.call.as_fd().as_raw_fd();
        Some(WakeSource::Fd(call))
    }
}
