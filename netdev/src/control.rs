//! The controls of a running port. Off the packet path: these may be slow.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use crate::{Device, MacAddress, Offloads, QueueMut, RingFeatures, RxQueue, StartFailure, TxQueue};

/// The state of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Whether frames can pass.
    pub up: bool,
    /// Mbit/s, where the device knows.
    pub speed: Option<u32>,
    /// The device asks the function to announce itself to its network (after a migration, say), with whatever its
    /// protocols have for that; [`Control::announced`] answers.
    pub announce: bool,
}

/// Which received packet goes to which queue, by a Toeplitz hash (virtio 1.2, 5.1.6.5.6).
#[derive(Clone, Copy, Debug)]
pub struct Rss<'a> {
    /// Kinds of packets that are hashed, as bits of virtio 1.2, 5.1.6.4.3.1 (IPv4 1, TCPv4 2, UDPv4 4, IPv6 8, TCPv6 16,
    /// UDPv6 32).
    pub hash_types: u32,
    /// The hash's key, usually of 40 bytes.
    pub key: &'a [u8],
    /// Receive queues by the lower bits of the hash; a power of two of them. None: packets are hashed and not spread, where
    /// the hash is delivered ([`RSS_HASH`](crate::Offloads::RSS_HASH)).
    pub table: &'a [u16],
    /// The receive queue of packets that are not hashed.
    pub unclassified: u16,
}

/// What is received or stopped of all frames of a kind, whatever the filter of addresses says (virtio 1.2, 5.1.6.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxMode {
    /// Every frame to one station is received.
    AllUnicast,
    /// No frame to a group is received, but for broadcasts.
    NoMulticast,
    /// No frame to one station is received.
    NoUnicast,
    /// No broadcast is received.
    NoBroadcast,
}

/// The device or driver cannot do what a control call asked; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported(
    /// What is not supported, as words for a message.
    pub &'static str,
);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this port does not support {}", self.0)
    }
}

impl core::error::Error for Unsupported {}

/// The controls of a running port. A driver implements what its devices can do.
pub trait Control {
    /// The link's state, read now.
    fn link(&mut self) -> Link;

    /// Whether the device has given up, or has reset itself: [`Port::restart`](crate::Port::restart) helps.
    fn needs_reset(&mut self) -> bool {
        false
    }

    /// The port's own address.
    fn mac(&self) -> MacAddress;

    /// The device's feature bits in force, as its own specification numbers them, for reports; `None` where there are
    /// none: the device has no such bits, or no peer that agreed to any.
    fn feature_bits(&self) -> Option<u64> {
        None
    }

    /// Changes the port's own address.
    ///
    /// # Errors
    /// [`Unsupported`] where the device has a fixed one.
    fn set_mac(&mut self, mac: MacAddress) -> Result<(), Unsupported> {
        let _ = mac;
        Err(Unsupported("changing the MAC address"))
    }

    /// Receives frames for any destination, or no longer.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch.
    fn set_promiscuous(&mut self, on: bool) -> Result<(), Unsupported> {
        let _ = on;
        Err(Unsupported("switching promiscuous mode"))
    }

    /// Receives frames for any multicast destination, or no longer.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch.
    fn set_all_multicast(&mut self, on: bool) -> Result<(), Unsupported> {
        let _ = on;
        Err(Unsupported("switching all-multicast mode"))
    }

    /// Receives or stops frames of a kind, or no longer. Promiscuous mode overrides it.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch.
    fn set_rx_mode(&mut self, mode: RxMode, on: bool) -> Result<(), Unsupported> {
        let _ = (mode, on);
        Err(Unsupported("stopping frames by their kind"))
    }

    /// Has the device do, of the receive offloads in force that are a matter of headers
    /// ([`RX_CHECKSUM`](Offloads::RX_CHECKSUM), [`RX_LRO`](Offloads::RX_LRO), [`RX_USO`](Offloads::RX_USO)), these from now
    /// on, and no others. All of them are done after start.
    ///
    /// # Errors
    /// [`Unsupported`] where the device cannot switch, or one of them is not in force.
    fn set_rx_offloads(&mut self, offloads: Offloads) -> Result<(), Unsupported> {
        let _ = offloads;
        Err(Unsupported("switching receive offloads"))
    }

    /// Receives frames for these addresses besides the port's own, and no longer those that were set before.
    ///
    /// # Errors
    /// [`Unsupported`] where the device has no such filter, or so many addresses do not fit it.
    fn set_mac_filter(
        &mut self,
        unicast: &[MacAddress],
        multicast: &[MacAddress],
    ) -> Result<(), Unsupported> {
        let _ = (unicast, multicast);
        Err(Unsupported("filters of addresses"))
    }

    /// Receives frames of VLAN `id`, or no longer. A port without
    /// [`RX_VLAN_FILTER`](crate::Offloads::RX_VLAN_FILTER) receives those of every VLAN.
    ///
    /// # Errors
    /// [`Unsupported`] where that was not negotiated.
    fn set_vlan(&mut self, id: u16, pass: bool) -> Result<(), Unsupported> {
        let _ = (id, pass);
        Err(Unsupported("filters of VLANs"))
    }

    /// States that the function has announced itself, as [`Link::announce`] asked.
    ///
    /// # Errors
    /// [`Unsupported`] where the device does not ask.
    fn announced(&mut self) -> Result<(), Unsupported> {
        Err(Unsupported("being told to announce itself"))
    }

    /// Asks the device to tell the network, by a broadcast in the port's name, where the port is.
    ///
    /// # Errors
    /// [`Unsupported`] where the device does no such thing.
    fn announce(&mut self) -> Result<(), Unsupported> {
        Err(Unsupported("being announced by its device"))
    }

    /// Spreads received packets over the queues by a hash, or only hashes them.
    ///
    /// # Errors
    /// [`Unsupported`] where [`RX_RSS`](crate::Offloads::RX_RSS) (without a table: [`RSS_HASH`](crate::Offloads::RSS_HASH))
    /// was not negotiated, or the device takes no such key, table or kind of packet.
    fn set_rss(&mut self, rss: &Rss<'_>) -> Result<(), Unsupported> {
        let _ = rss;
        Err(Unsupported("spreading by a hash"))
    }

    /// Resets one queue and starts it again with so many `entries` (`None`: as many as it has), while the others go on.
    /// `queue` is what [`Port`](crate::Port) has under `number`. Every buffer that the device held of it is back in the pool
    /// when this returns, and the queue's counters go on; frames that were not taken out of it, and packets that were not
    /// sent yet, are lost. At most the entries that the port was started with are possible.
    ///
    /// What a queue [that is broken](RxQueue::is_broken) needs: [`Port::heal`](crate::Port::heal).
    ///
    /// # Errors
    /// [`StartFailure::RingFeatures`] where [`RingFeatures::RING_RESET`] is not in force, and what else is wrong with the
    /// request: nothing was changed. [`StartFailure::Device`] where the device does not do it: then the queue either goes
    /// on, or stands still until the port is restarted, and its buffers with it.
    fn reset_queue(
        &mut self,
        number: u16,
        queue: QueueMut<'_>,
        entries: Option<u16>,
    ) -> Result<(), StartFailure> {
        let _ = (number, queue, entries);
        Err(StartFailure::RingFeatures(RingFeatures::RING_RESET))
    }

    /// Stops the device and takes back what it was started with; called by [`Port::stop`](crate::Port::stop).
    fn stop(
        self: Box<Self>,
        rx: Vec<Box<dyn RxQueue>>,
        tx: Vec<Box<dyn TxQueue>>,
    ) -> Box<dyn Device>;
}
