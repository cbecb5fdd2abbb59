//! The QEMU process: started in a process group of its own, ended with the launcher, never left behind.

use crate::command::QEMU;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The hidden first argument by which the launcher becomes QEMU: see [`become_qemu`].
pub(crate) const BECOME: &str = "--become-qemu-of";

/// What stands after the launcher's process number where QEMU shall leave pktgen's core alone.
const BESIDE_PKTGEN: &str = "beside-pktgen";
const ALONE: &str = "alone";

/// How long QEMU may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A running QEMU; killed when dropped.
#[derive(Debug)]
pub(crate) struct Qemu(Child);

impl Qemu {
    /// Starts the command; gives the console and QEMU's own messages to read.
    ///
    /// Called on the main thread only: the kernel kills QEMU when the thread that started it ends.
    pub(crate) fn start(
        command: &[OsString],
        beside_pktgen: bool,
    ) -> io::Result<(Self, ChildStdout, ChildStderr)> {
        let mut child = Command::new("/proc/self/exe")
            .arg(BECOME)
            .arg(std::process::id().to_string())
            .arg(if beside_pktgen { BESIDE_PKTGEN } else { ALONE })
            .args(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("no pipes to QEMU"));
        };
        Ok((Self(child), stdout, stderr))
    }

    /// Waits for an end that is under way; kills where it does not come.
    pub(crate) fn wait(&mut self) -> io::Result<ExitStatus> {
        if !self.ends_within(GRACE) {
            self.0.kill()?;
        }
        self.0.wait()
    }

    /// Whether QEMU ends within this time. [`wait`](Self::wait) then tells how.
    pub(crate) fn ends_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            // An error means that there is no such child any more; `wait` will say so.
            if !matches!(self.0.try_wait(), Ok(None)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends QEMU at once.
    pub(crate) fn kill(&mut self) {
        // Fails only if it has ended already, which is what is wanted.
        let _ = self.0.kill();
    }

    /// Asks QEMU to end, which lets it take leave of its vhost-user peers.
    pub(crate) fn ask_to_end(&self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // Fails only if it has ended already, which is what is wanted.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// In the child: asks the kernel to kill this process when the launcher ends, then becomes QEMU. A second start of the
/// same program, because what may be done between fork and exec is `unsafe` to write.
///
/// Returns only if it failed.
pub(crate) fn become_qemu(mut arguments: impl Iterator<Item = OsString>) -> String {
    let parent =
        arguments.next().and_then(|text| text.to_str()?.parse().ok()).and_then(Pid::from_raw);
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return format!("cannot tie QEMU to the launcher: {error}");
    }
    if parent.is_none() || getppid() != parent {
        return "the launcher has ended".into();
    }
    if arguments.next().is_some_and(|word| word == BESIDE_PKTGEN) {
        crate::traffic::leave_own_core();
    }
    let Some(program) = arguments.next() else { return "no program to become".into() };
    let error = Command::new(&program).args(arguments).exec();
    format!("cannot start {}: {error}", program.display())
}

/// Looks QEMU up in `PATH`.
pub(crate) fn find() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(QEMU)).find(|file| file.is_file()).ok_or_else(|| {
        format!(
            "{QEMU} is not on the PATH: install the Debian package qemu-system-x86, which tools/setup does for you"
        )
    })
}
