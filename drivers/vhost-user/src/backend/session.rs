//! The protocol: one front end, from its connection to its end.
//!
//! Takes messages in any order that the specification allows; what a message needs and does not have is
//! [`Violation`], and the caller drops the session, which closes and unmaps everything that the peer brought.
//! Runs between bursts on whichever polling thread looks. The rings are not its own: each is under a lock, and is changed
//! in one step.
//!
//! Not offered, hence refused: migration logs, configuration space, requests to the front end,
//! in-band notifications.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use netdev::{MacAddress, RingFormat};
use virtio::features::Features;
use virtio::ring::split::{DeviceOptions, RingSize};

use super::live_ring::RingOptions;
use super::memory_table::{MemoryTable, SLOTS};
use super::offer::Offer;
use super::rings::Rings;
use super::vring::Vring;
use super::{announcement, status};
use crate::channel::{Channel, Message};
use crate::event::Event;
use crate::inflight::{InflightDescription, InflightMemory};
use crate::message::{
    MemRegion, Request, VRING_INDEX_MASK, VRING_NO_FD, VringAddr, VringState, encode, feature,
    flag, parse_u64, protocol,
};
use crate::try_lock::Guard;
use crate::violation::Violation;

/// Messages that are handled between two bursts: a peer that floods us does not stop the traffic of others.
const MESSAGES_PER_TURN: usize = 64;

/// A connected front end.
pub(crate) struct Session {
    channel: Channel,
    offer: Offer,
    features: Option<u64>,
    protocol: u64,
    memory: Option<Arc<MemoryTable>>,
    /// Where the rings' in-flight chains are recorded.
    inflight: Option<Arc<InflightMemory>>,
    status: u8,
    /// A guest whose address is to be broadcast.
    announcement: Option<MacAddress>,
}

/// What a look for messages found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "sleeping while messages are handled loses a wake-up"]
pub(crate) enum Turn {
    /// Nothing.
    Idle,
    /// Something, and there may be more; or somebody else is looking.
    Busy,
}

/// What a handled request answers.
enum Answer {
    /// Nothing of its own: an acknowledgement if one was asked for.
    Done,
    Number(u64),
    State(VringState),
    /// Regions, and their file.
    Inflight(InflightDescription, OwnedFd),
}

impl Session {
    /// A session on a fresh connection.
    pub(crate) fn new(socket: OwnedFd, offer: Offer) -> Self {
        Self {
            channel: Channel::new(socket),
            offer,
            features: None,
            protocol: 0,
            memory: None,
            inflight: None,
            status: 0,
            announcement: None,
        }
    }

    /// What the front end has accepted; `None` before it has.
    pub(crate) fn features(&self) -> Option<u64> {
        self.features
    }

    /// Handles what has arrived, up to a number of messages.
    ///
    /// # Errors
    /// Why the session is over.
    pub(crate) fn turn(&mut self, rings: &Rings) -> Result<Turn, Violation> {
        let broken = self.memory.as_ref().is_some_and(|memory| memory.is_broken());
        if broken || self.inflight.as_ref().is_some_and(|memory| memory.is_broken()) {
            return Err(Violation::MemoryTruncated);
        }
        let mut turn = Turn::Idle;
        for _ in 0..MESSAGES_PER_TURN {
            self.channel.flush()?;
            if self.channel.is_sending() {
                // A peer that does not read its replies is not asked for more requests.
                break;
            }
            let Some(message) = self.channel.receive()? else { break };
            turn = Turn::Busy;
            self.answer(message, rings)?;
        }
        Ok(turn)
    }

    /// The guest that is to be announced since the last call.
    pub(crate) fn take_announcement(&mut self) -> Option<MacAddress> {
        self.announcement.take()
    }

