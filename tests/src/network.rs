//! A network namespace with a TAP device; gone when dropped.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::skip;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace with a TAP device, `tap0`.
#[derive(Debug)]
pub struct Network(String);

impl Network {
    /// One whose TAP device has this address, if any (without, the kernel says nothing on it); `more` are further words
    /// for `ip tuntap`. `None` where the kernel does not let us, which is said.
    pub fn new(address: Option<&str>, more: &[&str]) -> Option<Self> {
        let number = COUNT.fetch_add(1, Relaxed);
        let network = Self(format!("barewire-{}-{number}", std::process::id()));
        network.ip(&["netns", "add", &network.0])?;
        let tap = ["-n", &network.0, "tuntap", "add", "dev", "tap0", "mode", "tap"];
        network.ip(&[&tap, more].concat())?;
        if let Some(address) = address {
            network.ip(&["-n", &network.0, "addr", "add", address, "dev", "tap0"])?;
        } else {
            let quiet = "echo 1 > /proc/sys/net/ipv6/conf/tap0/disable_ipv6";
            let _ = network.command("sh").args(["-c", quiet]).status();
        }
        network.ip(&["-n", &network.0, "link", "set", "tap0", "up"])?;
        Some(network)
    }

    fn ip(&self, arguments: &[&str]) -> Option<()> {
        let output = Command::new("ip").args(arguments).output().expect("ip can be started");
        if output.status.success() {
            return Some(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        skip(&format!("ip {arguments:?}: {}", why.trim()));
        None
    }

    /// A program in this namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// The output of a program that is to have succeeded.
#[track_caller]
pub fn succeed(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}
