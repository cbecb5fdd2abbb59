//! pktgen on a terminal, which `script` (util-linux) provides: colours where they are wanted, the full screen at any
//! size, and the keys that end a run.

mod peers;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// What came so far.
    text: String,
}

impl Terminal {
    /// Starts pktgen on a terminal of so many rows and columns, with these variables.
    fn start(arguments: &[&str], size: (u16, u16), variables: &[(&str, &str)]) -> Option<Self> {
        peers::program("script")?;
        let words = arguments.iter().map(|word| format!("'{word}'"));
        let (rows, columns) = size;
        let command = format!(
            "stty rows {rows} cols {columns}; exec {} {}",
            env!("CARGO_BIN_EXE_pktgen"),
            words.collect::<Vec<_>>().join(" ")
        );
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &command, "/dev/null"])
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR")
            .env_remove("CLICOLOR_FORCE")
            .env("TERM", "xterm")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Some(Self { child, keys, screen, text: String::new() })
    }

    /// Waits until the screen has shown `what`.
    #[track_caller]
    fn wait_for(&mut self, what: &str) {
        let mut bytes = [0; 4096];
        while !self.text.contains(what) {
            let count = self.screen.read(&mut bytes).unwrap();
            assert!(count > 0, "it ended without {what}:\n{}", self.text);
            self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end: the exit status, and all that was shown.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.screen.read_to_end(&mut rest).unwrap();
        self.text.push_str(&String::from_utf8_lossy(&rest));
        drop(self.keys);
        (self.child.wait().unwrap().code(), self.text)
    }
}

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-terminal-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

/// Ports that are each other's peers.
fn ports(name: &str) -> [String; 4] {
    let socket = temporary(name);
    let socket = socket.display();
    [
        "--port".into(),
        format!("vhost-user:{socket},server"),
        "--port".into(),
        format!("virtio-user:{socket}"),
    ]
}

/// `pktgen COMMAND ...` over such ports.
#[track_caller]
fn looped(
    name: &str,
    arguments: &[&str],
    size: (u16, u16),
    variables: &[(&str, &str)],
) -> Option<Terminal> {
    let ports = ports(name);
    let all: Vec<&str> =
        arguments.iter().copied().chain(ports.iter().map(String::as_str)).collect();
    Terminal::start(&all, size, variables)
}

/// Colours, bold and faint, but not the resetting of them.
fn has_colours(text: &str) -> bool {
    let codes = text.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
    let codes = codes
        .map(|(codes, _)| codes)
        .filter(|codes| codes.bytes().all(|b| b.is_ascii_digit() || b == b';'));
    codes
        .flat_map(|codes| codes.split(';'))
        .any(|code| !matches!(code, "" | "0" | "39" | "49" | "59"))
}

const LINES: [&str; 5] = ["run", "--rate", "10kpps", "--duration", "1.2"];
const TUI: [&str; 4] = ["run", "--tui", "--rate", "10kpps"];

#[test]
fn colours_are_for_terminals_of_those_who_do_not_mind() {
    for (name, variables, expected) in [
        ("colours", &[][..], true),
        ("empty", &[("NO_COLOR", "")], true),
        ("refused", &[("NO_COLOR", "1")], false),
        ("dumb", &[("TERM", "dumb")], false),
    ] {
        let Some(terminal) = looped(name, &LINES, (24, 80), variables) else { return };
        let (status, text) = terminal.end();
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("1.0 s"), "{text}");
        assert_eq!(text.contains('\x1b'), expected, "{name}: {text:?}");
    }
}

