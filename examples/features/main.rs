//! features: asks its ports by name for what their rings and offloads are to be, says what is in force, and forwards
//! every frame unchanged from each port to its neighbour (a port without one reflects).
//!
//! `rings=NAMES` and `offloads=NAMES` must be had, or the start fails; `off=NAMES` are ring features that must not be
//! used; names are those of `RingFeatures` and `Offloads`, with commas between them. `format=split|packed`, `queues=N`,
//! `rxd=N`, `txd=N` and `max-frame=BYTES` are as elsewhere.
#![cfg_attr(all(panic = "abort", not(feature = "linux")), no_std)]
#![cfg_attr(not(feature = "linux"), no_main)]

use barewire::netdev::{RingFeatures, RingFormat};
use barewire::params::{Params, Value};
use barewire::{Burst, Config, Error, Machine, Offloads, println};

barewire::main!(features);

fn features(mut machine: Machine) -> Result<(), Error> {
    let config = config(&machine.params)?;
    let accepted = "rings=NAMES off=NAMES offloads=NAMES format=split|packed queues=N rxd=N txd=N max-frame=BYTES";
    machine.params.finish(accepted)?;
    let mut ports = machine.start_ports(&config)?;
    let mut event_loop = machine.event_loop(&ports);
    for (number, port) in ports.iter().enumerate() {
        let bits = port.control.feature_bits().unwrap_or(0);
        println!("features: port {number}: rings {}, bits {bits:#x}", port.info.ring_features);
    }
    event_loop.run(|turn| {
        for from in 0..ports.len() {
            let to = if (from ^ 1) < ports.len() { from ^ 1 } else { from };
            for queue in 0..usize::from(config.rx_queues) {
                let mut burst = Burst::new();
                turn.receive(&mut *ports[from].rx[queue], &mut burst);
                turn.send(&mut *ports[to].tx[queue], &mut burst);
            }
        }
    });
    Ok(())
}

fn config(params: &Params) -> Result<Config, Error> {
    let queues = params.get("queues")?.unwrap_or(1);
    let rings =
        |key| Ok::<_, Error>(params.get(key)?.map_or(RingFeatures::empty(), |Rings(all)| all));
    let offloads = params.get("offloads")?.map_or(Offloads::empty(), |Asked(all)| all);
    let ring_format = params.get("format")?.map_or(RingFormat::Any, |Format(format)| format);
    Ok(Config {
        rx_queues: queues,
        tx_queues: queues,
        rx_ring: params.get("rxd")?,
        tx_ring: params.get("txd")?,
        max_frame: params.get("max-frame")?,
        ring_format,
        ring_features: rings("rings")?,
        ring_features_off: rings("off")?,
        offloads,
        ..Config::default()
    })
}

struct Rings(RingFeatures);

impl Value for Rings {
    const ACCEPTED: &'static str = "names of ring features, such as MERGEABLE,INDIRECT";

    fn parse(text: &str) -> Option<Self> {
        let mut names = text.split(',').map(RingFeatures::from_name);
        names.try_fold(RingFeatures::empty(), |all, one| Some(all | one?)).map(Self)
    }
}

struct Asked(Offloads);

impl Value for Asked {
    const ACCEPTED: &'static str = "names of offloads, such as TX_CHECKSUM,RX_CHAINS";

    fn parse(text: &str) -> Option<Self> {
        let mut names = text.split(',').map(Offloads::from_name);
        names.try_fold(Offloads::empty(), |all, one| Some(all | one?)).map(Self)
    }
}

struct Format(RingFormat);

impl Value for Format {
    const ACCEPTED: &'static str = "split or packed";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "split" => Some(Self(RingFormat::Split)),
            "packed" => Some(Self(RingFormat::Packed)),
            _ => None,
        }
    }
}
