//! The scripts of `pktgen completions`, as the shells themselves see them: without syntax errors, and completing
//! commands, options and values.

mod peers;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

fn pktgen(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen")).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The script for `shell`, in a file.
fn script(shell: &str) -> PathBuf {
    let (status, text) = pktgen(&["completions", shell]);
    assert_eq!(status, Some(0), "{text}");
    let directory = std::env::temp_dir().join(format!("pktgen-completions-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let file = format!("pktgen-{}.{shell}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let file = directory.join(file);
    std::fs::write(&file, text).unwrap();
    file
}

/// What a shell prints that must succeed and complain of nothing.
#[track_caller]
fn ask(shell: &str, arguments: &[&str]) -> String {
    let output = Command::new(shell).args(arguments).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{shell}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// What was typed, and some of what a shell must offer, and must not.
const CASES: [(&str, &[&str], &[&str]); 6] = [
    ("pktgen ", &["run", "replay", "search", "report", "ports", "completions"], &["--rate"]),
    ("pktgen re", &["replay", "report"], &["run"]),
    ("pktgen run --fail", &["--fail-on"], &["--tui"]),
    ("pktgen run --direction ", &["both", "forward", "backward"], &["--port"]),
    ("pktgen search ", &["throughput", "frame-loss", "back-to-back", "soak"], &["replay"]),
    ("pktgen completions ", &["bash", "zsh", "fish"], &["run"]),
];

#[track_caller]
fn judge(typed: &str, offered: &str, wanted: &[&str], unwanted: &[&str]) {
    let offered: Vec<_> = offered.split_whitespace().collect();
    for word in wanted {
        assert!(offered.contains(word), "`{typed}` does not offer {word} but {offered:?}");
    }
    for word in unwanted {
        assert!(!offered.contains(word), "`{typed}` offers {word}");
    }
}

#[test]
fn bash_completes() {
    if peers::program("bash").is_none() {
        return;
    }
    let file = script("bash");
    let file = file.to_str().unwrap();
    ask("bash", &["-n", file]);
    for (typed, wanted, unwanted) in CASES {
        let words: Vec<_> = typed.split(' ').collect();
        let [last, before] = [words[words.len() - 1], words[words.len() - 2]];
        let ask_for = format!(
            "source '{file}'; COMP_WORDS=({}); COMP_CWORD={}; _pktgen pktgen '{last}' '{before}'; echo \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        judge(typed, &ask("bash", &["--norc", "-c", &ask_for]), wanted, unwanted);
    }
}

#[test]
fn fish_completes() {
    if peers::program("fish").is_none() {
        return;
    }
    let file = script("fish");
    let file = file.to_str().unwrap();
    ask("fish", &["--no-config", "--no-execute", file]);
    // (What clap writes for fish offers no values of arguments without a name.)
    let positional = ["pktgen search ", "pktgen completions "];
    for (typed, wanted, unwanted) in CASES.iter().filter(|case| !positional.contains(&case.0)) {
        let ask_for = format!("source '{file}'; complete -C '{typed}'");
        // Each with its description after a tab.
        let offered = ask("fish", &["--no-config", "-c", &ask_for]);
        let offered: Vec<_> = offered.lines().filter_map(|line| line.split('\t').next()).collect();
        judge(typed, &offered.join(" "), wanted, unwanted);
    }
}

/// Zsh completes only at a prompt of a person's: that it takes the script, and has what it defines, is all that is asked.
#[test]
fn zsh_takes_the_script() {
    if peers::program("zsh").is_none() {
        return;
    }
    let file = script("zsh");
    let file = file.to_str().unwrap();
    ask("zsh", &["-f", "-n", file]);
    let load = "autoload -U compinit; compinit -u -D; source \"$1\"; whence -w _pktgen; print $_comps[pktgen]";
    let text = ask("zsh", &["-f", "-c", load, "zsh", file]);
    assert_eq!(text, "_pktgen: function\n_pktgen\n");
    let script = std::fs::read_to_string(file).unwrap();
    for word in ["throughput", "frame-loss", "both", "backward", "--fail-on"] {
        assert!(script.contains(word), "{word}");
    }
}

#[test]
fn other_shells_get_a_script_and_unknown_ones_are_refused() {
    for shell in ["elvish", "powershell"] {
        let (status, text) = pktgen(&["completions", shell]);
        assert_eq!(status, Some(0));
        assert!(text.contains("fail-on") && text.contains("replay"), "{shell}: {text}");
    }
    let (status, text) = pktgen(&["completions", "cmd"]);
    assert!(status == Some(2) && text.contains("possible values: bash"), "{text}");
}

/// A syntax error is one to each of the shells.
#[test]
fn a_broken_script_is_found_out() {
    for shell in ["bash", "zsh", "fish"] {
        if peers::program(shell).is_none() {
            continue;
        }
        let file = script(shell);
        let good = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, good + "\nif true; (\n").unwrap();
        let option = if shell == "fish" { "--no-execute" } else { "-n" };
        let output = Command::new(shell).arg(option).arg(&file).output().unwrap();
        assert!(!output.status.success(), "{shell}");
    }
}
