//! What a virtio-net device can be told while it runs, against QEMU's own device over a TAP device with four queues.

mod offloads;
mod platform;
mod recovery;

use std::io::Write;
use std::process::{Command, Stdio};

use end_to_end::build::Program;
use end_to_end::network::{Network, succeed};
use end_to_end::process::Process;
use end_to_end::qmp::Monitor;
use end_to_end::scratch::Scratch;
use end_to_end::{have, root, turn};
use serde_json::json;

const QEMU: &str = "qemu-system-x86_64";

/// Sends the frames that come as lines of hexadecimal digits, then prints as many as are named that come back, of
/// those that come within so many seconds of each other. With `headers` each has a header of ten bytes (`struct
/// virtio_net_hdr`), in which a sender asks the kernel for work.
const SENDER: &str = "
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
if 'headers' in sys.argv[2]: s.setsockopt(263, 15, 1)
s.bind(('tap0', 0))
s.settimeout(int(sys.argv[2].split()[0]))
for line in sys.stdin: s.send(bytes.fromhex(line))
try:
    for _ in range(int(sys.argv[1])): print(s.recv(70000).hex())
except TimeoutError: pass
";

/// The image's own: the key that it gives, and the table that goes round its queues.
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// The hash bit by bit, as it is defined (virtio 1.2, 5.1.6.4.3).
fn toeplitz(input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
    let window =
        |at: usize| (at..at + 32).fold(0u32, |all, at| all << 1 | u32::from(bit(&KEY, at)));
    (0..input.len() * 8).filter(|&at| bit(input, at)).fold(0, |hash, at| hash ^ window(at))
}

#[test]
fn the_hash_is_the_published_one() {
    // Microsoft, "Verifying the RSS Hash Calculation": 66.9.149.187:2794 to 161.142.100.80:1766.
    let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
    assert_eq!((toeplitz(&input[..8]), toeplitz(&input)), (0x323e_8fc2, 0x51cc_c178));
}

/// QEMU with the image and one device, which has these properties.
struct Guest {
    network: Network,
    scratch: Scratch,
    run: Process,
}

impl Guest {
    fn start(machine: &str, device: &str, append: &str) -> Option<Self> {
        Self::with(Program::Controls, machine, device, append)
    }

