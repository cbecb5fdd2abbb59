//! Sleeping until a file descriptor has something to read, or time is up.
//!
//! `poll`, not `epoll`: the set has a handful of members and changes whenever a peer reconnects, and an event
//! loop sleeps only when it is idle.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Sleeps until one of `fds` is readable (or hung up, or broken), `timeout` is over, or a signal arrives.
/// Whether a descriptor woke us. `None`: no time-out. Reads nothing.
///
/// A number that is no open descriptor wakes at once.
///
/// # Errors
/// The kernel's, when it cannot wait; a signal is none.
pub fn wait_readable(fds: &[RawFd], timeout: Option<Duration>) -> io::Result<bool> {
    let mut set: Vec<PollFd<'_>> = fds
        .iter()
        .filter(|&&fd| fd >= 0)
        .map(|&fd| PollFd::from_borrowed_fd(borrow(fd), PollFlags::IN))
        .collect();
    let timeout =
        timeout.map(|t| Timespec::try_from(t).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 }));
    match poll(&mut set, timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn borrow<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    // SAFETY: the number is not -1 (negative ones were filtered out). It is used for `poll` alone, which reads and
    // writes nothing through it: should it have been closed or reused, the sleep ends early (POLLNVAL) or waits
    // for another descriptor, which callers bound by their time-out.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_readable_descriptor_wakes() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let fds = [reader.as_raw_fd(), -1];
        assert!(!wait_readable(&fds, Some(Duration::ZERO)).unwrap());
        rustix::io::write(&writer, b"x").unwrap();
        assert!(wait_readable(&fds, None).unwrap());
        assert!(wait_readable(&fds, Some(Duration::MAX)).unwrap());
    }

    #[test]
    fn nothing_to_wait_for_is_a_sleep() {
        assert!(!wait_readable(&[], Some(Duration::from_millis(1))).unwrap());
    }

    #[test]
    fn a_closed_peer_or_descriptor_wakes() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(writer);
        assert!(wait_readable(&[reader.as_raw_fd()], None).unwrap(), "hung up");
        assert!(wait_readable(&[1_000_000], None).unwrap(), "not open");
    }
}
