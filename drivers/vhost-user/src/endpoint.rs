//! Where a connection comes from: a socket file that we listen on, or one that we connect to again and again.
//!
//! Both are polled and never block. A listener hands out one connection at a time, because its owner asks
//! for the next one only when the last is gone: a second front end waits in the kernel's queue. The socket
//! file of a listener that died is replaced, that of a living one is an error, and any other kind of file is
//! left alone. Our own file is removed with the listener.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Stat, lstat, unlink};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use crate::message::MAX_FDS;

/// Most bytes of a socket's path: `sun_path` less its terminator (unix(7)).
pub const MAX_PATH: usize = 107;

/// How long a connecting endpoint waits between two attempts.
const RETRY: Duration = Duration::from_millis(50);

/// Why a socket could not be had.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// The path is empty, longer than [`MAX_PATH`] bytes, or has a NUL byte in it.
    Path(PathBuf),
    /// Somebody listens there already.
    InUse(PathBuf),
    /// Something that is no socket has that name.
    NotASocket(PathBuf),
    /// The system refused.
    System(PathBuf, Errno),
    /// A front end shares one to eight memory regions: how many were given.
    Regions(usize),
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(
                f,
                "{}: a socket's path has 1 to {MAX_PATH} bytes, none of them NUL; this one has {}",
                path.display(),
                path.as_os_str().len()
            ),
            Self::InUse(path) => {
                write!(f, "{}: another process listens on this socket", path.display())
            }
            Self::NotASocket(path) => {
                write!(f, "{}: a file that is no socket has this name", path.display())
            }
            Self::System(path, errno) => write!(f, "{}: {errno}", path.display()),
            Self::Regions(count) => {
                write!(f, "a front end shares 1 to {MAX_FDS} memory regions, not {count}")
            }
        }
    }
}

impl std::error::Error for EndpointError {}

/// A source of connections.
#[derive(Debug)]
pub enum Endpoint {
    /// Peers connect to us.
    Listen(Listener),
    /// We connect to the peer.
    Connect(Connector),
}

impl Endpoint {
    /// Listens on a socket file, which is made.
    ///
    /// # Errors
    /// See [`EndpointError`].
    pub fn listen(path: impl AsRef<Path>) -> Result<Self, EndpointError> {
        Listener::bind(path.as_ref()).map(Self::Listen)
    }

    /// Connects to a socket file, which need not be there yet.
    ///
    /// # Errors
    /// [`EndpointError::Path`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, EndpointError> {
        let path = path.as_ref().to_owned();
        let address = address(&path)?;
        Ok(Self::Connect(Connector { path, address, next: None }))
    }

    /// A new connection, if there is one now. Never blocks; asks the system no more often than makes sense.
    pub fn poll(&mut self) -> Option<OwnedFd> {
        match self {
            Self::Listen(listener) => listener.accept(),
            Self::Connect(connector) => connector.attempt(),
        }
    }

    /// The socket's path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Listen(listener) => &listener.path,
            Self::Connect(connector) => &connector.path,
        }
    }

    /// What becomes readable when a connection is there; `None`: ask by the clock.
    pub fn wake(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Listen(listener) => Some(listener.socket.as_fd()),
            Self::Connect(_) => None,
        }
    }
}

/// A listening socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// The file that we made: device and inode.
    file: (u64, u64),
}

impl Listener {
    fn bind(path: &Path) -> Result<Self, EndpointError> {
        let address = address(path)?;
        let system = |errno| EndpointError::System(path.to_owned(), errno);
        let socket = new_socket().map_err(system)?;
        match bind(&socket, &address) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => {
                remove_if_stale(path, &address)?;
                bind(&socket, &address).map_err(|errno| match errno {
                    Errno::ADDRINUSE => EndpointError::InUse(path.to_owned()),
                    other => system(other),
                })?;
            }
            Err(errno) => return Err(system(errno)),
        }
        let file = identity(&lstat(path).map_err(system)?);
        listen(&socket, 4).map_err(system)?;
        Ok(Self { socket, path: path.to_owned(), file })
    }

    fn accept(&self) -> Option<OwnedFd> {
        accept_with(&self.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Only our own file: another process may have replaced it.
        if lstat(&self.path).is_ok_and(|stat| identity(&stat) == self.file) {
            let _ = unlink(&self.path);
        }
    }
}

