//! Port specifications: what follows `--port` on the command line of a process.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use netbuf::CACHE_LINE;
use netdev::Device;
pub use vhost_user::{Monitor, Preset};
use vhost_user::{VhostUserBackend, VhostUserFrontend, VirtioUser};
use virtio::net::VirtioNet;

pub use crate::port_memory::PortMemory;
use crate::port_options::{self, ACCEPTED};

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
    /// What is decided about queues and rings; the rest is the function's.
    pub preset: Preset,
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
    /// Bytes of packet memory that [`open`](Self::open) takes, in whole cache lines: a driver's rings lie in it, a
    /// device's in its peer's.
    pub fn ring_bytes(&self) -> usize {
        match self.role {
            Role::BackEnd => 0,
            Role::FrontEnd => usize::from(self.pairs()) * self.pair_bytes(),
        }
    }

    /// Pairs of queues that a driver has memory for.
    fn pairs(&self) -> u16 {
        self.preset.pairs.unwrap_or(1)
    }

    /// Bytes of the rings of one pair of queues.
    fn pair_bytes(&self) -> usize {
        let most = self.preset.queue_size.unwrap_or(0).max(MAX_RING);
        let bytes = VirtioNet::<VhostUserFrontend>::ring_bytes(most, most);
        bytes.unwrap_or(0).next_multiple_of(CACHE_LINE)
    }

    /// Makes the device, and a view of its peers. What it shares with them lies in `memory`.
    ///
    /// # Errors
    /// The socket cannot be had, or there is no memory left for the rings; in words.
    pub fn open(&self, memory: &mut PortMemory) -> Result<(Box<dyn Device>, Monitor), String> {
        let preset = self.preset;
        match self.role {
            Role::BackEnd => {
                let open =
                    if self.server { VhostUserBackend::listen } else { VhostUserBackend::connect };
                let device = open(&self.path).map_err(words)?.with_preset(preset);
                let peers = device.monitor();
                Ok((Box::new(device), peers))
            }
            Role::FrontEnd => {
                let bytes = self.pair_bytes();
                let rings = (0..self.pairs()).map(|_| memory.take(bytes));
                let rings = rings.collect::<Result<_, _>>().map_err(words)?;
                let shared = [memory.shared()];
                let open = if self.server { VirtioUser::listen } else { VirtioUser::connect };
                let device = open(&self.path, &shared, rings).map_err(words)?.with_preset(preset);
                let peers = device.monitor();
                Ok((Box::new(device), peers))
            }
        }
    }
}

fn words(error: impl fmt::Display) -> String {
    error.to_string()
}

/// What was wrong with a port specification, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsePortError(String);

impl fmt::Display for ParsePortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; accepted: vhost-user:PATH[,OPTION]... or virtio-user:PATH[,OPTION]..., where OPTION is {ACCEPTED}",
            self.0
        )
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
        let mut words = rest.split(',');
        let path = words.next().unwrap_or_default();
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
        let (server, preset) = port_options::parse(words).map_err(ParsePortError)?;
        Ok(Self { role, path: PathBuf::from(path), server, preset })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.role.name(), self.path.display())?;
        port_options::write(f, self.server, &self.preset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_read_and_print_the_same() {
        for text in [
            "vhost-user:/run/a",
            "vhost-user:/run/a,server",
            "virtio-user:b,server",
            "virtio-user:b,queues=4,queue_size=512,packed_vq=1,mrg_rxbuf=0,in_order=1",
            "vhost-user:b,server,packed_vq=0,event_idx=0,indirect_desc=1",
        ] {
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
            "vhost-user:/a,server,server",
            "vhost-user:/a,queues=0",
            "vhost-user:/a,queues=129",
            "vhost-user:/a,queues=",
            "vhost-user:/a,queues=2,queues=2",
            "vhost-user:/a,queue_size=300",
            "vhost-user:/a,queue_size=65536",
            "vhost-user:/a,packed_vq=2",
            "vhost-user:/a,packed_vq",
            "vhost-user:/a,vectorized=1",
            &long,
        ] {
            let error = text.parse::<PortSpec>().unwrap_err().to_string();
            assert!(error.contains("accepted: vhost-user:PATH"), "{text}: {error}");
        }
    }
}
