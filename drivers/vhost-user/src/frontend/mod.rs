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
mod lane;
mod line;
mod pair;
mod peer;
mod queues;
mod record;
mod user;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use netdev::{MacAddress, WakeSource};
use virtio::transport::{DeviceStatus, DeviceType, Doorbell, DoorbellTransport, Transport};
use virtio_drivers::PhysAddr;
use virtio_drivers::transport::InterruptStatus;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use self::line::Line;
use self::pair::QUEUES;
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

/// The transport to a vhost-user back end: to one pair of its queues, which the driver knows as queues 0 and 1. The
/// transports of several pairs share the connection, and may be on different threads.
pub struct VhostUserFrontend {
    line: SharedLine,
    pair: usize,
}

/// A connection that several pairs share. Control only: packets do not come this way.
#[derive(Clone)]
struct SharedLine(Arc<Mutex<Line>>);

impl SharedLine {
    fn new(line: Line) -> Self {
        Self(Arc::new(Mutex::new(line)))
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while somebody else is at it.
    fn try_lock(&self) -> Option<MutexGuard<'_, Line>> {
        match self.0.try_lock() {
            Ok(line) => Some(line),
            Err(std::sync::TryLockError::Poisoned(line)) => Some(line.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

impl VhostUserFrontend {
    /// A front end of one pair that connects to a back end, which may come later. All rings and packets of the driver
    /// must lie in `memory`, at most eight regions.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn connect(
        path: impl AsRef<std::path::Path>,
        memory: &[SharedMemory],
    ) -> Result<Self, EndpointError> {
        Self::one(Endpoint::connect(path)?, memory)
    }

    /// A front end of one pair that a back end connects to. The socket file is made now, and removed in the end.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn listen(
        path: impl AsRef<std::path::Path>,
        memory: &[SharedMemory],
    ) -> Result<Self, EndpointError> {
        Self::one(Endpoint::listen(path)?, memory)
    }

    fn one(endpoint: Endpoint, memory: &[SharedMemory]) -> Result<Self, EndpointError> {
        let line = SharedLine::new(Line::new(endpoint, memory, 1)?);
        Ok(Self { line, pair: 0 })
    }

    /// Gives the device an address; without, it has one made from the socket's path.
    #[must_use]
    pub fn with_mac(self, mac: MacAddress) -> Self {
        self.line.lock().mac = mac;
        self
    }

    /// Looks for the peer and for what it has sent; whether the device can be started, or runs. Does not wait.
    pub fn poll(&self) -> bool {
        let mut line = self.line.lock();
        line.poll();
        line.is_ready()
    }

    /// A view of the connections, for as long as one likes.
    pub fn monitor(&self) -> Monitor {
        self.line.lock().monitor.clone()
    }
}

impl Transport for VhostUserFrontend {
    fn device_type(&self) -> DeviceType {
        DeviceType::Network
    }

    fn read_device_features(&mut self) -> u64 {
        let mut line = self.line.lock();
        line.poll();
        line.device_features()
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.line.lock().pairs[self.pair].driver_features = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        // A back end states no limit; this is the format's own (virtio 1.2, 2.7).
        if usize::from(queue) < QUEUES { 1 << 15 } else { 0 }
    }

    fn notify(&mut self, queue: u16) {
        if let Some(queue) = self.line.lock().pairs[self.pair].queues.get(usize::from(queue)) {
            queue.kick.signal();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let mut line = self.line.lock();
        line.poll();
        line.pairs[self.pair].status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.line.lock().set_status(self.pair, status);
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
        let pair = &mut self.line.lock().pairs[self.pair];
        if let Some(queue) = pair.queues.get_mut(usize::from(queue)) {
            queue.size = size;
            queue.desc = descriptors;
            queue.avail = driver_area;
            queue.used = device_area;
        }
    }

    fn queue_unset(&mut self, queue: u16) {
        self.line.lock().stop_queue(self.pair, queue);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        let pair = &self.line.lock().pairs[self.pair];
        pair.queues.get(usize::from(queue)).is_some_and(|queue| queue.size != 0)
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let mut any = false;
        for queue in &self.line.lock().pairs[self.pair].queues {
            any |= queue.call.drain();
        }
        if any { InterruptStatus::QUEUE_INTERRUPT } else { InterruptStatus::empty() }
    }

    fn read_config_generation(&self) -> u32 {
        self.line.lock().generation
    }

    fn read_config_space<T: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> virtio_drivers::Result<T> {
        let mut line = self.line.lock();
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
pub struct EventDoorbell(Arc<Event>);

impl Doorbell for EventDoorbell {
    fn ring(&mut self, _data: u32) {
        self.0.signal();
    }
}

impl DoorbellTransport for VhostUserFrontend {
    type Doorbell = EventDoorbell;

    /// An eventfd carries no data; the front end passes `VIRTIO_F_NOTIFICATION_DATA` on to nobody.
    fn doorbell(&mut self, queue: u16, _data: bool) -> Result<EventDoorbell, &'static str> {
        let pair = &self.line.lock().pairs[self.pair];
        let queue = pair.queues.get(usize::from(queue)).ok_or("there is no such queue")?;
        Ok(EventDoorbell(Arc::clone(&queue.kick)))
    }

    fn wake_source(&self, queue: u16) -> Option<WakeSource> {
        let pair = &self.line.lock().pairs[self.pair];
        let call = pair.queues.get(usize::from(queue))?.call.as_fd().as_raw_fd();
        Some(WakeSource::Fd(call))
    }
}
