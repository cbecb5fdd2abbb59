//! The device before start.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use core::sync::atomic::{AtomicU32, Ordering};

use netbuf::Pool;
use netdev::{Config, Device, Info, MacAddress, Port, StartError, StartFailure};

use super::bring_up::{self, Started};
use super::config_space::read_offer;
use super::control::NetControl;
use super::ring_memory::RingMemory;
use crate::features::{HEADER_BYTES, Offer};
use crate::ring::split::{RingSize, ring_bytes};
use crate::ring::table_bytes;
use crate::transport::{DeviceType, DoorbellTransport};

/// A virtio network device that is not running.
pub struct VirtioNet<T: DoorbellTransport> {
    pub(super) transport: T,
    pub(super) memory: RingMemory,
    pub(super) offer: Offer,
    /// The address of a device that states none.
    own_mac: MacAddress,
}

/// Devices so far: their own addresses differ.
static DEVICES: AtomicU32 = AtomicU32::new(0);

/// A device that cannot be used: its parts, and the reason.
pub struct OpenError<T> {
    /// How the device was reached.
    pub transport: T,
    /// The memory for its rings.
    pub memory: RingMemory,
    /// What stood in the way.
    pub reason: StartFailure,
}

impl<T> fmt::Debug for OpenError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for OpenError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<T> core::error::Error for OpenError<T> {}

impl<T: DoorbellTransport + 'static> VirtioNet<T> {
    /// Device memory that a pair of rings takes, in bytes, with at most so many entries each: split ones, which take
    /// more than packed ones, and tables for chained packets. `None` unless both are powers of two from 1 to 32,768.
    pub fn ring_bytes(rx_entries: u16, tx_entries: u16) -> Option<usize> {
        let (rx, tx) = (RingSize::new(rx_entries.into())?, RingSize::new(tx_entries.into())?);
        Some(ring_bytes(rx) + ring_bytes(tx) + table_bytes(tx))
    }

    /// Resets the device behind `transport` and asks what it offers. Its rings will lie in `memory`.
    ///
    /// # Errors
    /// Where it is no usable network device; the parts come back.
    pub fn new(mut transport: T, memory: impl Into<RingMemory>) -> Result<Self, Box<OpenError<T>>> {
        let memory = memory.into();
        match probe(&mut transport) {
            Ok(offer) => {
                let own_mac = MacAddress::local(DEVICES.fetch_add(1, Ordering::Relaxed));
                Ok(Self { transport, memory, offer, own_mac })
            }
            Err(reason) => {
                bring_up::give_up(&mut transport);
                Err(Box::new(OpenError { transport, memory, reason }))
            }
        }
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }
}

fn probe<T: DoorbellTransport>(transport: &mut T) -> Result<Offer, StartFailure> {
    if transport.device_type() != DeviceType::Network {
        return Err(StartFailure::Device("it is not a network device"));
    }
    if transport.requires_legacy_layout() {
        return Err(StartFailure::Device("it is a legacy device"));
    }
    bring_up::greet(transport)?;
    read_offer(transport)
}

impl<T: DoorbellTransport> VirtioNet<T> {
    /// The device's own address, or where it states none (or one that no port can have: zero, or multicast) a
    /// locally administered one, different for each device.
    pub(super) fn mac(&self) -> MacAddress {
        self.offer.mac.unwrap_or(self.own_mac)
    }
}

impl<T: DoorbellTransport + 'static> Device for VirtioNet<T> {
    fn info(&self) -> Info {
        let Offer { pairs, rx_ring, tx_ring, .. } = self.offer;
        Info {
            driver: "virtio-net",
            mac: self.mac(),
            max_frame: self.offer.max_frame(),
            headroom: HEADER_BYTES,
            rx_queues: pairs,
            tx_queues: pairs,
            rx_ring,
            tx_ring,
            ring_format: self.offer.ring_format(),
            ring_features: self.offer.ring_features(),
            offloads: self.offer.offloads(),
        }
    }

    fn start(mut self: Box<Self>, config: &Config, pool: &Pool) -> Result<Port, StartError> {
        match bring_up::start(&mut self, config, pool) {
            Ok(Started { rx, tx, control, negotiated, setup, live }) => {
                let mut info = self.info();
                info.max_frame = negotiated.max_frame.into();
                info.headroom += negotiated.hash_bytes();
                info.offloads = negotiated.offloads;
                info.ring_format = negotiated.ring_format;
                info.ring_features = negotiated.features.ring_features();
                info.rx_ring.max = negotiated.rx_ring;
                info.rx_ring.min = negotiated.rx_ring;
                info.tx_ring.max = negotiated.tx_ring;
                info.tx_ring.min = negotiated.tx_ring;
                info.rx_queues = negotiated.rx_queues;
                info.tx_queues = negotiated.tx_queues;
                let (device, mac, queue) = (*self, info.mac, control);
                let control = NetControl { device, negotiated, setup, live, queue, mac };
                Ok(Port { info, rx, tx, control: Box::new(control) })
            }
            Err(reason) => {
                bring_up::give_up(&mut self.transport);
                Err(StartError { device: self, reason })
            }
        }
    }

    fn split(self: Box<Self>, pairs: u16) -> Result<Vec<Box<dyn Device + Send>>, StartError> {
        Err(StartError::indivisible(self, pairs))
    }
}
