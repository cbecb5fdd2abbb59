//! The control queue (virtio 1.2, 5.1.6.5): commands to a running device.
#![forbid(unsafe_code)]

use netdev::{MacAddress, RxMode};

use crate::ring::CommandRing;
use crate::transport::Doorbell;

/// Classes and their commands (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `VIRTIO_NET_CTRL_RX_PROMISC`
    Promiscuous,
    /// `VIRTIO_NET_CTRL_RX_ALLMULTI`
    AllMulticast,
    /// `VIRTIO_NET_CTRL_RX_ALLUNI`, `NOMULTI`, `NOUNI` and `NOBCAST`
    Mode(RxMode),
    /// `VIRTIO_NET_CTRL_MAC_TABLE_SET`
    MacTable,
    /// `VIRTIO_NET_CTRL_MAC_ADDR_SET`
    Mac,
    /// `VIRTIO_NET_CTRL_VLAN_ADD`
    VlanAdd,
    /// `VIRTIO_NET_CTRL_VLAN_DEL`
    VlanRemove,
    /// `VIRTIO_NET_CTRL_ANNOUNCE_ACK`
    Announced,
    /// `VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET`
    Pairs,
    /// `VIRTIO_NET_CTRL_MQ_RSS_CONFIG`
    Rss,
    /// `VIRTIO_NET_CTRL_MQ_HASH_CONFIG`
    Hash,
    /// `VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET`
    Offloads,
}

impl Command {
    /// Its class and number.
    fn head(self) -> [u8; 2] {
        match self {
            Self::Promiscuous => [0, 0],
            Self::AllMulticast => [0, 1],
            Self::Mode(mode) => [0, 2 + mode as u8],
            Self::MacTable => [1, 0],
            Self::Mac => [1, 1],
            Self::VlanAdd => [2, 0],
            Self::VlanRemove => [2, 1],
            Self::Announced => [3, 0],
            Self::Pairs => [4, 0],
            Self::Rss => [4, 1],
            Self::Hash => [4, 2],
            Self::Offloads => [5, 0],
        }
    }
}

/// A ring for commands, and its doorbell.
pub(super) struct ControlQueue<D> {
    pub(super) ring: CommandRing,
    pub(super) doorbell: D,
    /// Its number.
    pub(super) queue: u16,
}

impl<D: Doorbell> ControlQueue<D> {
    /// Begins a command.
    pub(super) fn begin(&mut self, command: Command) {
        self.ring.begin(command.head());
    }

    /// Appends data to it.
    pub(super) fn push(&mut self, data: &[u8]) {
        self.ring.push(data);
    }

    /// Appends numbers.
    pub(super) fn push_words(&mut self, words: &[u16]) {
        for word in words {
            self.push(&word.to_le_bytes());
        }
    }

    /// Appends a table of addresses (`struct virtio_net_ctrl_mac`).
    pub(super) fn push_addresses(&mut self, table: &[MacAddress]) {
        #[expect(clippy::cast_possible_truncation, reason = "more do not fit a command")]
        self.push(&(table.len() as u32).to_le_bytes());
        for address in table {
            self.push(&address.0);
        }
    }

    /// Gives the command and waits for the answer; whether the device has done it.
    #[inline(never)]
    pub(super) fn run(&mut self) -> bool {
        if !self.ring.publish() {
            return false;
        }
        self.doorbell.ring(self.ring.notification(self.queue));
        self.ring.wait()
    }
}
