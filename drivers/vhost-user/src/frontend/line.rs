//! The conversation with a back end: questions when it appears, rings when the driver is ready, and the end.
//!
//! The questions are asked and their answers taken by [`Line::poll`], without waiting. Starting sends
//! everything in one go (in the order of DPDK's virtio-user) and learns of a refusal at a later poll.

use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use netdev::MacAddress;
use rustix::fs::{SealFlags, fcntl_add_seals};
use virtio::features::Features;
use virtio::transport::DeviceStatus;

use super::SharedMemory;
use super::peer::Peer;
use crate::endpoint::{Endpoint, EndpointError};
use crate::event::Event;
use crate::message::{MAX_FDS, Request, VringState, feature};
use crate::monitor::Monitor;
use crate::violation::Violation;

/// A receive and a transmit queue.
pub(super) const QUEUES: usize = 2;

/// How long a reset waits for the back end to say that it has stopped.
const RESET: Duration = Duration::from_secs(1);

/// What is the back end's to offer. The configuration space, and features that need it or a control queue,
/// are not: the front end would have to do their work.
pub(super) const PASSED_ON: Features = Features::CSUM
    .union(Features::GUEST_CSUM)
    .union(Features::GUEST_TSO4)
    .union(Features::GUEST_TSO6)
    .union(Features::HOST_TSO4)
    .union(Features::HOST_TSO6)
    .union(Features::MRG_RXBUF)
    .union(Features::INDIRECT_DESC)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::RING_PACKED)
    .union(Features::IN_ORDER);

/// What the front end adds of its own: it makes up the address and the link's state.
const OWN: Features = Features::MAC.union(Features::STATUS);

/// A queue as the driver set it up.
pub(super) struct Queue {
    pub(super) size: u32,
    pub(super) desc: u64,
    pub(super) avail: u64,
    pub(super) used: u64,
    pub(super) kick: Rc<Event>,
    pub(super) call: Event,
    /// The back end was told to use it.
    running: bool,
}

/// The front end's side of the connection, whether there is one or not.
pub(super) struct Line {
    endpoint: Endpoint,
    memory: Vec<SharedMemory>,
    pub(super) mac: MacAddress,
    pub(super) monitor: Monitor,
    peer: Option<Peer>,
    pub(super) driver_features: u64,
    status: DeviceStatus,
    pub(super) queues: [Queue; QUEUES],
    /// Changes with the link's state.
    pub(super) generation: u32,
}

impl Line {
    pub(super) fn new(endpoint: Endpoint, memory: &[SharedMemory]) -> Result<Self, EndpointError> {
        if memory.is_empty() || memory.len() > MAX_FDS {
            return Err(EndpointError::Regions(memory.len()));
        }
        for memory in memory {
            // A peer that truncates the file would end this process. Only files that were made for it can be
            // sealed; for others see `SharedMemory::file`.
            let _ = fcntl_add_seals(memory.file, SealFlags::SHRINK);
        }
        let queue = || {
            let system = |errno| EndpointError::System(endpoint.path().to_owned(), errno);
            Ok(Queue {
                size: 0,
                desc: 0,
                avail: 0,
                used: 0,
                kick: Rc::new(Event::new().map_err(system)?),
                call: Event::new().map_err(system)?,
                running: false,
            })
        };
        let queues = [queue()?, queue()?];
        Ok(Self {
            mac: crate::mac_of(endpoint.path()),
            endpoint,
            memory: memory.to_vec(),
            monitor: Monitor::default(),
            peer: None,
            driver_features: 0,
            status: DeviceStatus::empty(),
            queues,
            generation: 0,
        })
    }

