//! A port as `--port` describes it: what stands behind the guest's virtio-net device.

use std::path::PathBuf;
use std::str::FromStr;

/// Longest path of a unix socket, in bytes (`sun_path` without its final NUL).
pub(crate) const MAX_SOCKET_PATH: usize = 107;

/// Longest name of an interface, in bytes (IFNAMSIZ without its final NUL).
const MAX_INTERFACE: usize = 15;

/// What a guest's network device is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// A vhost-user back end.
    VhostUser {
        /// The unix socket.
        path: PathBuf,
        /// Whether QEMU listens on it and the back end connects; else the other way round.
        server: bool,
        /// Pairs of queues.
        queues: u16,
    },
    /// QEMU's user network: the guest is 10.0.2.15 behind a translating gateway.
    User {
        /// Ports of the host that lead into the guest, in QEMU's words: `udp:127.0.0.1:5555-10.0.2.15:7`.
        forwards: Vec<String>,
    },
    /// An existing TAP interface of the host.
    Tap {
        /// Its name.
        interface: String,
        /// Pairs of queues; more than one need an interface made with `multi_queue`.
        queues: u16,
    },
    /// Unix datagram sockets: one frame a datagram, L2 header included, FCS excluded. Packets pass through QEMU's own
    /// device rather than a back end's.
    Dgram {
        /// The socket that QEMU makes.
        local: PathBuf,
        /// The one that it sends to.
        remote: PathBuf,
    },
}

/// Most pairs of queues that a port can have.
const MAX_QUEUES: u16 = 128;

const ACCEPTED: &str = "accepted: vhost-user:PATH[,server][,queues=1..128], \
                        user[,hostfwd=tcp|udp:[HOST]:PORT-[GUEST]:PORT]..., tap:INTERFACE[,queues=1..128] \
                        or dgram:LOCAL_PATH,REMOTE_PATH";

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text).map_err(|why| format!("{why}; {ACCEPTED}"))
    }
}

fn parse(text: &str) -> Result<Port, String> {
    let (head, options) = match text.split_once(',') {
        Some((head, options)) => (head, options.split(',').collect()),
        None => (text, Vec::new()),
    };
    match head.split_once(':') {
        Some(("vhost-user", path)) => vhost_user(path, &options),
        Some(("tap", interface)) => tap(interface, &options),
        Some(("dgram", local)) => dgram(local, &options),
        None if head == "user" => user(&options),
        _ => Err(format!("`{head}` is not a kind of port")),
    }
}

fn vhost_user(path: &str, options: &[&str]) -> Result<Port, String> {
    let (mut server, mut queues) = (None, None);
    for option in options {
        let fresh = match option.split_once('=') {
            None if *option == "server" => server.replace(true).is_none(),
            Some(("queues", count)) => queues.replace(pairs(count)?).is_none(),
            _ => return Err(format!("`{option}` is not an option of a vhost-user port")),
        };
        if !fresh {
            return Err(format!("`{option}` is given twice"));
        }
    }
    let path = socket_path(path, "vhost-user")?;
    Ok(Port::VhostUser { path, server: server.is_some(), queues: queues.unwrap_or(1) })
}

fn socket_path(path: &str, kind: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err(format!("the {kind} port has no path"));
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(format!(
            "the socket path has {} bytes, a unix socket takes at most {MAX_SOCKET_PATH}",
            path.len()
        ));
    }
    Ok(path.into())
}

fn pairs(count: &str) -> Result<u16, String> {
    let pairs = count.parse().ok().filter(|pairs| (1..=MAX_QUEUES).contains(pairs));
    pairs.ok_or_else(|| format!("`{count}` is not a number of queues"))
}

fn tap(interface: &str, options: &[&str]) -> Result<Port, String> {
    let queues = match options {
        [] => 1,
        [one] if one.starts_with("queues=") => pairs(&one["queues=".len()..])?,
        [option, ..] => return Err(format!("`{option}` is not an option of a tap port")),
    };
    let fits = (1..=MAX_INTERFACE).contains(&interface.len());
    if !fits || interface.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(format!("`{interface}` cannot be the name of an interface"));
    }
    Ok(Port::Tap { interface: interface.into(), queues })
}

