//! Scenario files: the streams of a run in TOML.
//!
//! ```toml
//! rate = "1Mpps"                # shared, by weight, by the streams without a rate of their own
//! duration = "10s"
//!
//! [[stream]]
//! name = "web"
//! weight = 3
//! size = "imix-csit"
//! frame = "ethernet/ipv4/tcp(destination=443)"
//! fields = ["ipv4.source=inc:10.0.0.1-10.0.3.232", "tcp.source=random:1024-65535@7"]
//!
//! [[stream]]
//! name = "voice"
//! direction = "forward"
//! rate = "50kpps"
//! profile = "poisson@1"
//! size = "218"
//! frame = "ethernet/vlan(id=5,priority=5)/ipv4(dscp=46)/udp"
//! ```
//!
//! Values are texts in the syntax of the command line. What is not known is refused, with its line and what is accepted.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use crate::stream::parse_duration;
use crate::{Checksums, Coverage, Direction, Options, Rate, StreamSpec, file};

/// Bytes of the largest scenario file.
const MOST: u64 = 16 << 20;

/// What a scenario file says.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    /// The streams, at least one.
    pub streams: Vec<StreamSpec>,
    /// The rate that streams without their own share.
    pub rate: Option<Rate>,
    /// How long to send.
    pub duration: Option<Duration>,
    /// Frames to send in each direction.
    pub count: Option<u64>,
    /// Which way frames go.
    pub direction: Option<Direction>,
    /// How far behind its schedule a stream may be and still catch up.
    pub catch_up: Option<Duration>,
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or [`ScenarioError`] as [`from_str`](Self::from_str).
    pub fn open(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display();
        let text = file::read_text(path, MOST)
            .map_err(|error| ScenarioError(format!("cannot read the scenario {name}: {error}")))?;
        text.parse()
            .map_err(|ScenarioError(error)| ScenarioError(format!("scenario {name}: {error}")))
    }

    /// Puts what the file says into `options`.
    pub fn apply(&self, options: &mut Options) {
        options.streams.clone_from(&self.streams);
        options.rate = self.rate.unwrap_or(options.rate);
        options.duration = self.duration.or(options.duration);
        options.count = self.count.or(options.count);
        options.direction = self.direction.unwrap_or(options.direction);
        options.catch_up = self.catch_up.or(options.catch_up);
    }
}

/// A text that is no scenario: what was wrong, where, and what is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(String);

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

/// The file's tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    rate: Option<Text<Rate>>,
    duration: Option<Time>,
    count: Option<u64>,
    direction: Option<Text<Direction>>,
    catch_up: Option<Time>,
    #[serde(default)]
    stream: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    name: Option<String>,
    direction: Option<Text<Direction>>,
    rate: Option<Text<Rate>>,
    weight: Option<u32>,
    profile: Option<Text<crate::Profile>>,
    size: Option<Text<crate::SizeSpec>>,
    frame: Option<Text<crate::FrameSpec>>,
    #[serde(default)]
    fields: Vec<Text<crate::FieldSpec>>,
    flows: Option<u64>,
    checksums: Option<Text<Checksums>>,
    stamp: Option<bool>,
    coverage: Option<Text<Coverage>>,
    per_flow: Option<bool>,
    count: Option<u64>,
}

/// A value that is written as text.
struct Text<T>(T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// A time that is written as text.
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(D::Error::custom)
    }
}

impl From<Table> for StreamSpec {
    fn from(table: Table) -> Self {
        let plain = Self::default();
        Self {
            name: table.name.unwrap_or_default(),
            direction: table.direction.map(|text| text.0),
            rate: table.rate.map(|text| text.0),
            weight: table.weight.unwrap_or(1),
            profile: table.profile.map_or(plain.profile, |text| text.0),
            size: table.size.map_or(plain.size, |text| text.0),
            frame: table.frame.map_or(plain.frame, |text| text.0),
            fields: table.fields.into_iter().map(|text| text.0).collect(),
            flows: table.flows,
            checksums: table.checksums.map_or(plain.checksums, |text| text.0),
            stamp: table.stamp.unwrap_or(true),
            coverage: table.coverage.map(|text| text.0),
            per_flow: table.per_flow.unwrap_or(false),
            count: table.count,
        }
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let file: File = toml::from_str(text).map_err(|error| {
            // The message's own picture of the place has line and column.
            ScenarioError(error.to_string().trim_end().to_owned())
        })?;
        let streams: Vec<StreamSpec> = file.stream.into_iter().map(Into::into).collect();
        if streams.is_empty() {
            return Err(ScenarioError(
                "there is no stream; accepted: one table [[stream]] for each".into(),
            ));
        }
        for (number, stream) in streams.iter().enumerate() {
            let fail = |error| {
                ScenarioError(format!("stream {} (`{}`): {error}", number + 1, stream.name))
            };
            stream.check().map_err(fail)?;
        }
        Ok(Self {
            streams,
            rate: file.rate.map(|text| text.0),
            duration: file.duration.map(|time| time.0),
            count: file.count,
            direction: file.direction.map(|text| text.0),
            catch_up: file.catch_up.map(|time| time.0),
        })
    }
}

#[cfg(test)]
mod tests;
