//! Side by side with DPDK: what `versus-dpdk` is made of.
//!
//! A *pair* is two processes joined by a vhost-user socket, a back end and a driver, each pinned to a core of its
//! own. In every *place* there are two pairs that do the same work, one of them DPDK's testpmd on both sides:
//!
//! ```text
//! place      ours                                    DPDK's
//! loop       our back end     <-> our driver         vhost <-> virtio-user
//! backend    our back end     <-> virtio-user        vhost <-> virtio-user
//! driver     vhost            <-> our driver         vhost <-> virtio-user
//! ```
//!
//! Both pairs live as long as the place is measured; of one that does not run, every thread sleeps. The pairs
//! take turns (ABAB...), with a look at the ceiling ([`crate::ceiling`]) before and after each turn.
//!
//! The generator ([`generator`]) has no peer: it and testpmd's senders fill a port that throws frames away.
//!
//! [`plan`] says who does what, [`forwarder`] is our side, [`testpmd`] DPDK's, [`pair`] joins two of them,
//! [`trial`] is one turn of each pair, [`tally`] decides which turns count, [`report`] is what comes out, and
//! [`comparison`] goes through all that the [`options`] ask for.
//!
//! Deliberately absent: any judgement of the ratios, and any tuning of the machine.

pub mod comparison;
pub mod cores;
pub mod disturbance;
pub mod forwarder;
pub mod generator;
pub mod job;
pub mod options;
pub mod pair;
pub mod plan;
pub mod progress;
pub mod report;
pub mod side;
pub mod tally;
pub mod testpmd;
pub mod traffic;
pub mod trial;
mod turns;
mod verify;
