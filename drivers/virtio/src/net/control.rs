//! A running device's controls: link, address, filters, spreading, stop. What the device is told goes through its
//! control queue; without one, or without the feature, the answer is [`Unsupported`].
#![forbid(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;

use netdev::{
    Control, Device, Link, MacAddress, Offloads, QueueMut, Rss, RxMode, RxQueue, StartFailure,
    TxQueue, Unsupported,
};

use super::VirtioNet;
use super::bring_up::end;
use super::config_space::{read_link, read_rss_limits};
use super::control_queue::{Command, ControlQueue};
use super::queues::Setup;
use super::running::Live;
use crate::features::{Features, Negotiated};
use crate::transport::{DeviceStatus, DoorbellTransport};

/// Most addresses of a filter table, unicast and multicast together.
const MOST_ADDRESSES: usize = 64;

/// Offloads that are a matter of the device's headers alone.
const SWITCHED: Offloads = Offloads::RX_CHECKSUM.union(Offloads::RX_LRO).union(Offloads::RX_USO);

/// Everything of the device but its queues.
pub(super) struct NetControl<T: DoorbellTransport> {
    pub(super) device: VirtioNet<T>,
    pub(super) negotiated: Negotiated,
    pub(super) setup: Setup,
    /// Of each queue, by its number.
    pub(super) live: Vec<Live>,
    /// There if it was negotiated.
    pub(super) queue: Option<ControlQueue<T::Doorbell>>,
    pub(super) mac: MacAddress,
}

impl<T: DoorbellTransport + 'static> NetControl<T> {
    /// The control queue, with a command begun that needs `feature`.
    fn begin(
        &mut self,
        feature: Features,
        command: Command,
    ) -> Option<&mut ControlQueue<T::Doorbell>> {
        let queue = self.queue.as_mut().filter(|_| self.negotiated.features.contains(feature))?;
        queue.begin(command);
        Some(queue)
    }

    /// Gives a command with these data that needs `feature`; without it, or where the device refuses, `what` is not
    /// supported.
    #[inline(never)]
    fn command(
        &mut self,
        feature: Features,
        what: &'static str,
        command: Command,
        data: &[u8],
    ) -> Result<(), Unsupported> {
        let queue = self.begin(feature, command);
        done(
            queue.is_some_and(|queue| {
                queue.push(data);
                queue.run()
            }),
            what,
        )
    }
}

fn done(done: bool, what: &'static str) -> Result<(), Unsupported> {
    if done { Ok(()) } else { Err(Unsupported(what)) }
}

