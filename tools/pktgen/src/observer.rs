//! The hook for latency: who observes a run hears of every sampled frame that came back, and of those given up.
//!
//! Which frames are sampled says [`Options::latency`](crate::Options::latency). The times of departure are kept by the
//! generator, not carried by the frame: nothing on the way can change them, and they have full range. Times are in
//! nanoseconds of the run's clock. Deliberately absent: what to make of them; a [`Recorder`] makes histograms, and a
//! run does so by itself where sampling is asked for.

use std::cell::RefCell;
use std::rc::Rc;

use crate::latency::{Arrival, Omission, Recorder};

/// Hears of sampled frames.
pub trait LatencySink {
    /// A sampled frame came back intact, for the first time, at the right port. `stream` is its place in
    /// [`Report::streams`](crate::Report::streams).
    fn arrived(&mut self, arrival: &Arrival);

    /// Frames of a stream were due and given up (see [`Options::catch_up`](crate::Options::catch_up)).
    fn omitted(&mut self, omission: &Omission);
}

impl LatencySink for Recorder {
    fn arrived(&mut self, arrival: &Arrival) {
        self.observe(arrival);
    }

    fn omitted(&mut self, omission: &Omission) {
        self.omit(omission);
    }
}

/// A sink that is shared: the runner feeds it, its owner reads it whenever it likes (at ticks too).
pub type SharedLatencySink = Rc<RefCell<dyn LatencySink>>;
