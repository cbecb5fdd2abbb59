//! The program's face: what it prints and writes, its exit status, and how a signal ends it. (What it refuses is in
//! bad_command_lines.rs, bad_captures.rs and bad_scenarios.rs.)

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn pktgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pktgen")).args(arguments).output().unwrap()
}

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

#[test]
fn ports_are_listed_and_described() {
    let text = String::from_utf8(pktgen(&["ports"]).stdout).unwrap();
    assert!(text.contains("virtio-user:PATH,server") && text.contains("cores"), "{text}");
    let socket = temporary("described");
    let port = format!("vhost-user:{},server", socket.display());
    let text = String::from_utf8(pktgen(&["ports", &port]).stdout).unwrap();
    assert!(text.contains("frames up to") && text.contains("vhost-user"), "{text}");
}

/// A capture of `frames` UDP frames, one per microsecond.
fn capture_file(name: &str, frames: u32) -> PathBuf {
    let path = temporary(name);
    let mut file = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for n in 0..frames {
        file.extend([1000, n * 1000, 60, 60].map(u32::to_le_bytes).concat());
        let mut frame = vec![0u8; 60];
        frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
        frame[20..24].copy_from_slice(&n.to_be_bytes());
        file.extend(frame);
    }
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn help_has_examples_and_goes_to_standard_output() {
    let output = pktgen(&["run", "--help"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.contains("Examples:") && text.lines().count() < 60,
        "{text}"
    );
}

/// Nobody is at the other end: the link stays down, and that is said in time.
#[test]
fn a_peer_that_never_comes() {
    let socket = temporary("lonely");
    let port = format!("vhost-user:{},server", socket.display());
    let output = pktgen(&["run", "--port", &port, "--warm-up", "0.05", "--quiet"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the link did not come up within 0.05 s"), "{error}");
}

#[test]
fn a_signal_before_anything_came_through_ends_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let socket = temporary("signal");
    let port = format!("vhost-user:{},server", socket.display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(["run", "--port", &port, "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A line per second on standard error says that it waits.
    let mut first = [0; 1];
    let mut stderr = child.stderr.take().unwrap();
    let mut text = String::new();
    while !text.contains("waiting for a first frame") {
        stderr.read_exact(&mut first).expect("it waits for half a minute");
        text.push(char::from(first[0]));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{text}");
    assert!(text.contains("interrupted before"), "{text}");
}

/// Two ports that are each other's peers: traffic without anybody else.
fn loop_of(name: &str) -> Vec<String> {
    let socket = temporary(name);
    let socket = socket.display();
    [
        "run".into(),
        "--port".into(),
        format!("vhost-user:{socket},server"),
        "--port".into(),
        format!("virtio-user:{socket}"),
    ]
    .into()
}

#[test]
fn several_cores_share_a_run() {
    let cores = plat_linux::allowed_cores().unwrap();
    let [a, b, ..] = cores[..] else {
        println!("skipped: two threads need two cores, and there is one");
        return;
    };
    let cores = format!("{a},{b}");
    let arguments = ["run", "--port", "discard", "--count", "1001", "--quiet", "--json", "-"];
    let output = pktgen(&[&arguments[..], &["--core", &cores]].concat());
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["directions"][0]["sent"], 1001, "{document}");
}

#[test]
fn an_interrupted_run_has_a_partial_result() {
    use rustix::process::{Pid, Signal, kill_process};
    let mut child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(loop_of("interrupted"))
        .args(["--rate", "10kpps", "--json", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut byte, mut text) = ([0; 1], String::new());
    let mut stderr = child.stderr.take().unwrap();
    while !text.contains("back") {
        stderr.read_exact(&mut byte).expect("a line per second");
        text.push(char::from(byte[0]));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["interrupted"], true);
    assert!(report["directions"][0]["sent"].as_u64() > Some(0), "{report}");
}

/// A program with the ports of a loop.
fn looped(name: &str, arguments: &[&str]) -> Output {
    let mut all = loop_of(name);
    if arguments[0] == "replay" {
        all.splice(0..1, arguments[..2].iter().map(ToString::to_string));
        all.extend(arguments[2..].iter().map(ToString::to_string));
    } else {
        all.extend(arguments.iter().map(ToString::to_string));
    }
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen")).args(all).output().unwrap();
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn conditions_decide_about_the_exit_status() {
    let common = ["--count", "100", "--quiet"];
    let output =
        looped("clean", &[&common[..], &["--fail-on", "loss>0", "--fail-on", "mpps<=0"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let output = looped(
        "unclean",
        &[&common[..], &["--fail-on", "loss>0", "--fail-on", "loss==0", "--json", "-"]].concat(),
    );
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("failed: loss==0: forward has 0") && !error.contains("loss>0"),
        "{error}"
    );
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["failed"].as_array().unwrap().len(), 2, "both directions");
}

#[test]
fn conditions_decide_about_a_search() {
    let ports = loop_of("search-conditions");
    let search = |condition: &str| {
        let mut arguments = vec!["search", "loss-ratios", "--quiet", "--json", "-"];
        arguments.extend(["--min-rate", "1kpps", "--max-rate", "10kpps", "--trial", "0.1"]);
        arguments.extend(["--fail-on", condition]);
        arguments.extend(ports[1..].iter().map(String::as_str));
        pktgen(&arguments)
    };
    // Nothing is asked of the machine's speed: each condition holds, or does not, at any rate.
    for (condition, status) in [("ndr<1Tpps", 1), ("ndr<1pps", 0), ("loss_free>1pps", 2)] {
        let condition = condition.replace("1Tpps", "1000Mpps");
        let output = search(&condition);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{condition}: {error}");
        assert_eq!(error.contains("failed: ndr<1000Mpps: ndr has"), status == 1, "{error}");
    }
}

#[test]
fn a_replay_comes_back_and_is_recorded_with_nanoseconds() {
    let file = capture_file("played.pcap", 50);
    for extension in ["pcap", "pcapng"] {
        let back = temporary(&format!("back.{extension}"));
        let output = looped(
            &format!("recorded-{extension}"),
            &[
                "replay",
                file.to_str().unwrap(),
                "--direction",
                "forward",
                "--compare",
                "--loops",
                "2",
                "--quiet",
                "--rewrite",
                "dst-mac=02:00:00:00:00:09",
                "--capture",
                back.to_str().unwrap(),
                "--json",
                "-",
            ],
        );
        assert_eq!(output.status.code(), Some(0));
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["directions"][0]["received"], 100, "{document}");
        assert_eq!(document["capture"]["frames"], 100, "{document}");
        let bytes = std::fs::read(&back).unwrap();
        if extension == "pcap" {
            assert_eq!(bytes[..4], 0xa1b2_3c4du32.to_le_bytes(), "the magic of nanoseconds");
        }
        let recorded = pktgen::Capture::parse(&bytes).unwrap();
        let played = pktgen::Capture::open(&file).unwrap();
        let played = played.rewritten(&["dst-mac=02:00:00:00:00:09".parse().unwrap()]);
        let (frames, originals) = (recorded.frames(), played.frames());
        assert!(frames.len() == 100 && recorded.backwards == 0);
        assert!((0..100).all(|n| frames[n] == originals[n % 50]), "{extension}");
    }
}

#[test]
fn latency_is_told_to_people() {
    let output = looped("told", &["--count", "2000", "--latency"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("stream 0 corrected   min ") && text.contains(" p99.9 "), "{text}");
    assert!(text.contains("clock skew: none"), "{text}");
}

#[test]
fn no_colours_where_there_is_no_terminal_and_a_line_per_second() {
    let output = looped("plain", &["--rate", "10kpps", "--duration", "1.5"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b') && text.contains("1.0 s  forward"), "{text}");
}

#[test]
fn a_page_is_written_and_made_again_from_the_saved_result() {
    let (page, again, saved) = (temporary("first"), temporary("second"), temporary("saved.json"));
    let output = looped(
        "page",
        &[
            "--rate",
            "10kpps",
            "--duration",
            "1.2",
            "--latency",
            "--quiet",
            "--report",
            page.to_str().unwrap(),
            "--json",
            saved.to_str().unwrap(),
        ],
    );
    assert_eq!(output.status.code(), Some(0));
    let output = pktgen(&["report", saved.to_str().unwrap(), "--out", again.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |directory: &Path| std::fs::read_to_string(directory.join("index.html")).unwrap();
    let text = read(&page);
    assert_eq!(text, read(&again));
    for part in ["Throughput", "Latency by percentile", "--rate 10kpps", "tsc hz"] {
        assert!(text.contains(part), "{part} is missing");
    }
}

#[test]
fn figures_are_served_while_a_run_goes_on() {
    use std::io::Write;
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(loop_of("metrics"))
        .args(["--rate", "10kpps", "--metrics", &free])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut byte, mut text) = ([0; 1], String::new());
    let mut stdout = child.stdout.take().unwrap();
    while !text.contains("Mpps back") {
        stdout.read_exact(&mut byte).expect("a line per second");
        text.push(char::from(byte[0]));
    }
    let mut answer = String::new();
    // The line came out just before the figures.
    while !answer.contains("pktgen_received_frames_total{direction=\"forward\"}") {
        let mut stream = std::net::TcpStream::connect(&free).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
        answer.clear();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::INT,
    )
    .unwrap();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(text.contains("(interrupted)"), "{text}");
}

#[test]
fn an_interrupted_search_has_a_partial_result_and_says_so() {
    use rustix::process::{Pid, Signal, kill_process};
    let ports = loop_of("interrupted-search");
    let mut child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(["search", "soak", "--at", "10kpps", "--trial", "0.2", "--json", "-"])
        .args(&ports[1..])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut byte, mut text) = ([0; 1], String::new());
    let mut stderr = child.stderr.take().unwrap();
    while !text.contains("trial 1:") {
        stderr.read_exact(&mut byte).expect("a line per trial");
        text.push(char::from(byte[0]));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    stderr.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("left") && text.contains("interrupted: the result is of the part that ran"),
        "{text}"
    );
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&document["interrupted"], &document["search"]["completion"]),
        (&true.into(), &"stopped".into())
    );
    assert!(!document["search"]["trials"].as_array().unwrap().is_empty());
}