/// A path to connect to.
#[derive(Debug)]
pub struct Connector {
    path: PathBuf,
    address: SocketAddrUnix,
    /// When the next attempt is due; `None`: now.
    next: Option<Instant>,
}

impl Connector {
    fn attempt(&mut self) -> Option<OwnedFd> {
        let now = Instant::now();
        if self.next.is_some_and(|next| now < next) {
            return None;
        }
        self.next = Some(now + RETRY);
        let socket = new_socket().ok()?;
        connect(&socket, &self.address).ok()?;
        Some(socket)
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn address(path: &Path) -> Result<SocketAddrUnix, EndpointError> {
    let wrong = || EndpointError::Path(path.to_owned());
    if path.as_os_str().is_empty() || path.as_os_str().len() > MAX_PATH {
        return Err(wrong());
    }
    SocketAddrUnix::new(path).map_err(|_| wrong())
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// Removes a socket file that nobody listens on.
fn remove_if_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), EndpointError> {
    let system = |errno| EndpointError::System(path.to_owned(), errno);
    let stat = match rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(system(errno)),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(EndpointError::NotASocket(path.to_owned()));
    }
    match connect(&new_socket().map_err(system)?, address) {
        Err(Errno::CONNREFUSED) => unlink(path).map_err(system),
        Err(Errno::NOENT) => Ok(()),
        // A full queue (EAGAIN) is a living listener's, too.
        Ok(()) | Err(Errno::AGAIN) => Err(EndpointError::InUse(path.to_owned())),
        Err(errno) => Err(system(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bw-endpoint-{}-{name}", std::process::id()))
    }

    #[test]
    fn paths_that_no_socket_has_are_refused() {
        for bad in [String::new(), "x".repeat(108), "a\0b".to_owned()] {
            let expected = EndpointError::Path(PathBuf::from(&bad));
            assert_eq!(Endpoint::listen(&bad).unwrap_err(), expected);
            assert_eq!(Endpoint::connect(&bad).unwrap_err(), expected);
        }
        let longest = path("longest").display().to_string();
        let longest = format!("{longest}{}", "x".repeat(MAX_PATH - longest.len()));
        drop(Endpoint::listen(&longest).unwrap());
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_living_listener_is_not() {
        let path = path("stale");
        let stale = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(Endpoint::listen(&path).unwrap_err(), EndpointError::InUse(path.clone()));
        drop(stale);
        assert!(path.exists());
        let ours = Endpoint::listen(&path).unwrap();
        assert_eq!(Endpoint::listen(&path).unwrap_err(), EndpointError::InUse(path.clone()));
        drop(ours);
        assert!(!path.exists());
    }

    #[test]
    fn other_files_are_left_alone() {
        let path = path("file");
        std::fs::write(&path, b"precious").unwrap();
        assert_eq!(Endpoint::listen(&path).unwrap_err(), EndpointError::NotASocket(path.clone()));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
        let missing = path.join("no-such-directory");
        assert!(matches!(Endpoint::listen(&missing), Err(EndpointError::System(..))));
    }

    #[test]
    fn a_replaced_file_is_not_removed() {
        let path = path("replaced");
        let ours = Endpoint::listen(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"theirs").unwrap();
        drop(ours);
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_two_kinds_meet() {
        let path = path("meet");
        let mut connector = Endpoint::connect(&path).unwrap();
        assert!(connector.poll().is_none());
        let mut listener = Endpoint::listen(&path).unwrap();
        assert!(listener.poll().is_none());
        let client = loop {
            if let Some(client) = connector.poll() {
                break client;
            }
        };
        let server = listener.poll().expect("the connection is in the queue");
        rustix::io::write(&client, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(rustix::io::read(&server, &mut byte), Ok(1));
    }
}
