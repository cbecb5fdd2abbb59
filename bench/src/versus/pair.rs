//! Two sides joined by a socket.

use std::time::{Duration, Instant};

use super::disturbance::Load;
use super::job::{Account, Work};
use super::plan::{Place, Role, Roles};
use super::side::{Ours, Side, SideError, Wiring};
use super::testpmd::Testpmd;
use super::trial::Turn;

/// How long two sides may take to find each other.
const MEETING: Duration = Duration::from_secs(30);
/// Frames of a verification, at least.
pub const VERIFIED: u64 = 20_000;

/// A back end and a driver. Ended when dropped, the driver first.
pub struct Pair {
    driver: Box<dyn Side>,
    back_end: Box<dyn Side>,
}

/// How long a turn is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Between the start and the first count: rings fill, caches warm.
    pub settle: Duration,
    /// Between the two counts.
    pub window: Duration,
}

impl Pair {
    /// Starts both sides; those of `ours` are ours.
    ///
    /// # Errors
    /// One of them cannot be started.
    pub fn start(ours: &[Role], wiring: &Wiring) -> Result<Self, SideError> {
        let side = |role| -> Result<Box<dyn Side>, SideError> {
            if ours.contains(&role) {
                Ok(Box::new(Ours::start(role, wiring)?))
            } else {
                Ok(Box::new(Testpmd::start(role, wiring)?))
            }
        };
        let back_end = side(Role::BackEnd)?;
        Ok(Self { driver: side(Role::Driver)?, back_end })
    }

    /// The processes.
    pub fn ids(&self) -> [u32; 2] {
        [self.back_end.id(), self.driver.id()]
    }

    fn side(&mut self, role: Role) -> &mut dyn Side {
        match role {
            Role::BackEnd => self.back_end.as_mut(),
            Role::Driver => self.driver.as_mut(),
        }
    }

