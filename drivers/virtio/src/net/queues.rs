//! Making the queues of a start: rings in the device's memory, one behind the other, of the types that were negotiated.
//!
//! Each type of ring is compiled once for each kind of header and doorbell: where a device may say nothing of a received
//! frame, its headers are not read; what is sent is the same for both.

use alloc::boxed::Box;
use alloc::sync::Arc;

use netbuf::{DeviceMemory, Pool};
use netdev::{QueueCounters, RingFormat, RxQueue, StartFailure, TxQueue};

use super::running::Running;
use super::rx::Receiver;
use super::tx::Sender;
use super::{PlainHeader, SpeakingHeader};
use crate::features::{Features, Negotiated};
use crate::ring::packed::{self, PackedReceive, PackedTransmit};
use crate::ring::split::{self, RingSize, SplitReceive, SplitTransmit};
use crate::ring::{Addresses, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup};
use crate::transport::DoorbellTransport;

/// The constructor of a kind of ring, of which the caller promises that nobody else uses its memory.
type Make<R, S> = unsafe fn(&DeviceMemory, usize, RingSize, &S) -> Option<R>;

/// Queues in the making.
pub(super) struct Queues<'a, T: DoorbellTransport> {
    transport: &'a mut T,
    /// Invariant: nobody uses it from `used` on.
    memory: &'a DeviceMemory,
    used: usize,
    negotiated: &'a Negotiated,
    running: &'a Running,
    receive: ReceiveSetup,
    transmit: TransmitSetup,
}

impl<'a, T: DoorbellTransport> Queues<'a, T> {
    /// # Safety
    /// Neither the device nor an earlier start may use `memory` any more.
    pub(super) unsafe fn new(
        transport: &'a mut T,
        memory: &'a DeviceMemory,
        negotiated: &'a Negotiated,
        running: &'a Running,
        port: u16,
        pool: &Pool,
    ) -> Result<Self, StartFailure> {
        let (options, max_frame) = (negotiated.ring_options(), negotiated.max_frame);
        Ok(Self {
            transport,
            memory,
            used: 0,
            negotiated,
            running,
            receive: ReceiveSetup { options, pool: *pool, port, max_frame },
            transmit: TransmitSetup { options, home: *pool, max_frame },
        })
    }

    /// Makes the receive queue `queue`, with nothing posted yet.
    pub(super) fn receive(&mut self, queue: u16) -> Result<Box<dyn RxQueue>, StartFailure> {
        match (self.negotiated.ring_format, self.negotiated.headers_speak()) {
            (RingFormat::Packed, false) => self.receiver(queue, PackedReceive::<PlainHeader>::new),
            (RingFormat::Packed, true) => {
                self.receiver(queue, PackedReceive::<SpeakingHeader>::new)
            }
            (_, false) => self.receiver(queue, SplitReceive::<PlainHeader>::new),
            (_, true) => self.receiver(queue, SplitReceive::<SpeakingHeader>::new),
        }
    }

    /// Makes the transmit queue `queue`.
    pub(super) fn transmit(&mut self, queue: u16) -> Result<Box<dyn TxQueue>, StartFailure> {
        match self.negotiated.ring_format {
            RingFormat::Packed => self.sender(queue, PackedTransmit::<PlainHeader>::new),
            _ => self.sender(queue, SplitTransmit::<PlainHeader>::new),
        }
    }

    fn receiver<R: ReceiveRing>(
        &mut self,
        queue: u16,
        make: Make<R, ReceiveSetup>,
    ) -> Result<Box<dyn RxQueue>, StartFailure> {
        let size = ring_size(self.negotiated.rx_ring)?;
        let offset = self.take(size, 0);
        // SAFETY: nobody used the memory from `offset` on, and what is made next lies behind the ring.
        let ring = unsafe { make(self.memory, offset, size, &self.receive) };
        let ring = ring.ok_or(StartFailure::NoMemory)?;
        let doorbell = self.connect(queue, size, ring.addresses())?;
        let (counters, wake) = (Self::counters(), self.transport.wake_source(queue));
        let running = self.running.clone();
        Ok(Box::new(Receiver { ring, doorbell, queue, counters, running, wake }))
    }

    fn sender<R: TransmitRing>(
        &mut self,
        queue: u16,
        make: Make<R, TransmitSetup>,
    ) -> Result<Box<dyn TxQueue>, StartFailure> {
        let size = ring_size(self.negotiated.tx_ring)?;
        let offset = self.take(size, self.negotiated.tables(size));
        // SAFETY: as for a receive ring.
        let ring = unsafe { make(self.memory, offset, size, &self.transmit) };
        let ring = ring.ok_or(StartFailure::NoMemory)?;
        let doorbell = self.connect(queue, size, ring.addresses())?;
        let (counters, running) = (Self::counters(), self.running.clone());
        Ok(Box::new(Sender { ring, doorbell, queue, counters, running }))
    }

    #[inline(never)]
    fn counters() -> Arc<QueueCounters> {
        Arc::new(QueueCounters::default())
    }

    /// Takes memory for a ring and what belongs to it; where it begins. (What is too much, the ring refuses.)
    #[inline(never)]
    fn take(&mut self, size: RingSize, more: usize) -> usize {
        let ring = match self.negotiated.ring_format {
            RingFormat::Packed => packed::ring_bytes(size),
            _ => split::ring_bytes(size),
        };
        let offset = self.used;
        self.used += ring + more;
        offset
    }

    /// Names a ring to the device.
    #[inline(never)]
    fn connect(
        &mut self,
        queue: u16,
        size: RingSize,
        addresses: Addresses,
    ) -> Result<T::Doorbell, StartFailure> {
        let Addresses { desc, driver, device } = addresses;
        self.transport.queue_set(queue, size.get().into(), desc, driver, device);
        let data = self.negotiated.features.contains(Features::NOTIFICATION_DATA);
        self.transport.doorbell(queue, data).map_err(StartFailure::Device)
    }
}

fn ring_size(entries: u16) -> Result<RingSize, StartFailure> {
    RingSize::new(entries.into()).ok_or(StartFailure::NoMemory)
}
