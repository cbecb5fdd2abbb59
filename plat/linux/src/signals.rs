//! Signals: the first SIGINT or SIGTERM asks for an end, the second one forces it.
//!
//! The handler sets a flag that a polling loop looks at between bursts. A sleep is cut short by the
//! signal ([`wait_readable`](crate::wait_readable) then returns). SIGPIPE stays ignored, as Rust's start-up code
//! leaves it: writing to a closed pipe is an error to be handled where it happens.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Says whether the process has been asked to end.
#[derive(Clone, Debug)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Takes over SIGINT and SIGTERM. A second one ends the process at once, with status 128 + signal.
    ///
    /// # Errors
    /// The kernel's.
    pub fn install() -> io::Result<Self> {
        let stop = Self::manual();
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the one that ends the process must see the flag of an earlier signal only.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.0))?;
            flag::register(signal, Arc::clone(&stop.0))?;
        }
        Ok(stop)
    }

    /// A flag that no signal sets.
    pub fn manual() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Whether the end has been asked for. One plain load.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks for the end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    /// The process that the next test sends signals to.
    #[test]
    #[ignore = "only as the child of a_second_signal_ends_the_process"]
    fn child() {
        let stop = StopFlag::install().unwrap();
        println!("\nready");
        while !stop.is_set() {
            std::thread::yield_now();
        }
        println!("\nasked");
        loop {
            std::thread::park();
        }
    }

    #[test]
    fn a_second_signal_ends_the_process() {
        for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "signals::tests::child", "--ignored", "--nocapture"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&child);
            let mut lines =
                BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            assert!(lines.any(|line| line == "ready"));
            kill_process(pid, signal).unwrap();
            assert!(lines.any(|line| line == "asked"), "the first signal sets the flag");
            kill_process(pid, signal).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(status));
        }
    }

    #[test]
    fn a_manual_flag_is_shared_by_its_clones() {
        let stop = StopFlag::manual();
        let other = stop.clone();
        assert!(!other.is_set());
        stop.set();
        assert!(other.is_set());
    }
}
