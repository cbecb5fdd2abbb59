//! Event descriptors: how the two sides of a ring wake each other.
//!
//! A descriptor from a peer is made non-blocking, so that a full counter cannot stall the polling thread; it
//! must be an anonymous one (an eventfd), not a file, pipe or socket that writing might change or wait for.
//! A peer that takes the flag off its own eventfd again and fills it can still stall us: Linux has no
//! per-call flag for this write.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io;

use crate::message::Request;
use crate::violation::Violation;

/// An eventfd.
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// A new one, not signalled.
    ///
    /// # Errors
    /// The process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// Takes over a peer's, which came with `request`.
    ///
    /// # Errors
    /// [`Violation::DescriptorKind`] if it is not an eventfd.
    pub fn adopt(fd: OwnedFd, request: Request) -> Result<Self, Violation> {
        let wrong = Violation::DescriptorKind(request);
        // Anonymous inodes have no file type.
        let stat = fstat(&fd).map_err(|_| wrong)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Unknown {
            return Err(wrong);
        }
        let flags = fcntl_getfl(&fd).map_err(|_| wrong)?;
        if !flags.contains(OFlags::NONBLOCK) {
            fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map_err(|_| wrong)?;
        }
        Ok(Self(fd))
    }

    /// Wakes the other side. A counter that is full has woken it already.
    pub fn signal(&self) {
        let _ = io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Takes the wake-ups that have arrived; whether there were any.
    pub fn drain(&self) -> bool {
        io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_arrive_once() {
        let event = Event::new().unwrap();
        assert!(!event.drain());
        event.signal();
        event.signal();
        assert!(event.drain());
        assert!(!event.drain());
    }

    #[test]
    fn a_blocking_eventfd_that_is_full_does_not_block() {
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
        Event::adopt(fd, Request::SetVringCall).unwrap().signal();
    }

    #[test]
    fn pipes_files_and_directories_are_no_events() {
        let (read, write) = rustix::pipe::pipe().unwrap();
        let file = rustix::fs::memfd_create("no-event", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let directory = OwnedFd::from(std::fs::File::open("/").unwrap());
        for fd in [read, write, file, directory] {
            let refused = Event::adopt(fd, Request::SetVringKick).unwrap_err();
            assert_eq!(refused, Violation::DescriptorKind(Request::SetVringKick));
        }
    }
}
