//! One path in one role: testpmd with two ports, ours behind the first, a capture file to read and one to write behind
//! the second; and what passes between them, frame by frame.

use crate::ours::Ours;
use crate::path::Path;
use barewire::ports::{PortSpec, Preset, Role};
use bench::frames::frame;
use bench::versus::side::Side;
use bench::versus::testpmd::{Launch, Testpmd};
use bench::versus::traffic::swap_addresses;
use end_to_end::scratch::Scratch;
use netdev::{Config, RingFeatures};
use pktgen::capture::Capture;
use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Frames that are on their way at most in a loop: far from filling a ring.
const WINDOW: usize = 128;
/// The number of the frame that asks whether the peer is there.
const PROBE: u32 = u32::MAX;

/// Frames of a case. With the shortest ones an index of 16 bits wraps.
fn count(size: usize) -> usize {
    if size == 64 { 70_000 } else { 3_000 }
}

/// The frames of a case: their numbers are the case's own.
fn frames(case: u32, size: usize) -> Vec<Vec<u8>> {
    (case << 20..).take(count(size)).map(|number| frame(number, size)).collect()
}

pub(crate) struct Rig {
    ours: Ours,
    testpmd: Testpmd,
    scratch: Scratch,
    case: u32,
    /// Whether our own port can be stopped and started again: DPDK's virtio-user comes back only as a server.
    restartable: bool,
    /// Sizes of the frames that testpmd reads from its file.
    received_sizes: Vec<usize>,
}

/// What is to be set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) path: Path,
    pub(crate) role: Role,
    /// We listen on the socket, and DPDK connects to it.
    pub(crate) listen: bool,
    /// Entries of the rings.
    pub(crate) ring: u16,
    /// The core of testpmd.
    pub(crate) core: usize,
    /// Sizes of the frames that we are to receive.
    pub(crate) received_sizes: &'a [usize],
}

impl Rig {
    /// Starts both sides, and sees to it that they agreed upon the path.
    pub(crate) fn new(setup: &Setup) -> Self {
        let scratch = Scratch::new();
        let path = scratch.file("s").into();
        let spec =
            PortSpec { role: setup.role, path, server: setup.listen, preset: Preset::default() };
        let mut ours = Ours::start(&spec, |able| {
            let ring = (setup.role == Role::FrontEnd).then_some(setup.ring);
            Config { rx_ring: ring, tx_ring: ring, ..setup.path.config(able) }
        });
        let all: Vec<_> =
            (0..).zip(setup.received_sizes).flat_map(|(case, &size)| frames(case, size)).collect();
        write_capture(&scratch.file("in"), &all);
        let launch = launch(setup, &scratch);
        let testpmd = ours
            .poll_during(|| Testpmd::launch("testpmd", &launch))
            .unwrap_or_else(|error| panic!("{error}"));
        let mut rig = Self {
            ours,
            testpmd,
            scratch,
            case: 100,
            restartable: setup.role == Role::FrontEnd || !setup.listen,
            received_sizes: setup.received_sizes.to_vec(),
        };
        rig.wait("the link to come up", |rig| {
            rig.ours.is_up().then_some(()).ok_or_else(|| "it is down".into())
        });
        rig.assert_path(setup);
        rig
    }

    /// What DPDK says was negotiated, and the path that it took.
    fn assert_path(&mut self, setup: &Setup) {
        let key = match setup.role {
            Role::BackEnd => "features after negotiate = ",
            Role::FrontEnd => "negotiated Virtio features: 0x",
        };
        // (Its messages come through a pipe of their own, later than what they tell of.)
        let digits = self.hear_message(key, |line| Some(line.split_once(key)?.1.trim().to_owned()));
        let features = u64::from_str_radix(&digits, 16).expect("a hexadecimal number");
        let path = setup.path.fallback(self.ours.able);
        assert!(
            path.is_in(features),
            "{setup:?}: {path:?} is not what was negotiated: {features:#x}"
        );
        if setup.role == Role::BackEnd {
            let key = "Rx path on port";
            let taken = self.hear_message(key, |line| line.contains(key).then(|| line.to_owned()));
            let expected = path.receive_path();
            assert!(taken.contains(expected), "{setup:?}: {expected:?} is not in {taken:?}");
        }
    }

    /// The latest of testpmd's messages that `find` finds, as soon as there is one.
    fn hear_message(&mut self, what: &str, find: impl Fn(&str) -> Option<String>) -> String {
        let mut found = String::new();
        self.wait(what, |rig| {
            rig.ours.is_up();
            let messages = rig.testpmd.messages();
            found = messages.iter().rev().find_map(|line| find(line)).ok_or("nothing of it yet")?;
            Ok(())
        });
        found
    }

    /// What our rings can do.
    pub(crate) fn able(&self) -> RingFeatures {
        self.ours.able
    }

