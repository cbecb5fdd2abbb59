//! Images on every kind of virtio-net device that QEMU has: each option alone on PCI and on MMIO, and all of them in
//! combinations in which every two meet. l2fwd asks its devices for nothing, the image `features` for all that they offer.
//! Frames go both ways, byte for byte, and none may be lost; what QEMU says was negotiated is what is expected.

mod negotiated;
mod pairwise;
mod refused;
mod wire;

use std::time::{Duration, Instant};

use bench::frames::frame;
use end_to_end::build::Program;
use end_to_end::process::{Process, launcher};
use end_to_end::qmp::Monitor;
use end_to_end::scratch::Scratch;
use end_to_end::{have, turn};
use pairwise::{Case, Space};
use rustix::process::Signal;
use wire::{Frame, Wire, completed};

/// What varies, and its levels: the first is the launcher's own. Those from `packed` to `indirect_desc`, `csum` and
/// `iommu_platform` are QEMU's options of these names.
const FACTORS: [(&str, &[&str]); 12] = [
    ("machine", &["q35", "microvm"]),
    ("wire", &["vhost-user", "dgram"]),
    ("packed", &["off", "on"]),
    ("mrg_rxbuf", &["on", "off"]),
    ("event_idx", &["on", "off"]),
    ("indirect_desc", &["on", "off"]),
    ("csum", &["on", "off"]),
    ("host_mtu", &["none", "9000"]),
    ("queues", &["1", "4"]),
    ("ring", &["1024", "256"]),
    ("iommu_platform", &["off", "on"]),
    // What the image asks for.
    ("asks", &["nothing", "everything"]),
];

const OPTIONS: [&str; 6] =
    ["packed", "mrg_rxbuf", "event_idx", "indirect_desc", "csum", "iommu_platform"];

/// Longer than a run takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Frames into each queue of each port.
const FRAMES: u32 = 400;
/// Of these on their way at most: far from filling a ring.
const WINDOW: u32 = 16;
/// The number of the frame that asks whether a queue is served.
const PROBE: u32 = u32::MAX;
const ETHERNET: u32 = 14;

fn factor(name: &str) -> usize {
    FACTORS.iter().position(|(own, _)| *own == name).expect("a factor's name")
}

/// A level by its name: `None` where it is undecided.
fn level(case: &[Option<usize>], name: &str) -> Option<&'static str> {
    let factor = factor(name);
    case[factor].map(|level| FACTORS[factor].1[level])
}

/// Several queues need our back end, and an IOMMU's addresses QEMU's own device: vhost-user back ends of the platform's
/// addresses must be able to ask for translations.
fn possible(case: &[Option<usize>]) -> bool {
    let is = |name, value| level(case, name) == Some(value);
    !(is("queues", "4") && (is("wire", "dgram") || is("iommu_platform", "on")))
        && !(is("iommu_platform", "on") && is("wire", "vhost-user"))
}

/// One run.
struct Run(Vec<Option<usize>>);

impl Run {
    fn new(case: &Case) -> Self {
        Self(case.iter().copied().map(Some).collect())
    }

