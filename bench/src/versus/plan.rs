//! What is compared: places, paths, directions and sizes, and who does what in each.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::job::Work;

/// Where we stand in for DPDK.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On both sides.
    Loop,
    /// As the back end, under DPDK's virtio-user.
    Backend,
    /// As the driver, over DPDK's vhost.
    Driver,
}

/// The ring's format. Both sides insist on it: nothing falls back to another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// virtio 1.2, 2.7.
    Split,
    /// virtio 1.2, 2.8.
    Packed,
}

/// Which way packets go, seen from the side in question ([`Roles::measured`]).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It swaps addresses and sends back what the other side generates. Counted where they come back.
    Both,
    /// It receives.
    Rx,
    /// It sends.
    Tx,
}

/// One side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The device half: DPDK's `net_vhost`, our `vhost-user` back end.
    BackEnd,
    /// The driver half: DPDK's `net_virtio_user`, our virtio-net over a vhost-user front end.
    Driver,
}

/// Who does what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// What the back end does.
    pub back_end: Work,
    /// What the driver does.
    pub driver: Work,
    /// The side whose cycles per packet are reported.
    pub measured: Role,
    /// The side at which packets are counted.
    pub receiver: Role,
}

impl Role {
    /// The other side.
    pub const fn other(self) -> Self {
        match self {
            Self::BackEnd => Self::Driver,
            Self::Driver => Self::BackEnd,
        }
    }
}

impl Place {
    /// All, in the order of a run.
    pub const ALL: [Self; 3] = [Self::Loop, Self::Backend, Self::Driver];

    /// The roles that we have in it.
    pub const fn ours(self) -> &'static [Role] {
        match self {
            Self::Loop => &[Role::BackEnd, Role::Driver],
            Self::Backend => &[Role::BackEnd],
            Self::Driver => &[Role::Driver],
        }
    }

    /// The side that a direction is named from. In a loop the back end swaps, as a switch does, and the driver
    /// sends or receives, as a guest does.
    const fn side(self, direction: Direction) -> Role {
        match (self, direction) {
            (Self::Backend, _) | (Self::Loop, Direction::Both) => Role::BackEnd,
            (Self::Driver, _) | (Self::Loop, Direction::Rx | Direction::Tx) => Role::Driver,
        }
    }

    /// Who does what for `direction`.
    pub const fn roles(self, direction: Direction) -> Roles {
        let measured = self.side(direction);
        let (here, there, receiver) = match direction {
            Direction::Both => (Work::Swap, Work::Generate, measured.other()),
            Direction::Rx => (Work::Receive, Work::Send, measured),
            Direction::Tx => (Work::Send, Work::Receive, measured.other()),
        };
        match measured {
            Role::BackEnd => Roles { back_end: here, driver: there, measured, receiver },
            Role::Driver => Roles { back_end: there, driver: here, measured, receiver },
        }
    }
}

impl Roles {
    /// What `role` does.
    pub const fn of(&self, role: Role) -> Work {
        match role {
            Role::BackEnd => self.back_end,
            Role::Driver => self.driver,
        }
    }
}

/// The name that the command line and the JSON have for a value.
macro_rules! display_by_name {
    ($($kind:ty),+) => {
        $(impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value();
                f.pad(value.as_ref().map_or("", |value| value.get_name()))
            }
        })+
    };
}

pub(super) use display_by_name;

display_by_name!(Place, Path, Direction, Role);

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECTIONS: [Direction; 3] = [Direction::Both, Direction::Rx, Direction::Tx];

    #[test]
    fn somebody_sends_and_the_receiver_receives() {
        for place in Place::ALL {
            for direction in DIRECTIONS {
                let roles = place.roles(direction);
                let expected = match direction {
                    Direction::Both => (Work::Swap, Work::Generate),
                    Direction::Rx => (Work::Receive, Work::Send),
                    Direction::Tx => (Work::Send, Work::Receive),
                };
                let measured = roles.measured;
                assert_eq!((roles.of(measured), roles.of(measured.other())), expected);
                assert!(matches!(roles.of(roles.receiver), Work::Receive | Work::Generate));
                assert!(place.ours().contains(&measured), "{place}: not ours is measured");
            }
        }
    }

    #[test]
    fn names_are_those_of_the_json() {
        let json = serde_json::to_string(&(Place::Backend, Path::Packed, Direction::Rx)).unwrap();
        assert_eq!(json, r#"["backend","packed","rx"]"#);
        assert_eq!(
            format!("{:<8}|{}|{}", Place::Loop, Role::BackEnd, Direction::Both),
            "loop    |back-end|both"
        );
    }
}
