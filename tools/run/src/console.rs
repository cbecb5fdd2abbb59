//! What comes out of QEMU: the image's console and QEMU's own messages, line by line, each with its mark.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::time::Instant;

/// How the line begins that an image prints when its event loop starts.
const POLLING: &str = "barewire: polling";

/// A line that never ends is cut into pieces of so many bytes.
const LONGEST: u64 = 4096;

/// What the console's reader tells the session.
#[derive(Debug)]
pub(crate) enum Told {
    /// The image's event loop began at this moment.
    Polling(Instant),
    /// The console closed: QEMU is ending.
    Closed,
}

/// Prints a line to standard output. One that is closed or full is no reason to stop forwarding.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints a line to standard error, on the same terms.
pub(crate) fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Copies the image's console to standard output until it closes.
pub(crate) fn follow_image(console: impl Read, told: impl Fn(Told)) {
    lines(console, |line| {
        let at = Instant::now();
        if line.trim_start().starts_with(POLLING) {
            told(Told::Polling(at));
        }
        say(format_args!("image| {line}"));
    });
    told(Told::Closed);
}

/// Copies QEMU's messages to standard error, without the one about its own ordered end.
pub(crate) fn follow_qemu(messages: impl Read) {
    lines(messages, |line| {
        if !line.contains("terminating on signal 15") {
            complain(format_args!("qemu| {line}"));
        }
    });
}

/// Calls `each` with every line, without its end and without control characters.
fn lines(from: impl Read, mut each: impl FnMut(&str)) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let clean: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        each(clean.trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn collected(bytes: &[u8]) -> Vec<String> {
        let mut all = Vec::new();
        lines(bytes, |line| all.push(line.to_string()));
        all
    }

    #[test]
    fn lines_are_cleaned_and_bounded() {
        assert_eq!(collected(b"a\r\n\x1b[2Jb\n\xff\nlast"), ["a", "[2Jb", "\u{fffd}", "last"]);
        let pieces = collected(&[b'x'; 5000]);
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [4096, 904]);
    }

    #[test]
    fn the_first_poll_is_told() {
        let told = RefCell::new(Vec::new());
        follow_image(&b"hello\nbarewire: polling 2 ports\nbye\n"[..], |news| {
            told.borrow_mut().push(news)
        });
        let told = told.into_inner();
        assert!(matches!(told[..], [Told::Polling(_), Told::Closed]), "{told:?}");
    }
}
