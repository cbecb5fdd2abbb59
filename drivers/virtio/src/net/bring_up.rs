//! Starting a device (virtio 1.2, 3.1.1), step by step.

use alloc::boxed::Box;
use alloc::sync::Arc;

use netbuf::{DeviceMemory, Pool};
use netdev::{Config, QueueCounters, RingFormat, RxQueue, StartFailure, TxQueue};

use super::config_space::{RX, TX, read_offer};
use super::running::Running;
use super::rx::Receiver;
use super::tx::Sender;
use super::{PlainHeader, VirtioNet};
use crate::features::{Limits, Negotiated, negotiate};
use crate::ring::packed::{self, PackedReceive, PackedTransmit};
use crate::ring::split::{self, RingSize, SplitReceive, SplitTransmit};
use crate::ring::{Addresses, ReceiveRing, ReceiveSetup, TransmitRing, TransmitSetup};
use crate::transport::{DeviceStatus, Doorbell, DoorbellTransport, Transport};

/// How often the status is read while a device resets. Devices of a virtual machine answer at once; a second
/// or so passes over a bus.
const RESET_READS: usize = 1_000_000;

/// What a start made.
pub(super) struct Started {
    pub(super) rx: Box<dyn RxQueue>,
    pub(super) tx: Box<dyn TxQueue>,
    pub(super) negotiated: Negotiated,
    pub(super) running: Running,
}

/// Resets the device. `Err` where it does not confirm: it may still access memory.
pub(super) fn reset<T: Transport>(transport: &mut T) -> Result<(), StartFailure> {
    transport.set_status(DeviceStatus::empty());
    for _ in 0..RESET_READS {
        if transport.get_status().is_empty() {
            return Ok(());
        }
        core::hint::spin_loop();
    }
    Err(StartFailure::Device("it does not reset"))
}

/// Resets the device and tells it that a driver is there: features and configuration can be read.
pub(super) fn greet<T: Transport>(transport: &mut T) -> Result<(), StartFailure> {
    reset(transport)?;
    transport.set_status(DeviceStatus::ACKNOWLEDGE);
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    Ok(())
}

/// Tells the device that it is not used, and resets it as far as it lets itself.
pub(super) fn give_up<T: Transport>(transport: &mut T) {
    transport.set_status(DeviceStatus::FAILED);
    transport.set_status(DeviceStatus::empty());
}

/// Brings the device up. After an error, [`give_up`] ends the attempt; nothing is posted then.
pub(super) fn start<T: DoorbellTransport>(
    device: &mut VirtioNet<T>,
    config: &Config,
    pool: &Pool,
) -> Result<Started, StartFailure> {
    greet(&mut device.transport)?;
    device.offer = read_offer(&mut device.transport)?;
    let limits = Limits { headroom: pool.headroom(), room: pool.room() };
    let negotiated = negotiate(&device.offer, config, &limits)?;
    let (needed, available) = (negotiated.rx_ring.into(), pool.available());
    if available < needed {
        return Err(StartFailure::PoolTooSmall { needed, available });
    }
    agree(&mut device.transport, &negotiated)?;

    // SAFETY: the device was reset, so it knows of no ring; the rings of an earlier start ended with it (see
    // `Running`), or it would not have been given back.
    unsafe {
        match negotiated.ring_format {
            RingFormat::Packed => {
                let rings = packed_rings(&device.memory, &negotiated, config.port, pool)?;
                run(&mut device.transport, rings, negotiated)
            }
            _ => {
                let rings = split_rings(&device.memory, &negotiated, config.port, pool)?;
                run(&mut device.transport, rings, negotiated)
            }
        }
    }
}