    fn level(&self, name: &str) -> &'static str {
        level(&self.0, name).expect("all are decided")
    }

    fn name(&self) -> String {
        let words = FACTORS.iter().map(|(name, _)| format!("{name}={}", self.level(name)));
        words.collect::<Vec<_>>().join(" ")
    }

    fn is(&self, name: &str, level: &str) -> bool {
        self.level(name) == level
    }

    /// Frames of more than one buffer need buffers that are merged, and tables to send them by.
    fn chains(&self) -> bool {
        self.is("mrg_rxbuf", "on") && self.is("indirect_desc", "on")
    }

    /// Frames that are larger than usual: over several buffers where that is possible, else (l2fwd does not) in large
    /// buffers.
    fn jumbo(&self) -> bool {
        self.is("host_mtu", "9000") && (self.chains() || self.is("asks", "everything"))
    }

    /// Whether a checksum is left to who can complete it. (Datagrams have no header to say so in.)
    fn partial(&self) -> bool {
        self.is("csum", "on") && self.is("wire", "vhost-user") && self.is("asks", "everything")
    }

    fn max_frame(&self) -> u32 {
        if self.jumbo() { 9000 + ETHERNET } else { 1514 }
    }

    /// `--device`.
    fn device(&self) -> String {
        let mut options: Vec<_> =
            OPTIONS.iter().map(|name| format!("{name}={}", self.level(name))).collect();
        if self.level("host_mtu") != "none" {
            options.push(format!("host_mtu={}", self.level("host_mtu")));
        }
        options.push(format!("rx_queue_size={}", self.rx_ring()));
        options.push(format!("tx_queue_size={}", self.tx_ring()));
        options.join(",")
    }

    fn rx_ring(&self) -> &'static str {
        self.level("ring")
    }

    /// Deeper transmit rings exist with vhost-user only.
    fn tx_ring(&self) -> &'static str {
        if self.level("wire") == "vhost-user" { self.level("ring") } else { "256" }
    }

    fn start(&self, ports: &[String; 2], monitor: &str) -> Process {
        let (device, queues) = (self.device(), format!("queues={}", self.level("queues")));
        let max_frame = format!("max-frame={}", self.max_frame());
        let rings = [format!("rxd={}", self.rx_ring()), format!("txd={}", self.tx_ring())];
        let everything = self.is("asks", "everything");
        let mut arguments = vec!["--machine", self.level("machine"), "--device", &device];
        arguments.extend(["--monitor", monitor]);
        if self.jumbo() && !self.chains() {
            // (For large buffers.)
            arguments.extend(["--memory", "256M"]);
        }
        for port in ports {
            arguments.extend(["--port", port.as_str()]);
        }
        arguments.extend(["--", &queues]);
        arguments.extend(rings.iter().map(String::as_str));
        if self.jumbo() {
            arguments.push(&max_frame);
        }
        let asked = self.asked();
        if everything {
            arguments.extend(asked.iter().map(String::as_str));
            return Process::start(&mut launcher(Program::Features, &arguments));
        }
        arguments.push("mac-updating=off");
        Process::start(&mut launcher(Program::L2fwd, &arguments))
    }

    fn passes(&self) {
        let scratch = Scratch::new();
        let queues = self.level("queues").parse().expect("a number");
        let (mut wire, ports) = match self.level("wire") {
            "dgram" => Wire::dgram(&scratch),
            _ => Wire::vhost_user(&scratch, queues, self.max_frame()),
        };
        let monitor = scratch.file("qmp");
        let image = self.start(&ports, &monitor);
        await_image(&image, &mut wire);
        for queue in 0..wire.queues() {
            for from in [0, 1] {
                self.forwards(&image, &mut wire, from, queue);
            }
        }
        self.check_negotiated(&image, &mut Monitor::connect(&monitor));
        image.signal(Signal::INT);
        let output = image.end().output;
        let format = if self.level("packed") == "on" { "packed" } else { "split" };
        let started = format!("{format} rings {}/{}", self.rx_ring(), self.tx_ring());
        assert_eq!(output.matches(&started).count(), 2, "{started}\n{output}");
        for harm in ["panicked", "fault", "error"] {
            assert!(!output.contains(harm), "{output}");
        }
    }

    /// Frames of all lengths from one port to the other by one pair of queues.
    fn forwards(&self, image: &Process, wire: &mut Wire, from: usize, queue: usize) {
        let span = self.max_frame() - 60 + 1;
        let bytes = |number: u32| {
            let len = 60 + number * 131 % span;
            frame(number, usize::try_from(len).expect("a frame is small"))
        };
        probe(image, wire, from, queue);
        let (mut sent, mut back) = (0, 0);
        let deadline = Instant::now() + PATIENCE;
        while back < FRAMES {
            let lines = || image.lines().join("\n");
            assert!(Instant::now() < deadline, "{back} of {FRAMES}, queue {queue}\n{}", lines());
            while sent < FRAMES && sent - back < WINDOW && wire.send(from, queue, &bytes(sent)) {
                sent += 1;
            }
            for other in (0..wire.queues()).filter(|other| *other != queue) {
                assert!(wire.take(1 - from, other).is_empty(), "out of queue {other}");
            }
            for Frame { bytes: got, partial } in wire.take(1 - from, queue) {
                assert_eq!(partial, self.partial(), "whose work the checksum is");
                if got[14..18] != PROBE.to_be_bytes() {
                    let sent = completed(&bytes(back));
                    assert!(got == sent, "frame {back} of {} bytes is another", got.len());
                    back += 1;
                }
            }
        }
    }
}