fn dgram(local: &str, remote: &[&str]) -> Result<Port, String> {
    let [remote] = remote else { return Err("a dgram port has two paths".into()) };
    Ok(Port::Dgram { local: socket_path(local, "dgram")?, remote: socket_path(remote, "dgram")? })
}

fn user(options: &[&str]) -> Result<Port, String> {
    let mut forwards = Vec::new();
    for option in options {
        match option.split_once('=') {
            Some(("hostfwd", rule)) if is_forward(rule) => forwards.push(rule.into()),
            Some(("hostfwd", rule)) => return Err(format!("`{rule}` is not a forwarding rule")),
            _ => return Err(format!("`{option}` is not an option of a user port")),
        }
    }
    Ok(Port::User { forwards })
}

/// `tcp|udp:[host address]:port-[guest address]:port`.
fn is_forward(rule: &str) -> bool {
    let end = |end: &str| {
        end.rsplit_once(':').is_some_and(|(address, port)| {
            let address_fits = address.is_empty() || address.parse::<std::net::Ipv4Addr>().is_ok();
            address_fits && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
    };
    let ends = rule.strip_prefix("udp:").or_else(|| rule.strip_prefix("tcp:"));
    ends.and_then(|ends| ends.split_once('-')).is_some_and(|(host, guest)| end(host) && end(guest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vhost_user(path: &str, server: bool, queues: u16) -> Port {
        Port::VhostUser { path: path.into(), server, queues }
    }

    #[test]
    fn ports_are_read() {
        for (text, port) in [
            ("vhost-user:/run/a", vhost_user("/run/a", false, 1)),
            ("vhost-user:b,server", vhost_user("b", true, 1)),
            ("vhost-user:c,queues=4,server", vhost_user("c", true, 4)),
            ("user", Port::User { forwards: vec![] }),
            ("user,hostfwd=udp::5555-:7", Port::User { forwards: vec!["udp::5555-:7".into()] }),
            (
                "user,hostfwd=udp:127.0.0.1:1-10.0.2.15:7,hostfwd=tcp::2-:8",
                Port::User {
                    forwards: vec!["udp:127.0.0.1:1-10.0.2.15:7".into(), "tcp::2-:8".into()],
                },
            ),
            ("tap:tap0", Port::Tap { interface: "tap0".into(), queues: 1 }),
            ("tap:tap0,queues=128", Port::Tap { interface: "tap0".into(), queues: 128 }),
            ("dgram:/a,/b", Port::Dgram { local: "/a".into(), remote: "/b".into() }),
        ] {
            assert_eq!(text.parse(), Ok(port), "{text}");
        }
    }

    #[test]
    fn malformed_ports_say_what_is_accepted() {
        let long = format!("vhost-user:/{}", "x".repeat(MAX_SOCKET_PATH));
        for text in [
            "",
            "net",
            "vhost-user",
            "vhost-user:",
            "vhost-user:,server",
            "vhost-user:/a,client",
            "vhost-user:/a,server,server",
            "vhost-user:/a,queues=0",
            "vhost-user:/a,queues=129",
            "vhost-user:/a,queues=2,queues=2",
            "vhost-user:/a,queues",
            "user:x",
            "user,",
            "user,hostfwd",
            "user,hostfwd=",
            "user,hostfwd=5555",
            "user,hostfwd=udp::0-:7",
            "user,hostfwd=udp::65536-:7",
            "user,hostfwd=udp:localhost:1-:7",
            "user,restrict=on",
            "tap",
            "tap:",
            "tap:a/b",
            "tap:sixteen-bytes-xx",
            "tap:tap0,vhost=on",
            "tap:tap0,queues=two",
            "tap:tap0,queues=1,queues=1",
            "dgram:/a",
            "dgram:/a,",
            "dgram:,/b",
            "dgram:/a,/b,/c",
            &long,
        ] {
            let error = text.parse::<Port>().unwrap_err();
            assert!(error.contains(ACCEPTED), "{text}: {error}");
        }
    }
}