/// Names the rings to the device, posts buffers, and lets it run.
fn run<T: DoorbellTransport, R: ReceiveRing, S: TransmitRing>(
    transport: &mut T,
    (rx_ring, tx_ring): (R, S),
    negotiated: Negotiated,
) -> Result<Started, StartFailure> {
    set_queue(transport, RX, negotiated.rx_ring, rx_ring.addresses());
    set_queue(transport, TX, negotiated.tx_ring, tx_ring.addresses());
    let rx_bell = transport.doorbell(RX).map_err(StartFailure::Device)?;
    let tx_bell = transport.doorbell(TX).map_err(StartFailure::Device)?;

    let running = Running::new();
    let mut rx = Receiver {
        ring: rx_ring,
        doorbell: rx_bell,
        counters: Arc::new(QueueCounters::default()),
        running: running.clone(),
        wake: transport.wake_source(RX),
    };
    let tx = Sender {
        ring: tx_ring,
        doorbell: tx_bell,
        counters: Arc::new(QueueCounters::default()),
        running: running.clone(),
    };
    // The device may look at its queues before it is told to; it is told of nothing before it runs.
    let _ = rx.ring.refill();
    transport.set_status(agreed() | DeviceStatus::DRIVER_OK);
    // (Not counted: statistics start at zero.)
    rx.doorbell.ring();
    Ok(Started { rx: Box::new(rx), tx: Box::new(tx), negotiated, running })
}

fn agreed() -> DeviceStatus {
    DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK
}

/// Writes the accepted features and sees whether the device agrees.
fn agree<T: Transport>(transport: &mut T, negotiated: &Negotiated) -> Result<(), StartFailure> {
    transport.write_driver_features(negotiated.features.bits());
    transport.set_status(agreed());
    if transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        Ok(())
    } else {
        Err(StartFailure::Device("it refuses the features (FEATURES_OK does not stay set)"))
    }
}

/// What both rings are started with, and their sizes.
struct Plan {
    receive: ReceiveSetup,
    rx_size: RingSize,
    transmit: TransmitSetup,
    tx_size: RingSize,
}

impl Plan {
    fn new(negotiated: &Negotiated, port: u16, pool: &Pool) -> Result<Self, StartFailure> {
        let options = negotiated.ring_options();
        let max_frame = negotiated.max_frame;
        let size = |entries: u16| RingSize::new(entries.into()).ok_or(StartFailure::NoMemory);
        Ok(Self {
            receive: ReceiveSetup { options, pool: *pool, port, max_frame },
            rx_size: size(negotiated.rx_ring)?,
            transmit: TransmitSetup { options, home: *pool, max_frame },
            tx_size: size(negotiated.tx_ring)?,
        })
    }
}

/// Lays both rings out in the device's memory, one behind the other.
///
/// # Safety
/// Neither the device nor an earlier start may use that memory any more.
unsafe fn split_rings(
    memory: &DeviceMemory,
    negotiated: &Negotiated,
    port: u16,
    pool: &Pool,
) -> Result<(SplitReceive<PlainHeader>, SplitTransmit<PlainHeader>), StartFailure> {
    let plan = Plan::new(negotiated, port, pool)?;
    let second = split::ring_bytes(plan.rx_size);
    // SAFETY: as the caller promised; the rings do not overlap.
    let rings = unsafe {
        (
            SplitReceive::new(memory, 0, plan.rx_size, &plan.receive),
            SplitTransmit::new(memory, second, plan.tx_size, &plan.transmit),
        )
    };
    both(rings)
}

/// As [`split_rings`].
///
/// # Safety
/// As there.
unsafe fn packed_rings(
    memory: &DeviceMemory,
    negotiated: &Negotiated,
    port: u16,
    pool: &Pool,
) -> Result<(PackedReceive<PlainHeader>, PackedTransmit<PlainHeader>), StartFailure> {
    let plan = Plan::new(negotiated, port, pool)?;
    let second = packed::ring_bytes(plan.rx_size);
    // SAFETY: as the caller promised; the rings do not overlap.
    let rings = unsafe {
        (
            PackedReceive::new(memory, 0, plan.rx_size, &plan.receive),
            PackedTransmit::new(memory, second, plan.tx_size, &plan.transmit),
        )
    };
    both(rings)
}

fn both<R, S>(rings: (Option<R>, Option<S>)) -> Result<(R, S), StartFailure> {
    match rings {
        (Some(receive), Some(transmit)) => Ok((receive, transmit)),
        _ => Err(StartFailure::NoMemory),
    }
}

fn set_queue<T: Transport>(transport: &mut T, queue: u16, size: u16, addresses: Addresses) {
    let Addresses { desc, driver, device } = addresses;
    transport.queue_set(queue, size.into(), desc, driver, device);
}
