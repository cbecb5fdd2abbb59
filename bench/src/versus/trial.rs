//! The order of a comparison: a look at the ceiling, our turn, a look, DPDK's turn, a look, and so on.

use super::disturbance::Disturbance;
use super::tally::Tally;
use crate::ceiling::Mode;

/// Why a comparison cannot go on.
pub type Failure = Box<dyn std::error::Error>;

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The pair that has us in it.
    Ours,
    /// DPDK on both sides.
    Dpdk,
}

/// What one pair did in one turn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Million packets per second, at the receiver.
    pub mpps: f64,
    /// Cycles per packet of the side in question, where it counted any packet.
    pub cycles: Option<f64>,
    /// Who else used the machine.
    pub disturbance: Disturbance,
}

/// A look at the ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// How the cores are placed.
    pub mode: Mode,
    /// What they can exchange at most of packets of the size in question, in Mpps.
    pub limit: f64,
}

/// A trial: a turn of each, with the looks before, between and after.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// The three looks.
    pub looks: [Look; 3],
    /// Our turn.
    pub ours: Turn,
    /// DPDK's turn.
    pub dpdk: Turn,
}

/// What a comparison needs.
pub trait Rig {
    /// What can go wrong.
    type Error;

    /// Looks at the ceiling.
    ///
    /// # Errors
    /// It cannot be measured.
    fn look(&mut self) -> Result<Look, Self::Error>;

    /// Lets one pair run.
    ///
    /// # Errors
    /// It failed; this ends the comparison.
    fn turn(&mut self, who: Who) -> Result<Turn, Self::Error>;
}

/// How many times the wanted number of trials is tried for before giving up.
const PATIENCE: usize = 3;

/// Trials until `wanted` of one of the `modes` count, or three times as many were made; the first is discarded.
///
/// # Errors
/// The rig's.
pub fn compare<R: Rig>(rig: &mut R, wanted: usize, modes: &[Mode]) -> Result<Tally, R::Error> {
    let mut tally = Tally::default();
    let mut before = rig.look()?;
    for number in 0..=wanted.saturating_mul(PATIENCE) {
        let ours = rig.turn(Who::Ours)?;
        let between = rig.look()?;
        let dpdk = rig.turn(Who::Dpdk)?;
        let after = rig.look()?;
        if number > 0 {
            tally.add(&Trial { looks: [before, between, after], ours, dpdk });
        }
        if tally.most(modes) >= wanted {
            break;
        }
        before = after;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[derive(Default)]
    struct Fake {
        order: String,
        looks: usize,
        turns: usize,
        /// Looks from this one on are in the other mode.
        changes_at: usize,
        disturbed: bool,
    }

    impl Rig for Fake {
        type Error = Infallible;

        fn look(&mut self) -> Result<Look, Infallible> {
            self.order.push('.');
            self.looks += 1;
            let shared = self.changes_at == 0 || self.looks < self.changes_at;
            Ok(Look { mode: if shared { Mode::Shared } else { Mode::Separate }, limit: 100.0 })
        }

        fn turn(&mut self, who: Who) -> Result<Turn, Infallible> {
            self.order.push(if who == Who::Ours { 'A' } else { 'B' });
            self.turns += 1;
            // The warm-up would spoil the medians.
            let mpps = if self.turns <= 2 { 1000.0 } else { 4.0 };
            let mpps = if who == Who::Ours { mpps * 2.0 } else { mpps };
            let other = if self.disturbed { 0.5 } else { 0.0 };
            Ok(Turn { mpps, cycles: None, disturbance: Disturbance { other, steal: 0.0 } })
        }
    }

    fn run(mut fake: Fake, wanted: usize) -> (String, Tally) {
        let Ok(tally) = compare(&mut fake, wanted, &Mode::ALL);
        (fake.order, tally)
    }

    #[test]
    fn turns_alternate_with_a_look_around_each() {
        let (order, tally) = run(Fake::default(), 3);
        assert_eq!(order, ".A.B.A.B.A.B.A.B.", "the warm-up and three trials");
        let figure = tally.figure(Mode::Shared).unwrap();
        assert_eq!((figure.ours_mpps, figure.dpdk_mpps, figure.ratio.n), (8.0, 4.0, 3));
        assert_eq!(tally.figure(Mode::Separate), None);
    }

    #[test]
    fn it_goes_on_until_one_mode_has_enough() {
        // The sixth look is the last of the second trial (after the warm-up, which has three).
        let (order, tally) = run(Fake { changes_at: 6, ..Fake::default() }, 3);
        let (shared, separate) =
            (tally.figure(Mode::Shared).unwrap(), tally.figure(Mode::Separate).unwrap());
        assert_eq!((shared.ratio.n, shared.ratio.discarded), (1, 1), "its mode changed half-way");
        assert_eq!((separate.ratio.n, separate.ratio.discarded), (3, 0));
        assert_eq!(order.matches('A').count(), 1 + 1 + 1 + 3);
    }

    #[test]
    fn trials_of_a_mode_that_nobody_wants_are_not_enough() {
        let Ok(tally) = compare(&mut Fake::default(), 2, &[Mode::Separate]);
        assert_eq!((tally.most(&[Mode::Separate]), tally.most(&Mode::ALL)), (0, 2 * PATIENCE));
    }

    #[test]
    fn a_machine_that_is_never_quiet_ends_it() {
        let (order, tally) = run(Fake { disturbed: true, ..Fake::default() }, 2);
        assert_eq!(order.matches('B').count(), 1 + 2 * PATIENCE);
        assert_eq!(
            (tally.figure(Mode::Shared), tally.discarded(Mode::Shared)),
            (None, 2 * PATIENCE)
        );
    }
}
