//! One connection with a back end: what is asked, which answers are due, and what they said.
//!
//! Answers come in the order of the requests; anything else ends the connection. Nothing here waits but
//! [`Peer::wait_for_answers`].

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netdev::MacAddress;
use virtio::features::Features;
use virtio::transport::DeviceStatus;

use super::line::PASSED_ON;
use super::pair::Queue;
use super::record::Record;
use crate::backend::announcement_payload;
use crate::channel::{Channel, Message};
use crate::inflight::InflightDescription;
use crate::message::{
    MemRegion, Request, VringAddr, VringState, encode, feature, flag, parse_u64, protocol,
};
use crate::violation::Violation;

/// Replies that are read in one poll: more than are ever due.
const REPLIES_PER_TURN: usize = 8;

/// How long a back end may leave unread what it is told. Rings are set up by up to a thousand messages, more than a
/// socket holds.
const READING: Duration = Duration::from_secs(1);

/// Between two questions whether the back end needs a reset.
const BETWEEN: Duration = Duration::from_millis(100);

/// Protocol features that we accept.
const ACCEPTED: u64 = protocol::REPLY_ACK | protocol::MQ | protocol::RARP | protocol::STATUS;

/// The status up to which a driver brings its device before the rings are set up.
const AGREED: DeviceStatus =
    DeviceStatus::ACKNOWLEDGE.union(DeviceStatus::DRIVER).union(DeviceStatus::FEATURES_OK);

/// A connection.
pub(super) struct Peer {
    pub(super) channel: Channel,
    /// Requests whose answers are due, in order.
    due: VecDeque<Request>,
    /// The features offered.
    pub(super) offered: u64,
    /// The protocol features in force.
    protocol: u64,
    /// What the drivers that run on it have accepted; `None` while none runs.
    pub(super) accepted: Option<u64>,
    /// Pairs of queues that the back end has.
    pub(super) pairs: u16,
    /// The questions are answered.
    pub(super) ready: bool,
    /// What the back end was last told of the device's status.
    status: DeviceStatus,
    /// When the next question for it is due.
    ask_again: Instant,
    /// The back end has said that it needs a reset.
    pub(super) needs_reset: bool,
    /// Protocol features that we accept, and those that are offered.
    acceptable: u64,
    offered_protocol: u64,
    /// What `GET_INFLIGHT_FD` brought.
    record: Option<Record>,
    /// What record it has been asked for: the one in force is not another back end's.
    pub(super) asked: Option<InflightDescription>,
}

impl Peer {
    /// `keeps`: the rings are to outlive their back end.
    pub(super) fn new(socket: OwnedFd, keeps: bool) -> Self {
        let keeping = if keeps { protocol::INFLIGHT_SHMFD } else { 0 };
        Self {
            channel: Channel::new(socket),
            due: VecDeque::new(),
            offered: 0,
            protocol: 0,
            accepted: None,
            pairs: 1,
            ready: false,
            status: DeviceStatus::empty(),
            ask_again: Instant::now(),
            needs_reset: false,
            acceptable: ACCEPTED | keeping,
            offered_protocol: 0,
            record: None,
            asked: None,
        }
    }

