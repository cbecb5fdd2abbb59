//! The program, run by tests: with an end, and with words for what it must not do.

#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that is to end by itself: what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A port that can be named and not be opened.
pub(crate) const PORT: &str = "vhost-user:/nonexistent/directory/socket,server";

/// What a program that has ended has printed.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A file or socket of this test and of no other.
pub(crate) fn temporary(name: &str) -> PathBuf {
    let process = format!("pktgen-test-{}", std::process::id());
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    let directory = std::env::temp_dir().join(process).join(thread);
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// pktgen with these arguments.
pub(crate) fn pktgen(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pktgen"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs it to its end; fails if there is none.
#[track_caller]
pub(crate) fn end(command: &mut Command) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let status = wait(&mut child, command);
    Ended { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

#[track_caller]
fn wait(child: &mut Child, command: &Command) -> ExitStatus {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it hangs: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// It is refused with this status and all of these words on standard error, says nothing on standard output, and does
/// not panic.
#[track_caller]
pub(crate) fn refused(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    status: i32,
    because: &[&str],
) {
    let mut command = pktgen(arguments);
    let ended = end(&mut command);
    println!("{command:?}: {}", ended.stderr);
    assert_eq!(ended.status.code(), Some(status), "{command:?}: {}", ended.stderr);
    for word in because {
        assert!(ended.stderr.contains(word), "`{word}` is not in {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    assert!(ended.stdout.is_empty(), "{command:?}: {}", ended.stdout);
}

/// Each line of a table: arguments separated by blanks, put behind `before`, and words of the error. All are wrong usage.
#[track_caller]
pub(crate) fn refused_each(before: &[&str], table: &[(&str, &str)]) {
    for (arguments, because) in table {
        let arguments = before.iter().copied().chain(arguments.split_whitespace());
        refused(arguments, 2, &[because]);
    }
}

/// Two ports that are each other's peers: traffic without anybody else.
pub(crate) fn loop_ports(name: &str) -> [String; 4] {
    let socket = temporary(name);
    let socket = socket.display();
    [
        "--port".into(),
        format!("vhost-user:{socket},server"),
        "--port".into(),
        format!("virtio-user:{socket}"),
    ]
}
