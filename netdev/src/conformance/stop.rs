//! Checks of the end of a port's life, and of its next one.

use alloc::vec::Vec;

use super::bench::{Bench, ensure, frame, pool_config, same};
use super::{Outcome, Rig};
use crate::Burst;

const SIZE: usize = 100;

/// Started and stopped: every buffer is back.
pub(super) fn stopping_an_idle_port_leaks_nothing(rig: &mut dyn Rig) -> Outcome {
    let bench = Bench::start(rig, "stopping_an_idle_port_leaks_nothing");
    let _ = bench.stop();
    Outcome::Passed
}

/// Stopped with frames under way in both directions: every buffer is back.
pub(super) fn stopping_under_load_leaks_nothing(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "stopping_under_load_leaks_nothing";
    let mut bench = Bench::start(rig, NAME);
    for number in 0..20 {
        bench.inject(&frame(number, SIZE));
    }
    bench.receive_into(&mut Burst::new(), 5);
    let mut burst: Burst = (0..20).map(|number| bench.packet(&frame(number, SIZE))).collect();
    bench.transmit(&mut burst);
    drop(burst);
    let _ = bench.stop();
    Outcome::Passed
}

/// A stopped device starts again and works as a new one, several times over.
pub(super) fn stopped_device_starts_again(rig: &mut dyn Rig) -> Outcome {
    const NAME: &str = "stopped_device_starts_again";
    let mut device = rig.device();
    let pool = rig.pool(pool_config(&device.info()));
    for round in 0..3 {
        let mut bench = Bench::start_with(&mut *rig, NAME, device, pool);
        let sent = frame(round, SIZE);
        let mut burst = receive_again(&mut bench, &sent);
        same(NAME, round, burst[0].bytes(), &sent);
        let stats = bench.port.tx[0].stats();
        ensure!(NAME, stats.packets == 0, "round {round}: a new queue has counted {stats:?}");
        let mut arrived = Vec::new();
        bench.send(&mut burst, &mut arrived);
        bench.await_arrivals(&mut arrived, 1);
        same(NAME, round, &arrived[0], &sent);
        device = bench.stop();
    }
    Outcome::Passed
}

/// One packet of `frame`. The peer sends it again and again: the first may be lost while it finds out that the
/// device is back.
fn receive_again(bench: &mut Bench<'_>, frame: &[u8]) -> Burst {
    let mut burst = Burst::new();
    for attempt in 0..bench.rig.patience() {
        if attempt % 100 == 0 {
            let _ = bench.rig.inject(frame);
        }
        if bench.port.rx[0].rx_burst(&mut burst) > 0 {
            burst.truncate(1);
            return burst;
        }
        bench.rig.turn();
    }
    panic!("conformance: {}: nothing is received", bench.name);
}
