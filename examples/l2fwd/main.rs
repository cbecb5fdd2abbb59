//! l2fwd: forwards every frame from each port to its neighbour (0 <-> 1, 2 <-> 3, ...); a port without one
//! reflects. Rewrites the MAC addresses as DPDK's l2fwd does, unless `mac-updating=off`.
//!
//! `queues=N` has N pairs of queues on each port, all polled here: what comes from one goes to the one of the same number.
//! `rxd=N` and `txd=N` are the entries of their rings. `max-frame=BYTES` takes frames up to so many bytes, L2 header
//! included, FCS excluded, over several buffers each.
#![cfg_attr(all(panic = "abort", not(feature = "linux")), no_std)]
#![cfg_attr(not(feature = "linux"), no_main)]

extern crate alloc;

use alloc::vec::Vec;

use barewire::eventloop::Turn;
use barewire::params::Params;
use barewire::{Burst, Config, Error, MacAddress, Machine, Offloads, RxQueue, TxQueue};

barewire::main!(l2fwd);

fn l2fwd(mut machine: Machine) -> Result<(), Error> {
    let mac_updating = machine.params.get("mac-updating")?.unwrap_or(true);
    let config = config(&machine.params)?;
    machine.params.finish("mac-updating=on|off queues=N rxd=N txd=N max-frame=BYTES")?;
    let mut ports = machine.start_ports(&config)?;
    let mut event_loop = machine.event_loop(&ports);
    let macs: Vec<MacAddress> = ports.iter().map(|port| port.info.mac).collect();
    let queues = ports.iter_mut().map(|port| (&mut port.rx, &mut port.tx));
    let (mut rx, mut tx): (Vec<_>, Vec<_>) = queues.unzip();
    event_loop.run(|turn| {
        for from in 0..rx.len() {
            let to = if (from ^ 1) < rx.len() { from ^ 1 } else { from };
            let macs = mac_updating.then(|| addresses(to, macs[to]));
            for (rx, tx) in rx[from].iter_mut().zip(tx[to].iter_mut()) {
                forward(turn, &mut **rx, &mut **tx, macs);
            }
        }
    });
    Ok(())
}

fn config(params: &Params) -> Result<Config, Error> {
    let queues = params.get("queues")?.unwrap_or(1);
    let max_frame = params.get("max-frame")?;
    let mut offloads = Offloads::empty();
    offloads.set(Offloads::RX_CHAINS | Offloads::TX_CHAINS, max_frame.is_some());
    Ok(Config {
        rx_queues: queues,
        tx_queues: queues,
        rx_ring: params.get("rxd")?,
        tx_ring: params.get("txd")?,
        max_frame,
        offloads,
        ..Config::default()
    })
}

/// What DPDK's l2fwd writes: destination `02:00:00:00:00:<port>`, source the sending port's own address.
fn addresses(to: usize, mac: MacAddress) -> [u8; 12] {
    let mut addresses = [0; 12];
    addresses[0] = 2;
    addresses[5] = to.to_le_bytes()[0];
    addresses[6..].copy_from_slice(&mac.0);
    addresses
}

fn forward(turn: &mut Turn, rx: &mut dyn RxQueue, tx: &mut dyn TxQueue, macs: Option<[u8; 12]>) {
    let mut burst = Burst::new();
    turn.receive(rx, &mut burst);
    if let Some(macs) = macs {
        for packet in &mut burst {
            if let Some(head) = packet.bytes_mut().first_chunk_mut() {
                *head = macs;
            }
        }
    }
    turn.send(tx, &mut burst);
}