    /// The socket, to sleep on.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.channel.socket()
    }

    /// Whether progress waits for the peer to read what we sent.
    pub(crate) fn is_sending(&self) -> bool {
        self.channel.is_sending()
    }

    fn answer(&mut self, message: Message, rings: &Rings) -> Result<(), Violation> {
        let header = message.header;
        if header.flags & !(flag::VERSION_MASK | flag::NEED_REPLY) != 0 {
            return Err(Violation::Flags(header.flags));
        }
        let acknowledge =
            header.flags & flag::NEED_REPLY != 0 && self.protocol & protocol::REPLY_ACK != 0;
        let answer = self.handle(message, rings);
        let reply = |payload: &[u8]| encode(header.request, flag::REPLY, payload);
        match answer {
            Ok(Answer::Number(number)) => self.channel.send(&reply(&number.to_le_bytes()), &[]),
            Ok(Answer::State(state)) => self.channel.send(&reply(&state.to_bytes()), &[]),
            Ok(Answer::Inflight(regions, file)) => {
                self.channel.send(&reply(&regions.to_bytes()), &[file.as_fd()])
            }
            Ok(Answer::Done) if acknowledge => self.channel.send(&reply(&0u64.to_le_bytes()), &[]),
            Ok(Answer::Done) => Ok(()),
            Err(violation) => {
                if acknowledge {
                    self.channel.send(&reply(&1u64.to_le_bytes()), &[])?;
                }
                Err(violation)
            }
        }
    }

    fn handle(&mut self, message: Message, rings: &Rings) -> Result<Answer, Violation> {
        let code = message.header.request;
        let request = Request::from_code(code).ok_or(Violation::UnknownRequest(code))?;
        match request {
            Request::SetMemTable => return self.set_memory(&message, rings),
            Request::AddMemReg | Request::RemMemReg => {
                return self.set_slot(request, &message, rings);
            }
            Request::SetVringKick | Request::SetVringCall | Request::SetVringErr => {
                return self.set_event(request, message, rings);
            }
            Request::SetInflightFd => return self.set_inflight(&message, rings),
            _ if !message.fds.is_empty() => {
                return Err(Violation::Descriptors { request, count: message.fds.len() });
            }
            _ => {}
        }
        let payload = message.payload.as_slice();
        let wrong_size = Violation::Size { request, size: payload.len() };
        let empty = || if payload.is_empty() { Ok(()) } else { Err(wrong_size) };
        let number = || parse_u64(payload).ok_or(wrong_size);
        let state = || VringState::parse(payload).ok_or(wrong_size);
        match request {
            Request::GetFeatures => {
                empty()?;
                Ok(Answer::Number(self.offer.features))
            }
            Request::SetFeatures => self.set_features(number()?, rings),
            Request::GetProtocolFeatures => {
                empty()?;
                Ok(Answer::Number(self.offer.protocol))
            }
            Request::SetProtocolFeatures => self.set_protocol(number()?),
            Request::SetOwner => empty().map(|()| Answer::Done),
            Request::ResetOwner => {
                empty()?;
                stop_all(rings);
                Ok(Answer::Done)
            }
            Request::GetQueueNum => {
                self.needs(protocol::MQ, request)?;
                empty()?;
                Ok(Answer::Number(u64::from(self.offer.queue_pairs)))
            }
            Request::SetVringNum => self.set_size(state()?, rings),
            Request::SetVringBase => self.set_base(state()?, rings),
            Request::SetVringEnable => self.set_enabled(state()?, rings),
            Request::GetVringBase => {
                let VringState { index, .. } = state()?;
                let num = rings.lock(index)?.stop();
                Ok(Answer::State(VringState { index, num }))
            }
            Request::SetVringAddr => {
                self.set_address(VringAddr::parse(payload).ok_or(wrong_size)?, rings)
            }
            Request::NetSetMtu => {
                self.needs(protocol::MTU, request)?;
                // Checked, and no more: the guest posts buffers that suit it.
                // RFC 791: every internet module handles 68 bytes.
                let possible = (68..=0xffff).contains(&number()?);
                if possible { Ok(Answer::Done) } else { Err(Violation::Value(request)) }
            }
            Request::SendRarp => {
                self.needs(protocol::RARP, request)?;
                let mac = announcement::address(number()?).ok_or(Violation::Value(request))?;
                self.announcement = Some(mac);
                Ok(Answer::Done)
            }
            Request::ResetDevice => {
                self.needs(protocol::RESET_DEVICE, request)?;
                empty()?;
                self.reset(rings);
                Ok(Answer::Done)
            }
            Request::GetInflightFd => {
                self.needs(protocol::INFLIGHT_SHMFD, request)?;
                let asked = InflightDescription::parse(payload).ok_or(wrong_size)?;
                self.make_inflight(asked, rings)
            }
            Request::GetMaxMemSlots => {
                self.needs(protocol::CONFIGURE_MEM_SLOTS, request)?;
                empty()?;
                Ok(Answer::Number(SLOTS as u64))
            }
            Request::SetStatus => {
                self.needs(protocol::STATUS, request)?;
                self.set_status(number()?, rings)
            }
            Request::GetStatus => {
                self.needs(protocol::STATUS, request)?;
                empty()?;
                Ok(Answer::Number(status::seen(self.status, rings).into()))
            }
            _ => Err(Violation::NotNegotiated(request)),
        }
    }

    fn needs(&self, bit: u64, request: Request) -> Result<(), Violation> {
        let there = self.protocol & bit != 0;
        if there { Ok(()) } else { Err(Violation::NotNegotiated(request)) }
    }

    fn set_features(&mut self, features: u64, rings: &Rings) -> Result<Answer, Violation> {
        let unknown = features & !self.offer.features;
        if unknown != 0 {
            return Err(Violation::Features(unknown));
        }
        if self.features != Some(features)
            && let Some((index, _)) = rings.each().find(|(_, ring)| ring.is_started())
        {
            return Err(Violation::RingRunning(index));
        }
        self.features = Some(features);
        self.resume_all(rings)
    }

    fn set_protocol(&mut self, features: u64) -> Result<Answer, Violation> {
        let unknown = features & !self.offer.protocol;
        if unknown != 0 {
            return Err(Violation::ProtocolFeatures(unknown));
        }
        self.protocol = features;
        Ok(Answer::Done)
    }

    fn set_memory(&mut self, message: &Message, rings: &Rings) -> Result<Answer, Violation> {
        let request = Request::SetMemTable;
        let regions = MemRegion::parse_table(&message.payload)
            .ok_or(Violation::Size { request, size: message.payload.len() })?;
        let table = MemoryTable::new(&regions, &message.fds)?;
        self.memory = Some(Arc::new(table));
        // The rings go on in the new memory, at the same addresses, or not at all.
        for (_, mut ring) in rings.each() {
            ring.pause();
            self.resume(&mut ring)?;
        }
        Ok(Answer::Done)
    }

    /// A region comes or goes. A ring whose parts lie in one that has gone stands still until they are there again: front
    /// ends take a region away and bring it back larger.
    fn set_slot(
        &mut self,
        request: Request,
        message: &Message,
        rings: &Rings,
    ) -> Result<Answer, Violation> {
        self.needs(protocol::CONFIGURE_MEM_SLOTS, request)?;
        let size = message.payload.len();
        let region =
            MemRegion::parse_slot(&message.payload).ok_or(Violation::Size { request, size })?;
        let before = self.memory.take().unwrap_or_default();
        let wrong_count = Violation::Descriptors { request, count: message.fds.len() };
        let table = match (request, message.fds.as_slice()) {
            (Request::AddMemReg, [fd]) => before.with(region, fd)?,
            // (One may come with a removal, and means nothing.)
            (Request::RemMemReg, [] | [_]) => before.without(region)?,
            _ => return Err(wrong_count),
        };
        self.memory = Some(Arc::new(table));
        for (_, mut ring) in rings.each() {
            ring.pause();
            match self.resume(&mut ring) {
                Ok(_) | Err(Violation::RingAddress(_)) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(Answer::Done)
    }

    /// Fresh memory for the record of what is in flight, which is in force at once.
    fn make_inflight(
        &mut self,
        asked: InflightDescription,
        rings: &Rings,
    ) -> Result<Answer, Violation> {
        let request = Request::GetInflightFd;
        let InflightDescription { num_queues, queue_size, .. } = asked;
        let possible = RingSize::new(queue_size.into()).is_some()
            && (1..=2 * self.offer.queue_pairs).contains(&num_queues);
        if !possible {
            return Err(Violation::Value(request));
        }
        // Before the features are known: of the format that needs more.
        let packed = Features::RING_PACKED.bits();
        let packed = self.features.is_none_or(|features| features & packed != 0);
        let (memory, file) = InflightMemory::create(packed, num_queues, queue_size)?;
        let told = memory.description();
        self.record_in(memory, rings)?;
        Ok(Answer::Inflight(told, file))
    }

    /// Memory that a back end before us has written, or nobody yet.
    fn set_inflight(&mut self, message: &Message, rings: &Rings) -> Result<Answer, Violation> {
        let request = Request::SetInflightFd;
        self.needs(protocol::INFLIGHT_SHMFD, request)?;
        let size = message.payload.len();
        let told = InflightDescription::parse(&message.payload);
        let told = told.ok_or(Violation::Size { request, size })?;
        let [file] = message.fds.as_slice() else {
            return Err(Violation::Descriptors { request, count: message.fds.len() });
        };
        self.record_in(InflightMemory::adopt(file, told)?, rings)?;
        Ok(Answer::Done)
    }

    fn record_in(&mut self, memory: InflightMemory, rings: &Rings) -> Result<(), Violation> {
        self.inflight = Some(Arc::new(memory));
        for (_, mut ring) in rings.each() {
            ring.set_record();
            self.resume(&mut ring)?;
        }
        Ok(())
    }

    /// As on a fresh connection, but for what belongs to the protocol and for the rings' events.
    fn reset(&mut self, rings: &Rings) {
        rings.each().for_each(|(_, mut ring)| ring.reset());
        self.features = None;
        self.memory = None;
        self.inflight = None;
        self.status = 0;
    }

    fn set_size(&mut self, state: VringState, rings: &Rings) -> Result<Answer, Violation> {
        let VringState { index, num } = state;
        let mut ring = stopped(rings, index)?;
        ring.size = Some(RingSize::new(num).ok_or(Violation::RingSize(num))?);
        self.resume(&mut ring)
    }

    fn set_base(&mut self, state: VringState, rings: &Rings) -> Result<Answer, Violation> {
        let VringState { index, num } = state;
        // A split ring's is an index of 16 bits. (Before the features are known nobody can say.)
        let packed = Features::RING_PACKED.bits();
        if num > 0xffff && self.features.is_some_and(|features| features & packed == 0) {
            return Err(Violation::RingBase(num));
        }
        let mut ring = stopped(rings, index)?;
        ring.set_base(num);
        self.resume(&mut ring)
    }

    fn set_enabled(&mut self, state: VringState, rings: &Rings) -> Result<Answer, Violation> {
        if state.num > 1 {
            return Err(Violation::Value(Request::SetVringEnable));
        }
        let mut ring = rings.lock(state.index)?;
        ring.enabled = Some(state.num == 1);
        self.resume(&mut ring)
    }

    fn set_address(&mut self, addr: VringAddr, rings: &Rings) -> Result<Answer, Violation> {
        if addr.flags != 0 {
            // The only flag is the migration log's, which was not offered.
            return Err(Violation::Value(Request::SetVringAddr));
        }
        let mut ring = rings.lock(addr.index)?;
        ring.pause();
        ring.addr = Some(addr);
        self.resume(&mut ring)
    }

    fn set_event(
        &mut self,
        request: Request,
        mut message: Message,
        rings: &Rings,
    ) -> Result<Answer, Violation> {
        let size = message.payload.len();
        let value = parse_u64(&message.payload).ok_or(Violation::Size { request, size })?;
        if value & !(VRING_INDEX_MASK | VRING_NO_FD) != 0 {
            return Err(Violation::RingIndex(value));
        }
        let count = message.fds.len();
        if count != usize::from(value & VRING_NO_FD == 0) {
            return Err(Violation::Descriptors { request, count });
        }
        let event = message.fds.pop().map(|fd| Event::adopt(fd, request)).transpose()?;
        let index = u32::try_from(value & VRING_INDEX_MASK).unwrap_or(u32::MAX);
        let mut ring = rings.lock(index)?;
        match request {
            Request::SetVringKick => ring.start(event),
            Request::SetVringCall => ring.call = event,
            _ => ring.err = event,
        }
        self.resume(&mut ring)
    }

    fn set_status(&mut self, status: u64, rings: &Rings) -> Result<Answer, Violation> {
        let status = u8::try_from(status).map_err(|_| Violation::Value(Request::SetStatus))?;
        if status == 0 {
            // The next driver accepts features of its own.
            stop_all(rings);
            self.features = None;
            // What it finds is not what is in flight of its rings.
            self.inflight = None;
        }
        let fit = self.features.is_some_and(|features| self.options(features).is_some());
        self.status = status::accepted(status, fit);
        Ok(Answer::Done)
    }

    /// Starts the ring if it has become complete and stops it if it no longer is.
    fn resume(&self, ring: &mut Vring) -> Result<Answer, Violation> {
        let options = self.features.and_then(|features| self.options(features));
        let plain = self.features.is_some_and(|bits| bits & feature::PROTOCOL_FEATURES == 0);
        ring.resume(self.memory.as_ref(), options, plain, self.inflight.as_ref())?;
        Ok(Answer::Done)
    }

    fn resume_all(&self, rings: &Rings) -> Result<Answer, Violation> {
        rings.each().try_for_each(|(_, mut ring)| self.resume(&mut ring).map(drop))?;
        Ok(Answer::Done)
    }

    /// What the features mean for a ring; `None` for a legacy driver, whose header has another size, and for one
    /// without the format that was asked for: its link stays down.
    fn options(&self, features: u64) -> Option<RingOptions> {
        let features = Features::from_bits_retain(features);
        let packed = features.contains(Features::RING_PACKED);
        let suits = packed || self.offer.ring_format != RingFormat::Packed;
        let ring = self.offer.ring_options(features);
        let device = DeviceOptions { ring, max_frame: self.offer.max_frame };
        let usable = features.contains(Features::VERSION_1) && suits;
        usable.then_some(RingOptions { packed, device })
    }
}

/// The ring, if nobody uses it: some of its properties are fixed while it is started.
fn stopped(rings: &Rings, index: u32) -> Result<Guard<'_, Vring>, Violation> {
    let ring = rings.lock(index)?;
    if ring.is_started() { Err(Violation::RingRunning(index)) } else { Ok(ring) }
}

fn stop_all(rings: &Rings) {
    for (_, mut ring) in rings.each() {
        let _base = ring.stop();
    }
}
