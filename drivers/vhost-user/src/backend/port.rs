//! What the caller of a started back end holds: queues and controls of one pair or of several, around the shared
//! [`Hub`].

use std::sync::Arc;

use netdev::{
    Armed, Burst, Config, Control, Device, Link, MacAddress, Pool, QueueCounters, RxQueue, TxQueue,
    Unsupported, WakeSource,
};
use virtio::ring::Pace;

use super::announcement::rarp;
use super::hub::{Hub, PATIENCE};
use super::lane::Lane;
use super::offer::Offer;
use super::{VhostUserBackend, info};
use crate::preset::Preset;

/// A port's share in the hub, until it is stopped or dropped.
pub(super) struct Member(Arc<Hub>);

impl Member {
    /// `None`: the other members run with another offer.
    pub(super) fn join(hub: &Arc<Hub>, offer: Offer) -> Option<Self> {
        hub.join(offer).then(|| Self(Arc::clone(hub)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// The port of `pairs`, which have been checked.
pub(super) fn port(
    member: Member,
    pairs: std::ops::Range<u16>,
    control: Controls,
    config: &Config,
    pool: &Pool,
    max_frame: u16,
) -> netdev::Port {
    let hub = &member.0;
    // The guest transmits what we receive.
    let rx = pairs.clone().map(|pair| -> Box<dyn RxQueue> {
        Box::new(Rx {
            hub: Arc::clone(hub),
            ring: 2 * usize::from(pair) + 1,
            patience: 0,
            pace: Pace::default(),
            pool: *pool,
            port: config.port,
            counters: Arc::default(),
        })
    });
    let tx = pairs.clone().map(|pair| -> Box<dyn TxQueue> {
        let (hub, ring) = (Arc::clone(hub), 2 * usize::from(pair));
        Box::new(Tx { hub, ring, patience: 0, counters: Arc::default() })
    });
    let queues = u16::try_from(pairs.len()).unwrap_or(u16::MAX);
    netdev::Port {
        info: netdev::Info {
            max_frame: max_frame.into(),
            // The front end chooses, later, from what is left.
            ring_format: config.ring_format,
            ring_features: Offer::RING_FEATURES - config.ring_features_off,
            offloads: config.offloads,
            ..info(control.mac, queues)
        },
        rx: rx.collect(),
        tx: tx.collect(),
        control: Box::new(Running { member, first: pairs.start, control }),
    }
}

struct Rx {
    hub: Arc<Hub>,
    ring: usize,
    /// Until the next look for control messages.
    patience: u32,
    /// How often the ring is looked at.
    pace: Pace,
    pool: Pool,
    port: u16,
    counters: Arc<QueueCounters>,
}

impl RxQueue for Rx {
    fn rx_burst(&mut self, out: &mut Burst) -> usize {
        if !self.pace.is_due() {
            return 0;
        }
        let (got, cost) = self.hub.receive(self.ring, &self.pool, out, &self.counters, self.port);
        self.pace.found(got, out.is_full());
        if spend(&mut self.patience, cost, &self.hub, self.ring) {
            return got + self.announce(out);
        }
        got
    }

    fn arm(&mut self) -> Armed {
        self.patience = PATIENCE;
        // Whoever would sleep has waited enough.
        self.pace = Pace::default();
        let armed = self.hub.arm(self.ring);
        if !self.hub.has_announcement() {
            return armed;
        }
        self.patience = 0;
        Armed::PacketsPending
    }

    fn wake_sources(&self, each: &mut dyn FnMut(WakeSource)) {
        self.hub.wake_sources(self.ring, each);
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

impl Rx {
    /// Receives the broadcast of a guest's address, where one is to be sent: how many packets that makes.
    #[cold]
    fn announce(&mut self, out: &mut Burst) -> usize {
        if out.is_full() || !self.hub.has_announcement() {
            return 0;
        }
        let Some(mac) = self.hub.take_announcement() else { return 0 };
        let frame = rarp(mac);
        let Some(mut packet) = self.pool.copy_from(&frame) else {
            // At the next look, perhaps.
            self.hub.announce_later(mac);
            return 0;
        };
        packet.set_port(self.port);
        out.push(packet);
        self.counters.burst(1, frame.len() as u64);
        1
    }
}

struct Tx {
    hub: Arc<Hub>,
    ring: usize,
    patience: u32,
    counters: Arc<QueueCounters>,
}

impl TxQueue for Tx {
    fn tx_burst(&mut self, packets: &mut Burst) -> usize {
        let (taken, cost) = self.hub.transmit(self.ring, packets, &self.counters);
        let _looked = spend(&mut self.patience, cost, &self.hub, self.ring);
        taken
    }

    fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }
}

/// Uses up patience; whether it was at an end, and control messages were looked for.
#[inline]
fn spend(patience: &mut u32, cost: u32, hub: &Hub, ring: usize) -> bool {
    match patience.checked_sub(cost) {
        Some(left) => {
            *patience = left;
            false
        }
        None => {
            *patience = PATIENCE;
            hub.look_from(ring);
            true
        }
    }
}

/// What a port becomes again once it is stopped.
#[derive(Clone, Copy)]
pub(super) struct Controls {
    pub(super) mac: MacAddress,
    pub(super) preset: Preset,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    Whole,
    Lane,
}

struct Running {
    member: Member,
    /// The first pair.
    first: u16,
    control: Controls,
}

impl Control for Running {
    /// Of the first pair: front ends may leave the others out.
    fn link(&mut self) -> Link {
        let hub = &self.member.0;
        let _ = hub.look();
        Link { up: hub.is_up(self.first), speed: None, announce: false }
    }

    fn mac(&self) -> MacAddress {
        self.control.mac
    }

    /// What the front end accepted.
    fn feature_bits(&self) -> Option<u64> {
        self.member.0.feature_bits()
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        if !mac.is_valid_unicast() {
            return Err(Unsupported("a zero or multicast MAC address"));
        }
        self.control.mac = mac;
        Ok(())
    }

    fn set_promiscuous(&mut self, _on: bool) -> Result<(), Unsupported> {
        // The cable has two ends: whatever comes is for us. Nothing is ever filtered.
        Ok(())
    }

    fn set_all_multicast(&mut self, _on: bool) -> Result<(), Unsupported> {
        Ok(())
    }

    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        drop((rx, tx));
        let Self { member, first, control: Controls { mac, preset, kind } } = *self;
        let hub = Arc::clone(&member.0);
        drop(member);
        match kind {
            Kind::Lane => Box::new(Lane::new(hub, first, mac, preset)),
            Kind::Whole => {
                let monitor = hub.monitor().clone();
                match hub.take_endpoint() {
                    Some(endpoint) => Box::new(VhostUserBackend { endpoint, mac, monitor, preset }),
                    None => {
                        unreachable!("the endpoint leaves with the controls, of which there is one")
                    }
                }
            }
        }
    }
}