#[test]
fn help_and_errors_have_colours_only_where_they_are_wanted() {
    for (variables, expected) in [
        (&[][..], true),
        (&[("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[("TERM", "dumb"), ("CI", "true")], false),
    ] {
        for arguments in [&["run", "--help"][..], &["run", "--rate", "1T"]] {
            let Some(terminal) = Terminal::start(arguments, (60, 100), variables) else { return };
            let (_, text) = terminal.end();
            assert!(text.contains("--rate"), "{text}");
            assert_eq!(text.contains('\x1b'), expected, "{variables:?} {arguments:?}: {text:?}");
        }
    }
}

/// The terminal is given back, and the result of the part that ran is printed on it.
#[test]
fn keys_end_a_run_with_what_there_is() {
    for (name, key) in [("q", "q"), ("control-c", "\x03"), ("escape", "\x1b")] {
        let Some(mut terminal) = looped(name, &TUI, (24, 80), &[]) else { return };
        terminal.wait_for("directions");
        terminal.press(key);
        let (status, text) = terminal.end();
        assert_eq!(status, Some(0), "{name}: {text}");
        let (screen, after) = text.rsplit_once("\x1b[?1049l").expect("the screen is given back");
        assert!(screen.contains("\x1b[?1049h") && has_colours(screen), "{screen:?}");
        assert!(
            after.contains("(interrupted)") && after.contains(" received, "),
            "{name}: {after:?}"
        );
        assert!(after.contains("the result is of the part that ran"), "{name}: {after:?}");
    }
}

#[test]
fn a_second_key_ends_it_at_once() {
    let Some(mut terminal) = looped("twice", &TUI, (24, 80), &[]) else { return };
    terminal.wait_for("directions");
    terminal.press("qq");
    let (status, text) = terminal.end();
    assert_eq!(status, Some(130), "{text}");
    assert!(text.contains("\x1b[?1049l"), "the screen is given back: {text:?}");
}

/// Without `--tui` the terminal turns Ctrl-C into a signal.
#[test]
fn control_c_ends_the_lines_with_what_there_is() {
    let Some(mut terminal) = looped("lines", &LINES[..3], (24, 80), &[]) else { return };
    terminal.wait_for("1.0 s");
    terminal.press("\x03");
    let (status, text) = terminal.end();
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains("(interrupted)") && text.contains("the result is of the part that ran"),
        "{text}"
    );
}

#[test]
fn a_search_on_a_full_screen_tells_what_remains() {
    let search =
        ["search", "soak", "--at", "10kpps", "--trial", "0.2", "--duration", "600", "--tui"];
    let Some(mut terminal) = looped("search", &search, (24, 80), &[]) else { return };
    // (What has not changed is not drawn again: not even the spaces between words.)
    terminal.wait_for("about");
    terminal.press("q");
    let (status, text) = terminal.end();
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("the result is of the part that ran"), "{text:?}");
}

#[test]
fn every_size_of_terminal_can_be_used() {
    for (name, size) in [("tiny", (1, 1)), ("small", (5, 20)), ("wide", (60, 200))] {
        let Some(mut terminal) = looped(name, &TUI, size, &[]) else { return };
        terminal.wait_for("\x1b[?1049h");
        terminal.press("q");
        let (status, text) = terminal.end();
        assert!(matches!(status, Some(0 | 1)), "{name}: {text:?}");
        assert!(!text.contains("panicked") && text.contains("\x1b[?1049l"), "{name}: {text:?}");
    }
}

#[test]
fn a_full_screen_without_colours() {
    let Some(mut terminal) = looped("mono", &TUI, (24, 80), &[("NO_COLOR", "1")]) else { return };
    terminal.wait_for("directions");
    terminal.press("q");
    let (_, text) = terminal.end();
    let codes: Vec<_> =
        text.split("\x1b[").filter_map(|rest| Some(rest.split_once('m')?.0)).collect();
    let coloured = |code: &&&str| {
        code.split(';').any(|code| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=107)))
    };
    assert_eq!(codes.iter().find(coloured), None, "{text:?}");
}

#[test]
fn a_dumb_terminal_has_no_full_screen() {
    let Some(terminal) =
        Terminal::start(&["run", "--port", "discard", "--tui"], (24, 80), &[("TERM", "dumb")])
    else {
        return;
    };
    let (status, text) = terminal.end();
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("TERM is dumb"), "{text}");
}
