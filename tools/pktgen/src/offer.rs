//! Offer this, expect that: a run in a few words, for tests.
//!
//! Words are those of the command line and of scenario files. What is wrong with one of them comes back from the call
//! that runs, so that a chain of words needs one `?`; and an expectation that a report does not meet says what it has
//! instead, with the whole report.
//!
//! ```
//! use netdev::loopback;
//! use pktgen::{CLEAN, Offer};
//!
//! let (a, b) = loopback::pair(); // what is to be tested goes between two of them, or around one
//! let report = Offer::at("1Mpps")
//!     .frames("ethernet/vlan(id=5)/ipv4/udp(destination=53)")
//!     .field("ipv4.source=inc:10.0.0.1-10.0.0.100")
//!     .sizes("64,594x4,1514")
//!     .count(5_000)
//!     .through_devices([a, b])?;
//! report.expect(CLEAN)?.expect(&["received==5000", "mpps>0"])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use netbuf::{DeviceMemory, Pool};
use netdev::Device;

use crate::fail_on::FailOn;
use crate::latency::Sampling;
use crate::{
    AnyPort, Capture, Direction, Error, Options, Replay, Report, Runner, Scenario, StreamSpec,
    Timing, memory,
};

/// Every frame came back, once, in order, intact, and on the right port: as [`Report::is_clean`] says it.
pub const CLEAN: &[&str] = &[
    "sent>0",
    "loss==0",
    "duplicated==0",
    "reordered==0",
    "corrupted==0",
    "misdirected==0",
    "late==0",
];

/// Frames came back, and those that did came once, in order, intact, and on the right port.
pub const UNHARMED: &[&str] =
    &["received>0", "duplicated==0", "reordered==0", "corrupted==0", "misdirected==0"];

/// What is to be offered to ports or devices.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    options: Options,
    /// What the words say of the only stream; none: the options' streams.
    stream: Option<StreamSpec>,
    /// What was wrong first.
    wrong: Option<String>,
}

impl Offer {
    /// At this rate in each direction, as after `--rate`: `20kpps`, `10Mbps`, `max`. Without other words: frames of 64
    /// bytes, UDP over IPv4, in both directions, for a second.
    pub fn at(rate: &str) -> Self {
        let options = Options { duration: Some(Duration::from_secs(1)), ..Options::default() };
        Self { options, ..Self::default() }.said(rate, |offer, rate| offer.options.rate = rate)
    }

    /// The streams of a scenario file's text, and what it says of the run.
    pub fn scenario(text: &str) -> Self {
        Self::default().said(text, |offer, scenario: Scenario| scenario.apply(&mut offer.options))
    }

    /// The frames of a capture, at `rate`, and compared one by one when they come back.
    pub fn capture(path: &Path, rate: &str) -> Self {
        let mut offer = Self::at(rate);
        match Capture::open(path) {
            Ok(capture) => {
                let replay = Some(Replay { capture, compare: true });
                let (timing, duration) = (Timing::Rate, None);
                offer.options = Options { replay, timing, duration, ..offer.options };
            }
            Err(error) => offer.complain(error),
        }
        offer
    }

    /// What frames are made of, as after `--frame`: `ethernet/ipv4/udp(destination=53)`.
    #[must_use]
    pub fn frames(self, frame: &str) -> Self {
        self.said(frame, |offer, frame| offer.stream().frame = frame)
    }

    /// Their sizes, as after `--size`: `64`, `64,594x4,1514`, `imix-csit`.
    #[must_use]
    pub fn sizes(self, sizes: &str) -> Self {
        self.said(sizes, |offer, size| offer.stream().size = size)
    }

    /// One more field that differs, as after `--field`: `ipv4.source=inc:10.0.0.1-10.0.0.100`.
    #[must_use]
    pub fn field(self, field: &str) -> Self {
        self.said(field, |offer, field| offer.stream().fields.push(field))
    }

    /// So many frames in each direction, for as long as that takes.
    #[must_use]
    pub fn count(self, frames: u64) -> Self {
        self.with(|options| (options.count, options.duration) = (Some(frames), None))
    }

