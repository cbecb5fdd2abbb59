//! The conversation with a back end: questions when it appears, rings when the driver is ready, and the end.
//!
//! The questions are asked and their answers taken by [`Line::poll`], without waiting. Starting sends
//! everything in one go (in the order of DPDK's virtio-user) and learns of a refusal at a later poll.
//!
//! The protocol sets rings up one by one, so each pair of queues has a driver of its own, which starts and stops by itself.
//! Features and memory are the connection's: the first driver that starts on it names them, the others must agree.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use netdev::MacAddress;
use rustix::fs::{SealFlags, fcntl_add_seals};
use virtio::features::Features;
use virtio::transport::DeviceStatus;

use super::SharedMemory;
use super::pair::{Pair, QUEUES, Queue};
use super::peer::Peer;
use super::record::{Record, used_index};
use crate::endpoint::{Endpoint, EndpointError};
use crate::message::{MAX_FDS, MemRegion, Request, VringState, feature};
use crate::monitor::Monitor;
use crate::violation::Violation;

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
    .union(Features::GUEST_USO4)
    .union(Features::GUEST_USO6)
    .union(Features::HOST_USO)
    .union(Features::MRG_RXBUF)
    .union(Features::INDIRECT_DESC)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::RING_PACKED)
    .union(Features::IN_ORDER);

/// What the front end adds of its own: it makes up the address and the link's state.
const OWN: Features = Features::MAC.union(Features::STATUS);

/// The front end's side of the connection, whether there is one or not.
pub(super) struct Line {
    endpoint: Endpoint,
    /// What the back end maps: the regions, and their files.
    memory: Vec<(MemRegion, BorrowedFd<'static>)>,
    /// The rings outlive their back end, if that records what is in flight.
    keeps: bool,
    /// What the back end of the rings that run, or last ran, records.
    record: Option<Record>,
    pub(super) mac: MacAddress,
    pub(super) monitor: Monitor,
    peer: Option<Peer>,
    pub(super) pairs: Vec<Pair>,
    /// Pairs that the back end must have.
    needed: u16,
    /// Changes with the link's state.
    pub(super) generation: u32,
}

impl Line {
    /// A line of `pairs` pairs of queues, of which one is needed until more are [asked for](Self::need).
    pub(super) fn new(
        endpoint: Endpoint,
        memory: &[SharedMemory],
        pairs: u16,
    ) -> Result<Self, EndpointError> {
        if memory.is_empty() || memory.len() > MAX_FDS {
            return Err(EndpointError::Regions(memory.len()));
        }
        for memory in memory {
            // A peer that truncates the file would end this process. Only files that were made for it can be
            // sealed; for others see `SharedMemory::file`.
            let _ = fcntl_add_seals(memory.file, SealFlags::SHRINK);
        }
        let system = |errno| EndpointError::System(endpoint.path().to_owned(), errno);
        let pairs = (0..pairs).map(|_| Pair::new()).collect::<Result<_, _>>().map_err(system)?;
        Ok(Self {
            mac: crate::mac_of(endpoint.path()),
            endpoint,
            memory: memory.iter().map(|memory| (region(memory), memory.file)).collect(),
            keeps: false,
            record: None,
            monitor: Monitor::default(),
            peer: None,
            pairs,
            needed: 1,
            generation: 0,
        })
    }

    /// From now on a back end must have so many pairs. `Err`: how many the present one has instead.
    pub(super) fn need(&mut self, pairs: u16) -> Result<(), u16> {
        let offered = self.peer.as_ref().filter(|peer| peer.ready).map(|peer| peer.pairs);
        match offered.filter(|&offered| offered < pairs) {
            Some(offered) => Err(offered),
            None => {
                self.needed = pairs;
                Ok(())
            }
        }
    }

    /// From now on the rings outlive back ends that record what is in flight.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
        if let Some(Err(why)) = self.peer.as_mut().map(Peer::keep) {
            self.lose(why);
        }
    }

