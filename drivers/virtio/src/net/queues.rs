//! Making the queues of a start: rings in the device's memory, one behind the other, of the types that were negotiated.
//!
//! Each type of ring is compiled once for each kind of header: where a device may say nothing of a received frame, its
//! headers are not read; what is sent is the same for both. Queues are generic over the doorbell and not over the
//! transport: those over a bus are compiled in this crate, for speed (see [`Doorbell::receive_queue`]), bring-up where a
//! transport is named, which may be for size.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use netbuf::{DeviceMemory, Pool};
use netdev::{QueueCounters, RingFormat, RxQueue, StartFailure, TxQueue, WakeSource};

use super::control_queue::ControlQueue;
use super::running::{Live, Running};
use super::rx::Receiver;
use super::tx::Sender;
use super::{PlainHeader, SpeakingHeader};
use crate::features::{Features, Negotiated};
use crate::ring::packed::{self, PackedReceive, PackedTransmit};
use crate::ring::split::{self, RingSize, SplitReceive, SplitTransmit};
use crate::ring::{
    Addresses, CommandRing, Pace, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup,
};
use crate::transport::{Doorbell, DoorbellTransport};

/// The constructor of a kind of ring, of which the caller promises that nobody else uses its memory.
type Make<R, S> = unsafe fn(&DeviceMemory, usize, RingSize, &S) -> Option<R>;

/// What queues need of a transport, whichever it is.
trait Wiring<D> {
    /// The doorbell of a queue that is to have so many entries.
    fn bell(&mut self, queue: u16, entries: u32, data: bool) -> Result<D, StartFailure>;

    /// What wakes a sleeper when the device has something in a queue.
    fn wake(&self, queue: u16) -> Option<WakeSource>;

    /// Names a ring to the device.
    fn name(&mut self, queue: u16, entries: u32, ring: Addresses);
}

impl<T: DoorbellTransport> Wiring<T::Doorbell> for T {
    fn bell(&mut self, queue: u16, entries: u32, data: bool) -> Result<T::Doorbell, StartFailure> {
        if self.max_queue_size(queue) < entries {
            return Err(StartFailure::Device("a queue is missing, or smaller than the first"));
        }
        self.doorbell(queue, data).map_err(StartFailure::Device)
    }

    fn wake(&self, queue: u16) -> Option<WakeSource> {
        self.wake_source(queue)
    }

    fn name(&mut self, queue: u16, entries: u32, ring: Addresses) {
        let Addresses { desc, driver, device } = ring;
        self.queue_set(queue, entries, desc, driver, device);
    }
}

/// Queues in the making: made of a transport, and emptied by its kind of doorbell.
pub struct Queues<'a, D> {
    transport: &'a mut dyn Wiring<D>,
    /// Invariant: nobody uses it from `used` on.
    memory: &'a DeviceMemory,
    used: usize,
    negotiated: &'a Negotiated,
    setup: &'a Setup,
    /// Of each queue, by its number.
    live: &'a mut Vec<Live>,
    /// Those of the next queue; then others.
    pub(super) counters: Arc<QueueCounters>,
}

/// What rings are made with.
pub(super) struct Setup {
    pub(super) receive: ReceiveSetup,
    transmit: TransmitSetup,
}

impl Setup {
    #[inline(never)]
    pub(super) fn new(negotiated: &Negotiated, port: u16, pool: &Pool) -> Self {
        let (options, max_frame) = (negotiated.ring_options(), negotiated.max_ring_frame());
        Self {
            receive: ReceiveSetup { options, pool: *pool, port, max_frame },
            transmit: TransmitSetup { options, home: *pool, max_frame },
        }
    }
}

/// What a queue has besides its ring.
pub(super) struct Own<D> {
    pub(super) doorbell: D,
    /// Its number.
    pub(super) queue: u16,
    pub(super) counters: Arc<QueueCounters>,
    pub(super) running: Running,
}

/// A queue whose ring is to be made. (All that can fail comes before the ring, so that nothing is to be undone.)
struct Place<D> {
    queue: u16,
    size: RingSize,
    /// Where its memory begins.
    offset: usize,
    doorbell: D,
}

