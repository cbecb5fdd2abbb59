//! Checks of a device before and while it is started.

use netbuf::PoolConfig;

use super::bench::{Bench, config, ensure, pool_config};
use super::{Outcome, Rig};
use crate::{Config, Info, Offloads, RingLimits, StartFailure};

/// Limits are not empty, rings are powers of two, the address is one that a port can have.
pub(super) fn info_is_sane(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "info_is_sane";
    let info = rig.device().info();
    ensure!(NAME, !info.driver.is_empty(), "the driver has no name");
    ensure!(NAME, info.mac.is_valid_unicast(), "{} is no unicast address", info.mac);
    ensure!(NAME, info.max_frame >= 60, "frames of {} bytes are too small", info.max_frame);
    ensure!(NAME, info.rx_queues >= 1 && info.tx_queues >= 1, "a direction without queue");
    for RingLimits { min, max } in [info.rx_ring, info.tx_ring] {
        ensure!(
            NAME,
            min.is_power_of_two() && max.is_power_of_two() && min <= max,
            "rings of {min} to {max} entries"
        );
    }
    Outcome::Passed
}

/// The queues asked for are there, and the limits in force are not beyond those offered.
pub(super) fn started_port_matches_its_configuration(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "started_port_matches_its_configuration";
    let bench = Bench::start(rig, NAME);
    let port = &bench.port;
    ensure!(NAME, port.rx.len() == 1, "{} receive queues instead of 1", port.rx.len());
    ensure!(NAME, port.tx.len() == 1, "{} transmit queues instead of 1", port.tx.len());
    let (rx, tx) = (usize::from(port.info.rx_queues), usize::from(port.info.tx_queues));
    ensure!(NAME, (rx, tx) == (1, 1), "the info says {rx} and {tx} queues instead of 1 and 1");
    ensure!(NAME, port.info.max_frame >= 60, "max_frame in force is {}", port.info.max_frame);
    ensure!(NAME, port.control.mac().is_valid_unicast(), "the port has no unicast address");
    let _ = bench.stop();
    Outcome::Passed
}

/// Starts with what must fail: the reason must be right, the device unchanged and still able to start, and no
/// buffer gone.
fn refused(
    rig: &mut dyn Rig,
    name: &'static str,
    bad: impl FnOnce(&Info, &mut Config, &mut PoolConfig),
    right: impl FnOnce(&StartFailure) -> bool,
) -> Outcome {
    let device = rig.device();
    let info = device.info();
    let (mut wrong, mut shape) = (config(&info), pool_config(&info));
    bad(&info, &mut wrong, &mut shape);
    let pool = rig.pool(shape);
    let error = match device.start(&wrong, &pool) {
        Ok(_) => panic!("conformance: {name}: {wrong:?} started, with a pool of {shape:?}"),
        Err(error) => error,
    };
    ensure!(name, right(&error.reason), "the reason is `{}`: {:?}", error.reason, error.reason);
    ensure!(name, pool.available() == shape.buffers, "the failed start kept buffers");
    ensure!(name, error.device.info() == info, "the device came back with another info");
    let pool = rig.pool(pool_config(&info));
    let _ = Bench::start_with(rig, name, error.device, pool).stop();
    Outcome::Passed
}

/// At least one queue each way is needed.
pub(super) fn no_queue_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "no_queue_is_refused";
    let right = |reason: &StartFailure| matches!(reason, StartFailure::Queues { asked: 0, .. });
    let _ = refused(rig, NAME, |_, config, _| config.rx_queues = 0, right);
    refused(rig, NAME, |_, config, _| config.tx_queues = 0, right)
}

/// One queue more than the device has.
pub(super) fn too_many_queues_are_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "too_many_queues_are_refused";
    let right = |reason: &StartFailure| matches!(reason, StartFailure::Queues { asked, max } if *asked == max.saturating_add(1));
    let _ = refused(
        rig,
        NAME,
        |info, config, _| config.rx_queues = info.rx_queues.saturating_add(1),
        right,
    );
    refused(rig, NAME, |info, config, _| config.tx_queues = info.tx_queues.saturating_add(1), right)
}

/// A ring of three entries.
pub(super) fn ring_size_that_is_no_power_of_two_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "ring_size_that_is_no_power_of_two_is_refused";
    let right = |reason: &StartFailure| matches!(reason, StartFailure::RingSize { asked: 3, .. });
    let _ = refused(rig, NAME, |_, config, _| config.rx_ring = Some(3), right);
    refused(rig, NAME, |_, config, _| config.tx_ring = Some(3), right)
}

/// Rings of twice the largest size, and of none.
pub(super) fn ring_size_beyond_the_limits_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "ring_size_beyond_the_limits_is_refused";
    let right = |reason: &StartFailure| matches!(reason, StartFailure::RingSize { .. });
    let twice = |limits: RingLimits| Some(limits.max.saturating_mul(2));
    let _ = refused(rig, NAME, |info, config, _| config.rx_ring = twice(info.rx_ring), right);
    let _ = refused(rig, NAME, |info, config, _| config.tx_ring = twice(info.tx_ring), right);
    refused(rig, NAME, |_, config, _| config.tx_ring = Some(0), right)
}

/// Frames larger than the device takes, and larger than a buffer holds.
pub(super) fn frame_beyond_the_limits_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "frame_beyond_the_limits_is_refused";
    let right = |reason: &StartFailure| matches!(reason, StartFailure::MaxFrame { .. });
    let beyond = |info: &Info| Some(info.max_frame.saturating_add(1));
    let outcome = refused(rig, NAME, |info, config, _| config.max_frame = beyond(info), right);
    if !rig.device().info().offloads.contains(Offloads::RX_CHAINS) {
        let small = |_: &Info, config: &mut Config, shape: &mut PoolConfig| {
            shape.room = 256;
            config.max_frame = Some(300);
        };
        let _ = refused(rig, NAME, small, right);
    }
    outcome
}

/// A pool without headroom for the driver's header.
pub(super) fn headroom_too_small_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "headroom_too_small_is_refused";
    if rig.device().info().headroom == 0 {
        return Outcome::Skipped("the driver needs no headroom");
    }
    let right = |reason: &StartFailure| matches!(reason, StartFailure::Headroom { needed, given: 0 } if *needed > 0);
    refused(rig, NAME, |_, _, shape| shape.headroom = 0, right)
}

/// A pool with one buffer less than the receive ring takes.
pub(super) fn pool_too_small_is_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "pool_too_small_is_refused";
    let device = rig.device();
    let entries = config(&device.info()).rx_ring.map_or(0, usize::from);
    drop(device);
    let right = |reason: &StartFailure| {
        matches!(reason, StartFailure::PoolTooSmall { needed, available }
            if *needed > *available && *available == entries - 1)
    };
    if entries < 2 {
        return Outcome::Skipped("a ring of one entry");
    }
    refused(rig, NAME, |_, _, shape| shape.buffers = entries - 1, right)
}

/// An offload that is not offered is required.
pub(super) fn offloads_that_are_not_offered_are_refused(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "offloads_that_are_not_offered_are_refused";
    let offered = rig.device().info().offloads;
    let Some(one) = Offloads::all().iter().find(|&one| !offered.contains(one)) else {
        return Outcome::Skipped("the device offers every offload");
    };
    let right = |reason: &StartFailure| *reason == StartFailure::Offloads(one);
    refused(rig, NAME, |_, config, _| config.offloads = one, right)
}