    /// Waits until packets pass, and stops.
    ///
    /// # Errors
    /// None does.
    pub fn meet(&mut self, place: Place, size: u16) -> Result<(), SideError> {
        let roles = place.roles(super::plan::Direction::Both);
        self.begin(&roles, size)?;
        let deadline = Instant::now() + MEETING;
        while self.side(roles.receiver).account()?.received == 0 {
            if Instant::now() > deadline {
                return Err(SideError(format!("no packet passes between the two sides ({place})")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.end(&roles)
    }

    /// Has `role`, a side of ours, compare every byte of what the other side sends back; how many frames were
    /// compared.
    ///
    /// # Errors
    /// A frame was lost or damaged, or none came back.
    pub fn verify(&mut self, role: Role, size: u16) -> Result<u64, SideError> {
        self.side(role.other()).start(Work::Swap, size)?;
        let before = self.side(role).account()?;
        self.side(role).start(Work::Verify, size)?;
        let deadline = Instant::now() + MEETING;
        let found = loop {
            let now = self.side(role).account()?;
            if now.wrong > before.wrong {
                break Err(format!(
                    "{} frames came back damaged or not at all",
                    now.wrong - before.wrong
                ));
            } else if now.checked >= VERIFIED {
                break Ok(now.checked);
            } else if Instant::now() > deadline {
                break Err(format!("only {} of {VERIFIED} frames came back", now.checked));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.side(role).stop()?;
        self.side(role.other()).stop()?;
        found.map_err(|what| SideError(format!("contents, {size} B, {role} of ours: {what}")))
    }

    /// One turn. `processes` belong to the comparison, these two among them.
    ///
    /// # Errors
    /// A side ended or does not answer, or frames were not what was asked for.
    pub fn turn(
        &mut self,
        roles: &Roles,
        size: u16,
        timing: Timing,
        processes: &[u32],
    ) -> Result<Turn, SideError> {
        self.begin(roles, size)?;
        std::thread::sleep(timing.settle);
        let load = Load::now(processes);
        let measured = self.side(roles.measured).account()?;
        let received = self.side(roles.receiver).account()?;
        std::thread::sleep(timing.window);
        let received = between(&received, &self.side(roles.receiver).account()?);
        let measured = between(&measured, &self.side(roles.measured).account()?);
        let disturbance = Load::now(processes).since(&load);
        self.end(roles)?;
        for account in [&received, &measured] {
            check(account, size)?;
        }
        let mpps = ratio(received.received, received.nanos).map(|per_nano| per_nano * 1e3);
        let mpps = mpps.ok_or_else(|| SideError("no time has passed".into()))?;
        Ok(Turn { mpps, cycles: ratio(measured.cycles, measured.packets), disturbance })
    }

    /// Who takes begins first, so that nothing is sent to nobody.
    fn begin(&mut self, roles: &Roles, size: u16) -> Result<(), SideError> {
        for role in order(roles) {
            self.side(role).start(roles.of(role), size)?;
        }
        Ok(())
    }

    fn end(&mut self, roles: &Roles) -> Result<(), SideError> {
        for role in order(roles).into_iter().rev() {
            self.side(role).stop()?;
        }
        Ok(())
    }
}

/// The sides in the order in which they begin: the one that sends of itself is last.
fn order(roles: &Roles) -> [Role; 2] {
    match roles.back_end {
        Work::Send | Work::Generate => [Role::Driver, Role::BackEnd],
        Work::Swap | Work::Receive | Work::Verify => [Role::BackEnd, Role::Driver],
    }
}

fn between(before: &Account, after: &Account) -> Account {
    Account {
        nanos: after.nanos.saturating_sub(before.nanos),
        received: after.received.saturating_sub(before.received),
        received_bytes: after.received_bytes.saturating_sub(before.received_bytes),
        sent: after.sent.saturating_sub(before.sent),
        cycles: after.cycles.saturating_sub(before.cycles),
        packets: after.packets.saturating_sub(before.packets),
        checked: after.checked.saturating_sub(before.checked),
        wrong: after.wrong.saturating_sub(before.wrong),
        dropped: after.dropped.saturating_sub(before.dropped),
    }
}

/// Frames have the size that was asked for, and those that were looked at are in order.
fn check(account: &Account, size: u16) -> Result<(), SideError> {
    let Account { received, received_bytes, checked, wrong, dropped, .. } = *account;
    // (The counters of packets and of bytes are read one after the other, while they grow.)
    let strange = received_bytes.abs_diff(received * u64::from(size)) > 256 * u64::from(size);
    if strange
        && ratio(received_bytes, received * u64::from(size)).is_none_or(|r| (r - 1.0).abs() > 0.01)
    {
        return Err(SideError(format!(
            "{received} frames of {size} bytes were received, with {received_bytes} bytes in all"
        )));
    }
    if wrong > 0 {
        return Err(SideError(format!(
            "{wrong} of {checked} frames that were looked at were damaged"
        )));
    }
    if dropped > 0 {
        return Err(SideError(format!("{dropped} frames were dropped as faulty")));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::plan::Direction;

    #[test]
    fn who_sends_begins_last() {
        for place in Place::ALL {
            for direction in [Direction::Both, Direction::Rx, Direction::Tx] {
                let roles = place.roles(direction);
                let [_, last] = order(&roles);
                assert!(matches!(roles.of(last), Work::Send | Work::Generate), "{roles:?}");
            }
        }
    }

    #[test]
    fn frames_of_another_size_and_damaged_ones_are_errors() {
        let good = Account {
            received: 100_000,
            received_bytes: 6_400_000,
            checked: 9,
            ..Account::default()
        };
        assert_eq!(check(&good, 64), Ok(()));
        assert_eq!(check(&Account::default(), 64), Ok(()));
        assert!(check(&good, 60).is_err());
        assert!(
            check(&Account { wrong: 1, ..good }, 64).is_err_and(|error| error.0.contains("1 of 9"))
        );
        assert!(check(&Account { dropped: 3, ..good }, 64).is_err());
    }

    #[test]
    fn accounts_are_differences() {
        let before =
            Account { nanos: 1_000, received: 5, cycles: 100, packets: 10, ..Account::default() };
        let after =
            Account { nanos: 2_000, received: 25, cycles: 400, packets: 20, ..Account::default() };
        let account = between(&before, &after);
        assert_eq!((account.nanos, account.received, account.packets), (1_000, 20, 10));
        assert_eq!(ratio(account.cycles, account.packets), Some(30.0));
        assert_eq!(ratio(1, 0), None);
    }
}
