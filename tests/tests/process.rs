//! l2fwd as a Linux process and as an image with peers that come and go: pktgen is killed during traffic and started
//! again, and forwarding resumes.

use end_to_end::build::Program;
use end_to_end::process::{Process, launcher};
use end_to_end::scratch::Scratch;
use end_to_end::{captures, have, turn};
use pktgen::{CLEAN, Direction, Offer, Report, UNHARMED};
use rustix::process::Signal;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const QEMU: &str = "qemu-system-x86_64";

/// Low enough for a machine with other things to do.
fn modest() -> Offer {
    patient(Offer::at("20kpps").lasting(Duration::from_secs(2)))
}

/// With as much time to begin as a machine may take that compiles at the same time.
fn patient(offer: Offer) -> Offer {
    offer.with(|options| options.warm_up = Duration::from_secs(60))
}

/// How often a run may lose frames because the machine let one side not run for long enough to fill a ring. Whatever
/// else happens to a frame fails the first time.
const ATTEMPTS: usize = 4;

/// Offers it until nothing is lost.
#[track_caller]
fn assert_comes_back(offer: &Offer, ports: &[String; 2]) -> Report {
    for attempt in 1..=ATTEMPTS {
        let report = offer.through(ports).unwrap();
        report.expect(UNHARMED).unwrap();
        match report.expect(CLEAN) {
            Ok(_) => return report,
            Err(unmet) => println!("attempt {attempt}: {unmet}"),
        }
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
    let report = assert_comes_back(&modest(), &ports(&scratch, "virtio-user", ""));
    assert_eq!(report.directions.len(), 2);
    run.signal(Signal::INT);
    run.end().expect(0, &[]);
    for name in ["a", "b"] {
        assert!(!Path::new(&scratch.file(name)).exists(), "the socket {name} is left behind");
    }
}

/// Peers that cannot be served: each side says whom it refused, and why.
#[test]
fn both_sides_say_why_a_peer_was_refused() {
    let (_turn, scratch) = (turn::take(), Scratch::new());
    let (offered, listening) = (scratch.file("a"), scratch.file("b"));
    let offer = Offer::at("1kpps").with(|options| {
        options.cores = vec![0, 1];
        options.warm_up = Duration::from_secs(5);
    });
    let mut runner = offer.open(&[format!("virtio-user:{offered},server,queues=2")]).unwrap();
    let ports =
        [format!("vhost-user:{offered},queues=1"), format!("vhost-user:{listening},server")];
    let run = Process::start(
        Command::new(Program::L2fwdProcess.path()).args(["--port", &ports[0], "--port", &ports[1]]),
    );
    let refused = runner.run(&mut |_| ControlFlow::Continue(())).unwrap_err().to_string();
    let why = "refused a peer: the peer has 1 of the 2 pairs of queues that are needed";
    assert!(refused.contains(why), "{refused}");
    UnixStream::connect(&listening).unwrap().write_all(&[0xff; 12]).unwrap();
    run.wait_for(&format!("{listening},server: a peer was refused: protocol version 3"), 1);
}

/// The library's own form: offer this, expect that.
#[test]
fn a_process_forwards_a_vlan_with_flows_of_every_size() {
    let (_turn, scratch) = (turn::take(), Scratch::new());
    let _run = forwarder(&scratch);
    let offer = Offer::at("20kpps")
        .frames("ethernet/vlan(id=5)/ipv4/udp(destination=53)")
        .field("ipv4.source=inc:10.0.0.1-10.0.0.100")
        .sizes("64,594x4,1514")
        .count(20_000)
        .latency();
    let report = assert_comes_back(&patient(offer), &ports(&scratch, "virtio-user", ""));
    report.expect(&["sent==20000", "received==20000", "p50>0ns"]).unwrap();
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
        let offer = patient(Offer::capture(&path, "20kpps").direction(Direction::Forward));
        let replay = offer.options().unwrap().replay.unwrap();
        let frames = replay.capture.frames();
        let large = frames.iter().filter(|frame| frame.len() > MAX_FRAME).count() as u64;
        let report = offer.through(&ports(&scratch, "virtio-user", "")).unwrap();
        report.expect(UNHARMED).unwrap();
        // pktgen either does not send what is too large, or l2fwd does not receive it.
        assert!(report.lost() <= large, "{}: {report}", path.display());
        oversize += report.lost();
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
    assert_comes_back(&modest(), &peers);
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
        assert_comes_back(&modest(), &peers);
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
    assert_comes_back(&modest(), &peers);
    run.signal(Signal::INT);
    run.end().expect(0, &["first poll"]);
}