    /// Whether there is a back end that has answered all questions.
    pub(super) fn is_ready(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.ready)
    }

    /// Whether the driver runs on a connection that is no longer there.
    pub(super) fn is_lost(&self) -> bool {
        self.status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// What to sleep on to hear of the peer; `None`: ask by the clock.
    pub(super) fn wake(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Some(peer) => Some(peer.channel.socket()),
            None => self.endpoint.wake(),
        }
    }

    /// Looks for the peer and for its answers. After a loss nothing new is begun until the driver has reset.
    pub(super) fn poll(&mut self) {
        if self.peer.is_none() && !self.is_lost() {
            let Some(socket) = self.endpoint.poll() else { return };
            self.monitor.connected();
            let mut peer = Peer::new(socket);
            let greeting = peer
                .tell(Request::SetOwner, &[], &[])
                .and_then(|()| peer.ask(Request::GetFeatures, 0, &[], &[]));
            self.peer = Some(peer);
            if let Err(why) = greeting {
                return self.lose(why);
            }
        }
        let Some(peer) = &mut self.peer else { return };
        let was_ready = peer.ready;
        if let Err(why) = peer.take_answers() {
            return self.lose(why);
        }
        if peer.ready != was_ready {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// What the driver may choose from. Without a peer: what there will be at least.
    pub(super) fn device_features(&self) -> u64 {
        let offered = self.peer.as_ref().filter(|peer| peer.ready).map(|peer| peer.offered);
        offered.map_or(Features::VERSION_1.bits(), |bits| bits & PASSED_ON.bits()) | OWN.bits()
    }

    /// The device status.
    pub(super) fn status(&self) -> DeviceStatus {
        self.status
    }

    /// The driver's write to the device status.
    pub(super) fn set_status(&mut self, status: DeviceStatus) {
        if status.is_empty() {
            return self.reset();
        }
        let new = status - self.status;
        self.status = status | (self.status & DeviceStatus::DEVICE_NEEDS_RESET);
        let impossible = self.driver_features & !self.device_features() != 0;
        if new.contains(DeviceStatus::FEATURES_OK) && (!self.is_ready() || impossible) {
            self.status -= DeviceStatus::FEATURES_OK;
        }
        if new.contains(DeviceStatus::DRIVER_OK) {
            match self.activate() {
                Ok(true) => {}
                Ok(false) => self.status |= DeviceStatus::DEVICE_NEEDS_RESET,
                Err(why) => self.lose(why),
            }
        }
    }

    /// Stops one queue, as the driver asked.
    pub(super) fn stop_queue(&mut self, queue: u16) {
        let index = usize::from(queue);
        if let Err(why) = self.stop(index, Instant::now() + RESET) {
            self.lose(why);
        }
        if let Some(queue) = self.queues.get_mut(index) {
            queue.size = 0;
        }
    }

    /// Stops every queue. A back end that does not say that it has stopped is left: it will never again be
    /// told of a ring, and what it still does to shared memory it could always do.
    fn reset(&mut self) {
        let deadline = Instant::now() + RESET;
        for index in 0..QUEUES {
            if let Err(why) = self.stop(index, deadline) {
                self.lose(why);
            }
            self.queues[index].size = 0;
        }
        self.driver_features = 0;
        self.status = DeviceStatus::empty();
    }

    fn stop(&mut self, index: usize, deadline: Instant) -> Result<(), Violation> {
        let Some(queue) = self.queues.get_mut(index) else { return Ok(()) };
        if !std::mem::take(&mut queue.running) {
            return Ok(());
        }
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let index = u32::try_from(index).unwrap_or(0);
        peer.ask(Request::GetVringBase, 0, &VringState { index, num: 0 }.to_bytes(), &[])?;
        peer.wait_for_answers(deadline)
    }

    /// Tells the back end of memory and rings; `false` without one.
    fn activate(&mut self) -> Result<bool, Violation> {
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.ready) else { return Ok(false) };
        for (index, queue) in (0u64..).zip(&self.queues) {
            let call = [queue.call.as_fd()];
            peer.tell(Request::SetVringCall, &index.to_le_bytes(), &call)?;
        }
        let enabled_by_message = peer.offered & feature::PROTOCOL_FEATURES != 0;
        let own = if enabled_by_message { feature::PROTOCOL_FEATURES } else { 0 };
        let features = self.driver_features & !OWN.bits() | own;
        peer.tell(Request::SetFeatures, &features.to_le_bytes(), &[])?;
        peer.share(&self.memory)?;
        let packed = self.driver_features & Features::RING_PACKED.bits() != 0;
        for (index, queue) in (0u32..).zip(&mut self.queues).filter(|(_, queue)| queue.size > 0) {
            peer.start(index, queue, packed)?;
            queue.running = true;
        }
        for (index, _) in (0u32..).zip(&self.queues).filter(|_| enabled_by_message) {
            let enable = VringState { index, num: 1 }.to_bytes();
            peer.tell(Request::SetVringEnable, &enable, &[])?;
        }
        Ok(true)
    }

    /// Ends the connection with a back end that broke a ring.
    pub(super) fn abandon(&mut self) {
        self.lose(Violation::RingBroken);
    }

    /// The connection is over.
    fn lose(&mut self, why: Violation) {
        if self.peer.take().is_some() {
            self.monitor.ended(why);
            self.generation = self.generation.wrapping_add(1);
        }
        for queue in &mut self.queues {
            queue.running = false;
        }
        if self.status.contains(DeviceStatus::DRIVER_OK) {
            self.status |= DeviceStatus::DEVICE_NEEDS_RESET;
        }
    }
}
