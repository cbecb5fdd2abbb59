//! Run to completion: poll, timers, idle policy, cycle accounting.
//!
//! ```text
//!        +--> pollers, in order --> body --> timers that are due --> nothing done? idle policy --+
//!        |    each burst from receive        (a turn with timers       spin | pause |            |
//!        |    to transmit at once             is no idle turn)         arm queues and sleep      |
//!        +---------------------------------------------------------------------------------------+
//! ```
//!
//! A turn reads the clock once; twice where a timer fired, or where it paused or slept. From the readings every
//! cycle is accounted busy, idle or spent in timers ([`Usage`]); [`Meter`] makes the per-second line of it.
//!
//! Deliberately absent: a scheduler, tasks, anything that blocks a poller, and allocation while running:
//! pollers and timers are boxed when they are added.
//!
//! ```
//! use core::time::Duration;
//! use eventloop::{Clock, EventLoop};
//! use netdev::{Burst, Config, loopback};
//! # use std::cell::Cell;
//! # struct Ticking(Cell<u64>);
//! # impl Clock for Ticking {
//! #     fn now(&self) -> u64 { self.0.set(self.0.get() + 100); self.0.get() }
//! #     fn hz(&self) -> u64 { 1_000_000 }
//! # }
//! # let clock = Ticking(Cell::new(0));
//! # let config = netbuf::PoolConfig { buffers: 512, ..Default::default() };
//! # let pool = netbuf::Pool::new(netbuf::DeviceMemory::from_heap(config.device_bytes()), config)?;
//! let mut port = loopback::device().start(&Config::default(), &pool)?;
//! # port.tx[0].tx_burst(&mut Burst::from_iter([pool.copy_from(&[0; 60]).unwrap()]));
//! let mut meter = eventloop::Meter::new(&clock);
//! meter.watch(&port);
//!
//! let mut event_loop = EventLoop::new(&clock);
//! event_loop.every(Duration::from_secs(1), move |tick| {
//!     println!("{}", meter.read(tick));
//!     tick.stop();
//! });
//! let usage = event_loop.run(|turn| {
//!     let mut burst = Burst::new();
//!     turn.receive(&mut *port.rx[0], &mut burst);
//!     turn.send(&mut *port.tx[0], &mut burst);
//! });
//! assert_eq!(usage.elapsed(), usage.busy + usage.idle + usage.timers);
//! # assert!(usage.packets > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod clock;
mod idle;
mod meter;
mod run;
mod timers;
mod turn;
mod usage;

pub use clock::Clock;
pub use idle::{Idle, Sleeper};
pub use meter::{Meter, PortReport, Rates, Report};
pub use run::EventLoop;
pub use timers::Tick;
pub use turn::Turn;
pub use usage::Usage;
