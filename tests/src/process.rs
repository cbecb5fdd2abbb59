//! A program under test: its output line by line while it runs, an end in bounded time.

use crate::build::Program;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a slow and busy machine.
pub const LIMIT: Duration = Duration::from_secs(120);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Both of its outputs, line by line as they came.
    pub output: String,
}

impl Ended {
    /// Checks status and words; gives the output.
    #[track_caller]
    pub fn expect(self, status: i32, words: &[&str]) -> String {
        assert_eq!(
            self.status.code(),
            Some(status),
            "{:?}, its output:\n{}",
            self.status,
            self.output
        );
        for word in words {
            assert!(self.output.contains(word), "`{word}` is missing in:\n{}", self.output);
        }
        self.output
    }
}

#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// The launcher with these arguments: an image, options, and after `--` the image's parameters.
pub fn launcher(image: Program, arguments: &[&str]) -> Command {
    let mut command = Command::new(Program::Launcher.path());
    command.arg(image.path()).args(arguments);
    command
}

/// Runs the launcher to its end.
#[track_caller]
pub fn launch(image: Program, arguments: &[&str]) -> Ended {
    Process::start(&mut launcher(image, arguments)).end()
}

impl Process {
    /// Starts a program without standard input.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// Starts a program that takes commands.
    #[track_caller]
    pub fn interactive(command: &mut Command) -> (Self, ChildStdin) {
        let mut process = Self::spawn(command.stdin(Stdio::piped()));
        let input = process.child.stdin.take().expect("stdin is piped");
        (process, input)
    }

    #[track_caller]
    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let output = Arc::new(Output::default());
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let readers = vec![follow(stdout, &output), follow(stderr, &output)];
        Self { child, output, readers }
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The program's process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the `count`-th line that contains `word`, and gives it.
    #[track_caller]
    pub fn wait_for(&self, word: &str, count: usize) -> String {
        let deadline = Instant::now() + LIMIT;
        let mut lines = self.output.lines.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = lines.iter().filter(|line| line.contains(word)).nth(count - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = self.readers.iter().all(JoinHandle::is_finished);
            assert!(
                !ended && !left.is_zero(),
                "no line {count} with `{word}` in:\n{}",
                lines.join("\n")
            );
            let slice = left.min(Duration::from_millis(100));
            lines = self
                .output
                .more
                .wait_timeout(lines, slice)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the program can be signalled");
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("the program can be waited for") {
                break Some(status);
            }
            if Instant::now() >= deadline {
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let Some(status) = status else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            panic!("no end within {LIMIT:?}:\n{}", self.text());
        };
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        Ended { status, output: self.text() }
    }

    fn text(&self) -> String {
        self.lines().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn follow(from: impl Read + Send + 'static, output: &Arc<Output>) -> JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            output.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            output.more.notify_all();
        }
        output.more.notify_all();
    })
}
