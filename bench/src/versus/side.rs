//! One side of a pair, as the tool sees it: a child process that is told what to do and asked what it has done.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::Path as FilePath;
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cores::Cores;
use super::job::{Account, Command, Work};
use super::plan::{Path, Role};

/// How long an answer may take. A side shares its core with nobody but itself.
const ANSWER: Duration = Duration::from_secs(60);
/// Lines on standard error that are kept, and those of them that go into a message.
const KEPT: usize = 200;
const LAST_WORDS: usize = 12;

/// What both sides of a pair have in common.
#[derive(Clone, Copy, Debug)]
pub struct Wiring<'a> {
    /// The program that becomes a side of ours: `versus-dpdk`.
    pub program: &'a FilePath,
    /// The socket that joins them.
    pub socket: &'a FilePath,
    /// Their cores.
    pub cores: Cores,
    /// The ring's format.
    pub path: Path,
    /// Entries of each ring.
    pub ring: u16,
    /// Packets lie in huge pages.
    pub huge_pages: bool,
    /// DPDK's driver takes its vectorized paths.
    pub vectorized: bool,
}

impl Wiring<'_> {
    /// The core of `role`.
    pub fn core(&self, role: Role) -> usize {
        match role {
            Role::BackEnd => self.cores.back_end,
            Role::Driver => self.cores.driver,
        }
    }
}

/// A side ended, or does not answer as it should; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SideError(pub String);

impl fmt::Display for SideError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SideError {}

/// A side.
pub trait Side {
    /// Begins.
    ///
    /// # Errors
    /// The process has ended.
    fn start(&mut self, work: Work, size: u16) -> Result<(), SideError>;

    /// What it has done. Differences between two answers of one start count, nothing else.
    ///
    /// # Errors
    /// The process has ended or does not answer.
    fn account(&mut self) -> Result<Account, SideError>;

    /// Ends what [`start`](Self::start) began: afterwards its threads sleep.
    ///
    /// # Errors
    /// The process has ended or does not answer.
    fn stop(&mut self) -> Result<(), SideError>;

    /// The process.
    fn id(&self) -> u32;
}

/// A child process that is talked to in lines. Killed when dropped.
pub struct Conversation {
    name: String,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    complaints: Arc<Mutex<Vec<String>>>,
}

impl Conversation {
    /// Starts `program`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, program: &mut Program) -> Result<Self, SideError> {
        let fail = |why: &dyn fmt::Display| SideError(format!("{name} cannot be started: {why}"));
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().map_err(|error| fail(&error))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return Err(fail(&"no pipes"));
        };
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let complaints = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&complaints);
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT {
                    kept.remove(0);
                }
                kept.push(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, input, lines, complaints })
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Says `words`, a line or several.
    ///
    /// # Errors
    /// The process has ended.
    pub fn say(&mut self, words: &str) -> Result<(), SideError> {
        let said = writeln!(self.input, "{words}").and_then(|()| self.input.flush());
        said.map_err(|error| self.error(&format!("does not listen ({error})")))
    }

    /// What it says up to the line for which `is_last` holds, that line included.
    ///
    /// # Errors
    /// The process has ended or does not say so.
    pub fn hear(
        &mut self,
        mut is_last: impl FnMut(&str) -> bool,
    ) -> Result<Vec<String>, SideError> {
        let deadline = Instant::now() + ANSWER;
        let mut heard = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let last = is_last(&line);
                    heard.push(line);
                    if last {
                        return Ok(heard);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let last = heard.last().map_or("nothing", String::as_str);
                    return Err(self.error(&format!("does not answer; it last said: {last}")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.error("has ended")),
            }
        }
    }

    /// Forgets what it has said so far.
    pub fn forget(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// The latest lines on its standard error.
    pub fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn error(&self, what: &str) -> SideError {
        let complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("{} {what}", self.name);
        for line in complaints.iter().skip(complaints.len().saturating_sub(LAST_WORDS)) {
            text.push_str("\n    ");
            text.push_str(line);
        }
        SideError(text)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A [`Forwarder`](super::forwarder::Forwarder) of ours.
pub struct Ours(Conversation);

impl Ours {
    /// Starts the program as one side.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub fn start(role: Role, wiring: &Wiring) -> Result<Self, SideError> {
        let mut program = Program::new(wiring.program);
        program.arg("--side").arg(role.to_string());
        program.arg("--socket").arg(wiring.socket).arg("--core").arg(wiring.core(role).to_string());
        program.arg("--paths").arg(wiring.path.to_string());
        program.arg("--ring").arg(wiring.ring.to_string());
        program.arg("--pages").arg(if wiring.huge_pages { "huge" } else { "ordinary" });
        let mut side = Self(Conversation::start(&format!("our {role}"), &mut program)?);
        // An answer says that the port is open.
        side.account()?;
        Ok(side)
    }

    fn command(&mut self, command: Command) -> Result<(), SideError> {
        let line = serde_json::to_string(&command).map_err(|error| SideError(error.to_string()))?;
        self.0.say(&line)
    }

    fn answer(&mut self) -> Result<Account, SideError> {
        let heard = self.0.hear(|line| line.starts_with('{'))?;
        let line = heard.last().map_or("", String::as_str);
        serde_json::from_str(line).map_err(|error| self.0.error(&format!("said {line:?}: {error}")))
    }
}

impl Side for Ours {
    fn start(&mut self, work: Work, size: u16) -> Result<(), SideError> {
        self.command(Command::Start { work, size })
    }

    fn account(&mut self) -> Result<Account, SideError> {
        self.command(Command::Account)?;
        self.answer()
    }

    fn stop(&mut self) -> Result<(), SideError> {
        self.command(Command::Stop)?;
        self.answer().map(|_| ())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Conversation {
        Conversation::start("a shell", Program::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_conversation_in_lines() {
        let mut shell = shell("read a; echo first; echo \"$a\"; read b");
        shell.say("second").unwrap();
        assert_eq!(shell.hear(|line| line == "second").unwrap(), ["first", "second"]);
    }

    #[test]
    fn who_has_ended_is_quoted() {
        let error =
            shell("echo said; echo complained >&2").hear(|line| line == "never").unwrap_err();
        assert_eq!(error.0.lines().next(), Some("a shell has ended"));
        let missing = Conversation::start("nothing", &mut Program::new("/nowhere/nothing"));
        assert!(missing.is_err_and(|error| error.0.starts_with("nothing cannot be started: ")));
    }
}