    /// Sends a request that has no answer.
    pub(super) fn tell(
        &mut self,
        request: Request,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Violation> {
        self.channel.send_until(&encode(request as u32, 0, payload), fds, Instant::now() + READING)
    }

    /// Sends a request whose answer [`take`](Self::take) will take.
    pub(super) fn ask(
        &mut self,
        request: Request,
        flags: u32,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<(), Violation> {
        let deadline = Instant::now() + READING;
        self.channel.send_until(&encode(request as u32, flags, payload), fds, deadline)?;
        self.due.push_back(request);
        Ok(())
    }

    pub(super) fn share(
        &mut self,
        memory: &[(MemRegion, BorrowedFd<'static>)],
    ) -> Result<(), Violation> {
        let (regions, files): (Vec<_>, Vec<_>) = memory.iter().copied().unzip();
        let table = MemRegion::table_bytes(&regions);
        if self.protocol & protocol::REPLY_ACK != 0 {
            self.ask(Request::SetMemTable, flag::NEED_REPLY, &table, &files)
        } else {
            self.tell(Request::SetMemTable, &table, &files)
        }
    }

    /// The rings are to outlive this back end, which may have been told otherwise.
    pub(super) fn keep(&mut self) -> Result<(), Violation> {
        self.acceptable |= protocol::INFLIGHT_SHMFD;
        let protocol = self.offered_protocol & self.acceptable;
        if protocol == self.protocol {
            return Ok(());
        }
        self.protocol = protocol;
        self.tell(Request::SetProtocolFeatures, &protocol.to_le_bytes(), &[])
    }

    /// Whether the back end records what is in flight.
    pub(super) fn records(&self) -> bool {
        self.protocol & protocol::INFLIGHT_SHMFD != 0
    }

    /// Gives the back end the record that another one has written.
    pub(super) fn hand_over(&mut self, record: &Record) -> Result<(), Violation> {
        let payload = record.description.to_bytes();
        self.tell(Request::SetInflightFd, &payload, &[record.file.as_fd()])
    }

    /// Has the back end make a fresh record for so many queues, which it writes from then on. The answer is for its
    /// successor, and comes later.
    pub(super) fn ask_record(&mut self, num_queues: u16, queue_size: u16) -> Result<(), Violation> {
        let asked = InflightDescription { mmap_size: 0, mmap_offset: 0, num_queues, queue_size };
        self.asked = Some(asked);
        self.ask(Request::GetInflightFd, 0, &asked.to_bytes(), &[])
    }

    /// The record, once the back end has made one.
    pub(super) fn take_record(&mut self) -> Option<Record> {
        self.record.take()
    }

    /// Starts a ring at `base`.
    pub(super) fn start(&mut self, index: u32, queue: &Queue, base: u32) -> Result<(), Violation> {
        let state = |num| VringState { index, num }.to_bytes();
        self.tell(Request::SetVringNum, &state(queue.size), &[])?;
        self.tell(Request::SetVringBase, &state(base), &[])?;
        let (desc, used, avail) = (queue.desc, queue.used, queue.avail);
        let addr = VringAddr { index, flags: 0, desc, used, avail, log: 0 };
        self.tell(Request::SetVringAddr, &addr.to_bytes(), &[])?;
        let kick = u64::from(index).to_le_bytes();
        self.tell(Request::SetVringKick, &kick, &[queue.kick.as_fd()])
    }

    pub(super) fn take_answers(&mut self) -> Result<(), Violation> {
        for _ in 0..REPLIES_PER_TURN {
            self.channel.flush()?;
            let Some(message) = self.channel.receive()? else { break };
            self.take(message)?;
        }
        let asked = self.due.contains(&Request::GetStatus);
        if self.accepted.is_some() && !asked && Instant::now() >= self.ask_again {
            return self.ask_status();
        }
        Ok(())
    }

    pub(super) fn wait_for_answers(&mut self, deadline: Instant) -> Result<(), Violation> {
        while let Some(&request) = self.due.front() {
            let message =
                self.channel.receive_until(deadline)?.ok_or(Violation::NoReply(request))?;
            self.take(message)?;
        }
        Ok(())
    }

    /// Takes one message, which must be the answer that is due next.
    fn take(&mut self, message: Message) -> Result<(), Violation> {
        let header = message.header;
        if header.flags & flag::REPLY == 0 {
            return Err(Violation::Flags(header.flags));
        }
        let request = self.due.pop_front().ok_or(Violation::UnknownRequest(header.request))?;
        let wrong = Violation::BadReply(request);
        if header.request != request as u32 {
            return Err(wrong);
        }
        if request == Request::GetInflightFd {
            let asked = self.asked.ok_or(wrong)?;
            self.record = Record::parse(message, asked).ok_or(wrong)?;
            return Ok(());
        }
        if !message.fds.is_empty() {
            return Err(wrong);
        }
        let number = parse_u64(&message.payload).ok_or(wrong)?;
        match request {
            Request::GetFeatures => self.take_features(number),
            Request::GetProtocolFeatures => {
                self.offered_protocol = number;
                self.protocol = number & self.acceptable;
                let accepted = self.protocol.to_le_bytes();
                self.tell(Request::SetProtocolFeatures, &accepted, &[])?;
                if self.protocol & protocol::MQ != 0 {
                    return self.ask(Request::GetQueueNum, 0, &[], &[]);
                }
                self.ready = true;
                Ok(())
            }
            Request::GetQueueNum => {
                // (More than a number of 16 bits are more than we ever need.)
                self.pairs = u16::try_from(number).unwrap_or(u16::MAX);
                self.ready = true;
                Ok(())
            }
            Request::GetStatus => self.take_status(number),
            // Where it stopped does not matter: rings begin anew.
            Request::GetVringBase => Ok(()),
            _ if number == 0 => Ok(()),
            _ => Err(Violation::Refused(request)),
        }
    }

    /// The features are in force, if the back end agrees, which it says in its status.
    pub(super) fn accept(&mut self, features: u64) -> Result<(), Violation> {
        self.accepted = Some(features);
        self.set_status(AGREED)?;
        self.ask_status()
    }

    /// The rings are set up.
    pub(super) fn run(&mut self) -> Result<(), Violation> {
        self.set_status(AGREED | DeviceStatus::DRIVER_OK)
    }

    /// No driver runs any more.
    pub(super) fn reset(&mut self) -> Result<(), Violation> {
        self.accepted = None;
        self.needs_reset = false;
        self.set_status(DeviceStatus::empty())
    }

    /// Tells the back end of the device's status, where it wants to know.
    pub(super) fn set_status(&mut self, status: DeviceStatus) -> Result<(), Violation> {
        if self.protocol & protocol::STATUS == 0 || self.status == status {
            return Ok(());
        }
        self.status = status;
        self.tell(Request::SetStatus, &u64::from(status.bits()).to_le_bytes(), &[])
    }

    fn ask_status(&mut self) -> Result<(), Violation> {
        if self.protocol & protocol::STATUS == 0 {
            return Ok(());
        }
        self.ask_again = Instant::now() + BETWEEN;
        self.ask(Request::GetStatus, 0, &[], &[])
    }

    /// The device's status, while rings run. (What the back end says about another one comes too late.)
    fn take_status(&mut self, number: u64) -> Result<(), Violation> {
        let status = u8::try_from(number).map_err(|_| Violation::BadReply(Request::GetStatus))?;
        let status = DeviceStatus::from_bits_retain(status.into());
        let Some(features) = self.accepted else { return Ok(()) };
        if !status.contains(DeviceStatus::FEATURES_OK) {
            return Err(Violation::FeaturesRefused(features & PASSED_ON.bits()));
        }
        self.needs_reset |= status.contains(DeviceStatus::DEVICE_NEEDS_RESET);
        Ok(())
    }

    /// Has the back end broadcast an address; whether it does that.
    pub(super) fn announce(&mut self, mac: MacAddress) -> Result<bool, Violation> {
        if self.protocol & protocol::RARP == 0 {
            return Ok(false);
        }
        self.tell(Request::SendRarp, &announcement_payload(mac).to_le_bytes(), &[])?;
        Ok(true)
    }

    fn take_features(&mut self, offered: u64) -> Result<(), Violation> {
        let needed = Features::VERSION_1.bits();
        if offered & needed == 0 {
            return Err(Violation::FeatureMissing(needed));
        }
        self.offered = offered;
        if offered & feature::PROTOCOL_FEATURES != 0 {
            self.ask(Request::GetProtocolFeatures, 0, &[], &[])
        } else {
            self.ready = true;
            Ok(())
        }
    }
}
