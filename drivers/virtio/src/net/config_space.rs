//! What a network device says of itself: features, address, MTU, link, queues (virtio 1.2, 5.1.4).
//!
//! Fields of a feature that was not offered are garbage and are not read.
#![forbid(unsafe_code)]

use netdev::{MacAddress, RingLimits, StartFailure};

use crate::features::{Features, MIN_MTU, Offer};
use crate::ring::split::RingSize;
use crate::transport::{DoorbellTransport, Transport};

/// Byte offsets of `virtio_net_config`.
const MAC: usize = 0;
const STATUS: usize = 6;
const MTU: usize = 10;

/// `VIRTIO_NET_S_LINK_UP`.
const LINK_UP: u16 = 1;

/// How often the configuration is read again before the device is given up.
const TRIES: usize = 16;

/// The receive and the transmit queue of the only pair.
pub(super) const RX: u16 = 0;
pub(super) const TX: u16 = 1;

/// Reads what the device offers. Its status must at least be `DRIVER`.
pub(super) fn read_offer<T: DoorbellTransport>(transport: &mut T) -> Result<Offer, StartFailure> {
    let features = Features::from_bits_retain(transport.read_device_features());
    let (mac, mtu) = stable(transport, |transport| {
        let mac = features.contains(Features::MAC).then(|| read_mac(transport)).transpose()?;
        let mtu = features
            .contains(Features::MTU)
            .then(|| transport.read_config_space::<u16>(MTU))
            .transpose()?;
        Ok((mac, mtu))
    })?;
    if mtu.is_some_and(|mtu| mtu < MIN_MTU) {
        return Err(StartFailure::Device("its MTU is less than 68 bytes"));
    }
    Ok(Offer {
        features,
        mac: mac.filter(|mac| mac.is_valid_unicast()),
        mtu,
        pairs: 1,
        rx_ring: ring_limits(transport, RX)?,
        tx_ring: ring_limits(transport, TX)?,
    })
}

/// Whether the link is up, as the device says.
pub(super) fn read_link_up<T: Transport>(transport: &T) -> Result<bool, StartFailure> {
    let status = stable(transport, |transport: &T| transport.read_config_space::<u16>(STATUS))?;
    Ok(status & LINK_UP != 0)
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