    fn with(image: Program, machine: &str, device: &str, append: &str) -> Option<Self> {
        let (network, scratch) = (Network::new(None, &["multi_queue"])?, Scratch::new());
        let mut command = network.command(QEMU);
        command.arg("-kernel").arg(image.path()).args(["-append", append]);
        command.args(["-machine", machine, "-accel", "tcg", "-cpu", "max", "-m", "64"]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-serial", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        let tap = "tap,id=n,ifname=tap0,script=no,downscript=no,vhost=off,queues=4";
        command.args(["-netdev", tap, "-device", &format!("{device},netdev=n")]);
        let control = scratch.file("qmp");
        command.args(["-qmp", &format!("unix:{control},server=on,wait=off")]);
        let memory = scratch.file("qtest");
        command.args(["-qtest", &format!("unix:{memory},server=on,wait=off")]);
        command.args(["-qtest-log", "none"]);
        let run = Process::start(command.stdin(Stdio::null()));
        Some(Self { network, scratch, run })
    }

    /// Sends frames, and tells the first so many that come back.
    fn send(&self, frames: &[Vec<u8>], back: usize, patience: &str) -> String {
        let mut command: Command = self.network.command("python3");
        command.args(["-c", SENDER, &back.to_string(), patience]);
        let mut sender = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = sender.stdin.take().unwrap();
        for frame in frames {
            writeln!(input, "{}", hex(frame)).unwrap();
        }
        drop(input);
        succeed(sender.wait_with_output().unwrap())
    }

    /// Sends frames to a port that may lose some; how many came back soon.
    fn pass(&self, frames: &[Vec<u8>]) -> usize {
        let text = self.send(frames, frames.len(), "1");
        let sent: Vec<_> = frames.iter().map(|frame| untagged(frame)).collect();
        // (In its last four bytes may be its hash.)
        text.lines().filter(|line| sent.iter().any(|frame| frame[..112] == line[..112])).count()
    }

    /// Sends one frame after the other until so many changes were made among them.
    fn flood_until_changed(&self) {
        let (flood, _): (Vec<_>, Vec<_>) = (1000..3000).map(udp).unzip();
        let changes = format!("controls: changes: {CHANGES}");
        for _ in 0..100 {
            self.send(&flood, 0, "1");
            if self.run.lines().iter().any(|line| line.contains(&changes)) {
                return;
            }
        }
        self.run.wait_for(&changes, 1);
    }

    /// Sends frames and waits until these have come back.
    #[track_caller]
    fn exchange(&self, frames: &[Vec<u8>], passing: &[Vec<u8>]) {
        let text = self.send(frames, passing.len(), "20");
        let mut back: Vec<&str> = text.lines().collect();
        let mut passing: Vec<_> = passing.iter().map(|frame| untagged(frame)).collect();
        back.sort_unstable();
        passing.sort_unstable();
        assert_eq!(back, passing, "{}", self.run.lines().join("\n"));
    }

    fn monitor(&self) -> Monitor {
        Monitor::connect(&self.scratch.file("qmp"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How the kernel shows a frame that it receives: it keeps a VLAN tag elsewhere.
fn untagged(frame: &[u8]) -> String {
    let tag = if frame[12..14] == [0x81, 0] { 12..16 } else { 12..12 };
    hex(&[&frame[..12], &frame[tag.end..]].concat())
}

/// A frame of 60 bytes (64 with a tag) for this address.
fn frame(destination: [u8; 6], vlan: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &[2, 0, 0, 0, 0, 1]].concat();
    if let Some(id) = vlan {
        frame.extend([0x81, 0, 0, id]);
    }
    frame.extend(payload);
    frame.resize(if vlan.is_some() { 64 } else { 60 }, 0);
    frame
}

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

/// A UDP packet for the image's own address, and the number that its flow is hashed to.
fn udp(from: u16) -> (Vec<u8>, u32) {
    let ends = [[10, 0, 0, 1], [10, 0, 0, 2]].concat();
    let ports = [from.to_be_bytes(), 7u16.to_be_bytes()].concat();
    let header = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0];
    let packet = [&[8, 0], &header[..], &ends, &ports, &[0, 8, 0, 0]].concat();
    (frame(OWN, None, &packet), toeplitz(&[ends, ports].concat()))
}

fn ready() -> bool {
    root() && [QEMU, "ip", "python3"].into_iter().all(have)
}

const MACHINES: [(&str, &str); 3] = [
    ("q35", "virtio-net-pci,mq=on,rss=on,vectors=0"),
    ("q35", "virtio-net-pci,mq=on,rss=on,vectors=0,packed=on"),
    ("microvm,acpi=off", "virtio-net-device,mq=on,rss=on,packed=on"),
];

#[test]
fn filters_and_spreading_are_what_was_asked_for() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        let Some(guest) = Guest::start(machine, device, "queues=4 rss=on vlan=7 filter=on") else {
            return;
        };
        guest.run.wait_for("controls: ready, mac 02:00:00:00:00:aa", 1);
        for what in ["mac", "promiscuous off", "all-multicast off", "addresses", "vlan", "rss"] {
            guest.run.wait_for(&format!("controls: {what}: done"), 1);
        }
        let other = |destination, vlan| frame(destination, vlan, &[0x88, 0xb5]);
        let stopped = [
            other([2, 0, 0, 0, 0, 0xcc], None),
            other([1, 0, 0x5e, 0, 0, 2], None),
            other(OWN, Some(8)),
        ];
        let passing = [
            other(OWN, None),
            other([2, 0, 0, 0, 0, 0xbb], None),
            other([1, 0, 0x5e, 0, 0, 1], None),
            other([0xff; 6], None),
            other(OWN, Some(7)),
        ];
        // (The stopped ones first: what was counted of the others was then counted of all.)
        guest.exchange(&[&stopped[..], &passing].concat(), &passing);
        guest.run.wait_for("controls: frames [5, 0, 0, 0]", 1);
        let (packets, hashes): (Vec<_>, Vec<_>) = (1000..1200).map(udp).unzip();
        let mut counts = [5, 0, 0, 0];
        hashes.iter().for_each(|hash| counts[*hash as usize % 128 % 4] += 1);
        assert!(counts.iter().all(|&count| count > 20), "{counts:?}");
        guest.exchange(&packets, &packets);
        guest.run.wait_for(&format!("controls: frames {counts:?}"), 1);
    }
}

#[test]
fn whole_kinds_of_frames_are_passed_or_stopped() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    let plain = |destination| frame(destination, None, &[0x88, 0xb5]);
    let own = [plain(OWN), plain([2, 0, 0, 0, 0, 0xbb])];
    let foreign = [plain([2, 0, 0, 0, 0, 0xcc])];
    let (group, broadcast) = ([plain([1, 0, 0x5e, 0, 0, 1])], [plain([0xff; 6])]);
    let all = [&own[..], &foreign, &group, &broadcast].concat();
    for (machine, device) in MACHINES {
        for (mode, passing) in [
            (0, all.clone()),
            (1, [&own[..], &broadcast].concat()),
            (2, [&group[..], &broadcast].concat()),
            (3, [&own[..], &group].concat()),
        ] {
            let append = format!("filter=on mode={mode}");
            let Some(guest) = Guest::start(machine, device, &append) else { return };
            guest.run.wait_for("controls: mode: done", 1);
            guest.run.wait_for("controls: ready", 1);
            guest.exchange(&all, &passing);
            guest.run.wait_for(&format!("controls: frames [{}]", passing.len()), 1);
        }
    }
}

