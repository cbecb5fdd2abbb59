//! The traffic generator, as a library: offer this, expect that.
//!
//! A [`Runner`] drives one or two ports from one thread. Each generated frame carries a stream identifier,
//! a sequence number, a time stamp and a checksum of its contents, so that everything that comes back is
//! told apart: in order, reordered, duplicated, corrupted, misdirected, or not ours at all. What does not
//! come back is lost. A capture can be replayed instead, and what comes back compared frame by frame.
//!
//! Deliberately absent (they have their own issue): several streams per direction, field engines, latency
//! histograms and searches. Each is a new [`Source`](source::Source) or [`Sink`](sink::Sink), or a caller
//! of [`Runner::run`], not a rewrite.
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

pub mod capture;
pub mod checksum;
mod endpoint;
mod environment;
mod error;
mod flow;
mod memory;
mod options;
pub mod pacer;
mod ports;
mod rate;
pub mod replay;
mod report;
mod runner;
mod session;
pub mod sink;
pub mod source;
pub mod stamp;
pub mod template;
mod tick;
pub mod tracker;
mod warm_up;
pub mod window;

pub use capture::Capture;
pub use environment::Environment;
pub use error::Error;
pub use options::{Direction, FrameSize, Options, Replay};
pub use ports::PortSpec;
pub use rate::{ParseRateError, Rate};
pub use report::{DirectionReport, PortReport, REPORT_VERSION, Report};
pub use runner::Runner;
pub use tick::{Phase, Tick, TickDirection};