/// Serves the handshakes until the image polls.
fn await_image(image: &Process, wire: &mut Wire) {
    let deadline = Instant::now() + PATIENCE;
    while !image.lines().iter().any(|line| line.contains("polling 2 ports")) {
        assert!(Instant::now() < deadline, "{}", image.lines().join("\n"));
        for port in [0, 1] {
            wire.take(port, 0);
        }
    }
}

/// Sends probes until one comes out: what is sent before a ring runs is lost.
fn probe(image: &Process, wire: &mut Wire, from: usize, queue: usize) {
    let deadline = Instant::now() + PATIENCE;
    let probe = frame(PROBE, 60);
    while wire.take(1 - from, queue).is_empty() {
        let lines = || image.lines().join("\n");
        assert!(Instant::now() < deadline, "nothing comes out of queue {queue}\n{}", lines());
        wire.send(from, queue, &probe);
        wire.take(from, queue);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn sweep(cases: &[Case]) {
    if !have("qemu-system-x86_64") {
        return;
    }
    for case in cases {
        let run = Run::new(case);
        println!("{}", run.name());
        let _turn = turn::take();
        run.passes();
    }
}

#[test]
fn each_option_alone() {
    let mut cases = Vec::new();
    for machine in 0..FACTORS[factor("machine")].1.len() {
        for (factor, (name, levels)) in FACTORS.iter().enumerate().skip(1) {
            for level in 1..levels.len() {
                let mut case = vec![0; FACTORS.len()];
                case[0] = machine;
                case[factor] = level;
                if *name == "iommu_platform" {
                    case[self::factor("wire")] = 1;
                }
                cases.push(case);
            }
        }
    }
    sweep(&cases);
}

/// Every two options together, where all images ask for the same.
fn pairwise(asks: usize) -> Vec<Case> {
    let mut levels = FACTORS.map(|(_, levels)| levels.len());
    levels[factor("asks")] = 1;
    let mut cases = Space { levels: &levels, possible }.cases();
    cases.iter_mut().for_each(|case| case[factor("asks")] = asks);
    cases
}

#[test]
fn every_two_options_together() {
    sweep(&pairwise(0));
}

#[test]
fn every_two_options_together_and_all_features_asked_for() {
    sweep(&pairwise(1));
}

/// Options that cannot be on one device, by their names and levels. (The last two are, over a TAP device: controls/platform.rs.)
const APART: [[(&str, &str); 2]; 3] = [
    [("wire", "dgram"), ("queues", "4")],
    [("wire", "vhost-user"), ("iommu_platform", "on")],
    [("queues", "4"), ("iommu_platform", "on")],
];

#[test]
fn every_listed_level_meets_every_other_but_those_that_cannot() {
    for asks in [0, 1] {
        let runs: Vec<Run> = pairwise(asks).iter().map(Run::new).collect();
        let factors = FACTORS.iter().filter(|(name, _)| *name != "asks");
        let levels =
            factors.flat_map(|(name, levels)| levels.iter().map(move |level| (*name, *level)));
        let levels: Vec<_> = levels.collect();
        for (at, a) in levels.iter().enumerate() {
            for b in levels[at..].iter().filter(|b| a.0 != b.0 || a.1 == b.1) {
                let meet = runs.iter().any(|run| run.is(a.0, a.1) && run.is(b.0, b.1));
                assert_eq!(meet, !APART.contains(&[*a, *b]), "{a:?} and {b:?}");
            }
        }
    }
}
