//! Checks of taking a device apart. That a lane is a device, the other checks show, run over one.

use alloc::boxed::Box;

use super::bench::{Bench, ensure, pool_config};
use super::{Outcome, Rig};
use crate::{Device, StartError, StartFailure};

/// No lane, and more lanes than anything has: refused, and the device is whole and still able to start.
pub(super) fn impossible_lanes_are_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "impossible_lanes_are_refused";
    let mut device = rig.device();
    let info = device.info();
    for pairs in [0, u16::MAX] {
        device = refused(NAME, device, pairs).0;
        ensure!(NAME, device.info() == info, "the device came back with another info");
    }
    let pool = rig.pool(pool_config(&info));
    let _ = Bench::start_with(rig, NAME, device, pool).stop();
    Outcome::Passed
}

/// Each lane has one queue each way and a name, a frame size and rings as the whole has; one more lane than there
/// can be is refused.
pub(super) fn lanes_are_as_many_as_asked_for(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "lanes_are_as_many_as_asked_for";
    let device = rig.device();
    let whole = device.info();
    let (device, max) = refused(NAME, device, 0);
    if max == 0 {
        return Outcome::Skipped("the device is driven from one core only");
    }
    let device = if max == u16::MAX { device } else { refused(NAME, device, max + 1).0 };
    let pairs = max.min(3);
    let lanes = match device.split(pairs) {
        Ok(lanes) => lanes,
        Err(StartError { reason, .. }) => panic!("conformance: {NAME}: {pairs} lanes: {reason}"),
    };
    ensure!(NAME, lanes.len() == usize::from(pairs), "{} lanes instead of {pairs}", lanes.len());
    for lane in lanes {
        let info = lane.info();
        let queues = (info.rx_queues, info.tx_queues);
        ensure!(NAME, queues == (1, 1), "a lane of {} and {} queues", queues.0, queues.1);
        let same = (info.driver, info.max_frame, info.rx_ring, info.tx_ring)
            == (whole.driver, whole.max_frame, whole.rx_ring, whole.tx_ring);
        ensure!(NAME, same, "a lane is another device than the whole: {info:?}");
    }
    Outcome::Passed
}

/// Asks for a number of lanes that cannot be; the device, and the most that can be.
fn refused(name: &str, device: Box<dyn Device>, pairs: u16) -> (Box<dyn Device>, u16) {
    match device.split(pairs) {
        Ok(lanes) => {
            panic!("conformance: {name}: {pairs} lanes were asked for, {} came", lanes.len())
        }
        Err(StartError { device, reason: StartFailure::Lanes { asked, max } }) => {
            ensure!(name, asked == pairs, "{pairs} lanes were asked for, refused are {asked}");
            (device, max)
        }
        Err(StartError { reason, .. }) => panic!("conformance: {name}: the reason is `{reason}`"),
    }
}
