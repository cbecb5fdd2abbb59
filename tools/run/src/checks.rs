//! What can be found wrong before QEMU starts: better words than QEMU's, and no half-begun run.

use crate::failure::Failure;
use crate::port::Port;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Checks what the ports need on this machine; gives remarks for the user.
pub(crate) fn ports(ports: &[Port]) -> Result<Vec<String>, Failure> {
    let mut remarks = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        match port {
            Port::VhostUser { path, server: true, .. } => free_to_listen(path)?,
            Port::VhostUser { path, server: false, .. } => remarks.extend(reachable(path)?),
            Port::Tap { interface, .. } => tap(Path::new("/sys/class/net"), interface)?,
            Port::Dgram { local, remote } => {
                free_to_listen(local)?;
                directory_exists(remote)?;
            }
            Port::User { .. } => {}
        }
        if let Port::VhostUser { path, .. } = port
            && ports[..index]
                .iter()
                .any(|other| matches!(other, Port::VhostUser { path: p, .. } if p == path))
        {
            return Err(Failure::usage(format!(
                "two ports have the same socket {}",
                path.display()
            )));
        }
    }
    Ok(remarks)
}

/// QEMU would take the path from a living server without a word.
fn free_to_listen(path: &Path) -> Result<(), Failure> {
    directory_exists(path)?;
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(Failure::failed(format!("{} exists and is not a socket", path.display())));
    }
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    if someone_listens(&table, path) {
        return Err(Failure::failed(format!("the socket {} is in use", path.display())));
    }
    Ok(())
}

fn reachable(path: &Path) -> Result<Option<String>, Failure> {
    directory_exists(path)?;
    Ok((!path.exists())
        .then(|| format!("waiting until a vhost-user back end listens on {}", path.display())))
}

fn directory_exists(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() || directory.is_dir() => Ok(()),
        Some(directory) => Err(Failure::failed(format!(
            "the socket {} cannot be: there is no directory {}",
            path.display(),
            directory.display()
        ))),
        None => Err(Failure::usage(format!("{} cannot be a socket", path.display()))),
    }
}

/// Reads `/proc/net/unix`, so that nobody is disturbed by a connection. Its columns: number, references, protocol,
/// flags (0x10000: listening), type, state, inode, path as it was bound.
fn someone_listens(table: &str, path: &Path) -> bool {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    table.lines().any(|line| {
        let mut words = line.split_ascii_whitespace();
        let flags = words.nth(3).and_then(|word| u32::from_str_radix(word, 16).ok()).unwrap_or(0);
        let bound = words.nth(3).map(Path::new);
        flags & 0x1_0000 != 0 && (bound == Some(path) || bound == Some(&absolute))
    })
}

fn tap(interfaces: &Path, name: &str) -> Result<(), Failure> {
    let interface = interfaces.join(name);
    if !interface.exists() {
        return Err(Failure::failed(format!(
            "there is no interface {name}. As root: ip tuntap add dev {name} mode tap && ip link set {name} up"
        )));
    }
    if !interface.join("tun_flags").exists() {
        return Err(Failure::failed(format!("the interface {name} is not a TAP interface")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00010000 0001 01 100 /run/listening\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 101 /run/connected\n\
        0000000000000000: 00000003 00000000 00000000 0001 03 102\n";

    #[test]
    fn listeners_are_found_in_the_kernels_table() {
        assert!(someone_listens(TABLE, Path::new("/run/listening")));
        assert!(!someone_listens(TABLE, Path::new("/run/connected")));
        assert!(!someone_listens(TABLE, Path::new("/run/other")));
    }

    #[test]
    fn absent_things_are_clear_errors() {
        let error = tap(Path::new("/sys/class/net"), "no-such-tap").unwrap_err();
        assert!(
            error.status == 1 && error.text.contains("ip tuntap add dev no-such-tap"),
            "{error}"
        );
        let error = free_to_listen(Path::new("/no/such/directory/socket")).unwrap_err();
        assert!(error.text.contains("no directory /no/such/directory"), "{error}");
        let error = free_to_listen(Path::new("/etc/passwd")).unwrap_err();
        assert!(error.text.contains("not a socket"), "{error}");
    }

    #[test]
    fn a_port_given_twice_is_refused() {
        let port = Port::VhostUser { path: "/tmp/the-same".into(), server: false, queues: 1 };
        assert_eq!(super::ports(&[port.clone(), port]).unwrap_err().status, 2);
    }
}
