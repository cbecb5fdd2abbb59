//! controls: what a port can be told while it runs. Sets filters and spreading as its parameters say, reflects every
//! frame on the queue that it came on (with its hash in its last bytes, where it has one), and prints, on change: frames
//! by queue, the link, announcements. A device that asks for a reset is restarted. With `reset=on` one queue after the other is reset, with other sizes, with
//! `restart=on` the whole port, again and again; `switch=N` switches receive offloads off after N frames.
#![cfg_attr(all(panic = "abort", not(feature = "linux")), no_std)]
#![cfg_attr(not(feature = "linux"), no_main)]

extern crate alloc;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use barewire::netbuf::Checksum;
use barewire::netdev::{
    Link, QueueMut, RingFeatures, RingFormat, Rss, RxMode, StartFailure, Unsupported,
};
use barewire::{Burst, Config, Error, MacAddress, Machine, Netbuf, Offloads, Pool, Port, println};

barewire::main!(controls);

/// The address that the port is given.
const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xaa]);
/// Further addresses that pass the filter.
const OTHER: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xbb]);
const GROUP: MacAddress = MacAddress([1, 0, 0x5e, 0, 0, 1]);
/// Of the published test vectors for Toeplitz hashes (Microsoft, "Verifying the RSS Hash Calculation").
const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];
/// By their numbers.
const MODES: [RxMode; 4] =
    [RxMode::AllUnicast, RxMode::NoMulticast, RxMode::NoUnicast, RxMode::NoBroadcast];
/// Entries of rings, one after the other.
const SIZES: [u16; 5] = [64, 256, 16, 128, 32];
/// IPv4, and UDP over it.
const HASH_TYPES: u32 = 1 | 4;

fn controls(mut machine: Machine) -> Result<(), Error> {
    let params = &machine.params;
    let queues = params.get("queues")?.unwrap_or(1);
    let spread = params.get("rss")?.unwrap_or(false);
    let vlan: Option<u16> = params.get("vlan")?;
    let filter = params.get("filter")?.unwrap_or(false);
    let mode: Option<u32> = params.get("mode")?;
    let hash = params.get("hash")?.unwrap_or(false);
    let switch: Option<u32> = params.get("switch")?;
    let reset = params.get("reset")?.unwrap_or(false);
    let restart = params.get("restart")?.unwrap_or(false);
    params.finish(
        "queues=N rss=on|off hash=on|off vlan=ID filter=on|off mode=0..3 switch=N reset=on|off restart=on|off",
    )?;
    let mut offloads = Offloads::empty();
    offloads.set(Offloads::RX_RSS, spread);
    offloads.set(Offloads::RSS_HASH, hash);
    offloads.set(Offloads::RX_VLAN_FILTER, vlan.is_some());
    offloads.set(Offloads::RX_LRO, switch.is_some());
    let ring_features = if reset { RingFeatures::RING_RESET } else { RingFeatures::empty() };
    let (rx_queues, tx_queues) = (queues, queues);
    let config = Config { rx_queues, tx_queues, offloads, ring_features, ..Config::default() };
    let mut ports = machine.start_ports(&config)?;
    let pool = machine.pool;
    let mut event_loop = machine.event_loop(&ports);
    let mut port = ports.swap_remove(0);
    let control = &mut *port.control;
    if filter {
        say("mac", control.set_mac(MAC));
        say("promiscuous off", control.set_promiscuous(false));
        say("all-multicast off", control.set_all_multicast(false));
        say("addresses", control.set_mac_filter(&[OTHER], &[GROUP]));
    }
    if let Some(&mode) = mode.and_then(|mode| MODES.get(usize::try_from(mode).ok()?)) {
        say("mode", control.set_rx_mode(mode, true));
    }
    if let Some(id) = vlan {
        say("vlan", control.set_vlan(id, true));
    }
    if spread || hash {
        let entries = if spread { 128 } else { 0 };
        let table: Vec<u16> = (0..entries).map(|entry| entry % queues).collect();
        let rss = Rss { hash_types: HASH_TYPES, key: &KEY, table: &table, unclassified: 0 };
        say("rss", control.set_rss(&rss));
    }
    println!("controls: ready, mac {}", control.mac());
    say_pool("pool", pool.as_ref());
    let port = Rc::new(RefCell::new(Some(port)));
    let counts: Rc<[Cell<u32>]> = (0..queues).map(|_| Cell::new(0)).collect();
    let partial = Rc::new(Cell::new(0));
    let seen = (counts.clone(), partial.clone());
    let mut watch = Watch { port: port.clone(), link: Link::default(), seen, printed: 0, switch };
    event_loop.every(Duration::from_millis(100), move |_| watch.look());
    let (mending, mut mended) = (port.clone(), 0);
    event_loop.every(Duration::from_millis(5), move |_| {
        let mut port = mending.borrow_mut();
        if port.as_mut().is_none_or(|port| !port.control.needs_reset()) {
            return;
        }
        let (Some(running), Some(pool)) = (port.take(), &pool) else { return };
        match start_anew(running, &config, pool) {
            Ok(started) => {
                *port = Some(started);
                mended += 1;
                println!("controls: recovered: {mended}");
                say_pool("recovered", Some(pool));
            }
            Err(error) => println!("controls: change of a broken port: {error}"),
        }
    });
    let mut round = 0;
    let again = port.clone();
    event_loop.every(Duration::from_millis(5), move |_| {
        let done = match &mut *again.borrow_mut() {
            Some(port) if reset => change_one(port, round),
            port if restart => match &pool {
                Some(pool) => change_all(port, &config, pool, round),
                None => return,
            },
            _ => return,
        };
        round += 1;
        match done {
            Err(error) if round < 4 => println!("controls: change {round}: {error}"),
            Err(_) => {}
            Ok(()) if round % 40 == 0 => println!("controls: changes: {round}"),
            Ok(()) => {}
        }
    });
    event_loop.run(|turn| {
        let Some(port) = &mut *port.borrow_mut() else { return };
        for ((rx, tx), count) in port.rx.iter_mut().zip(&mut port.tx).zip(&*counts) {
            let mut burst = Burst::new();
            turn.receive(&mut **rx, &mut burst);
            count.set(count.get() + u32::try_from(burst.len()).unwrap_or(0));
            for packet in &mut burst {
                let is_partial = matches!(packet.checksum(), Checksum::Partial { .. });
                partial.set(partial.get() + u32::from(is_partial));
                mark(packet);
            }
            turn.send(&mut **tx, &mut burst);
        }
    });
    Ok(())
}

