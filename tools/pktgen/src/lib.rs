//! The traffic generator, as a library: offer this, expect that.
//!
//! A [`Runner`] drives one or two ports from one thread, or from one on each of several cores ([`Options::cores`]). Each
//! generated frame carries a stream identifier, a sequence number, a time stamp and a checksum of its contents, so that
//! everything that comes back is told apart: in order, reordered, duplicated, corrupted, misdirected, or not ours at all.
//! What does not come back is lost. A capture can be replayed instead, and what comes back compared frame by frame.
//!
//! What to send is a list of [`StreamSpec`]s, from flags or a [`Scenario`]; [`latency`] measures how long it takes,
//! [`search`] finds what a device can do, [`document`] and [`report_page`] write results for machines and people.
//!
//! Offer this, expect that ([`Offer`]):
//!
//! ```
//! use pktgen::{CLEAN, Offer};
//!
//! let (a, b) = netdev::loopback::pair(); // or what is to be tested, between two of them
//! Offer::at("1Mpps")
//!     .frames("ethernet/vlan(id=5)/ipv4/udp(destination=53)")
//!     .field("ipv4.source=inc:10.0.0.1-10.0.0.100")
//!     .count(1000)
//!     .latency()
//!     .through_devices([a, b])? // or .through(&["virtio-user:/run/a", "virtio-user:/run/b"])?
//!     .expect(CLEAN)?
//!     .expect(&["received==1000", "p99<10s"])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The same with every option, and word of what goes on, on ports of the machine:
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use std::time::Duration;
//! use pktgen::{Options, Rate, Runner};
//!
//! let ports = ["vhost-user:/tmp/a,server".parse()?, "vhost-user:/tmp/b,server".parse()?];
//! let options = Options {
//!     rate: Rate::Packets(1_000_000),
//!     duration: Some(Duration::from_secs(10)),
//!     ..Options::default()
//! };
//! let mut runner = Runner::open(&ports, options)?; // the sockets exist now: start the peer
//! let report = runner.run(&mut |tick| {
//!     println!("{tick}");
//!     ControlFlow::Continue(())
//! })?;
//! assert_eq!(report.lost(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod board;
pub mod capture;
pub mod checksum;
mod crew;
mod departures;
pub mod discard;
pub mod document;
mod endpoint;
mod environment;
mod error;
pub mod fail_on;
pub mod file;
mod flow;
pub mod latency;
mod memory;
mod merge;
pub mod observer;
mod offer;
mod options;
pub mod pacer;
pub mod playback;
mod ports;
mod rate;
pub mod replay;
mod report;
pub mod report_page;
mod runner;
pub mod scenario;
pub mod search;
mod session;
pub mod shared_window;
pub mod sink;
pub mod source;
pub mod stamp;
pub mod stream;
mod stream_report;
mod stream_ticks;
pub mod template;
mod tick;
pub mod timeline;
pub mod tracker;
mod warm_up;
pub mod window;
mod worker;

pub use capture::Capture;
pub use environment::Environment;
pub use error::Error;
pub use observer::{LatencySink, SharedLatencySink};
pub use offer::{CLEAN, Offer, UNHARMED, Unmet};
pub use options::{Direction, FrameSize, Options, Replay};
pub use playback::{Speed, Timing};
pub use ports::{AnyPort, PortSpec, probe};
pub use rate::{ParseRateError, Rate};
pub use report::{DirectionReport, PortReport, REPORT_VERSION, Report};
pub use runner::Runner;
pub use scenario::{Scenario, ScenarioError};
pub use stream::{Checksums, FieldSpec, FrameSpec, Profile, SizeSpec, StreamSpec};
pub use stream_report::{FlowReport, FlowsReport, StreamReport};
pub use template::Coverage;
pub use tick::{MOST_TICK_STREAMS, Phase, Tick, TickDirection, TickLatency, TickStream};