impl<T: DoorbellTransport + 'static> Control for NetControl<T> {
    /// Down also for a device that asks for a reset or has reset itself: stop and start it again.
    fn link(&mut self) -> Link {
        if self.needs_reset() {
            return Link::default();
        }
        read_link(&self.device.transport, self.negotiated.features).unwrap_or_default()
    }

    fn needs_reset(&mut self) -> bool {
        let status = self.device.transport.get_status();
        !status.contains(DeviceStatus::DRIVER_OK)
            || status.contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    fn mac(&self) -> MacAddress {
        self.mac
    }

    fn feature_bits(&self) -> Option<u64> {
        Some(self.negotiated.features.bits())
    }

    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        done(mac.is_valid_unicast(), "an address that no port can have")?;
        let what = "changing the MAC address";
        self.command(Features::CTRL_MAC_ADDR, what, Command::Mac, &mac.0)?;
        self.mac = mac;
        Ok(())
    }

    fn set_promiscuous(&mut self, on: bool) -> Result<(), Unsupported> {
        let what = "switching promiscuous mode";
        self.command(Features::CTRL_RX, what, Command::Promiscuous, &[on.into()])
    }

    fn set_all_multicast(&mut self, on: bool) -> Result<(), Unsupported> {
        let what = "switching all-multicast mode";
        self.command(Features::CTRL_RX, what, Command::AllMulticast, &[on.into()])
    }

    fn set_rx_mode(&mut self, mode: RxMode, on: bool) -> Result<(), Unsupported> {
        let what = "stopping frames by their kind";
        self.command(Features::CTRL_RX_EXTRA, what, Command::Mode(mode), &[on.into()])
    }

    /// The bits are those of the features (virtio 1.2, 5.1.6.5.6.1).
    fn set_rx_offloads(&mut self, offloads: Offloads) -> Result<(), Unsupported> {
        let what = "switching receive offloads, or not these";
        let Negotiated { offloads: in_force, features, .. } = self.negotiated;
        done((in_force & SWITCHED).contains(offloads), what)?;
        let bits = features & Features::switched_by(offloads);
        let command = Command::Offloads;
        self.command(Features::CTRL_GUEST_OFFLOADS, what, command, &bits.bits().to_le_bytes())
    }

    fn set_mac_filter(
        &mut self,
        unicast: &[MacAddress],
        multicast: &[MacAddress],
    ) -> Result<(), Unsupported> {
        let fits = unicast.len().saturating_add(multicast.len()) <= MOST_ADDRESSES;
        done(fits, "more than 64 addresses in a filter")?;
        let queue = self.begin(Features::CTRL_RX, Command::MacTable);
        let ran = queue.is_some_and(|queue| {
            queue.push_addresses(unicast);
            queue.push_addresses(multicast);
            queue.run()
        });
        done(ran, "filters of addresses")
    }

    fn set_vlan(&mut self, id: u16, pass: bool) -> Result<(), Unsupported> {
        done(id < 1 << 12, "a VLAN above 4095")?;
        let command = if pass { Command::VlanAdd } else { Command::VlanRemove };
        self.command(Features::CTRL_VLAN, "filters of VLANs", command, &id.to_le_bytes())
    }

    fn announced(&mut self) -> Result<(), Unsupported> {
        let what = "being told to announce itself";
        self.command(Features::GUEST_ANNOUNCE, what, Command::Announced, &[])
    }

    /// `struct virtio_net_rss_config`, or without a table `virtio_net_hash_config` (virtio 1.2, 5.1.6.5.7.1 and
    /// 5.1.6.5.6.4).
    fn set_rss(&mut self, rss: &Rss<'_>) -> Result<(), Unsupported> {
        let queues = self.negotiated.rx_queues;
        let limits = read_rss_limits(&self.device.transport).ok();
        let lengths = limits.and_then(|limits| limits.lengths(rss));
        let last = rss.unclassified.max(rss.table.iter().fold(0, |most, &queue| most.max(queue)));
        let spreads = !rss.table.is_empty();
        let (feature, command) = match spreads {
            true => (Features::RSS, Command::Rss),
            false => (Features::HASH_REPORT, Command::Hash),
        };
        let queue = self.begin(feature, command).filter(|_| last < queues);
        let ran = queue.zip(lengths).is_some_and(|(queue, (key, mask))| {
            queue.push(&rss.hash_types.to_le_bytes());
            if spreads {
                queue.push_words(&[mask, rss.unclassified]);
                queue.push_words(rss.table);
                queue.push_words(&[queues]);
            } else {
                queue.push_words(&[0; 4]);
            }
            queue.push(&[key]);
            queue.push(rss.key);
            queue.run()
        });
        done(ran, "spreading or hashing with this key, table and queues")
    }

    fn reset_queue(
        &mut self,
        number: u16,
        queue: QueueMut<'_>,
        entries: Option<u16>,
    ) -> Result<(), StartFailure> {
        self.remake(number, queue, entries)
    }

    /// Resets the device. A device that does not confirm may still write to the buffers that it was given:
    /// they are then lost, and a further start will fail for the same reason.
    fn stop(
        mut self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device> {
        end(&mut self.device.transport, &self.live);
        drop((rx, tx));
        Box::new(self.device)
    }
}
