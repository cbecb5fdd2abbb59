//! The environment block of a report: the machine, its state during the run, and our version.

use plat_linux::{Clock, CpuTimes};
use serde::Serialize;

/// The machine, and how disturbed it was.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// The version of pktgen.
    pub pktgen: &'static str,
    /// The machine.
    #[serde(flatten)]
    pub machine: plat_linux::Environment,
    /// The share of all cores' time that was used during the run by anybody, 0 to 1.
    pub busy: Option<f64>,
    /// The share of all cores' time that the hypervisor gave to others during the run, 0 to 1.
    pub steal: Option<f64>,
}

impl Environment {
    /// Reads the facts; `before` is from the start of the run.
    pub fn read(clock: &Clock, before: Option<CpuTimes>) -> Self {
        let during = before.and_then(|before| Some(CpuTimes::read()?.since(&before)));
        Self {
            pktgen: env!("CARGO_PKG_VERSION"),
            machine: plat_linux::Environment::read(clock),
            busy: during.map(|times| times.busy_share()),
            steal: during.map(|times| times.steal_share()),
        }
    }
}
