//! What a network device says of itself: features, address, MTU, link, queues (virtio 1.2, 5.1.4).
//!
//! Fields of a feature that was not offered are garbage and are not read.
#![forbid(unsafe_code)]

use netdev::{Link, MacAddress, RingLimits, Rss, StartFailure};

use crate::features::{Features, MIN_MTU, Offer};
use crate::ring::split::RingSize;
use crate::transport::{DoorbellTransport, Transport};

/// Byte offsets of `virtio_net_config`.
const MAC: usize = 0;
const STATUS: usize = 6;
const PAIRS: usize = 8;
const MTU: usize = 10;
const SPEED: usize = 12;
const RSS_KEY: usize = 17;
const RSS_TABLE: usize = 18;
const HASH_TYPES: usize = 20;

/// `VIRTIO_NET_S_LINK_UP`.
const LINK_UP: u16 = 1;

/// `VIRTIO_NET_S_ANNOUNCE`.
const ANNOUNCE: u16 = 2;

/// Most pairs of queues that a device may state (virtio 1.2, 5.1.4).
const MOST_PAIRS: u16 = 0x8000;

/// How often the configuration is read again before the device is given up. (More than compilers unroll.)
const TRIES: usize = 100;

/// The receive and the transmit queue of the first pair.
const RX: u16 = 0;
const TX: u16 = 1;

/// Reads what the device offers. Its status must at least be `DRIVER`.
pub(super) fn read_offer<T: DoorbellTransport>(transport: &mut T) -> Result<Offer, StartFailure> {
    let mut features = Features::from_bits_retain(transport.read_device_features());
    features.set(
        Features::RING_RESET,
        features.contains(Features::RING_RESET) && transport.resets_queues(),
    );
    let several = features.consistent().has_pairs();
    let (mac, mtu, pairs) = stable(transport, |transport| {
        let mac = features.contains(Features::MAC).then(|| read_mac(transport)).transpose()?;
        let mtu = features
            .contains(Features::MTU)
            .then(|| transport.read_config_space::<u16>(MTU))
            .transpose()?;
        let pairs = if several { transport.read_config_space::<u16>(PAIRS)? } else { 1 };
        Ok((mac, mtu, pairs))
    })?;
    if pairs == 0 || pairs > MOST_PAIRS {
        return Err(StartFailure::Device("its pairs of queues are not 1 to 32768"));
    }
    if mtu.is_some_and(|mtu| mtu < MIN_MTU) {
        return Err(StartFailure::Device("its MTU is less than 68 bytes"));
    }
    Ok(Offer {
        features,
        mac: mac.filter(|mac| mac.is_valid_unicast()),
        mtu,
        pairs,
        rx_ring: ring_limits(transport, RX)?,
        tx_ring: ring_limits(transport, TX)?,
    })
}

/// The link, as a device with these features says. (A speed of more than 31 bits is none: virtio 1.2, 5.1.4.)
pub(super) fn read_link<T: Transport>(
    transport: &T,
    features: Features,
) -> Result<Link, StartFailure> {
    stable(transport, |transport: &T| {
        let mut link = Link { up: true, ..Link::default() };
        if features.contains(Features::STATUS) {
            let status = transport.read_config_space::<u16>(STATUS)?;
            link.up = status & LINK_UP != 0;
            link.announce = status & ANNOUNCE != 0 && features.contains(Features::GUEST_ANNOUNCE);
        }
        if features.contains(Features::SPEED_DUPLEX) {
            let speed = transport.read_config_space::<u32>(SPEED)?;
            link.speed = (speed >> 31 == 0).then_some(speed);
        }
        Ok(link)
    })
}

/// What a device can spread packets by.
pub(super) struct RssLimits {
    /// Most bytes of a key.
    key: u8,
    /// Most entries of a table.
    table: u16,
    /// What it can hash.
    types: u32,
}

impl RssLimits {
    /// The length of this key, and the mask for this table (0 for none), where the device takes them.
    pub(super) fn lengths(&self, rss: &Rss<'_>) -> Option<(u8, u16)> {
        let key = u8::try_from(rss.key.len()).ok().filter(|&key| key <= self.key)?;
        let table = u16::try_from(rss.table.len().max(1)).ok()?;
        let fits = rss.table.is_empty() || table <= self.table;
        let known = rss.hash_types & !self.types == 0;
        (fits && known && table.is_power_of_two()).then(|| (key, table - 1))
    }
}

/// Reads them, of a device that offers `VIRTIO_NET_F_RSS` or `VIRTIO_NET_F_HASH_REPORT`.
pub(super) fn read_rss_limits<T: Transport>(transport: &T) -> Result<RssLimits, StartFailure> {
    stable(transport, |transport: &T| {
        let key = transport.read_config_space(RSS_KEY)?;
        let table = transport.read_config_space(RSS_TABLE)?;
        Ok(RssLimits { key, table, types: transport.read_config_space(HASH_TYPES)? })
    })
}

/// Byte by byte, because its fields are bytes (virtio 1.2, 4.1.3.1 and 4.2.2.2).
fn read_mac<T: Transport>(transport: &T) -> virtio_drivers::Result<MacAddress> {
    let mut bytes = [0u8; 6];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = transport.read_config_space(MAC + at)?;
    }
    Ok(MacAddress(bytes))
}

/// Reads until the configuration has not changed meanwhile, but not for ever.
fn stable<T: Transport, V>(
    transport: &T,
    read: impl Fn(&T) -> virtio_drivers::Result<V>,
) -> Result<V, StartFailure> {
    for _ in 0..TRIES {
        let before = transport.read_config_generation();
        let value = read(transport);
        if transport.read_config_generation() == before {
            return value.map_err(|_| {
                StartFailure::Device("its configuration is shorter than its features need")
            });
        }
    }
    Err(StartFailure::Device("its configuration never stops changing"))
}

#[inline(never)]
fn ring_limits<T: Transport>(transport: &mut T, queue: u16) -> Result<RingLimits, StartFailure> {
    match transport.max_queue_size(queue) {
        0 => Err(StartFailure::Device("a queue is missing (its size is 0)")),
        entries => match RingSize::new(entries) {
            Some(size) => Ok(RingLimits { min: 1, max: size.get() }),
            None => {
                Err(StartFailure::Device("a queue's size is not a power of two from 1 to 32768"))
            }
        },
    }
}