    /// Frames go out, a few at a time, and come back with their addresses swapped.
    pub(crate) fn loops(&mut self, size: usize) {
        self.begin("set portlist 0\nset fwd macswap\nstart");
        self.find_peer(size);
        let frames = self.next_frames(size);
        let (mut sent, mut back) = (0, 0);
        self.wait("frames to come back", |rig| {
            let more = (frames.len() - sent).min(WINDOW - (sent - back));
            sent += rig.ours.send(&frames[sent..sent + more]);
            rig.take(|frame| {
                back += 1;
                let mut expected = frames[back - 1].clone();
                swap_addresses(&mut expected);
                assert_eq!(frame, expected, "{size} B, frame {back}");
            });
            let progress = format!("{back} of {} with {size} B", frames.len());
            if back == frames.len() { Ok(()) } else { Err(progress) }
        });
        self.end();
    }

    /// testpmd sends what it reads from its file, and nothing goes the other way.
    pub(crate) fn receives(&mut self) {
        self.begin(
            "set portlist 0,1\nset fwd io retry\nset burst tx delay 10 retry 1000000\nstart",
        );
        for (case, size) in (0..).zip(self.received_sizes.clone()) {
            let frames = frames(case, size);
            let mut next = frames.iter();
            self.wait("frames to arrive", |rig| {
                // (What is left belongs to the next size.)
                rig.ours.poll();
                while let Some(expected) = next.as_slice().first()
                    && let Some(frame) = rig.ours.arrived.pop_front()
                {
                    let at = frames.len() - next.len();
                    assert_eq!(&frame, expected, "{size} B, frame {at}");
                    next.next();
                }
                let left = next.len();
                if left == 0 { Ok(()) } else { Err(format!("{left} with {size} B are missing")) }
            });
        }
        self.assert_silence();
        self.end();
    }

    /// We send, as fast as the ring takes it; testpmd writes what it gets to its file.
    pub(crate) fn transmits(&mut self, sizes: &[usize]) {
        let before = self.written().len();
        self.begin("set portlist 0,1\nset fwd io retry\nstart");
        let mut all = Vec::new();
        for &size in sizes {
            all.extend(self.next_frames(size));
        }
        let mut sent = 0;
        self.wait("testpmd to write what it received", |rig| {
            sent += rig.ours.send(&all[sent..]);
            if sent < all.len() {
                return Err(format!("{sent} of {} were sent", all.len()));
            }
            std::thread::sleep(Duration::from_millis(20));
            let written = rig.written().len() - before;
            let progress = format!("{written} of {} were written", all.len());
            if written >= all.len() { Ok(()) } else { Err(progress) }
        });
        self.assert_silence();
        self.end();
        let written = self.written().split_off(before);
        assert_eq!(written.len(), all.len(), "frames were doubled");
        for (number, (got, expected)) in written.iter().zip(&all).enumerate() {
            assert_eq!(got, expected, "frame {number}, {} B", expected.len());
        }
    }

    /// We send, and testpmd counts what it receives and drops it.
    pub(crate) fn is_counted(&mut self, size: usize) {
        self.begin("set portlist 0\nset fwd rxonly\nstart");
        let before = self.received();
        let all = self.next_frames(size);
        let mut sent = 0;
        self.wait("testpmd to count what it received", |rig| {
            sent += rig.ours.send(&all[sent..]);
            if sent < all.len() {
                return Err(format!("{sent} of {} were sent", all.len()));
            }
            let counted = rig.received() - before;
            let progress = format!("{counted} of {} were counted", all.len());
            if counted == all.len() as u64 { Ok(()) } else { Err(progress) }
        });
        self.assert_silence();
        self.end();
    }

    /// Frames that testpmd's port has received.
    fn received(&mut self) -> u64 {
        let testpmd = &mut self.testpmd;
        let account = self.ours.poll_during(|| testpmd.account());
        account.unwrap_or_else(|error| panic!("{error}")).received
    }

    /// testpmd stops its port and starts it again.
    pub(crate) fn restart_testpmd(&mut self) {
        let done = |line: &str| line.trim_end() == "Done";
        for command in ["port stop 0", "port start 0"] {
            let testpmd = &mut self.testpmd;
            let said = self.ours.poll_during(|| testpmd.ask(command, done));
            said.unwrap_or_else(|error| panic!("{command}: {error}"));
        }
    }

    /// We stop our port and start it again, where the other side comes back; whether it does.
    pub(crate) fn restart_ours(&mut self) -> bool {
        if self.restartable {
            self.ours.restart();
            self.await_links();
        }
        self.restartable
    }

    /// Until both sides say that they are joined. DPDK's driver begins its packed rings anew when a back end comes again,
    /// waits a millisecond for threads that use them, and no longer: none may forward meanwhile.
    fn await_links(&mut self) {
        self.wait("both links to come up", |rig| {
            let testpmd = &mut rig.testpmd;
            let is_summary = |line: &str| line.contains("net_virtio") || line.contains("net_vhost");
            let said = rig.ours.poll_during(|| testpmd.ask("show port summary 0", is_summary));
            let said = said.map_err(|error| error.to_string())?;
            let line = said.last().map_or("", String::as_str);
            let up = rig.ours.is_up() && line.contains(" up ");
            up.then_some(()).ok_or_else(|| line.to_owned())
        });
    }