    /// Whether there is a back end that has answered all questions.
    pub(super) fn is_ready(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.ready)
    }

    /// What to sleep on to hear of the peer; `None`: ask by the clock.
    pub(super) fn wake(&self) -> Option<BorrowedFd<'_>> {
        match &self.peer {
            Some(peer) => Some(peer.channel.socket()),
            None => self.endpoint.wake(),
        }
    }

    /// Looks for the peer and for its answers.
    pub(super) fn poll(&mut self) {
        if self.peer.is_none() {
            let Some(socket) = self.endpoint.poll() else { return };
            self.monitor.connected();
            let mut peer = Peer::new(socket, self.keeps);
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
        if let Some(record) = peer.take_record() {
            self.record = Some(record);
        }
        if peer.needs_reset {
            peer.needs_reset = false;
            self.pairs.iter_mut().for_each(Pair::fail);
            return self.changed();
        }
        if peer.ready && !was_ready {
            let (needed, offered) = (self.needed, peer.pairs);
            if offered < needed {
                return self.lose(Violation::QueuePairs { needed, offered });
            }
            self.changed();
        }
    }

    /// The link has come or gone.
    fn changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.pairs.iter().for_each(|pair| pair.nudge.signal());
    }

    /// What the drivers have accepted of the peer.
    pub(super) fn feature_bits(&self) -> Option<u64> {
        self.peer.as_ref()?.accepted
    }

    /// What the driver may choose from. Without a peer: what there will be at least.
    pub(super) fn device_features(&self) -> u64 {
        let offered = self.peer.as_ref().filter(|peer| peer.ready).map(|peer| peer.offered);
        offered.map_or(Features::VERSION_1.bits(), |bits| bits & PASSED_ON.bits()) | OWN.bits()
    }

    /// A driver's write to its device's status.
    pub(super) fn set_status(&mut self, pair: usize, status: DeviceStatus) {
        if status.is_empty() {
            return self.reset(pair);
        }
        let (offered, ready) = (self.device_features(), self.is_ready());
        let in_force = self.peer.as_ref().and_then(|peer| peer.accepted);
        let this = &mut self.pairs[pair];
        let new = status - this.status;
        this.status = status | (this.status & DeviceStatus::DEVICE_NEEDS_RESET);
        let chosen = this.driver_features;
        let impossible = chosen & !offered != 0 || in_force.is_some_and(|bits| bits != chosen);
        if new.contains(DeviceStatus::FEATURES_OK) && (!ready || impossible) {
            this.status -= DeviceStatus::FEATURES_OK;
        }
        if new.contains(DeviceStatus::DRIVER_OK) {
            match self.activate(pair, false) {
                Ok(true) => {}
                Ok(false) => self.pairs[pair].status |= DeviceStatus::DEVICE_NEEDS_RESET,
                Err(why) => self.lose(why),
            }
        }
    }

    /// Stops one queue, as its driver asked.
    pub(super) fn stop_queue(&mut self, pair: usize, queue: u16) {
        let index = usize::from(queue);
        if let Err(why) = self.stop(pair, index, Instant::now() + RESET) {
            self.lose(why);
        }
        if let Some(queue) = self.pairs[pair].queues.get_mut(index) {
            queue.size = 0;
        }
    }

    /// Stops both queues of a pair. A back end that does not say that it has stopped is left: it will never again be
    /// told of a ring, and what it still does to shared memory it could always do.
    fn reset(&mut self, pair: usize) {
        let deadline = Instant::now() + RESET;
        self.pairs[pair].cut = false;
        for index in 0..QUEUES {
            if let Err(why) = self.stop(pair, index, deadline) {
                self.lose(why);
            }
            self.pairs[pair].queues[index].size = 0;
        }
        self.pairs[pair].driver_features = 0;
        self.pairs[pair].status = DeviceStatus::empty();
        if !self.pairs.iter().any(Pair::is_running)
            && let Some(peer) = &mut self.peer
        {
            // The next driver may choose others, and nothing is in flight.
            self.record = None;
            if let Err(why) = peer.reset() {
                self.lose(why);
            }
        }
    }

    /// Has the back end broadcast the device's address; whether it does that.
    pub(super) fn announce(&mut self) -> bool {
        self.poll();
        let mac = self.mac;
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.ready) else { return false };
        match peer.announce(mac) {
            Ok(told) => told,
            Err(why) => {
                self.lose(why);
                false
            }
        }
    }

    fn stop(&mut self, pair: usize, index: usize, deadline: Instant) -> Result<(), Violation> {
        let Some(queue) = self.pairs[pair].queues.get_mut(index) else { return Ok(()) };
        if !std::mem::take(&mut queue.running) {
            return Ok(());
        }
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let index = ring(pair, index);
        peer.ask(Request::GetVringBase, 0, &VringState { index, num: 0 }.to_bytes(), &[])?;
        peer.wait_for_answers(deadline)
    }

    /// Whether a pair's rings can go on at the next back end, where the last one left them.
    pub(super) fn can_resume(&self, pair: usize) -> bool {
        self.record.is_some() && self.pairs[pair].cut
    }

    /// Goes on with a pair's rings at a back end that has come; whether that is possible. `None`: it has gone again.
    pub(super) fn resume(&mut self, pair: usize) -> Option<bool> {
        let chosen = self.pairs[pair].driver_features;
        let peer = self.peer.as_ref().filter(|peer| peer.ready)?;
        let suits = chosen & !self.device_features() == 0
            && peer.accepted.is_none_or(|bits| bits == chosen)
            && peer.records();
        if !suits || !self.can_resume(pair) {
            return Some(false);
        }
        match self.activate(pair, true) {
            Ok(up) => {
                let pair = &mut self.pairs[pair];
                pair.status -= DeviceStatus::DEVICE_NEEDS_RESET;
                pair.cut = false;
                // Something may have been published while nobody looked.
                pair.queues.iter().for_each(|queue| queue.kick.signal());
                Some(up)
            }
            Err(why) => {
                self.lose(why);
                None
            }
        }
    }

    /// Tells the back end of a pair's rings, and before the first pair's of features and memory; `false` without one.
    /// `resumed`: the rings are not fresh.
    fn activate(&mut self, pair: usize, resumed: bool) -> Result<bool, Violation> {
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.ready) else { return Ok(false) };
        let Pair { driver_features, queues, .. } = &mut self.pairs[pair];
        if !resumed && self.record.is_some() && peer.asked.is_none() {
            // It speaks of rings that are no more: all pairs begin anew.
            self.record = None;
            if peer.accepted.is_some() {
                return Err(Violation::Closed);
            }
        }
        for (at, queue) in queues.iter().enumerate() {
            let (index, call) = (u64::from(ring(pair, at)), [queue.call.as_fd()]);
            peer.tell(Request::SetVringCall, &index.to_le_bytes(), &call)?;
        }
        let enabled_by_message = peer.offered & feature::PROTOCOL_FEATURES != 0;
        if peer.accepted.is_none() {
            let own = if enabled_by_message { feature::PROTOCOL_FEATURES } else { 0 };
            let several = if self.needed > 1 { Features::MQ.bits() & peer.offered } else { 0 };
            let features = *driver_features & !OWN.bits() | own | several;
            peer.tell(Request::SetFeatures, &features.to_le_bytes(), &[])?;
            peer.share(&self.memory)?;
            match &self.record {
                Some(record) => peer.hand_over(record)?,
                None if self.keeps && peer.records() => {
                    let size = queues.iter().map(|queue| queue.size).max().unwrap_or(0);
                    let size = u16::try_from(size).unwrap_or(u16::MAX);
                    let rings = u16::try_from(QUEUES).unwrap_or(0) * self.needed;
                    peer.ask_record(rings, size)?;
                }
                None => {}
            }
            peer.accept(*driver_features)?;
        }
        let packed = *driver_features & Features::RING_PACKED.bits() != 0;
        let base = |queue: &Queue| match (packed, resumed) {
            // Of both sides: index 0, with the wrap counters 1. Where a packed ring stands its record says.
            (true, _) => 1 << 15 | 1 << 31,
            (false, true) => used_index(&self.memory, queue.used).into(),
            (false, false) => 0,
        };
        for (at, queue) in queues.iter_mut().enumerate().filter(|(_, queue)| queue.size > 0) {
            peer.start(ring(pair, at), queue, base(queue))?;
            queue.running = true;
        }
        for at in 0..if enabled_by_message { QUEUES } else { 0 } {
            let enable = VringState { index: ring(pair, at), num: 1 }.to_bytes();
            peer.tell(Request::SetVringEnable, &enable, &[])?;
        }
        peer.run()?;
        Ok(true)
    }

    /// Ends the connection with a back end that broke a ring.
    pub(super) fn abandon(&mut self) {
        self.lose(Violation::RingBroken);
    }

    /// The connection is over.
    fn lose(&mut self, why: Violation) {
        for pair in &mut self.pairs {
            pair.cut |= pair.queues.iter().any(|queue| queue.running);
            pair.queues.iter_mut().for_each(|queue| queue.running = false);
            pair.fail();
        }
        if self.peer.take().is_some() {
            self.monitor.ended(why);
            self.changed();
        }
    }
}

/// The number of a pair's ring on the wire.
fn ring(pair: usize, queue: usize) -> u32 {
    u32::try_from(QUEUES * pair + queue).unwrap_or(u32::MAX)
}

/// Device addresses are this process's own.
fn region(memory: &SharedMemory) -> MemRegion {
    // (Exposed for record.rs.)
    let address = memory.base.as_ptr().expose_provenance() as u64;
    MemRegion {
        guest_address: address,
        size: memory.len as u64,
        user_address: address,
        mmap_offset: memory.offset,
    }
}