/// A header that asks for a checksum from byte 34 on, and for pieces of so many bytes, if not 0; and a packet for it.
fn asking(protocol: u8, checksum_at: u8, payload: usize, piece: u16) -> Vec<u8> {
    let (kind, headers) = if piece > 0 { (1, 54) } else { (0, 0) };
    let [low, high] = piece.to_le_bytes();
    let asks = [1, kind, headers, 0, low, high, 34, 0, checksum_at, 0];
    let total = u16::try_from(40 + payload).unwrap().to_be_bytes();
    let ip =
        [0x45, 0, total[0], total[1], 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let tcp = [4, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 4, 0, 0, 0, 0, 0];
    let packet = [&[8, 0], &ip[..], &tcp, &vec![7; payload]].concat();
    let whole = [&OWN[..], &[2, 0, 0, 0, 0, 1], &packet].concat();
    [&asks[..], &whole].concat()
}

#[test]
fn receive_offloads_are_switched_off_while_the_port_runs() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    // One packet with a partial checksum, and one of three pieces.
    let sent = [asking(17, 6, 20, 0), asking(6, 16, 300, 100)];
    for (machine, device) in MACHINES {
        let Some(guest) = Guest::start(machine, device, "queues=1 switch=2") else { return };
        guest.run.wait_for("controls: ready", 1);
        guest.send(&sent, 0, "1 headers");
        guest.run.wait_for("controls: frames [2], 2 of them partial", 1);
        guest.run.wait_for("controls: receive offloads off: done", 1);
        guest.send(&sent, 0, "1 headers");
        guest.run.wait_for("controls: frames [6], 2 of them partial", 1);
    }
}

/// Every queue four times and more, so that a buffer lost each time would leave none: then everything still passes.
const CHANGES: usize = 400;

#[test]
fn queues_are_reset_one_by_one_while_the_others_go_on() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (packed, append) in [("off", "rss=on"), ("on", "rss=on"), ("on", "rss=on hash=on")] {
        let device = format!("virtio-net-pci,mq=on,rss=on,hash=on,vectors=0,packed={packed}");
        let append = format!("queues=4 reset=on {append}");
        let Some(guest) = Guest::start("q35", &device, &append) else { return };
        guest.run.wait_for("controls: ready", 1);
        guest.flood_until_changed();
        // (A frame that comes while its queue is reset is lost: so until all of them pass.)
        let (packets, _): (Vec<_>, Vec<_>) = (1000..1010).map(udp).unzip();
        let back = (0..20).any(|_| guest.pass(&packets) == packets.len());
        assert!(back, "{}", guest.run.lines().join("\n"));
        assert!(!guest.run.lines().iter().any(|line| line.contains("controls: change ")));
    }
}

#[test]
fn a_device_that_cannot_reset_a_queue_says_so() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    let device = "virtio-net-pci,vectors=0,queue_reset=off";
    let Some(guest) = Guest::start("q35", device, "reset=on") else { return };
    let line = guest.run.wait_for("barewire: error:", 1);
    assert!(line.contains("the device's rings do not have RING_RESET"), "{line}");
    assert_eq!(guest.run.end().status.code(), Some(35), "17, as isa-debug-exit passes it on");
    // QEMU's MMIO devices offer it and have no register for it: the queue goes on as it was.
    let device = "virtio-net-device,packed=on";
    let Some(guest) = Guest::start("microvm,acpi=off", device, "reset=on") else { return };
    let line = guest.run.wait_for("controls: change 1:", 1);
    assert!(line.contains("it offers to reset a queue and does not"), "{line}");
    let frames = [frame(OWN, None, &[0x88, 0xb5])];
    guest.exchange(&frames, &frames);
}

