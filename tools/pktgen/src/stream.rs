//! Streams: what is sent, as a value. A direction has as many as are given; each has its own numbers, rate and sizes.
//!
//! ```
//! use pktgen::{Profile, StreamSpec};
//!
//! let voice = StreamSpec {
//!     name: "voice".into(),
//!     rate: Some("50kpps".parse()?),
//!     frame: "ethernet/vlan(id=5,priority=5)/ipv4(dscp=46)/udp(destination=5004)".parse()?,
//!     size: "218".parse()?,
//!     fields: vec!["udp.source=inc:16384-32767/2".parse()?],
//!     flows: Some(1000),
//!     profile: Profile::Poisson { seed: 7 },
//!     ..StreamSpec::default()
//! };
//! assert_eq!(voice.size.to_string(), "218");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every part reads from and prints as text, the same on the command line and in a [`Scenario`](crate::Scenario).

pub(crate) mod build;
pub(crate) mod engine;
pub(crate) mod field;
pub(crate) mod frame;
pub(crate) mod layout;
mod profile;
pub(crate) mod size;
mod value;

use std::fmt;
use std::str::FromStr;

pub use field::{FieldSpec, Values};
pub use frame::{FrameSpec, LayerKind, LayerSpec};
pub use profile::{Profile, parse_duration};
pub use size::SizeSpec;

use netdev::MacAddress;

use crate::stamp::DATA_MAGIC;
use crate::template::{Coverage, TemplateConfig, compile};
use crate::{Direction, Rate};

/// One stream: frames that are alike, at a rate, in one direction or both.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamSpec {
    /// Its name in reports.
    pub name: String,
    /// The direction; `None`: every direction of the run has a stream like this.
    pub direction: Option<Direction>,
    /// Its rate; `None`: its share of the run's rate, by `weight`.
    pub rate: Option<Rate>,
    /// Its share among the streams of a direction that have no rate of their own; at least 1. Shares are of what the
    /// rate counts: frames, or bits; of `max`, frames.
    pub weight: u32,
    /// How its frames are spread over time.
    pub profile: Profile,
    /// Their sizes.
    pub size: SizeSpec,
    /// What they are made of.
    pub frame: FrameSpec,
    /// Which of their fields have other values than by default, or vary.
    pub fields: Vec<FieldSpec>,
    /// After so many frames all fields begin again, so that there are this many flows; `None`: each field on its own.
    pub flows: Option<u64>,
    /// The checksums of their protocols.
    pub checksums: Checksums,
    /// Whether frames carry a stamp. Without one they are counted, and neither told apart nor verified.
    pub stamp: bool,
    /// What the content checksum covers; `None`: as the run's
    /// [`macs_may_change`](crate::Options::macs_may_change) says.
    pub coverage: Option<Coverage>,
    /// Whether to keep figures per flow; needs `flows` of at most [`MOST_FLOWS`].
    pub per_flow: bool,
    /// Frames to send; `None`: no limit but the run's.
    pub count: Option<u64>,
}

/// The most flows of which figures are kept one by one.
pub const MOST_FLOWS: u64 = 65_536;

impl Default for StreamSpec {
    /// Stamped frames of 64 bytes, UDP over IPv4.
    fn default() -> Self {
        Self {
            name: String::new(),
            direction: None,
            rate: None,
            weight: 1,
            profile: Profile::Constant,
            size: SizeSpec::default(),
            frame: FrameSpec::udp(),
            fields: Vec::new(),
            flows: None,
            checksums: Checksums::Correct,
            stamp: true,
            coverage: None,
            per_flow: false,
            count: None,
        }
    }
}

