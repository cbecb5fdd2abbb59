//! The program's face: bad input is refused with words and status 2, a failure is status 1, and a signal ends it
//! cleanly.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ONE: &str = "vhost-user:/nonexistent/directory/socket,server";

fn pktgen(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pktgen")).args(arguments).output().unwrap()
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
        refused(
            &["--port", ONE, "--rate", rate],
            2,
            "accepted: `max`, or a number above 0 with a unit",
        );
    }
}

#[test]
fn sizes() {
    for size in ["0", "13", "59", "65281", "65536", "64-32", "-64", "NaN", ""] {
        refused(&["--port", ONE, "--size", size], 2, "from 60 to 65280");
    }
}

#[test]
fn counts_times_and_directions() {
    for count in ["0", "1.5", "x", "99999999999999999999"] {
        refused(&["--port", ONE, "--count", count], 2, "--count");
    }
    for time in ["0", "-1", "NaN", "inf", "1e400", "1e3", ""] {
        refused(&["--port", ONE, "--duration", time], 2, "accepted: seconds above 0");
    }
    refused(&["--port", ONE, "--direction", "up"], 2, "accepted: both, forward");
    refused(&["--port", ONE, "--count", "1", "--duration", "1"], 2, "cannot be used with");
}

#[test]
fn duplicate_and_missing_options() {
    refused(&[], 2, "--port");
    refused(&["--port"], 2, "--port");
    refused(&["--port", ONE, "--rate"], 2, "--rate");
    refused(
        &["--port", ONE, "--rate", "1pps", "--rate", "2pps"],
        2,
        "cannot be used multiple times",
    );
    refused(&["--port", ONE, "--compare"], 2, "--replay");
    refused(
        &["--port", ONE, "--port", "vhost-user:/nonexistent/directory/socket"],
        2,
        "two ports have the socket",
    );
    let other = ["--port", "vhost-user:/b", "--port", "vhost-user:/c"];
    refused(&[&["--port", ONE][..], &other].concat(), 2, "one or two");
}

#[test]
fn ports() {
    let long = format!("vhost-user:/{}", "x".repeat(107));
    for port in ["", "a", "vhost-user:", "tap:eth0", "vhost-user:/a,client", &long] {
        refused(&["--port", port], 2, "accepted: vhost-user:PATH[,server]");
    }
    refused(&["--port", ONE], 1, "/nonexistent/directory/socket");
}

#[test]
fn cores() {
    refused(&["--port", ONE, "--core", "100000"], 2, "core 100000 cannot be used; possible: ");
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
        let path = path.to_str().unwrap();
        refused(&["--port", ONE, "--replay", path], 2, because);
        refused(&["--port", ONE, "--replay", path, "--size", "64"], 2, "cannot be used with");
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"vhost-user:/\xff\xfe");
    let output =
        Command::new(env!("CARGO_BIN_EXE_pktgen")).arg("--port").arg(bytes).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn unwritable_json_is_known_before_the_run() {
    refused(&["--port", ONE, "--json", "/nonexistent/directory/report.json"], 2, "cannot write");
}

#[test]
fn help_has_examples_and_goes_to_standard_output() {
    let output = pktgen(&["--help"]);
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
    refused(
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
    refused(&["--port", &port, "--warm-up", "0.05", "--quiet"], 1, socket.to_str().unwrap());
}

#[test]
fn a_signal_before_anything_came_through_ends_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let socket = temporary("signal");
    let port = format!("vhost-user:{},server", socket.display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(["--port", &port, "--json", "-"])
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
        "--port".into(),
        format!("vhost-user:{socket},server"),
        "--port".into(),
        format!("virtio-user:{socket}"),
    ]
    .into()
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

#[test]
fn fail_on_loss_is_silent_about_a_clean_run() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    let status = command
        .args(loop_of("clean"))
        .args(["--count", "100", "--fail-on-loss", "--quiet"])
        .status();
    assert_eq!(status.unwrap().code(), Some(0));
}
