//! The program's face: bad input is refused with words and status 2, a failure is status 1, and a signal ends it
//! cleanly.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ONE: &str = "vhost-user:/nonexistent/directory/socket,server";

fn pktgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pktgen")).args(arguments).output().unwrap()
}

/// `pktgen run` with these arguments is refused.
#[track_caller]
fn run_refused(arguments: &[&str], status: i32, because: &str) {
    refused(&[&["run"][..], arguments].concat(), status, because);
}

#[track_caller]
fn refused(arguments: &[&str], status: i32, because: &str) {
    let output = pktgen(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    println!("{arguments:?}: {error}");
    assert_eq!(output.status.code(), Some(status), "{error}");
    assert!(error.contains(because), "{error}");
    assert!(output.stdout.is_empty());
}

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-test-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

#[test]
fn rates() {
    for rate in ["0", "-1", "NaN", "1e400", "1T", "1000", "10 Mbps", ""] {
        run_refused(
            &["--port", ONE, "--rate", rate],
            2,
            "accepted: `max`, or a number above 0 with a unit",
        );
    }
}

#[test]
fn sizes() {
    for size in ["0", "13", "59", "65281", "65536", "64-32", "-64", "NaN", ""] {
        run_refused(&["--port", ONE, "--size", size], 2, "from 60 to 65280");
    }
}

#[test]
fn counts_times_and_directions() {
    for count in ["0", "1.5", "x", "99999999999999999999"] {
        run_refused(&["--port", ONE, "--count", count], 2, "--count");
    }
    for time in ["0", "-1", "NaN", "inf", "1e400", "1e3", ""] {
        run_refused(&["--port", ONE, "--duration", time], 2, "accepted: seconds above 0");
    }
    run_refused(&["--port", ONE, "--direction", "up"], 2, "accepted: both, forward");
    run_refused(&["--port", ONE, "--count", "1", "--duration", "1"], 2, "cannot be used with");
}

#[test]
fn duplicate_and_missing_options() {
    run_refused(&[], 2, "--port");
    refused(&["walk"], 2, "unrecognized subcommand");
    run_refused(&["--port"], 2, "--port");
    run_refused(&["--port", ONE, "--rate"], 2, "--rate");
    run_refused(
        &["--port", ONE, "--rate", "1pps", "--rate", "2pps"],
        2,
        "cannot be used multiple times",
    );
    run_refused(
        &["--port", ONE, "--port", "vhost-user:/nonexistent/directory/socket"],
        2,
        "two ports have the socket",
    );
    let other = ["--port", "vhost-user:/b", "--port", "vhost-user:/c"];
    run_refused(&[&["--port", ONE][..], &other].concat(), 2, "one or two");
}

#[test]
fn ports() {
    let long = format!("vhost-user:/{}", "x".repeat(107));
    for port in ["", "a", "vhost-user:", "tap:eth0", "vhost-user:/a,client", &long] {
        run_refused(&["--port", port], 2, "accepted: vhost-user:PATH[,OPTION]");
    }
    run_refused(&["--port", ONE], 1, "/nonexistent/directory/socket");
}

#[test]
fn cores() {
    run_refused(&["--port", ONE, "--core", "100000"], 2, "core 100000 cannot be used; possible: ");
    for (cores, because) in [
        (&["--core", "0,100000"][..], "core 100000 cannot be used; possible: "),
        (&["--core", "0,0"], "core 0 was given twice"),
        (&["--core", "0,"], "--core"),
        (&["--core", "-1"], "unexpected argument"),
        (&["--core", "0,1", "--queues", "3"], "a queue for each core, 2"),
    ] {
        run_refused(&[&["--port", "discard"][..], cores].concat(), 2, because);
    }
}

#[test]
fn captures() {
    let empty = temporary("empty.pcap");
    std::fs::write(&empty, []).unwrap();
    for (path, because) in [
        (empty.as_path(), "empty"),
        (Path::new("/nonexistent.pcap"), "No such file"),
        (Path::new("/dev/zero"), "not a regular file"),
        (Path::new("/"), "not a regular file"),
    ] {
        refused(&["replay", path.to_str().unwrap(), "--port", ONE], 2, because);
    }
    refused(&["replay", "--port", ONE], 2, "<FILE>");
}

#[test]
fn replay_options() {
    let file = capture_file("options.pcap", 3);
    let file = file.to_str().unwrap();
    for (arguments, because) in [
        (&["--speed", "0"][..], "accepted: a factor from 0.001 to 1000"),
        (&["--speed", "NaN"], "accepted: a factor"),
        (&["--speed", "2", "--rate", "1pps"], "cannot be used with"),
        (&["--loops", "0"], "--loops"),
        (&["--loops", "1", "--duration", "1"], "cannot be used with"),
        (&["--filter-port", "80-"], "accepted: numbers from 0 to 65535"),
        (&["--filter-port", "65536"], "accepted: numbers"),
        (&["--filter-length", "128-64"], "reversed"),
        (&["--filter-length", "1500"], "none of the 3 frames passes the filter"),
        (&["--rewrite", "src-ip=1.2.3"], "accepted: src-mac=MAC"),
        (&["--macs-fixed"], "--compare"),
        (&["--capture", "/nonexistent/directory/back.pcap"], "cannot write"),
        (&["--capture", file], "would overwrite"),
    ] {
        refused(&[&["replay", file, "--port", ONE][..], arguments].concat(), 2, because);
    }
}

#[test]
fn outputs() {
    for (arguments, because) in [
        (&["--jsonl", "/nonexistent/directory/lines"][..], "cannot write"),
        (&["--report", "/proc/nonexistent"], "cannot write"),
        (&["--metrics", "0.0.0.0:9464"], "accepted: a loopback address"),
        (&["--metrics", "127.0.0.1:65536"], "accepted: a loopback address"),
        (&["--json", "-", "--jsonl", "-"], "cannot both"),
        (&["--tui"], "--tui needs a terminal"),
        (&["--tui", "--quiet"], "cannot be used with"),
        (&["--fail-on", "loss"], "accepted: FIGURE COMPARISON BOUND"),
        (&["--fail-on", "ndr<1Mpps"], "this is no search"),
        (&["--fail-on", "p99>1us"], "no latency is measured"),
        (&["--fail-on", "rate_error>1%", "--rate", "max"], "no rate is asked for"),
    ] {
        run_refused(&[&["--port", ONE][..], arguments].concat(), 2, because);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    run_refused(&["--port", ONE, "--metrics", &taken], 2, "cannot serve metrics");
}

#[test]
fn searches() {
    for (arguments, because) in [
        (&["everything"][..], "possible values"),
        (&["--max-rate", "max"], "accepted: 1Mpps or 1Gbit/s, not max"),
        (
            &["--min-rate", "2Mpps", "--max-rate", "1Mpps"],
            "a lowest rate of at least 1 below the highest",
        ),
        (&["--goal", "ndr"], "accepted: NAME=LOSS"),
        (&["--goal", "=0"], "accepted: NAME=LOSS"),
        (&["--goal", "all=100%"], "accepted: NAME=LOSS"),
        (&["--goal", "nan=NaN"], "accepted: NAME=LOSS"),
        (&["--width", "0"], "is no share; accepted"),
        (&["--steps", "5"], "accepted with frame-loss"),
        (&["soak"], "accepted: --at 1Mpps"),
        (&["soak", "--at", "1Mpps,2Mpps"], "one rate"),
        (&["soak", "--at", "1Mpps", "--goal", "x=0"], "accepted with loss-ratios"),
        (&["--trial", "0"], "accepted: seconds above 0"),
        (&["--fail-on", "loss>0"], "this search does not find it"),
        (&["--fail-on", "nosuch<1Mpps"], "this search does not find it"),
        (&["--goal", "a=0", "--fail-on", "ndr<1Mpps"], "this search does not find it"),
        (&["soak", "--at", "1Mpps", "--fail-on", "p99>1us"], "this search does not find it"),
    ] {
        refused(&[&["search", "--port", ONE][..], arguments].concat(), 2, because);
    }
}

#[test]
fn reports() {
    let file = temporary("report.json");
    let out = temporary("page");
    let arguments = ["report", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    refused(&arguments, 2, "No such file");
    for (text, because) in [
        ("", "accepted: a result of --json"),
        ("{", "accepted: a result of --json"),
        ("\u{feff}{}", "accepted: a result of --json"),
        ("{}", "no result of pktgen"),
        ("{\"schema\":\"pktgen\",\"schema_version\":2}", "schema version is 2; accepted: 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(&arguments, 2, because);
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    refused(&arguments, 2, "UTF-8");
}

#[test]
fn ports_are_listed_and_described() {
    let text = String::from_utf8(pktgen(&["ports"]).stdout).unwrap();
    assert!(text.contains("virtio-user:PATH,server") && text.contains("cores"), "{text}");
    let socket = temporary("described");
    let port = format!("vhost-user:{},server", socket.display());
    let text = String::from_utf8(pktgen(&["ports", &port]).stdout).unwrap();
    assert!(text.contains("frames up to") && text.contains("vhost-user"), "{text}");
    refused(&["ports", "tap:x"], 2, "accepted: vhost-user:PATH");
    refused(&["ports", ONE], 1, "/nonexistent/directory/socket");
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = pktgen(&["completions", shell]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains("fail-on") && text.contains("replay"),
            "{shell}"
        );
    }
    refused(&["completions", "cmd"], 2, "possible values");
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

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"vhost-user:/\xff\xfe");
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(["run", "--port"])
        .arg(bytes)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn unwritable_json_is_known_before_the_run() {
    run_refused(
        &["--port", ONE, "--json", "/nonexistent/directory/report.json"],
        2,
        "cannot write",
    );
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
    run_refused(
        &["--port", &port, "--warm-up", "0.05", "--quiet"],
        1,
        "the link did not come up within 0.05 s",
    );
}

#[test]
fn a_socket_that_is_in_use() {
    let socket = temporary("taken");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let port = format!("vhost-user:{},server", socket.display());
    run_refused(&["--port", &port, "--warm-up", "0.05", "--quiet"], 1, socket.to_str().unwrap());
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
fn a_full_disk_is_a_failure_and_a_closed_pipe_is_none() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    let output = command
        .args(loop_of("full"))
        .args(["--count", "10", "--json", "/dev/full"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write /dev/full"));

    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    let status =
        command.args(loop_of("full2")).args(["--count", "10"]).stdout(full()).status().unwrap();
    assert_eq!(status.code(), Some(1));

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    let status =
        command.args(loop_of("pipe")).args(["--count", "10"]).stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
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
