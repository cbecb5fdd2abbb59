//! `--start`: what it starts runs beside the traffic and ends with it, with all that it started in turn.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-start-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

fn pktgen(name: &str, arguments: &[&str]) -> Output {
    let socket = temporary(name);
    let ports = ["vhost-user", "virtio-user"].map(|role| format!("{role}:{}", socket.display()));
    Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(["run", "--port", &format!("{},server", ports[0]), "--port", &ports[1]])
        .args(["--rate", "1kpps", "--quiet", "--json", "-"])
        .args(arguments)
        .output()
        .unwrap()
}

/// Whether a process is there (and no zombie).
fn runs(pid: &str) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    state.is_ok_and(|state| !state.contains(") Z "))
}

fn pids(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_was_started_runs_during_the_run_and_ends_with_it() {
    let file = temporary("pids");
    // The shell, and a process of its own in the same group.
    let script = format!("sleep 100 & echo $$ > {0}; echo $! >> {0}; wait", file.display());
    let output = pktgen("both", &["--duration", "0.5", "--start", &script]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let pids = pids(&file);
    assert_eq!(pids.len(), 2, "{pids:?}");
    assert!(!pids.iter().any(|pid| runs(pid)), "{pids:?} are still there");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["interrupted"], false);
}

#[test]
fn what_does_not_want_to_end_is_made_to() {
    let file = temporary("stubborn");
    let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", file.display());
    let output = pktgen("stubborn-socket", &["--duration", "0.5", "--start", &script]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!runs(&pids(&file)[0]));
}

#[test]
fn what_outlives_the_shell_is_waited_for() {
    let file = temporary("slow");
    let slow = "trap 'sleep 0.5; echo over; exit' TERM; while :; do sleep 0.01; done";
    let script = format!("sh -c \"{slow}\" >{} & wait", file.display());
    let output = pktgen("slow-socket", &["--duration", "0.5", "--start", &script]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pids(&file), ["over"], "it was left to itself");
}

#[test]
fn an_end_of_its_own_is_told_and_ends_the_run() {
    let output = pktgen("early", &["--duration", "60", "--start", "sleep 0.5; exit 7"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("`sleep 0.5; exit 7` ended by itself (exit status: 7)"), "{errors}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["interrupted"], true, "a partial result that says so");
}
