//! What a run does.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::latency::Sampling;
use crate::{Capture, Rate, StreamSpec, Timing};

/// What a run does. The default offers frames of 64 bytes at 100 kpps in both directions, until stopped.
#[derive(Clone, Debug)]
pub struct Options {
    /// The rate offered in each direction.
    pub rate: Rate,
    /// The size of each generated frame.
    pub size: FrameSize,
    /// Frames to offer in each direction; `None`: no limit (a replay without `duration` and `count` plays its
    /// capture once).
    pub count: Option<u64>,
    /// How long to offer traffic; `None`: no limit.
    pub duration: Option<Duration>,
    /// Which way frames go, when there are two ports.
    pub direction: Direction,
    /// Play a capture instead of generating frames.
    pub replay: Option<Replay>,
    /// When the frames of a capture are due: at `rate`, or as they were captured.
    pub timing: Timing,
    /// Whether what is between the ports may change MAC addresses: then the first 12 bytes of a frame are
    /// not part of its checksum, nor of the comparison with a capture.
    pub macs_may_change: bool,
    /// How long the links may take to come up and a first frame to come through.
    pub warm_up: Duration,
    /// How long to wait for stragglers once nothing more is offered: this long after the last frame that came
    /// back, or a tenth of it when none is missing (a duplicate may still follow).
    pub drain: Duration,
    /// Packet buffers to share between the ports.
    pub buffers: usize,
    /// What to send; empty: one stream of `size` in each direction. Their rates, where they have none of their own, are
    /// shares of `rate`.
    pub streams: Vec<StreamSpec>,
    /// Which frames' latency to measure; `None`: no frame's.
    pub latency: Option<Sampling>,
    /// How far behind its schedule a stream may be and still catch up; what is older is given up and counted as
    /// skipped. `None`: a millisecond, or 64 frames where that is longer.
    pub catch_up: Option<Duration>,
    /// Queues of each port, each way, as far as the port has so many; at least 1. One thread serves them all,
    /// unless there are several `cores`.
    pub queues: u16,
    /// Cores to run on: with several, a thread on each, with one queue of each port each way and its share of every
    /// stream's rate and count. With fewer than two, everything runs in the caller's thread, wherever that is.
    pub cores: Vec<usize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rate: Rate::Packets(100_000),
            size: FrameSize::default(),
            count: None,
            duration: None,
            direction: Direction::Both,
            replay: None,
            timing: Timing::Rate,
            macs_may_change: true,
            warm_up: Duration::from_secs(30),
            drain: Duration::from_millis(200),
            buffers: 4096,
            streams: Vec::new(),
            latency: None,
            catch_up: None,
            queues: 1,
            cores: Vec::new(),
        }
    }
}

/// A capture to play, and whether to compare.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The frames.
    pub capture: Capture,
    /// Whether to compare what comes back with what was sent, frame by frame. Else frames are counted only.
    pub compare: bool,
}

/// Which way frames go between two ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// From A to B and from B to A.
    #[default]
    Both,
    /// From A to B.
    Forward,
    /// From B to A.
    Backward,
}

impl FromStr for Direction {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "both" => Ok(Self::Both),
            "forward" => Ok(Self::Forward),
            "backward" => Ok(Self::Backward),
            _ => Err(format!(
                "`{text}` is no direction; accepted: both, forward (A to B), backward (B to A)"
            )),
        }
    }
}

/// The size of a generated frame in bytes: L2 header included, FCS excluded, as testpmd's `txpkts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize(u16);

impl FrameSize {
    /// The smallest: an Ethernet frame without padding, and room for headers and stamp.
    pub const MIN: u16 = 60;
    /// The largest that fits one buffer.
    pub const MAX: u16 = 65_280;

    /// `None` where `bytes` is not within [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub fn new(bytes: u32) -> Option<Self> {
        u16::try_from(bytes).ok().filter(|b| (Self::MIN..=Self::MAX).contains(b)).map(Self)
    }

    /// Bytes, L2 header included, FCS excluded.
    pub fn bytes(self) -> u16 {
        self.0
    }
}

impl Default for FrameSize {
    /// 64 bytes.
    fn default() -> Self {
        Self(64)
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for FrameSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| digits).and_then(Self::new).ok_or_else(|| {
            format!(
                "`{text}` is no frame size; accepted: one number of bytes from {} to {} (L2 header included, FCS \
                 excluded)",
                Self::MIN,
                Self::MAX
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_within_bounds_only() {
        for good in ["60", "64", "1514", "65280"] {
            assert_eq!(good.parse::<FrameSize>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "0",
            "13",
            "59",
            "65281",
            "65536",
            "64-32",
            "-64",
            "+64",
            "64.0",
            "NaN",
            "4294967360",
        ] {
            let error = bad.parse::<FrameSize>().expect_err(bad);
            assert!(error.contains("from 60 to 65280"), "{bad}: {error}");
        }
    }
}
