//! What a run found: one value for people and machines.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::latency::LatencyReport;
use crate::{Environment, StreamReport};

/// The version of the report's fields. Goes up when one changes its meaning or goes away.
pub const REPORT_VERSION: u32 = 1;

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub version: u32,
    /// Whether the run was stopped before its end: the figures are of the part that ran.
    pub interrupted: bool,
    /// The rate that was asked for, in each direction, as on the command line.
    pub rate: String,
    /// Bytes of each generated frame, L2 header included, FCS excluded; `None` for a replay.
    pub size: Option<u16>,
    /// Seconds from the start of the warm-up to the first frame that came through.
    pub warm_up_s: f64,
    /// One entry per direction.
    pub directions: Vec<DirectionReport>,
    /// One entry per port.
    pub ports: Vec<PortReport>,
    /// One entry per stream; none for a replay.
    pub streams: Vec<StreamReport>,
    /// Latency, where it was to be measured.
    pub latency: Option<LatencyReport>,
    /// Cycles of the generator's clock per frame sent or received, of the time that something was moved.
    pub cycles_per_packet: Option<f64>,
    /// The machine and its state.
    pub environment: Environment,
}

impl Report {
    /// Lost frames over all directions.
    pub fn lost(&self) -> u64 {
        self.directions.iter().map(|d| d.lost).sum()
    }

    /// Whether each frame that was sent came back once, in order, intact, and on the right port.
    pub fn is_clean(&self) -> bool {
        self.directions.iter().all(|d| {
            d.sent > 0
                && d.lost + d.duplicated + d.reordered + d.corrupted + d.misdirected + d.late == 0
        })
    }
}

/// One direction's figures.
///
/// They obey `sent == received - duplicated + lost + corrupted` (a corrupted frame that was also duplicated
/// can hide one loss: its sequence number cannot be believed).
#[derive(Clone, Debug, Serialize)]
pub struct DirectionReport {
    /// `forward` (A to B) or `backward` (B to A); `reflected` with a single port.
    pub direction: &'static str,
    /// The port that frames went into, as it was named.
    pub from: String,
    /// The port that frames were expected from.
    pub to: String,
    /// Frames that the port took and did not drop itself. Probes of the warm-up are not counted anywhere.
    pub sent: u64,
    /// Intact frames that came out of the right port, duplicates included, corrupted ones not.
    pub received: u64,
    /// Frames sent that never came out of the right port.
    pub lost: u64,
    /// Frames that had come out before.
    pub duplicated: u64,
    /// Frames that came out after one with a higher sequence number (RFC 4737, section 3).
    pub reordered: u64,
    /// Frames of this direction whose contents had changed.
    pub corrupted: u64,
    /// Intact frames of this direction that came out of the wrong port.
    pub misdirected: u64,
    /// Frames so late that it is not known whether they came before; among the lost, not the received.
    pub late: u64,
    /// Frames that were not sent, by cause.
    pub not_sent: BTreeMap<String, u64>,
    /// Millions of frames per second that came out: `received` over the time from the first frame sent to the
    /// last received.
    pub mpps: f64,
    /// Seconds during which frames were offered.
    pub duration_s: f64,
    /// Millions of frames per second that were to be sent; `None`: as many as possible.
    pub offered_mpps: Option<f64>,
    /// Millions of frames per second that were sent.
    pub achieved_mpps: f64,
    /// `achieved / offered - 1`; `None` where there was no offered rate.
    pub rate_error: Option<f64>,
    /// Frames that were due and given up, because the port was full or the generator late for too long.
    pub skipped: u64,
    /// How often the port had no room.
    pub ring_full: u64,
    /// Seconds during which frames waited for room in the port.
    pub ring_full_s: f64,
}

/// One port's figures.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport {
    /// The port, as it was named.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// The offloads that were negotiated, by name.
    pub offloads: String,
    /// The feature bits in force at the end, in hexadecimal, as the virtio specification numbers them; `None` where the
    /// port has none, or its peer had gone.
    pub feature_bits: Option<String>,
    /// Frames that the generator did not send: ARP, router solicitations, those of an earlier run.
    pub foreign: u64,
    /// Frames that arrived and could not be received, by cause.
    pub receive_drops: BTreeMap<String, u64>,
    /// Frames that were to be sent and were dropped by the port, by cause.
    pub transmit_drops: BTreeMap<String, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.size.map_or("frames of several sizes".into(), |s| format!("{s} B frames"));
        writeln!(
            f,
            "{size}, rate {}{}",
            self.rate,
            if self.interrupted { " (interrupted)" } else { "" }
        )?;
        for d in &self.directions {
            writeln!(
                f,
                "{:<9} {} sent, {} received, {} lost, {} duplicated, {} reordered, {} corrupted, {} misdirected, {} late",
                d.direction,
                d.sent,
                d.received,
                d.lost,
                d.duplicated,
                d.reordered,
                d.corrupted,
                d.misdirected,
                d.late,
            )?;
            let offered = d.offered_mpps.map_or("max".into(), |m| format!("{m:.6} Mpps"));
            writeln!(
                f,
                "{:<9} {:.6} Mpps received, {:.6} Mpps sent of {offered} offered, {:.3} s",
                "", d.mpps, d.achieved_mpps, d.duration_s,
            )?;
            for (cause, count) in &d.not_sent {
                writeln!(f, "{:<9} {count} not sent: {cause}", "")?;
            }
        }
        if let Some(latency) = &self.latency {
            write!(f, "{latency}")?;
        }
        for port in &self.ports {
            if port.foreign > 0 {
                writeln!(f, "{}: {} foreign frames ignored", port.name, port.foreign)?;
            }
            for (cause, count) in &port.receive_drops {
                writeln!(f, "{}: {count} not received: {cause}", port.name)?;
            }
        }
        Ok(())
    }
}
