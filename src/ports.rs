//! Port specifications: what follows `--port` on the command line of a process.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use netdev::Device;
use vhost_user::{VhostUserBackend, VhostUserFrontend, VirtioUser};
use virtio::net::VirtioNet;

pub use crate::port_memory::PortMemory;

/// Entries of the largest ring that a driver's memory is set aside for.
const MAX_RING: u16 = 1024;

/// Longest path of a unix socket, in bytes (`sun_path` without its final NUL).
const MAX_PATH: usize = 107;

/// Which driver a port gets, and where its peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Our role towards the peer.
    pub role: Role,
    /// The unix socket that carries the vhost-user protocol.
    pub path: PathBuf,
    /// Whether we listen on the socket; else we connect to it.
    pub server: bool,
}

/// The two roles of vhost-user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `vhost-user`: we are the back end, the device (as DPDK's `net_vhost`). QEMU or virtio-user is the peer.
    BackEnd,
    /// `virtio-user`: we are the front end, the driver (as DPDK's `net_virtio_user`). A vhost switch is the
    /// peer.
    FrontEnd,
}

impl Role {
    /// The word before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BackEnd => "vhost-user",
            Self::FrontEnd => "virtio-user",
        }
    }
}

impl PortSpec {
    /// Makes the device. What it shares with its peer lies in `memory`.
    ///
    /// # Errors
    /// The socket cannot be had, or there is no memory left for the rings; in words.
    pub fn open(&self, memory: &mut PortMemory) -> Result<Box<dyn Device>, String> {
        match self.role {
            Role::BackEnd if self.server => device(VhostUserBackend::listen(&self.path)),
            Role::BackEnd => device(VhostUserBackend::connect(&self.path)),
            Role::FrontEnd => {
                let bytes = VirtioNet::<VhostUserFrontend>::ring_bytes(MAX_RING, MAX_RING);
                let rings = memory.take(bytes.unwrap_or(0)).map_err(|error| error.to_string())?;
                let shared = [memory.shared()];
                let open = if self.server { VirtioUser::listen } else { VirtioUser::connect };
                device(open(&self.path, &shared, vec![rings]))
            }
        }
    }
}

fn device<D: Device + 'static, E: fmt::Display>(
    opened: Result<D, E>,
) -> Result<Box<dyn Device>, String> {
    opened.map(|device| Box::new(device) as _).map_err(|error| error.to_string())
}

/// What was wrong with a port specification, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePortError(String);

impl fmt::Display for ParsePortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; accepted: vhost-user:PATH[,server] or virtio-user:PATH[,server]", self.0)
    }
}

impl std::error::Error for ParsePortError {}

impl FromStr for PortSpec {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        let error = |what: String| Err(ParsePortError(what));
        let Some((role, rest)) = text.split_once(':') else {
            return error(format!("`{text}` names no port"));
        };
        let role = match role {
            "vhost-user" => Role::BackEnd,
            "virtio-user" => Role::FrontEnd,
            other => return error(format!("`{other}` is not a kind of port")),
        };
        let (path, server) = match rest.split_once(',') {
            None => (rest, false),
            Some((path, "server")) => (path, true),
            Some((_, option)) => return error(format!("`{option}` is not an option of a port")),
        };
        if path.is_empty() {
            return error(format!("`{text}` has no path"));
        }
        if path.len() > MAX_PATH {
            return error(format!(
                "the socket path has {} bytes, a unix socket takes at most {MAX_PATH}",
                path.len()
            ));
        }
        if path.contains('\0') {
            return error("the socket path holds a NUL byte".into());
        }
        Ok(Self { role, path: PathBuf::from(path), server })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = if self.server { ",server" } else { "" };
        write!(f, "{}:{}{server}", self.role.name(), self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_read_and_print_the_same() {
        for text in ["vhost-user:/run/a", "vhost-user:/run/a,server", "virtio-user:b,server"] {
            assert_eq!(text.parse::<PortSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_specifications_say_what_is_accepted() {
        let long = format!("vhost-user:{}", "x".repeat(108));
        for text in [
            "",
            "vhost-user",
            "vhost-user:",
            "vhost-user:,server",
            "net:/a",
            "vhost-user:/a,client",
            "virtio-user:/a,server,",
            &long,
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains("accepted: vhost-user:PATH"), "{text}: {error}");
        }
    }
}
