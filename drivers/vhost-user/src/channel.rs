//! One connection: whole messages in, whole messages out, never blocking unless told to.
//!
//! A message may arrive byte by byte, its descriptors with any of its bytes. At most one message is
//! collected at a time and never a byte beyond it, so descriptors cannot end up with their neighbour.
//! Descriptors are owned from the moment the kernel hands them over: whatever goes wrong, they are closed.
//!
//! What we send and the peer does not read is kept, up to one message; as long as any of it is left, nothing
//! more is taken from the peer. Not here: what a message means.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::message::{HEADER_BYTES, Header, MAX_FDS, MAX_PAYLOAD, flag};
use crate::violation::Violation;

/// A message that has arrived.
#[derive(Debug)]
pub struct Message {
    /// Its header: version 1, of a possible size.
    pub header: Header,
    /// As many bytes as the header says.
    pub payload: Vec<u8>,
    /// What came with it, at most [`MAX_FDS`].
    pub fds: Vec<OwnedFd>,
}

/// A connected socket and the message that is under way in each direction.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    incoming: [u8; HEADER_BYTES + MAX_PAYLOAD],
    filled: usize,
    fds: Vec<OwnedFd>,
    outgoing: Vec<u8>,
}

impl Channel {
    /// Takes over a connected stream socket, which must be non-blocking.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            incoming: [0; HEADER_BYTES + MAX_PAYLOAD],
            filled: 0,
            fds: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    /// The socket, to sleep on.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether a part of what was sent is still ours.
    pub fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next message, if all of it is there.
    ///
    /// # Errors
    /// The peer left, or broke the framing; the connection is of no more use.
    pub fn receive(&mut self) -> Result<Option<Message>, Violation> {
        loop {
            let wanted = self.wanted()?;
            if self.filled == wanted {
                return Ok(Some(self.take_message()));
            }
            let Some(count) = self.read_some(wanted)? else { return Ok(None) };
            if count == 0 {
                let within = self.filled > 0;
                return Err(if within { Violation::ClosedMidMessage } else { Violation::Closed });
            }
            self.filled += count;
        }
    }

    /// As [`receive`](Self::receive), but waits until `deadline`; `None` when it has passed.
    ///
    /// # Errors
    /// As for `receive`.
    pub fn receive_until(&mut self, deadline: Instant) -> Result<Option<Message>, Violation> {
        loop {
            if let Some(message) = self.receive()? {
                return Ok(Some(message));
            }
            if !self.wait(PollFlags::IN, deadline)? {
                return Ok(None);
            }
        }
    }

    /// Sends one message, as far as the peer takes it; the rest is kept for [`flush`](Self::flush).
    ///
    /// # Errors
    /// The socket failed, or descriptors would have to wait, which they cannot.
    pub fn send(&mut self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Violation> {
        debug_assert!(fds.len() <= MAX_FDS);
        if self.is_sending() {
            if !fds.is_empty() {
                return Err(Violation::Socket(Errno::AGAIN));
            }
            self.outgoing.extend_from_slice(message);
            return self.flush();
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(fds));
            debug_assert!(fits);
        }
        let sent = loop {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &[IoSlice::new(message)], &mut control, flags) {
                Ok(sent) => break sent,
                Err(Errno::INTR) => {}
                // Descriptors go with the first byte: a message that has any is not kept for later.
                Err(Errno::AGAIN) if fds.is_empty() => break 0,
                Err(errno) => return Err(Violation::Socket(errno)),
            }
        };
        self.outgoing.extend_from_slice(&message[sent..]);
        Ok(())
    }

    /// As [`send`](Self::send), but waits until `deadline` for a peer that does not read: descriptors, too, get through
    /// where more was sent than the socket holds.
    ///
    /// # Errors
    /// As for `send`.
    pub fn send_until(
        &mut self,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), Violation> {
        loop {
            self.flush()?;
            if !self.is_sending() {
                match self.send(message, fds) {
                    Err(Violation::Socket(Errno::AGAIN)) => {}
                    sent => return sent,
                }
            }
            if !self.wait(PollFlags::OUT, deadline)? {
                return Err(Violation::Socket(Errno::TIMEDOUT));
            }
        }
    }

    /// Sends what was kept, as far as the peer takes it.
    ///
    /// # Errors
    /// The socket failed.
    pub fn flush(&mut self) -> Result<(), Violation> {
        while self.is_sending() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match rustix::net::send(&self.socket, &self.outgoing, flags) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Violation::Socket(errno)),
            }
        }
        Ok(())
    }

    fn wait(&self, event: PollFlags, deadline: Instant) -> Result<bool, Violation> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(timeout) = Timespec::try_from(left) else { return Ok(false) };
            match poll(&mut [PollFd::new(&self.socket, event)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Violation::Socket(errno)),
            }
        }
    }

    /// Bytes up to which the message is to be collected, as far as is known yet.
    fn wanted(&self) -> Result<usize, Violation> {
        if self.filled < HEADER_BYTES {
            return Ok(HEADER_BYTES);
        }
        let header = self.header();
        if header.flags & flag::VERSION_MASK != flag::VERSION {
            return Err(Violation::Version(header.flags));
        }
        match usize::try_from(header.size) {
            Ok(size) if size <= MAX_PAYLOAD => Ok(HEADER_BYTES + size),
            _ => Err(Violation::TooLarge(header.size)),
        }
    }

    fn header(&self) -> Header {
        let mut bytes = [0; HEADER_BYTES];
        bytes.copy_from_slice(&self.incoming[..HEADER_BYTES]);
        Header::parse(&bytes)
    }

    fn take_message(&mut self) -> Message {
        let payload = self.incoming[HEADER_BYTES..self.filled].to_vec();
        self.filled = 0;
        Message { header: self.header(), payload, fds: std::mem::take(&mut self.fds) }
    }

    /// Reads up to `wanted` bytes of the message; `None` when nothing is there now.
    fn read_some(&mut self, wanted: usize) -> Result<Option<usize>, Violation> {
        // Room for more than a message has, so that a few too many are told from a flood.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2 * MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut bytes = [IoSliceMut::new(&mut self.incoming[self.filled..wanted])];
            match recvmsg(&self.socket, &mut bytes, &mut control, flags) {
                Ok(received) => break received,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(Violation::Socket(errno)),
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || self.fds.len() > MAX_FDS {
            return Err(Violation::DescriptorsTruncated);
        }
        Ok(Some(received.bytes))
    }
}