    /// For so long.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        self.with(|options| (options.count, options.duration) = (None, Some(duration)))
    }

    /// Which way frames go between two ports.
    #[must_use]
    pub fn direction(self, direction: Direction) -> Self {
        self.with(|options| options.direction = direction)
    }

    /// Measures the latency of every frame: `p99<1ms` can be expected then.
    #[must_use]
    pub fn latency(self) -> Self {
        self.with(|options| options.latency = Some(Sampling::ALL))
    }

    /// Anything else that [`Options`] has.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.options);
        self
    }

    /// Runs on one or two ports, named as after `--port`.
    ///
    /// # Errors
    /// A word was wrong, or as [`Runner::open`] and [`Runner::run`].
    pub fn through(&self, ports: &[impl AsRef<str>]) -> Result<Report, Error> {
        once(&mut self.open(ports)?)
    }

    /// Opens the ports only: where a peer can be started no sooner than the sockets are there.
    ///
    /// # Errors
    /// A word was wrong, or as [`Runner::open`].
    pub fn open(&self, ports: &[impl AsRef<str>]) -> Result<Runner, Error> {
        let ports = ports.iter().map(|port| port.as_ref().parse::<AnyPort>());
        let ports = ports.collect::<Result<Vec<_>, _>>().map_err(Error::Usage)?;
        Runner::open_wrapped(&ports, self.options()?, |device| device)
    }

    /// Runs on one or two devices.
    ///
    /// # Errors
    /// A word was wrong, or as [`Runner::with_devices`] and [`Runner::run`].
    pub fn through_devices(
        &self,
        devices: impl IntoIterator<Item = Box<dyn Device>>,
    ) -> Result<Report, Error> {
        let options = self.options()?;
        let config = memory::pool_config(&options);
        let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config);
        let pool = pool.map_err(|error| Error::Memory(error.to_string()))?;
        let names = ["a", "b", "c"].map(String::from);
        let devices = names.into_iter().zip(devices).collect();
        once(&mut Runner::with_devices(devices, pool, options)?)
    }

    /// The options that the words stand for.
    ///
    /// # Errors
    /// [`Error::Usage`]: what was wrong with the first word that was, and what is accepted.
    pub fn options(&self) -> Result<Options, Error> {
        if let Some(wrong) = &self.wrong {
            return Err(Error::Usage(wrong.clone()));
        }
        let mut options = self.options.clone();
        if let Some(stream) = &self.stream {
            if options.replay.is_some() || !options.streams.is_empty() {
                let what = "frames are described twice; accepted: words, a scenario or a capture";
                return Err(Error::Usage(what.into()));
            }
            stream.check().map_err(Error::Usage)?;
            options.streams = vec![stream.clone()];
        }
        Ok(options)
    }

    fn stream(&mut self) -> &mut StreamSpec {
        self.stream.get_or_insert_default()
    }

    fn said<T: FromStr<Err: fmt::Display>>(
        mut self,
        text: &str,
        set: impl FnOnce(&mut Self, T),
    ) -> Self {
        match text.parse() {
            Ok(value) => set(&mut self, value),
            Err(error) => self.complain(error),
        }
        self
    }

    fn complain(&mut self, error: impl fmt::Display) {
        self.wrong.get_or_insert_with(|| error.to_string());
    }
}

fn once(runner: &mut Runner) -> Result<Report, Error> {
    runner.run(&mut |_| ControlFlow::Continue(()))
}

impl Report {
    /// Whether each of `conditions`, in the words of `--fail-on`, holds in every direction (of a latency: for every
    /// stream): `received==5000`, `loss<0.1%`, `p99<1ms`. See [`CLEAN`] and [`UNHARMED`].
    ///
    /// # Errors
    /// [`Unmet`]: what does not hold, or cannot be told.
    pub fn expect(&self, conditions: &[&str]) -> Result<&Self, Unmet> {
        let mut unmet = Vec::new();
        let document = serde_json::to_value(self);
        let document = document.map_err(|error| self.unmet(vec![error.to_string()]))?;
        for text in conditions {
            match text.parse::<FailOn>().and_then(|condition| condition.unmet(&document)) {
                Ok(places) => unmet.extend(places),
                Err(error) => unmet.push(error),
            }
        }
        if unmet.is_empty() { Ok(self) } else { Err(self.unmet(unmet)) }
    }

