//! l2fwd as a Linux process and as an image with peers that come and go: pktgen is killed during traffic and started
//! again, and forwarding resumes.

use end_to_end::build::Program;
use end_to_end::process::{Process, launcher};
use end_to_end::scratch::Scratch;
use end_to_end::{captures, have, turn};
use pktgen::{Capture, Direction, Options, PortSpec, Rate, Replay, Report, Runner};
use rustix::process::Signal;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const QEMU: &str = "qemu-system-x86_64";

/// pktgen in this process, on these ports, to its end.
#[track_caller]
fn generate(ports: &[String; 2], options: Options) -> Report {
    let ports = [&ports[0], &ports[1]].map(|port| port.parse::<PortSpec>().unwrap());
    let mut runner = Runner::open(&ports, options).unwrap_or_else(|error| panic!("{error}"));
    runner.run(&mut |_| ControlFlow::Continue(())).unwrap_or_else(|error| panic!("{error}"))
}

fn modest() -> Options {
    Options {
        rate: Rate::Packets(20_000),
        duration: Some(Duration::from_secs(2)),
        warm_up: Duration::from_secs(60),
        ..Options::default()
    }
}

/// How often a run may lose frames because the machine let one side not run for long enough to fill a ring. Whatever
/// else happens to a frame fails the first time.
const ATTEMPTS: usize = 4;

/// Runs modest traffic until nothing is lost.
#[track_caller]
fn assert_forwards(ports: &[String; 2]) -> Report {
    for attempt in 1..=ATTEMPTS {
        let report = generate(ports, modest());
        for d in &report.directions {
            assert!(
                d.received > 0 && d.duplicated + d.reordered + d.corrupted + d.misdirected == 0,
                "{report}"
            );
        }
        if report.is_clean() {
            return report;
        }
        println!("attempt {attempt} lost frames:\n{report}");
    }
    panic!("frames were lost in each of {ATTEMPTS} runs");
}

/// pktgen as a program, so that it can be killed.
#[track_caller]
fn generator(ports: &[String; 2]) -> Process {
    let mut command = Command::new(Program::Pktgen.path());
    command.args([
        "run",
        "--port",
        &ports[0],
        "--port",
        &ports[1],
        "--rate",
        "20kpps",
        "--duration",
        "600",
    ]);
    Process::start(&mut command)
}

/// Sockets `a` and `b` as ports of this role and these options.
fn ports(scratch: &Scratch, role: &str, option: &str) -> [String; 2] {
    ["a", "b"].map(|name| format!("{role}:{}{option}", scratch.file(name)))
}

/// l2fwd as a process: the device, listening.
fn forwarder(scratch: &Scratch) -> Process {
    let ports = ports(scratch, "vhost-user", ",server");
    let run = Process::start(
        Command::new(Program::L2fwdProcess.path()).args(["--port", &ports[0], "--port", &ports[1]]),
    );
    run.wait_for("barewire: polling", 1);
    run
}

#[test]
fn a_process_forwards_both_directions() {
    let _turn = turn::take();
    let scratch = Scratch::new();
    let run = forwarder(&scratch);
    let report = assert_forwards(&ports(&scratch, "virtio-user", ""));
    assert_eq!(report.directions.len(), 2);
    run.signal(Signal::INT);
    run.end().expect(0, &[]);
    for name in ["a", "b"] {
        assert!(!Path::new(&scratch.file(name)).exists(), "the socket {name} is left behind");
    }
}

/// The largest frame that l2fwd's buffers take, in bytes.
const MAX_FRAME: usize = 2048;

#[test]
fn a_process_forwards_every_capture() {
    let _turn = turn::take();
    let scratch = Scratch::new();
    let run = forwarder(&scratch);
    let mut oversize = 0;
    for path in captures() {
        let capture = Capture::open(&path).unwrap_or_else(|error| panic!("{error}"));
        let large = capture.frames().iter().filter(|frame| frame.len() > MAX_FRAME).count() as u64;
        let replay = Some(Replay { capture, compare: true });
        let options = Options { replay, direction: Direction::Forward, duration: None, ..modest() };
        let report = generate(&ports(&scratch, "virtio-user", ""), options);
        let direction = &report.directions[0];
        let harmed = direction.duplicated + direction.reordered + direction.corrupted;
        assert!(harmed == 0 && direction.received > 0, "{}: {report}", path.display());
        // pktgen either does not send what is too large, or l2fwd does not receive it.
        assert!(direction.lost <= large, "{}: {report}", path.display());
        oversize += direction.lost;
    }
    if oversize > 0 {
        run.wait_for(&format!("oversize {oversize}"), 1);
    }
}

#[test]
fn bad_command_lines_of_a_process_are_usage_errors() {
    let scratch = Scratch::new();
    let [port, other] = ports(&scratch, "vhost-user", ",server");
    for (arguments, words) in [
        (&["--port", "net:x"][..], "accepted: vhost-user:PATH"),
        (&["--port", &port, "--port", &other, "no-such-parameter=1"], "no-such-parameter"),
        (&["--port", &port, "--port", &other, "mac-updating=maybe"], "on or off"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        Process::start(Command::new(Program::L2fwdProcess.path()).args(arguments))
            .end()
            .expect(2, &[words]);
    }
    Process::start(Command::new(Program::UdpEchoProcess.path()).args(["--port", &port]))
        .end()
        .expect(2, &["netdev.ip"]);
}

#[test]
fn a_process_survives_a_killed_peer() {
    let _turn = turn::take();
    let scratch = Scratch::new();
    let run = forwarder(&scratch);
    let peers = ports(&scratch, "virtio-user", "");
    for _ in 0..3 {
        let peer = generator(&peers);
        peer.wait_for("Mpps back", 2);
        peer.signal(Signal::KILL);
    }
    assert_forwards(&peers);
    run.signal(Signal::INT);
    run.end().expect(0, &[]);
}

/// QEMU connects and reconnects; pktgen listens, is killed, and listens anew.
#[test]
fn an_image_survives_a_killed_back_end() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm"] {
        let scratch = Scratch::new();
        let guest = ports(&scratch, "vhost-user", "");
        let arguments = ["--machine", machine, "--port", &guest[0], "--port", &guest[1]];
        let run = Process::start(&mut launcher(Program::L2fwd, &arguments));
        let peers = ports(&scratch, "vhost-user", ",server");
        for _ in 0..2 {
            let peer = generator(&peers);
            peer.wait_for("Mpps back", 2);
            peer.signal(Signal::KILL);
        }
        assert_forwards(&peers);
        run.signal(Signal::INT);
        run.end().expect(0, &["first poll"]);
    }
}

/// QEMU listens; pktgen connects, is killed, and connects anew.
#[test]
fn an_image_that_listens_survives_a_killed_back_end() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let scratch = Scratch::new();
    let guest = ports(&scratch, "vhost-user", ",server");
    let arguments = ["--machine", "microvm", "--port", &guest[0], "--port", &guest[1]];
    let run = Process::start(&mut launcher(Program::L2fwd, &arguments));
    let peers = ports(&scratch, "vhost-user", "");
    let peer = generator(&peers);
    peer.wait_for("Mpps back", 2);
    peer.signal(Signal::KILL);
    assert_forwards(&peers);
    run.signal(Signal::INT);
    run.end().expect(0, &["first poll"]);
}