/// Resets one queue after the other, each time with another number of entries.
fn change_one(port: &mut Port, round: usize) -> Result<(), StartFailure> {
    let Port { rx, tx, control, .. } = port;
    let entries = Some(SIZES[round % SIZES.len()]);
    let number = round % (rx.len() + tx.len());
    let (queue, number) = match number.checked_sub(rx.len()) {
        Some(number) => (QueueMut::Tx(&mut tx[number]), number),
        None => (QueueMut::Rx(&mut rx[number]), number),
    };
    control.reset_queue(u16::try_from(number).unwrap_or(u16::MAX), queue, entries)
}

/// Stops the port and starts it again, each time with other rings.
fn change_all(
    port: &mut Option<Port>,
    config: &Config,
    pool: &Pool,
    round: usize,
) -> Result<(), StartFailure> {
    let Some(running) = port.take() else { return Ok(()) };
    let format = [RingFormat::Split, RingFormat::Any][round % 2];
    let (rx, tx) = (SIZES[round % SIZES.len()], SIZES[(round + 1) % SIZES.len()]);
    let config = Config { rx_ring: Some(rx), tx_ring: Some(tx), ring_format: format, ..*config };
    *port = Some(start_anew(running, &config, pool)?);
    Ok(())
}

/// Stops a port, sees that no buffer is missing, and starts it again.
fn start_anew(running: Port, config: &Config, pool: &Pool) -> Result<Port, StartFailure> {
    let device = running.stop();
    let missing = pool.buffers() - pool.available();
    if missing > 0 {
        println!("controls: change loses {missing} buffers");
    }
    device.start(config, pool).map_err(|error| error.reason)
}

/// Shows the hash of a packet, where it has one, in its last bytes.
fn mark(packet: &mut Netbuf) {
    let hash = packet.rss_hash();
    if let Some((hash, tail)) = hash.zip(packet.bytes_mut().last_chunk_mut()) {
        *tail = hash.to_be_bytes();
    }
}

/// Shows how many buffers are in the pool.
fn say_pool(when: &str, pool: Option<&Pool>) {
    println!("controls: {when}, {} buffers left", pool.map_or(0, Pool::available));
}

fn say(what: &str, result: Result<(), Unsupported>) {
    match result {
        Ok(()) => println!("controls: {what}: done"),
        Err(error) => println!("controls: {what}: {error}"),
    }
}

/// What is looked at between bursts.
struct Watch {
    port: Rc<RefCell<Option<Port>>>,
    link: Link,
    /// Frames by queue, and those among them whose checksum is partial.
    seen: (Rc<[Cell<u32>]>, Rc<Cell<u32>>),
    printed: u32,
    /// Frames after which receive offloads are switched off.
    switch: Option<u32>,
}

impl Watch {
    fn look(&mut self) {
        let Some(Port { control, .. }) = &mut *self.port.borrow_mut() else { return };
        let link = control.link();
        if link.up != self.link.up {
            let speed = link.speed.unwrap_or(0);
            println!("controls: link {} {speed} Mbit/s", if link.up { "up" } else { "down" });
        }
        if link.announce {
            say("announced", control.announced());
        }
        self.link = link;
        let (counts, partial) = &self.seen;
        let all = counts.iter().map(Cell::get).sum();
        if all != self.printed {
            self.printed = all;
            let counts: Vec<u32> = counts.iter().map(Cell::get).collect();
            println!("controls: frames {counts:?}, {} of them partial", partial.get());
        }
        if self.switch.is_some_and(|after| all >= after) {
            self.switch = None;
            say("receive offloads off", control.set_rx_offloads(Offloads::empty()));
        }
    }
}
