//! The generator's own speed: frames into a port that throws them away.
//!
//! `cargo run --release -p pktgen --example discard -- [FRAMES]` makes each of the runs below in turn, three times, prints
//! the environment, and of each case the best of the three: frames per second and cycles per frame. `-- FRAMES CASE` makes
//! one run of one case, for a profiler.

use std::ops::ControlFlow;

use netbuf::{DeviceMemory, Pool, PoolConfig};
use pktgen::{Environment, FieldSpec, Options, Rate, Runner, StreamSpec, discard};
use plat_linux::{Clock, CpuTimes};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let frames: u64 = arguments.next().map_or(Ok(50_000_000), |text| text.parse())?;
    let only = arguments.next();
    let mut cases = cases()?;
    cases.retain(|(name, _)| only.as_ref().is_none_or(|only| only == name));
    if cases.is_empty() {
        return Err("there is no such case".into());
    }
    let before = CpuTimes::read();
    // Frames per second in millions, cycles per frame.
    let mut best = vec![(0.0f64, 0.0); cases.len()];
    for _ in 0..if only.is_some() { 1 } else { 3 } {
        for ((_, stream), best) in cases.iter().zip(&mut best) {
            let found = run(stream.clone(), frames)?;
            if found.0 > best.0 {
                *best = found;
            }
        }
    }
    let environment = serde_json::to_value(Environment::read(&Clock::new(), before))?;
    println!("{environment}");
    for ((name, _), (mpps, cycles)) in cases.iter().zip(best) {
        println!("{name:<18} {mpps:7.2} Mpps {cycles:6.1} cycles per frame");
    }
    Ok(())
}

fn cases() -> Result<Vec<(&'static str, StreamSpec)>, String> {
    let plain = StreamSpec::default();
    let fields: Vec<FieldSpec> = [
        "ipv4.source=inc:10.0.0.1-10.0.255.254",
        "ipv4.destination=random:10.1.0.0-10.1.255.255@7",
        "udp.source=inc:1024-65535/3",
        "udp.destination=dec:1-1000",
    ]
    .iter()
    .map(|field| field.parse())
    .collect::<Result<_, _>>()?;
    Ok(vec![
        ("unchanging", StreamSpec { stamp: false, ..plain.clone() }),
        ("stamped", plain.clone()),
        ("four-fields", StreamSpec { fields: fields.clone(), ..plain.clone() }),
        ("four-fields-1514", StreamSpec { fields, size: "1514".parse()?, ..plain.clone() }),
        ("imix", StreamSpec { size: "imix-csit".parse()?, ..plain }),
    ])
}

/// One run: millions of frames per second, cycles per frame.
fn run(stream: StreamSpec, frames: u64) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let config = PoolConfig::default();
    let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config)?;
    let options = Options {
        rate: Rate::Max,
        count: Some(frames),
        drain: std::time::Duration::from_millis(1),
        streams: vec![stream],
        ..Options::default()
    };
    let ports = vec![("discard".into(), discard::device())];
    let report =
        Runner::with_devices(ports, pool, options)?.run(&mut |_| ControlFlow::Continue(()))?;
    let direction = &report.directions[0];
    assert_eq!(direction.sent, frames);
    Ok((direction.achieved_mpps, report.cycles_per_packet.unwrap_or_default()))
}
