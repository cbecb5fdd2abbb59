//! What takes turns: two pairs, or two generators.

use super::cores::Cores;
use super::disturbance::Disturbance;
use super::generator::{Generators, Kind};
use super::pair::{Pair, Timing};
use super::plan::Roles;
use super::trial::{Failure, Look, Rig, Turn, Who};
use crate::ceiling::{self, MODE_LINES, Mode, lines_of};

/// Both pairs at one case.
pub(super) struct Turns<'a> {
    pub(super) ours: &'a mut Pair,
    pub(super) dpdk: &'a mut Pair,
    pub(super) roles: Roles,
    pub(super) size: u16,
    pub(super) timing: Timing,
    pub(super) processes: Vec<u32>,
    pub(super) cores: Cores,
    pub(super) keep_disturbed: bool,
}

impl Rig for Turns<'_> {
    type Error = Failure;

    fn look(&mut self) -> Result<Look, Failure> {
        look(self.cores, self.size)
    }

    fn turn(&mut self, who: Who) -> Result<Turn, Failure> {
        let pair = match who {
            Who::Ours => &mut *self.ours,
            Who::Dpdk => &mut *self.dpdk,
        };
        let turn = pair.turn(&self.roles, self.size, self.timing, &self.processes)?;
        Ok(kept(turn, self.keep_disturbed))
    }
}

/// Both generators at one case. (Lines do not move between cores there, but frequencies and caches are of a mode, too.)
pub(super) struct GeneratorTurns<'a> {
    pub(super) both: &'a mut Generators,
    pub(super) kind: Kind,
    pub(super) size: u16,
    pub(super) timing: Timing,
    pub(super) cores: Cores,
    pub(super) keep_disturbed: bool,
}

impl Rig for GeneratorTurns<'_> {
    type Error = Failure;

    fn look(&mut self) -> Result<Look, Failure> {
        look(self.cores, self.size)
    }

    fn turn(&mut self, who: Who) -> Result<Turn, Failure> {
        let turn = match who {
            Who::Ours => self.both.ours(self.kind, self.size, self.timing)?,
            Who::Dpdk => self.both.dpdk(self.kind, self.size, self.timing)?,
        };
        Ok(kept(turn, self.keep_disturbed))
    }
}

/// Looks at the ceiling for frames of `size` bytes.
fn look(cores: Cores, size: u16) -> Result<Look, Failure> {
    let cores = (cores.back_end, cores.driver);
    let rate = ceiling::quick(cores, MODE_LINES)?;
    let lines = lines_of(size);
    let limit = if lines == MODE_LINES { rate } else { ceiling::quick(cores, lines)? };
    Ok(Look { mode: Mode::of(rate), limit })
}

/// The turn, as a quiet one if disturbed ones are kept.
fn kept(turn: Turn, keep_disturbed: bool) -> Turn {
    let disturbance = if keep_disturbed { Disturbance::default() } else { turn.disturbance };
    Turn { disturbance, ..turn }
}
