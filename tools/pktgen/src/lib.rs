//! The traffic generator, as a library: offer this, expect that.
//!
//! A [`Runner`] drives one or two ports from one thread, or from one on each of several cores ([`Options::cores`]). Each generated frame carries a stream identifier,
//! a sequence number, a time stamp and a checksum of its contents, so that everything that comes back is
//! told apart: in order, reordered, duplicated, corrupted, misdirected, or not ours at all. What does not
//! come back is lost. A capture can be replayed instead, and what comes back compared frame by frame.
//!
//! What to send is a list of [`StreamSpec`]s, from flags or a [`Scenario`]; [`latency`] measures how long it takes,
//! [`search`] finds what a device can do, [`document`] and [`report_page`] write results for machines and people.
//!
//! Offer this, expect that:
//!
//! ```
//! use netbuf::{DeviceMemory, Pool, PoolConfig};
//! use pktgen::{Options, Rate, Runner, StreamSpec};
//!
//! let (a, b) = netdev::loopback::pair(); // or what is to be tested, between two of them
//! let config = PoolConfig::default();
//! let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config)?;
//! let frame = "ethernet/vlan(id=5)/ipv4/udp(destination=53)".parse()?;
//! let fields = vec!["ipv4.source=inc:10.0.0.1-10.0.0.100".parse()?];
//! let streams = vec![StreamSpec { frame, fields, ..StreamSpec::default() }];
//! let options = Options { rate: Rate::Max, count: Some(1000), streams, ..Options::default() };
//! let mut runner = Runner::with_devices(vec![("a".into(), a), ("b".into(), b)], pool, options)?;
//! let report = runner.run(&mut |_| std::ops::ControlFlow::Continue(()))?;
//! assert!(report.is_clean());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With ports of the machine:
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
mod flow;
pub mod latency;
mod memory;
mod merge;
pub mod observer;
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
