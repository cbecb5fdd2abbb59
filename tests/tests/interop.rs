//! DPDK 22.11's testpmd on the other end: its virtio-user front end drives l2fwd as a process, and pktgen's
//! virtio-user ports drive its vhost back end.

use end_to_end::build::Program;
use end_to_end::process::Process;
use end_to_end::scratch::Scratch;
use end_to_end::{have, root, turn};
use pktgen::{Options, PortSpec, Rate, Runner};
use std::io::Write;
use std::ops::ControlFlow;
use std::process::{ChildStdin, Command};
use std::time::{Duration, Instant};

const TESTPMD: &str = "dpdk-testpmd";
const LIMIT: Duration = Duration::from_secs(60);

/// testpmd at its prompt.
struct Testpmd {
    process: Process,
    input: ChildStdin,
}

impl Testpmd {
    /// Starts it with two virtual devices, without huge pages or PCI. `stdbuf`: into a pipe it would not write until
    /// its buffer is full.
    fn start(scratch: &Scratch, devices: [String; 2]) -> Self {
        let mut command = Command::new("stdbuf");
        command
            .args([
                "-oL",
                TESTPMD,
                "--lcores",
                "0@0,1@0",
                "-m",
                "256",
                "--no-huge",
                "--no-pci",
                "--no-telemetry",
            ])
            .args(["--file-prefix", &format!("barewire-{}", std::process::id())])
            .args(["--vdev", &devices[0], "--vdev", &devices[1]])
            .args(["--", "-i", "--nb-cores=1", "--forward-mode=io", "--total-num-mbufs=4096"])
            .env("XDG_RUNTIME_DIR", scratch.as_ref());
        let (process, input) = Process::interactive(&mut command);
        Self { process, input }
    }

    /// Gives a command and waits for the line with `last` in its answer; gives the lines up to then.
    #[track_caller]
    fn tell(&mut self, command: &str, last: &str) -> Vec<String> {
        let before = self.process.lines().iter().filter(|line| line.contains(last)).count();
        writeln!(self.input, "{command}").expect("testpmd reads commands");
        self.process.wait_for(last, before + 1);
        self.process.lines()
    }

    /// A port's counters: received, missed, sent.
    fn counters(&mut self, port: usize) -> [u64; 3] {
        let lines = self.tell(&format!("show port stats {port}"), "Tx-pps:");
        ["RX-packets: ", "RX-missed: ", "TX-packets: "].map(|key| {
            let line =
                lines.iter().rfind(|line| line.contains(key)).expect("the counters were shown");
            let rest = line.split(key).nth(1).and_then(|rest| rest.split_ascii_whitespace().next());
            rest.and_then(|number| number.parse().ok())
                .unwrap_or_else(|| panic!("no number in {line}"))
        })
    }
}

fn forwarder(scratch: &Scratch) -> Process {
    let ports = ["a", "b"].map(|name| format!("vhost-user:{},server", scratch.file(name)));
    let mut command = Command::new(Program::L2fwdProcess.path());
    let run = Process::start(command.args(["--port", &ports[0], "--port", &ports[1]]));
    run.wait_for("barewire: polling", 1);
    run
}

/// A burst on each port goes round and round: testpmd from one port to the other, l2fwd back. Were any frame lost on
/// the way, the circle would run dry long before so many have passed.
fn circulate(testpmd: &mut Testpmd) {
    const ENOUGH: u64 = 20_000;
    const IN_FLIGHT: u64 = 64;
    testpmd.tell("start tx_first", "TX offloads");
    let deadline = Instant::now() + LIMIT;
    while testpmd.counters(0)[0] < ENOUGH || testpmd.counters(1)[0] < ENOUGH {
        assert!(Instant::now() < deadline, "{:?} {:?}", testpmd.counters(0), testpmd.counters(1));
    }
    testpmd.tell("stop", "Done.");
    let (zero, one) = (testpmd.counters(0), testpmd.counters(1));
    assert_eq!((zero[1], one[1]), (0, 0), "testpmd missed frames");
    for (sent, received) in [(zero[2], one[0]), (one[2], zero[0])] {
        assert!(
            received <= sent && sent - received <= IN_FLIGHT,
            "sent {sent}, received {received}"
        );
    }
}

#[test]
fn testpmds_virtio_user_drives_l2fwd() {
    if !have(TESTPMD) || !root() {
        return;
    }
    let _turn = turn::take();
    let scratch = Scratch::new();
    let _run = forwarder(&scratch);
    // Twice: the second front end finds a back end that has served another.
    for _ in 0..2 {
        let device = |index: usize, name: &str| {
            format!("net_virtio_user{index},path={},queues=1,queue_size=256", scratch.file(name))
        };
        let mut testpmd = Testpmd::start(&scratch, [device(0, "a"), device(1, "b")]);
        circulate(&mut testpmd);
    }
}

#[test]
fn pktgens_virtio_user_drives_testpmds_vhost() {
    if !have(TESTPMD) || !root() {
        return;
    }
    let _turn = turn::take();
    let scratch = Scratch::new();
    let device = |index: usize, name: &str| {
        format!("net_vhost{index},iface={},queues=1", scratch.file(name))
    };
    let mut testpmd = Testpmd::start(&scratch, [device(0, "a"), device(1, "b")]);
    testpmd.tell("start", "TX offloads");
    let ports = ["a", "b"]
        .map(|name| format!("virtio-user:{}", scratch.file(name)).parse::<PortSpec>().unwrap());
    let options = Options {
        rate: Rate::Packets(20_000),
        duration: Some(Duration::from_secs(2)),
        warm_up: Duration::from_secs(60),
        ..Options::default()
    };
    let mut runner = Runner::open(&ports, options).unwrap_or_else(|error| panic!("{error}"));
    let report =
        runner.run(&mut |_| ControlFlow::Continue(())).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_clean(), "{report}");
}