    fn unmet(&self, places: Vec<String>) -> Unmet {
        Unmet { places, report: self.to_string() }
    }
}

/// What was expected of a report that it does not have.
pub struct Unmet {
    /// What, and where: a sentence each.
    pub places: Vec<String>,
    report: String,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.places {
            writeln!(f, "expected {place}")?;
        }
        f.write_str(&self.report)
    }
}

/// As [`Display`](fmt::Display): `unwrap` and a test's `?` show it.
impl fmt::Debug for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Unmet {}

#[cfg(test)]
mod tests {
    use netdev::fault::{self, FaultPlan, Faults};
    use netdev::loopback;

    use super::*;

    fn brief() -> Offer {
        Offer::at("100kpps").count(200).with(|options| options.drain = Duration::from_millis(5))
    }

    #[test]
    fn words_become_options() {
        let offer = Offer::at("5kpps").sizes("128").field("udp.source=7").latency().count(9);
        let options = offer.direction(Direction::Backward).options().unwrap();
        assert_eq!((options.rate.to_string(), options.count), ("5kpps".into(), Some(9)));
        assert_eq!((options.streams.len(), options.duration), (1, None));
        assert!(options.latency.is_some() && options.direction == Direction::Backward);
        assert_eq!(Offer::scenario("[[stream]]\n[[stream]]").options().unwrap().streams.len(), 2);
    }

    #[test]
    fn the_first_wrong_word_is_told() {
        for (offer, word) in [
            (Offer::at("5").sizes("x"), "`5` has no unit"),
            (Offer::at("5pps").sizes("59").field("x"), "from 60 to 65280"),
            (Offer::at("5pps").frames("ethernet/udp"), "udp cannot follow ethernet"),
            (Offer::scenario("rate = 5"), "line 1"),
            (Offer::scenario("[[stream]]").sizes("64"), "described twice"),
            (Offer::capture(Path::new("/nonexistent.pcap"), "1pps"), "/nonexistent.pcap"),
        ] {
            let error = offer.through(&["discard"]).unwrap_err();
            assert!(error.is_usage() && error.to_string().contains(word), "{word}: {error}");
        }
        let error = brief().through(&["tap:x"]).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("accepted: vhost-user"), "{error}");
        let error = brief().through_devices([]).unwrap_err();
        assert!(error.is_usage() && error.to_string().contains("one or two"), "{error}");
    }

    #[test]
    fn what_is_expected_is_met_or_told() {
        let report = brief().through_devices([loopback::device()]).unwrap();
        report.expect(CLEAN).unwrap().expect(UNHARMED).unwrap().expect(&["sent==200"]).unwrap();
        let error = report.expect(&["sent==201", "p99<1s", "losses==0", "loss==0"]).unwrap_err();
        println!("{error:?}");
        assert_eq!(error.places.len(), 3);
        let text = error.to_string();
        for words in ["sent==201: reflected has 200", "`p99<1s` cannot be checked", "losses"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(text.contains("200 sent, 200 received"), "the report is shown: {text}");
    }

    #[test]
    fn loss_is_no_harm() {
        let rx = Faults { loss: 100_000, ..Faults::default() };
        let plan = FaultPlan { seed: 3, rx, ..FaultPlan::default() }.check().unwrap();
        let (device, _) = fault::wrap(loopback::device(), plan, None);
        let report = brief().through_devices([device]).unwrap();
        report.expect(UNHARMED).unwrap();
        let error = report.expect(CLEAN).unwrap_err();
        assert!(error.places.len() == 1 && error.places[0].contains("loss==0"), "{error}");
        assert!(!report.is_clean());
    }
}
