//! Starting a device (virtio 1.2, 3.1.1), step by step.

use alloc::boxed::Box;
use alloc::vec::Vec;

use netbuf::{Burst, Pool};
use netdev::{Config, RxQueue, StartFailure, TxQueue};

use super::VirtioNet;
use super::config_space::read_offer;
use super::control_queue::{Command, ControlQueue};
use super::hash::{HashReceiver, HashSender};
use super::queues::{Queues, Setup};
use super::running::Live;
use crate::features::{Limits, Negotiated, negotiate};
use crate::transport::{DeviceStatus, Doorbell, DoorbellTransport, Transport, reset_ends};

/// What a start made.
pub(super) struct Started<D> {
    pub(super) rx: Vec<Box<dyn RxQueue>>,
    pub(super) tx: Vec<Box<dyn TxQueue>>,
    pub(super) control: Option<ControlQueue<D>>,
    pub(super) negotiated: Negotiated,
    pub(super) setup: Setup,
    /// Of each queue, by its number.
    pub(super) live: Vec<Live>,
}

/// Resets the device. `Err` where it does not confirm: it may still access memory.
#[inline(never)]
pub(super) fn reset<T: Transport>(transport: &mut T) -> Result<(), StartFailure> {
    transport.set_status(DeviceStatus::empty());
    if reset_ends(|| !transport.get_status().is_empty()) {
        Ok(())
    } else {
        Err(StartFailure::Device("it does not reset"))
    }
}

/// Resets the device and tells it that a driver is there: features and configuration can be read.
#[inline(never)]
pub(super) fn greet<T: Transport>(transport: &mut T) -> Result<(), StartFailure> {
    reset(transport)?;
    transport.set_status(DeviceStatus::ACKNOWLEDGE);
    transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
    Ok(())
}

/// Tells the device that it is not used, and resets it as far as it lets itself.
#[inline(never)]
pub(super) fn give_up<T: Transport>(transport: &mut T) {
    transport.set_status(DeviceStatus::FAILED);
    transport.set_status(DeviceStatus::empty());
}

/// Ends a run: the device is reset, and its queues' buffers can go home when they are dropped. A device that does not
/// confirm may still write to the buffers that it was given: they are then lost.
#[inline(never)]
pub(super) fn end<T: Transport>(transport: &mut T, live: &[Live]) {
    let confirmed = reset(transport).is_ok();
    for Live { running, .. } in live {
        if confirmed {
            // SAFETY: the device has just confirmed its reset.
            unsafe { running.reset() };
        } else {
            running.lost();
        }
    }
}

/// Brings the device up. After an error, [`give_up`] ends the attempt; nothing is posted then.
pub(super) fn start<T: DoorbellTransport>(
    device: &mut VirtioNet<T>,
    config: &Config,
    pool: &Pool,
) -> Result<Started<T::Doorbell>, StartFailure> {
    greet(&mut device.transport)?;
    device.offer = read_offer(&mut device.transport)?;
    let limits = Limits { headroom: pool.headroom(), room: pool.room() };
    let negotiated = negotiate(&device.offer, config, &limits)?;
    let needed = usize::from(negotiated.rx_ring) * usize::from(negotiated.rx_queues);
    let available = pool.available();
    if available < needed {
        return Err(StartFailure::PoolTooSmall { needed, available });
    }
    agree(&mut device.transport, &negotiated)?;
    let setup = Setup::new(&negotiated, config.port, pool);
    let (rx, tx, live) = (Vec::new(), Vec::new(), Vec::new());
    let mut started = Started { rx, tx, control: None, negotiated, setup, live };
    match run(device, &mut started) {
        Ok(()) => Ok(started),
        Err(reason) => {
            end(&mut device.transport, &started.live);
            Err(reason)
        }
    }
}

/// Sets the queues up and lets the device run.
fn run<T: DoorbellTransport>(
    device: &mut VirtioNet<T>,
    started: &mut Started<T::Doorbell>,
) -> Result<(), StartFailure> {
    let VirtioNet { transport, memory, .. } = device;
    let bytes = started.negotiated.ring_bytes().ok_or(StartFailure::NoMemory)?;
    let memory = memory.at_least(bytes).ok_or(StartFailure::NoMemory)?;
    let Started { negotiated, setup, live, .. } = started;
    // SAFETY: the device was reset, so it knows of no ring; the rings of an earlier start ended with it (see
    // `Running`), or it would not have been given back.
    let mut queues = unsafe { Queues::new(transport, (memory, 0), negotiated, setup, live) };
    let pairs = negotiated.rx_queues;
    for pair in 0..pairs {
        let rx = T::Doorbell::receive_queue(&mut queues, 2 * pair, negotiated.rx_ring)?;
        let tx = T::Doorbell::transmit_queue(&mut queues, 2 * pair + 1, negotiated.tx_ring)?;
        let hash = negotiated.hash_bytes() > 0;
        started.rx.push(if hash { HashReceiver::boxed(rx) } else { rx });
        started.tx.push(if hash { HashSender::boxed(tx) } else { tx });
    }
    started.control = negotiated.control.map(|queue| queues.control(queue)).transpose()?;
    transport.set_status(agreed() | DeviceStatus::DRIVER_OK);
    // The first burst posts the buffers, and tells the device of them. (There is nothing to receive yet, and
    // statistics start at zero.)
    let mut nothing = Burst::new();
    for rx in &mut started.rx {
        rx.rx_burst(&mut nothing);
    }
    if pairs > 1 && !switch_on(started.control.as_mut(), pairs) {
        return Err(StartFailure::Device("it does not switch its pairs of queues on"));
    }
    // (The device may use every pair, its transmit queue included: that stays behind.)
    started.tx.truncate(negotiated.tx_queues.into());
    started.live.iter().for_each(|queue| queue.running.started());
    Ok(())
}

/// Tells the device how many pairs of queues it is to use; whether it does.
fn switch_on<D: Doorbell>(queue: Option<&mut ControlQueue<D>>, pairs: u16) -> bool {
    queue.is_some_and(|queue| {
        queue.begin(Command::Pairs);
        queue.push(&pairs.to_le_bytes());
        queue.run()
    })
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
