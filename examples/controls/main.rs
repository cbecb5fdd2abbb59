//! controls: what a port can be told while it runs. Sets filters and spreading as its parameters say, reflects every
//! frame on the queue that it came on (with its hash in its last bytes, where it has one), and prints, on change: frames by queue, the link, announcements.
#![cfg_attr(all(panic = "abort", not(feature = "linux")), no_std)]
#![cfg_attr(not(feature = "linux"), no_main)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;

use barewire::netdev::{Control, Link, Offloads, Rss, Unsupported};
use barewire::{Burst, Config, Error, MacAddress, Machine, Netbuf, println};

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
/// IPv4, and UDP over it.
const HASH_TYPES: u32 = 1 | 4;

fn controls(mut machine: Machine) -> Result<(), Error> {
    let queues: u32 = machine.params.get("queues")?.unwrap_or(1);
    let spread = machine.params.get("rss")?.unwrap_or(false);
    let vlan: Option<u32> = machine.params.get("vlan")?;
    let filter = machine.params.get("filter")?.unwrap_or(false);
    let hash = machine.params.get("hash")?.unwrap_or(false);
    machine.params.finish("queues=N rss=on|off hash=on|off vlan=ID filter=on|off")?;
    let queues = u16::try_from(queues).unwrap_or(u16::MAX);
    let mut offloads = Offloads::empty();
    offloads.set(Offloads::RX_RSS, spread);
    offloads.set(Offloads::RSS_HASH, hash);
    offloads.set(Offloads::RX_VLAN_FILTER, vlan.is_some());
    let config = Config { rx_queues: queues, tx_queues: queues, offloads, ..Config::default() };
    let mut ports = machine.start_ports(&config)?;
    let mut event_loop = machine.event_loop(&ports);
    let mut port = ports.swap_remove(0);
    let control = &mut *port.control;
    if filter {
        say("mac", control.set_mac(MAC));
        say("promiscuous off", control.set_promiscuous(false));
        say("all-multicast off", control.set_all_multicast(false));
        say("addresses", control.set_mac_filter(&[OTHER], &[GROUP]));
    }
    if let Some(id) = vlan {
        say("vlan", control.set_vlan(u16::try_from(id).unwrap_or(u16::MAX), true));
    }
    if spread || hash {
        let entries = if spread { 128 } else { 0 };
        let table: Vec<u16> = (0..entries).map(|entry| entry % queues).collect();
        let rss = Rss { hash_types: HASH_TYPES, key: &KEY, table: &table, unclassified: 0 };
        say("rss", control.set_rss(&rss));
    }
    println!("controls: ready, mac {}", control.mac());
    let counts: Rc<[Cell<u32>]> = (0..queues).map(|_| Cell::new(0)).collect();
    let mut watch = Watch::new(port.control, counts.clone());
    event_loop.every(Duration::from_millis(100), move |_| watch.look());
    event_loop.run(|turn| {
        for ((rx, tx), count) in port.rx.iter_mut().zip(&mut port.tx).zip(&*counts) {
            let mut burst = Burst::new();
            turn.receive(&mut **rx, &mut burst);
            count.set(count.get() + u32::try_from(burst.len()).unwrap_or(0));
            burst.iter_mut().for_each(mark);
            turn.send(&mut **tx, &mut burst);
        }
    });
    Ok(())
}

/// Shows the hash of a packet, where it has one, in its last bytes.
fn mark(packet: &mut Netbuf) {
    let hash = packet.rss_hash();
    if let Some((hash, tail)) = hash.zip(packet.bytes_mut().last_chunk_mut()) {
        *tail = hash.to_be_bytes();
    }
}

fn say(what: &str, result: Result<(), Unsupported>) {
    match result {
        Ok(()) => println!("controls: {what}: done"),
        Err(error) => println!("controls: {what}: {error}"),
    }
}

/// What is looked at between bursts.
struct Watch {
    control: Box<dyn Control>,
    link: Link,
    counts: Rc<[Cell<u32>]>,
    printed: u32,
}

impl Watch {
    fn new(control: Box<dyn Control>, counts: Rc<[Cell<u32>]>) -> Self {
        Self { control, link: Link::default(), counts, printed: 0 }
    }

    fn look(&mut self) {
        let link = self.control.link();
        if link.up != self.link.up {
            println!("controls: link {}", if link.up { "up" } else { "down" });
        }
        if link.announce {
            say("announced", self.control.announced());
        }
        self.link = link;
        let all = self.counts.iter().map(Cell::get).sum();
        if all != self.printed {
            self.printed = all;
            let counts: Vec<u32> = self.counts.iter().map(Cell::get).collect();
            println!("controls: frames {counts:?}");
        }
    }
}