impl StreamSpec {
    /// Checks what no part can know alone.
    ///
    /// # Errors
    /// In words that say what is accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.weight == 0 || self.flows == Some(0) || self.count == Some(0) {
            return Err("a weight, a number of flows and a count are at least 1".into());
        }
        for (number, field) in self.fields.iter().enumerate() {
            if self.fields[..number].iter().any(|other| other.name == field.name) {
                let name = &field.name;
                return Err(format!("field {name} is given twice; accepted: each field once"));
            }
        }
        if self.per_flow && self.flows.is_none_or(|flows| flows > MOST_FLOWS) {
            return Err(format!("figures per flow need `flows` from 1 to {MOST_FLOWS}"));
        }
        if self.per_flow && !self.stamp {
            return Err("figures per flow need a stamp".into());
        }
        self.compiles()
    }

    /// Whether frames can be made of it, of the smallest size and of the largest; whatever the ports' addresses are.
    fn compiles(&self) -> Result<(), String> {
        let sizes = self.sizes();
        let mut ends: Vec<u16> = sizes.first().into_iter().chain(sizes.last()).copied().collect();
        ends.dedup();
        let compiled = compile(&TemplateConfig {
            frame: &self.frame,
            sizes: &ends,
            fields: &self.fields,
            checksums: &self.checksums,
            coverage: self.coverage.unwrap_or(Coverage::WithoutMacs),
            stamped: self.stamp,
            source: MacAddress::local(0),
            destination: MacAddress::local(1),
            magic: DATA_MAGIC,
            stream: 0,
            run: 0,
        });
        compiled.map(drop)
    }

    /// The sizes: those that were named, or that of a frame given by its bytes.
    pub(crate) fn sizes(&self) -> Vec<u16> {
        match &self.frame {
            FrameSpec::Bytes(bytes) if self.size == SizeSpec::default() => {
                vec![u16::try_from(bytes.len()).unwrap_or(u16::MAX)]
            }
            _ => self.size.distinct(),
        }
    }

    /// The sizes as a specification, as [`sizes`](Self::sizes) has them.
    pub(crate) fn size_spec(&self) -> SizeSpec {
        match (&self.frame, &self.size) {
            (FrameSpec::Bytes(_), size) if *size == SizeSpec::default() => {
                SizeSpec::Fixed(self.sizes()[0])
            }
            (_, size) => size.clone(),
        }
    }
}

/// The checksums that protocols have: IPv4, UDP, TCP, ICMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// As they must be.
    #[default]
    Correct,
    /// As the frame has them: zero in one that is built, anything in one that was given by its bytes.
    Keep,
    /// Wrong in these protocols, correct in the others.
    Wrong(Vec<LayerKind>),
}

/// The protocols that have a checksum.
const SUMMED: [LayerKind; 4] = [LayerKind::Ipv4, LayerKind::Udp, LayerKind::Tcp, LayerKind::Icmp];

impl FromStr for Checksums {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = |name: &str| SUMMED.into_iter().find(|kind| kind.name() == name);
        let parsed = match text {
            "correct" => Some(Self::Correct),
            "keep" => Some(Self::Keep),
            _ => text
                .strip_prefix("wrong:")
                .and_then(|names| names.split(',').map(kind).collect::<Option<_>>())
                .map(Self::Wrong),
        };
        parsed.ok_or_else(|| {
            format!("`{text}` says nothing of checksums; accepted: correct, keep, wrong:LAYER,... with ipv4, udp, tcp, icmp")
        })
    }
}

impl fmt::Display for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Correct => f.write_str("correct"),
            Self::Keep => f.write_str("keep"),
            Self::Wrong(kinds) => {
                let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
                write!(f, "wrong:{}", names.join(","))
            }
        }
    }
}

impl FromStr for Coverage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "whole" => Ok(Self::Whole),
            "without-macs" => Ok(Self::WithoutMacs),
            "payload" => Ok(Self::Payload),
            _ => Err(format!("`{text}` is no coverage; accepted: whole, without-macs, payload")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_read_and_print() {
        for text in ["correct", "keep", "wrong:ipv4,udp"] {
            assert_eq!(text.parse::<Checksums>().unwrap().to_string(), text);
        }
        for text in ["", "wrong", "wrong:", "wrong:arp", "right"] {
            assert!(text.parse::<Checksums>().unwrap_err().contains("accepted: correct"), "{text}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let good = StreamSpec { per_flow: true, flows: Some(5), ..StreamSpec::default() };
        assert_eq!(good.check(), Ok(()));
        for bad in [
            StreamSpec { weight: 0, ..StreamSpec::default() },
            StreamSpec { flows: None, ..good.clone() },
            StreamSpec { flows: Some(0), ..good.clone() },
            StreamSpec { flows: Some(MOST_FLOWS + 1), ..good.clone() },
            StreamSpec { stamp: false, ..good.clone() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
