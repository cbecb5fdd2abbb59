//! What became of the connections: counts, and the reason why the last one ended.
//!
//! Written when a connection begins or ends, never on the packet path; readable from any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::violation::Violation;

/// A view of a port's connections, also while the port runs. Clones see the same port.
#[derive(Clone, Debug, Default)]
pub struct Monitor(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    connections: AtomicU64,
    violations: AtomicU64,
    announcements: AtomicU64,
    last: Mutex<Ends>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    any: Option<Violation>,
    violation: Option<Violation>,
}

impl Monitor {
    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Connections that ended because the peer broke a rule.
    pub fn violations(&self) -> u64 {
        self.0.violations.load(Ordering::Relaxed)
    }

    /// Why the last connection that has ended did so.
    pub fn last_end(&self) -> Option<Violation> {
        self.ends().any
    }

    /// What rule a peer broke last, whatever came after that.
    pub fn last_violation(&self) -> Option<Violation> {
        self.ends().violation
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announcements of guests that front ends have asked our back end for (`SEND_RARP`).
    pub fn announcements(&self) -> u64 {
        self.0.announcements.load(Ordering::Relaxed)
    }

    pub(crate) fn announced(&self) {
        self.0.announcements.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connected(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, why: Violation) {
        let mut ends = self.ends();
        ends.any = Some(why);
        if !why.is_ordinary() {
            ends.violation = Some(why);
            self.0.violations.fetch_add(1, Ordering::Relaxed);
        }
    }
}
