//! The generator's ceiling: what it can do by itself, with nothing but a loopback in between.
//!
//! The same thread, frames and checks as in a trial, but the device is a queue in our own memory. A rate that the
//! generator did not keep is told from one that the device did not take by this. It is the generator's best case:
//! ports cost something too, and that is part of a trial.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use netbuf::{DeviceMemory, Pool};
use netdev::{Device, loopback};
use serde::Serialize;

use crate::{Error, Options, Rate, Runner, memory};

/// What the generator can do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ceiling {
    /// Frames per second in each direction.
    pub rate: f64,
    /// The share of the time during which the loopback was full: what is sent at full speed fills it.
    pub ring_full: f64,
    /// Seconds that it took to measure.
    pub took_s: f64,
    /// How it was measured.
    pub method: &'static str,
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} Mpps ({})", self.rate / 1e6, self.method)
    }
}

/// Runs `options` at full speed for `duration` through a loopback of `ports` ports (1 or 2).
///
/// # Errors
/// Memory is short, or the options are not for this.
pub fn measure_ceiling(
    options: &Options,
    ports: usize,
    duration: Duration,
) -> Result<Ceiling, Error> {
    let start = Instant::now();
    let options =
        Options { rate: Rate::Max, count: None, duration: Some(duration), ..options.clone() };
    let config = memory::pool_config(&options);
    let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config)
        .map_err(|error| Error::Memory(error.to_string()))?;
    let mut runner = Runner::with_devices(devices(ports), pool, options)?;
    let report = runner.run(&mut |_| ControlFlow::Continue(()))?;
    let slowest = |rate: f64, d: &crate::DirectionReport| rate.min(d.mpps * 1e6);
    let rate = report.directions.iter().fold(f64::INFINITY, slowest);
    let ring_full =
        report.directions.iter().map(super::runner::ring_full_share).fold(0.0, f64::max);
    let took_s = start.elapsed().as_secs_f64();
    Ok(Ceiling { rate, ring_full, took_s, method: "one thread, loopback in its own memory" })
}

fn devices(ports: usize) -> Vec<(String, Box<dyn Device>)> {
    if ports == 1 {
        return vec![("loopback".into(), loopback::device())];
    }
    let (a, b) = loopback::pair();
    vec![("loopback a".into(), a), ("loopback b".into(), b)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_is_a_rate() {
        for ports in [1, 2] {
            let options = Options { drain: Duration::from_millis(10), ..Options::default() };
            let ceiling = measure_ceiling(&options, ports, Duration::from_millis(50)).unwrap();
            println!("{ports} ports: {ceiling}");
            assert!(ceiling.rate > 0.0 && ceiling.rate.is_finite());
            assert!((0.0..=1.0).contains(&ceiling.ring_full));
        }
    }
}