#[test]
fn a_port_is_stopped_and_started_otherwise_again_and_again() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        for queues in [1, 4] {
            let append = format!("queues={queues} restart=on");
            let Some(guest) = Guest::start(machine, device, &append) else { return };
            guest.flood_until_changed();
            let (packets, _): (Vec<_>, Vec<_>) = (1000..1010).map(udp).unzip();
            let back = (0..20).any(|_| guest.pass(&packets) == packets.len());
            assert!(back, "{}", guest.run.lines().join("\n"));
            assert!(!guest.run.lines().iter().any(|line| line.contains("controls: change ")));
        }
    }
}

#[test]
fn without_filters_and_spreading_everything_comes() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        let Some(guest) = Guest::start(machine, device, "queues=4") else { return };
        guest.run.wait_for("controls: ready", 1);
        let group = [1, 0, 0x5e, 0, 0, 2];
        let all = [frame([2, 0, 0, 0, 0, 0xcc], None, &[0x88, 0xb5]), frame(group, Some(8), &[8])];
        // (Which queue they come on is QEMU's choice.)
        guest.exchange(&all, &all);
    }
}

#[test]
fn hashes_are_reported_with_and_without_spreading() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        for append in ["queues=4 hash=on rss=on", "queues=1 hash=on"] {
            let device = format!("{device},hash=on");
            let Some(guest) = Guest::start(machine, &device, append) else { return };
            guest.run.wait_for("controls: rss: done", 1);
            guest.run.wait_for("controls: ready", 1);
            let (packets, hashes): (Vec<_>, Vec<_>) = (1000..1100).map(udp).unzip();
            let mut marked = packets.clone();
            for (packet, hash) in marked.iter_mut().zip(hashes) {
                packet[56..].copy_from_slice(&hash.to_be_bytes());
            }
            guest.exchange(&packets, &marked);
            let other = [frame([0xff; 6], None, &[0x88, 0xb5])];
            guest.exchange(&other, &other);
        }
    }
}

#[test]
fn link_changes_and_announcements_are_seen_and_answered() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (machine, device) in MACHINES {
        let device = format!("{device},speed=25000,duplex=full");
        let Some(guest) = Guest::start(machine, &device, "queues=4") else { return };
        guest.run.wait_for("controls: link up 25000 Mbit/s", 1);
        let mut monitor = guest.monitor();
        for round in 1..3 {
            monitor.ask("set_link", json!({"name": "n", "up": false}));
            guest.run.wait_for("controls: link down", round);
            monitor.ask("set_link", json!({"name": "n", "up": true}));
            guest.run.wait_for("controls: link up", round + 1);
        }
        let times = json!({"initial": 20, "max": 20, "rounds": 1, "step": 1});
        for round in 1..4 {
            monitor.ask("announce-self", times.clone());
            guest.run.wait_for("controls: announced: done", round);
        }
    }
}

#[test]
fn what_the_device_cannot_fails_at_start_with_words() {
    if !ready() {
        return;
    }
    let _turn = turn::take();
    for (device, append, words) in [
        ("mq=on", "queues=5", "5 queues were asked for; the device has 1 to 4"),
        ("mq=off", "queues=2", "2 queues were asked for; the device has 1 to 1"),
        ("mq=on,ctrl_vq=off", "queues=2", "2 queues were asked for; the device has 1 to 1"),
        ("mq=on,rss=off", "queues=4 rss=on", "does not offer RX_RSS"),
        ("mq=on,ctrl_vlan=off", "vlan=7", "does not offer RX_VLAN_FILTER"),
    ] {
        let device = format!("virtio-net-pci,vectors=0,{device}");
        let Some(guest) = Guest::start("q35", &device, append) else { return };
        let line = guest.run.wait_for("barewire: error:", 1);
        assert!(line.contains(words), "{line}");
        assert_eq!(guest.run.end().status.code(), Some(35), "17, as isa-debug-exit passes it on");
    }
    // Off at once: refused in words while it runs.
    let device = "virtio-net-pci,vectors=0,ctrl_rx=off,ctrl_rx_extra=off,ctrl_mac_addr=off,ctrl_guest_offloads=off";
    let Some(guest) = Guest::start("q35", device, "filter=on mode=0 switch=0") else { return };
    let filters = ["mac", "promiscuous off", "all-multicast off", "addresses"];
    for what in filters.into_iter().chain(["mode", "receive offloads off"]) {
        guest.run.wait_for(&format!("controls: {what}: this port does not support"), 1);
    }
}
