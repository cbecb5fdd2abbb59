//! The QEMU command for a guest: a pure function, so that every machine and port has its golden test.
//!
//! Deliberately absent: MSI-X (`vectors=0`: QEMU 7.2 crashes with TCG, vhost-user and MSI-X, and the images poll) and
//! everything of a PC that no image uses.

use crate::device::DeviceOptions;
use crate::options::{Accel, Firmware, Machine, Memory};
use crate::port::Port;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The emulator that boots every image.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

/// The port of the I/O space by which an image ends QEMU with a status.
const DEBUG_EXIT: &str = "isa-debug-exit,iobase=0xf4,iosize=4";

/// Where `--gdb` waits.
pub(crate) const GDB: &str = "127.0.0.1:1234";

/// Deeper rings than QEMU's 256 ride out the moments in which the guest's thread does not run; transmit rings of this
/// size exist for vhost-user only.
const DEEP_RINGS: [(&str, u16); 2] = [("rx_queue_size", 1024), ("tx_queue_size", 1024)];

/// A guest to boot.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// The image.
    pub image: PathBuf,
    /// The machine type.
    pub machine: Machine,
    /// The accelerator.
    pub accel: Accel,
    /// Its memory.
    pub memory: Memory,
    /// The firmware, or the machine's own choice.
    pub firmware: Option<Firmware>,
    /// Its network devices, in order.
    pub ports: Vec<Port>,
    /// Options of each network device beside or instead of the launcher's own.
    pub device: DeviceOptions,
    /// Seconds between attempts to reach a lost vhost-user peer; 0 for none.
    pub reconnect: u32,
    /// The socket of its monitor.
    pub monitor: Option<PathBuf>,
    /// Whether the machine waits for gdb.
    pub gdb: bool,
    /// The image's command line.
    pub append: String,
}

impl Guest {
    /// The emulator and its arguments.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut line = Line(vec![QEMU.into()]);
        line.words("-nodefaults -no-user-config -display none -no-reboot");
        line.option("-machine", self.machine_option());
        line.option("-cpu", if self.accel == Accel::Kvm { "host" } else { "max" });
        self.memory(&mut line);
        if let Some(firmware) = self.firmware {
            line.option("-bios", firmware_file(self.machine, firmware));
        }
        line.option("-serial", "stdio");
        line.option("-device", DEBUG_EXIT);
        if self.machine == Machine::Microvm {
            line.option("-global", "virtio-mmio.force-legacy=false");
        }
        for (index, port) in self.ports.iter().enumerate() {
            self.backend(&mut line, index, port);
            line.option("-device", self.device(index, port));
        }
        if let Some(path) = &self.monitor {
            let mut socket = OsString::from("unix:");
            socket.push(escaped(path.as_os_str()));
            socket.push(",server=on,wait=off");
            line.option("-qmp", socket);
        }
        if self.gdb {
            line.option("-gdb", format!("tcp:{GDB}"));
            line.words("-S");
        }
        line.option("-kernel", self.image.as_os_str());
        if !self.append.is_empty() {
            line.option("-append", &self.append);
        }
        line.0
    }

    fn machine_option(&self) -> String {
        let special = match self.machine {
            // Without ACPI the virtio-mmio devices stand on the kernel command line, and qboot is the firmware.
            Machine::Microvm => ",acpi=off,x-option-roms=off,isa-serial=on,auto-kernel-cmdline=on",
            Machine::Q35 | Machine::Pc => ",usb=off",
        };
        format!("{},accel={},memory-backend=mem{special}", self.machine.name(), self.accel.name())
    }

    /// Memory that a vhost-user back end can map.
    fn memory(&self, line: &mut Line) {
        let size = format!("{}M", self.memory.0);
        line.option("-m", &size);
        line.option("-object", format!("memory-backend-memfd,id=mem,size={size},share=on"));
    }

    fn backend(&self, line: &mut Line, index: usize, port: &Port) {
        match port {
            Port::VhostUser { path, server, queues } => {
                let mut socket = OsString::from(format!("socket,id=chr{index},path="));
                socket.push(escaped(path.as_os_str()));
                match (server, self.reconnect) {
                    (true, _) => socket.push(",server=on"),
                    (false, 0) => {}
                    (false, seconds) => socket.push(format!(",reconnect={seconds}")),
                }
                line.option("-chardev", socket);
                let queues = several(*queues, "queues");
                line.option(
                    "-netdev",
                    format!("vhost-user,id=net{index},chardev=chr{index}{queues}"),
                );
            }
            Port::User { forwards } => {
                let rules: String =
                    forwards.iter().map(|rule| format!(",hostfwd={rule}")).collect();
                line.option("-netdev", format!("user,id=net{index}{rules}"));
            }
            Port::Tap { interface, queues } => {
                let interface = escaped(OsStr::new(interface));
                let mut netdev = OsString::from(format!("tap,id=net{index},ifname="));
                netdev.push(interface);
                netdev.push(",script=no,downscript=no,vhost=off");
                netdev.push(several(*queues, "queues"));
                line.option("-netdev", netdev);
            }
            Port::Dgram { local, remote } => {
                let mut netdev =
                    OsString::from(format!("dgram,id=net{index},local.type=unix,local.path="));
                netdev.push(escaped(local.as_os_str()));
                netdev.push(",remote.type=unix,remote.path=");
                netdev.push(escaped(remote.as_os_str()));
                line.option("-netdev", netdev);
            }
        }
    }

    fn device(&self, index: usize, port: &Port) -> String {
        let (rings, queues): (&[_], _) = match port {
            Port::VhostUser { queues, .. } => (&DEEP_RINGS, *queues),
            Port::Tap { queues, .. } => (&[], *queues),
            Port::User { .. } | Port::Dgram { .. } => (&[], 1),
        };
        let mut common = format!("netdev=net{index},mac=52:54:00:12:34:{:02x}", 0x56 + index);
        for (name, entries) in rings.iter().filter(|(name, _)| !self.device.names(name)) {
            let _ = write!(common, ",{name}={entries}");
        }
        if queues > 1 {
            common.push_str(",mq=on");
        }
        common.push_str(&self.device.to_string());
        match self.machine {
            // No slot is named: QEMU fills them from the last to the first and lists them on the kernel command line from
            // the last to the first, so that the image finds its ports in order.
            Machine::Microvm => format!("virtio-net-device,{common}"),
            Machine::Q35 | Machine::Pc => {
                format!("virtio-net-pci,disable-legacy=on,vectors=0,romfile=,{common}")
            }
        }
    }
}

/// `,name=count` where there are several.
fn several(count: u16, name: &str) -> String {
    if count > 1 { format!(",{name}={count}") } else { String::new() }
}

fn firmware_file(machine: Machine, firmware: Firmware) -> &'static str {
    match (firmware, machine) {
        (Firmware::Qboot, _) => "qboot.rom",
        (Firmware::Seabios, Machine::Microvm) => "bios-microvm.bin",
        (Firmware::Seabios, Machine::Q35 | Machine::Pc) => "bios-256k.bin",
    }
}

struct Line(Vec<OsString>);

impl Line {
    fn words(&mut self, words: &str) {
        self.0.extend(words.split(' ').map(OsString::from));
    }

    fn option(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().into());
    }
}

/// A value inside a QEMU option: its commas are doubled.
fn escaped(value: &OsStr) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// A command as a line that a shell reads back as the same words.
pub(crate) fn shell_quoted(words: &[OsString]) -> String {
    let quote = |word: &OsString| {
        let text = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,=:+@%".contains(c);
        if !text.is_empty() && text.chars().all(plain) {
            text.into_owned()
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
