//! `--start`: the device under test, started when the ports are open and ended with the run.
//!
//! It runs in a process group of its own, so that Ctrl-C reaches pktgen alone and the end reaches whatever the command
//! started in its turn. Standard output may be for a machine, so what it prints goes to standard error, or nowhere.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pktgen::Error;
use plat_linux::{StopFlag, keep_off_core};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::output;

/// How often to look whether it still runs.
const GLANCE: Duration = Duration::from_millis(100);
/// How long it may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// A command that runs until this is dropped.
pub(crate) struct Started {
    /// Dropped to end it.
    keep: Option<Sender<()>>,
    watcher: Option<JoinHandle<()>>,
}

impl Started {
    /// Starts `command` in a shell, on other cores than `cores`. If it ends by itself, that is told and `stop` is set.
    pub(super) fn new(
        command: &str,
        cores: &[usize],
        silent: bool,
        stop: StopFlag,
    ) -> Result<Self, Error> {
        let fail = |what: &dyn std::fmt::Display| {
            Error::Output(format!("cannot start `{command}`: {what}"))
        };
        let (keep, kept) = channel();
        let (started, starting) = channel();
        let name = command.to_owned();
        let cores = cores.to_vec();
        // A thread has cores of its own, which what it starts inherits.
        let work = move || {
            for core in cores {
                let _ = keep_off_core(core);
            }
            match spawn(&name, silent) {
                Ok(child) => {
                    let _ = started.send(Ok(()));
                    watch(child, &name, &kept, &stop);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        let watcher = std::thread::Builder::new().name("start".into()).spawn(work);
        let watcher = watcher.map_err(|error| fail(&error))?;
        match starting.recv() {
            Ok(Ok(())) => Ok(Self { keep: Some(keep), watcher: Some(watcher) }),
            Ok(Err(error)) => Err(fail(&error)),
            Err(error) => Err(fail(&error)),
        }
    }
}

impl Drop for Started {
    /// Ends the command, and waits until it has ended.
    fn drop(&mut self) {
        self.keep = None;
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

fn spawn(command: &str, silent: bool) -> std::io::Result<Child> {
    let out = || if silent { Stdio::null() } else { Stdio::from(std::io::stderr()) };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(out()).stderr(out());
    shell.process_group(0).spawn()
}

/// Waits until the other end of `kept` is dropped, or the command ends.
fn watch(mut child: Child, command: &str, kept: &Receiver<()>, stop: &StopFlag) {
    while kept.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
        if let Ok(Some(status)) = child.try_wait() {
            output::complain(&format_args!("`{command}` ended by itself ({status})"));
            stop.set();
            return;
        }
    }
    end(&mut child);
}

/// Asks the group to end, and waits until all of it has; then makes it.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw)?;
    let _ = kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + GRACE;
    let mut status = None;
    while Instant::now() < deadline {
        status = status.or_else(|| child.try_wait().ok().flatten());
        if status.is_some() && !has_members(group) {
            return status;
        }
        std::thread::sleep(GLANCE / 5);
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().ok()
}

/// Whether a process of the group still runs: the shell may end before what it started. A process that has ended and
/// that nobody waits for is none.
fn has_members(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).any(
        |stat| {
            // After the name in parentheses: state, parent, group.
            let mut words = stat.rsplit(')').next().unwrap_or("").split_whitespace();
            let state = words.next();
            words.nth(1) == Some(&group) && state != Some("Z")
        },
    )
}