impl<'a, D: Doorbell + 'static> Queues<'a, D> {
    /// The first queue will lie in `memory` from byte `used` on, further ones behind it.
    ///
    /// # Safety
    /// Neither the device nor any other ring may use what the queues will take of `memory` any more.
    #[inline]
    pub(super) unsafe fn new(
        transport: &'a mut impl DoorbellTransport<Doorbell = D>,
        (memory, used): (&'a DeviceMemory, usize),
        negotiated: &'a Negotiated,
        setup: &'a Setup,
        live: &'a mut Vec<Live>,
    ) -> Self {
        Self { transport, memory, used, negotiated, setup, live, counters: Arc::default() }
    }

    /// Makes the receive queue `queue` of so many `entries`, with nothing posted yet.
    pub(crate) fn receive(
        &mut self,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn RxQueue>, StartFailure> {
        let place = self.place(queue, entries, false)?;
        match (self.negotiated.ring_format, self.negotiated.headers_speak()) {
            (RingFormat::Packed, false) => self.receiver(place, PackedReceive::<PlainHeader>::new),
            (RingFormat::Packed, true) => {
                self.receiver(place, PackedReceive::<SpeakingHeader>::new)
            }
            (_, false) => self.receiver(place, SplitReceive::<PlainHeader>::new),
            (_, true) => self.receiver(place, SplitReceive::<SpeakingHeader>::new),
        }
    }

    /// Makes the transmit queue `queue` of so many `entries`.
    pub(crate) fn transmit(
        &mut self,
        queue: u16,
        entries: u16,
    ) -> Result<Box<dyn TxQueue>, StartFailure> {
        let place = self.place(queue, entries, true)?;
        match self.negotiated.ring_format {
            RingFormat::Packed => self.sender(place, PackedTransmit::<PlainHeader>::new),
            _ => self.sender(place, SplitTransmit::<PlainHeader>::new),
        }
    }

    /// Makes the control queue, which is the last one.
    #[inline(never)]
    pub(super) fn control(&mut self, queue: u16) -> Result<ControlQueue<D>, StartFailure> {
        let place = self.place(queue, CommandRing::ENTRIES.get(), false)?;
        let format = self.negotiated.ring_format;
        // SAFETY: nobody used the memory from `offset` on, and nothing is made behind this ring.
        let ring = unsafe { CommandRing::new(self.memory, place.offset, format) };
        let Some(ring) = ring else { return Err(StartFailure::NoMemory) };
        self.name(&place, ring.addresses());
        Ok(ControlQueue { ring, doorbell: place.doorbell, queue })
    }

    fn receiver<R: ReceiveRing>(
        &mut self,
        place: Place<D>,
        make: Make<R, ReceiveSetup>,
    ) -> Result<Box<dyn RxQueue>, StartFailure> {
        // SAFETY: nobody used the memory from `offset` on, and what is made next lies behind the ring.
        let ring = unsafe { make(self.memory, place.offset, place.size, &self.setup.receive) };
        let Some(ring) = ring else { return Err(StartFailure::NoMemory) };
        let (wake, pace) = (self.transport.wake(place.queue), Pace::default());
        let own = self.own(place, ring.addresses());
        Ok(Box::new(Receiver { ring, own, pace, wake }))
    }

    fn sender<R: TransmitRing>(
        &mut self,
        place: Place<D>,
        make: Make<R, TransmitSetup>,
    ) -> Result<Box<dyn TxQueue>, StartFailure> {
        // SAFETY: as for a receive ring.
        let ring = unsafe { make(self.memory, place.offset, place.size, &self.setup.transmit) };
        let Some(ring) = ring else { return Err(StartFailure::NoMemory) };
        let own = self.own(place, ring.addresses());
        Ok(Box::new(Sender { ring, own }))
    }

    /// Names a ring to the device; what its queue has besides.
    #[inline(never)]
    fn own(&mut self, place: Place<D>, ring: Addresses) -> Own<D> {
        self.name(&place, ring);
        let Place { queue, size, offset, doorbell } = place;
        let running = Running::new();
        let live = Live { running: running.clone(), entries: size.get(), offset };
        match self.live.get_mut(usize::from(queue)) {
            Some(earlier) => *earlier = live,
            None => self.live.push(live),
        }
        Own { doorbell, queue, counters: core::mem::take(&mut self.counters), running }
    }

    /// Takes memory for the ring of a queue, of one that sends for tables as well, and a doorbell. (What is too much
    /// memory, the ring refuses.)
    #[inline(never)]
    fn place(&mut self, queue: u16, entries: u16, sends: bool) -> Result<Place<D>, StartFailure> {
        let size = RingSize::new(entries.into()).ok_or(StartFailure::NoMemory)?;
        let data = self.negotiated.features.contains(Features::NOTIFICATION_DATA);
        let doorbell = self.transport.bell(queue, entries.into(), data)?;
        let offset = self.used;
        let ring = match self.negotiated.ring_format {
            RingFormat::Packed => packed::ring_bytes(size),
            _ => split::ring_bytes(size),
        };
        self.used += ring + if sends { self.negotiated.tables(size) } else { 0 };
        Ok(Place { queue, size, offset, doorbell })
    }

    /// Names a ring to the device.
    fn name(&mut self, place: &Place<D>, ring: Addresses) {
        self.transport.name(place.queue, place.size.get().into(), ring);
    }
}
