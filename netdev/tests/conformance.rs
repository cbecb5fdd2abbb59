//! The loopback and every wrapper around it pass the conformance suite.

mod rigs;

use std::cell::RefCell;
use std::rc::Rc;

use netdev::conformance::{Outcome, run_all};
use netdev::fault::CheckedPlan;
use netdev::tap::Sighting;
use netdev::trace::BurstLog;
use netdev::{Device, call_counter, fault, tap, trace};
use rigs::{PairRig, Wrap};

fn passes(wrap: Wrap) {
    let mut skipped = Vec::new();
    for (name, outcome) in run_all(&mut PairRig::new(wrap)) {
        if let Outcome::Skipped(reason) = outcome {
            println!("skipped: {name}: {reason}");
            skipped.push(name);
        }
    }
    // The loopback needs no headroom, and the ends of a pair do not come apart; everything else applies.
    assert_eq!(skipped, ["headroom_too_small_is_refused", "lanes_are_as_many_as_asked_for"]);
}

#[test]
fn loopback_pair() {
    passes(|device| device);
}

#[test]
fn tap_around_a_loopback() {
    passes(tapped);
}

#[test]
fn trace_around_a_loopback() {
    passes(traced);
}

#[test]
fn fault_without_faults_around_a_loopback() {
    passes(faultless);
}

#[test]
fn all_wrappers_around_each_other() {
    passes(|device| tapped(traced(faultless(device))));
}

fn tapped(device: Box<dyn Device>) -> Box<dyn Device> {
    tap::wrap(device, Rc::new(RefCell::new(|_: &Sighting, _: &[u8]| ())), call_counter())
}

fn traced(device: Box<dyn Device>) -> Box<dyn Device> {
    trace::wrap(device, BurstLog::new(16), call_counter())
}

fn faultless(device: Box<dyn Device>) -> Box<dyn Device> {
    fault::wrap(device, CheckedPlan::default(), None).0
}