    /// Stops our port; no buffer may be missing.
    pub(crate) fn finish(mut self) {
        drop(self.ours.stop());
    }

    fn next_frames(&mut self, size: usize) -> Vec<Vec<u8>> {
        self.case += 1;
        frames(self.case, size)
    }

    fn begin(&mut self, commands: &str) {
        self.ours.arrived.clear();
        let testpmd = &mut self.testpmd;
        let commands = format!("{commands}\nshow port summary 0");
        let said = self.ours.poll_during(|| {
            testpmd.ask(&commands, |line| line.contains("net_virtio") || line.contains("net_vhost"))
        });
        said.unwrap_or_else(|error| panic!("{commands}: {error}"));
    }

    fn end(&mut self) {
        let testpmd = &mut self.testpmd;
        let said = self.ours.poll_during(|| testpmd.ask("stop", |line| line.trim_end() == "Done."));
        said.unwrap_or_else(|error| panic!("stop: {error}"));
    }

    /// Sends probes until one comes back: rings start one after the other, and frames into the first are lost.
    fn find_peer(&mut self, size: usize) {
        let probe = frame(PROBE, size);
        self.wait("testpmd to send anything back", |rig| {
            rig.ours.send(std::slice::from_ref(&probe));
            std::thread::sleep(Duration::from_millis(2));
            rig.ours.is_up();
            rig.ours.poll();
            let seen = !rig.ours.arrived.is_empty();
            rig.ours.arrived.clear();
            seen.then_some(()).ok_or_else(|| "nothing came".into())
        });
    }

    /// Gives each frame that has come to `look`, but probes.
    fn take(&mut self, mut look: impl FnMut(Vec<u8>)) {
        self.ours.poll();
        for frame in self.ours.arrived.drain(..) {
            if frame[14..18] != PROBE.to_be_bytes() {
                look(frame);
            }
        }
    }

    /// Nothing more comes.
    fn assert_silence(&mut self) {
        let until = Instant::now() + Duration::from_millis(50);
        while Instant::now() < until {
            self.take(|frame| panic!("a frame that nobody sent: {frame:x?}"));
        }
    }

    /// The frames that testpmd has written, as far as its file is whole.
    fn written(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(self.scratch.file("out")).unwrap_or_default();
        let frames = Capture::parse(&bytes);
        let frames = frames.iter().flat_map(|capture| capture.frames().iter());
        let probe = PROBE.to_be_bytes();
        frames.filter(|frame| frame[14..18] != probe).map(|frame| frame.to_vec()).collect()
    }

    fn wait(&mut self, what: &str, mut step: impl FnMut(&mut Self) -> Result<(), String>) {
        let deadline = Instant::now() + PATIENCE;
        while let Err(progress) = step(self) {
            let messages = || self.testpmd.messages().join("\n");
            assert!(Instant::now() < deadline, "waited for {what}: {progress}\n{}", messages());
        }
    }
}

fn launch(setup: &Setup, scratch: &Scratch) -> Launch {
    let (path, ring) = (scratch.file("s"), setup.ring);
    // Where we do not listen, DPDK does.
    let device = match setup.role {
        Role::BackEnd => {
            let server = if setup.listen { "" } else { ",server=1" };
            let words = setup.path.words();
            format!("net_virtio_user0,path={path},queues=1,queue_size={ring},{words}{server}")
        }
        Role::FrontEnd => {
            let client = u8::from(setup.listen);
            format!("net_vhost0,iface={path},queues=1,client={client}")
        }
    };
    let files = format!("net_pcap0,rx_pcap={},tx_pcap={}", scratch.file("in"), scratch.file("out"));
    let environment = [
        "--log-level=pmd.net.virtio.init,debug",
        "--log-level=lib.vhost.config,debug",
        "--force-max-simd-bitwidth=512",
    ];
    let prefix = scratch.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned();
    Launch {
        core: setup.core,
        huge_pages: false,
        prefix,
        devices: vec![device, files],
        environment: environment.map(String::from).into(),
        // Without the first word it throws away what it finds in its rings, and in the file, when it starts. Rings are
        // used in full: virtio-user forgets a lower number of descriptors when a back end comes back to packed rings,
        // and after a few times sends buffers that it has freed.
        options: vec!["--no-flush-rx".into(), format!("--rxd={ring}"), format!("--txd={ring}")],
    }
}

/// Writes a capture file (libpcap's classic format).
fn write_capture(path: &str, frames: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    let mut words = |words: &[u32], frame: &[u8]| {
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(frame);
    };
    words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1], &[]);
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("a frame");
        words(&[0, 0, len, len], frame);
    }
    std::fs::write(path, bytes).expect("the scratch directory is writable");
}
