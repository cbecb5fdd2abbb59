//! How a run ended: QEMU's exit status in words, and the launcher's own.
//!
//! The numbers agree with `plat/kvm/src/exit.rs`: the image writes `v` to the debug-exit port and QEMU exits with
//! `2 * v + 1`. The end-to-end tests hold the two together; a hosted program never links plat-kvm.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// The end of an image that was not stopped by the launcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The image finished its work.
    Success,
    /// The image reported a failure; the words are on its console.
    Failure,
    /// The image refused its command line.
    Usage,
    /// The image could not set the machine up.
    Boot,
    /// A Rust panic.
    Panic,
    /// A page fault.
    PageFault,
    /// A general protection fault.
    GeneralProtection,
    /// Another exception.
    Trap,
    /// The machine was reset or switched off and no status was told: a triple fault, or a monitor's decision.
    Reset,
    /// QEMU itself failed; its words are on standard error.
    Qemu(i32),
    /// QEMU was killed by this signal.
    Killed(i32),
}

impl End {
    /// What QEMU's exit status means.
    pub(crate) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Reset,
            (Some(33), _) => Self::Success,
            (Some(35), _) => Self::Failure,
            (Some(37), _) => Self::Usage,
            (Some(39), _) => Self::Boot,
            (Some(41), _) => Self::Panic,
            (Some(43), _) => Self::PageFault,
            (Some(45), _) => Self::GeneralProtection,
            (Some(47), _) => Self::Trap,
            (Some(code), _) => Self::Qemu(code),
            (None, signal) => Self::Killed(signal.unwrap_or(0)),
        }
    }

    /// The launcher's exit status: 0 success, 2 a bad command line, 1 anything else.
    pub(crate) fn exit_status(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Usage => 2,
            _ => 1,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Success => f.write_str("the image ended: success"),
            Self::Failure => f.write_str("the image ended: failure (see its console above)"),
            Self::Usage => {
                f.write_str("the image refused its command line (see its console above)")
            }
            Self::Boot => {
                f.write_str("the image could not set the machine up (see its console above)")
            }
            Self::Panic => f.write_str("the image panicked"),
            Self::PageFault => f.write_str("the image ended by a page fault"),
            Self::GeneralProtection => f.write_str("the image ended by a general protection fault"),
            Self::Trap => f.write_str("the image ended by an exception"),
            Self::Reset => {
                f.write_str("the machine was reset without telling a status (a triple fault?)")
            }
            Self::Qemu(code) => {
                write!(f, "QEMU failed with status {code} (its message stands above)")
            }
            Self::Killed(signal) => write!(f, "QEMU was killed by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let of = |code: i32| End::of(ExitStatus::from_raw(code << 8));
        let ends = [33, 35, 37, 39, 41, 43, 45, 47, 0, 1].map(of);
        let mut words: Vec<_> = ends.iter().map(End::to_string).collect();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), ends.len());
        assert_eq!(ends.map(End::exit_status), [0, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(End::of(ExitStatus::from_raw(9)), End::Killed(9));
    }
}
