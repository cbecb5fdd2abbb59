//! Feature bits, and what they are to rings and to network functions. What each one's fate is stands beside it: accepted
//! always, accepted when something in `Config` asks for it, or refused, and why. negotiation.rs does what is said here,
//! and its tests know a fate of every bit.
#![forbid(unsafe_code)]

mod negotiation;

use bitflags::bitflags;
use netdev::{Offloads, RingFeatures};

pub(crate) use negotiation::ring_size;
pub use negotiation::{Limits, Negotiated, Offer, negotiate};

use crate::ring::RingOptions;

bitflags! {
    /// Feature bits of a network device (virtio 1.2, 5.1.3 and 6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// The device completes partial checksums on transmit. Accepted for `TX_CHECKSUM`, and what rests on it; without,
        /// they are completed in software.
        const CSUM = 1 << 0;
        /// The driver handles partial checksums on receive. Accepted for `RX_CHECKSUM`, `RX_LRO` and `RX_USO`.
        const GUEST_CSUM = 1 << 1;
        /// The driver can switch receive offloads while the device runs. Accepted with the control queue.
        const CTRL_GUEST_OFFLOADS = 1 << 2;
        /// The device states an MTU. Accepted where the buffers hold such frames, which it promises; it is obeyed in any
        /// case.
        const MTU = 1 << 3;
        /// The device has an address. Accepted.
        const MAC = 1 << 5;
        /// The driver takes merged TCP over IPv4. Accepted for `RX_LRO`.
        const GUEST_TSO4 = 1 << 7;
        /// The driver takes merged TCP over IPv6. Accepted for `RX_LRO`.
        const GUEST_TSO6 = 1 << 8;
        /// The driver takes merged TCP with congestion marks. Refused: the device cuts such before delivery.
        const GUEST_ECN = 1 << 9;
        /// The driver takes UDP in fragments to be. Refused: fragments are no datagrams; newer devices have USO.
        const GUEST_UFO = 1 << 10;
        /// The device cuts TCP over IPv4. Accepted for `TX_TSO4`.
        const HOST_TSO4 = 1 << 11;
        /// The device cuts TCP over IPv6. Accepted for `TX_TSO6`.
        const HOST_TSO6 = 1 << 12;
        /// The device cuts TCP with congestion marks. Refused: a driver that parses no TCP cannot say which are marked.
        const HOST_ECN = 1 << 13;
        /// The device fragments UDP. Refused, as `GUEST_UFO`.
        const HOST_UFO = 1 << 14;
        /// A received frame may span several buffers. Accepted for `MERGEABLE`, `RX_CHAINS`, `RX_LRO` and `RX_USO`: headers
        /// are read then.
        const MRG_RXBUF = 1 << 15;
        /// The device states whether the link is up. Accepted.
        const STATUS = 1 << 16;
        /// The device has a control queue. Accepted.
        const CTRL_VQ = 1 << 17;
        /// The control queue sets promiscuous and all-multicast mode, and address filters. Accepted with it.
        const CTRL_RX = 1 << 18;
        /// The control queue sets VLAN filters. Accepted for `RX_VLAN_FILTER` alone: with it a device holds back every
        /// VLAN that it is not told of.
        const CTRL_VLAN = 1 << 19;
        /// The control queue sets further receive modes. Accepted with it.
        const CTRL_RX_EXTRA = 1 << 20;
        /// The device asks the driver to announce itself. Accepted with the control queue: `Link::announce`.
        const GUEST_ANNOUNCE = 1 << 21;
        /// The device has several pairs of queues. Accepted where more than one is asked for.
        const MQ = 1 << 22;
        /// The control queue sets the device's address. Accepted with it.
        const CTRL_MAC_ADDR = 1 << 23;
        /// A legacy device notifies when it runs out of buffers. Refused: no part of virtio 1.
        const NOTIFY_ON_EMPTY = 1 << 24;
        /// A legacy device takes any layout of descriptors. Refused: virtio 1 devices do so without being asked.
        const ANY_LAYOUT = 1 << 27;
        /// A descriptor may name a table of descriptors. Accepted for `INDIRECT` and `TX_CHAINS`.
        const INDIRECT_DESC = 1 << 28;
        /// Notifications are suppressed by index. Accepted, unless `Config` rules it out.
        const EVENT_IDX = 1 << 29;
        /// Not a legacy device. A device without it is refused.
        const VERSION_1 = 1 << 32;
        /// The platform limits or translates the device's addresses. Accepted: device addresses equal pointers on every
        /// platform that Barewire runs on.
        const ACCESS_PLATFORM = 1 << 33;
        /// The device has packed rings. Accepted as `Config::ring_format` says.
        const RING_PACKED = 1 << 34;
        /// The device completes in order. Accepted for `IN_ORDER`.
        const IN_ORDER = 1 << 35;
        /// The device needs the platform's barriers, not those between cores. Accepted: on x86-64, which is all that
        /// Barewire runs on, ordinary memory has but one order for both.
        const ORDER_PLATFORM = 1 << 36;
        /// The device can make further functions of itself. Refused: nothing here would make them.
        const SR_IOV = 1 << 37;
        /// A doorbell carries the ring's index. Accepted for `NOTIFICATION_DATA`, where the transport has such doorbells.
        const NOTIFICATION_DATA = 1 << 38;
        /// A doorbell carries what the device says. Refused: a doorbell is rung with the queue's number.
        const NOTIF_CONFIG_DATA = 1 << 39;
        /// One ring can be reset by itself. Accepted where the transport has a register for it.
        const RING_RESET = 1 << 40;
        /// The device has queues for administration. Refused: there is nothing to administer.
        const ADMIN_VQ = 1 << 41;
        /// The device counts what it does. Refused: statistics are the driver's own.
        const DEVICE_STATS = 1 << 50;
        /// The device hashes what stands inside tunnels. Refused: hashes are those of the outermost packet.
        const HASH_TUNNEL = 1 << 51;
        /// Notifications can be delayed, queue by queue. Refused: a driver that polls wants none at all.
        const VQ_NOTF_COAL = 1 << 52;
        /// Notifications can be delayed. Refused, as `VQ_NOTF_COAL`.
        const NOTF_COAL = 1 << 53;
        /// The driver takes merged UDP over IPv4. Accepted for `RX_USO`.
        const GUEST_USO4 = 1 << 54;
        /// The driver takes merged UDP over IPv6. Accepted for `RX_USO`.
        const GUEST_USO6 = 1 << 55;
        /// The device cuts UDP. Accepted for `TX_USO`.
        const HOST_USO = 1 << 56;
        /// The device reports the hash of a received packet. Accepted for `RSS_HASH`: headers are longer then.
        const HASH_REPORT = 1 << 57;
        /// The driver states the exact length of headers. Refused: it states what its caller says, as a hint.
        const GUEST_HDRLEN = 1 << 59;
        /// The device spreads receive packets over its queues by a hash. Accepted for `RX_RSS`.
        const RSS = 1 << 60;
        /// The device tells how many segments it merged. Refused: nobody asks.
        const RSC_EXT = 1 << 61;
        /// The device stands in for another one. Refused: nothing here joins two ports to one.
        const STANDBY = 1 << 62;
        /// The device states its speed. Accepted: `Link::speed`.
        const SPEED_DUPLEX = 1 << 63;
        /// Other bits exist.
        const _ = !0;
    }
}

impl Features {
    /// What of these a ring acts on. `offloads` is left for the caller: what the header of a frame may say is another
    /// in each direction.
    pub fn ring_options(self) -> RingOptions {
        RingOptions {
            event_idx: self.contains(Self::EVENT_IDX),
            indirect: self.contains(Self::INDIRECT_DESC),
            in_order: self.contains(Self::IN_ORDER),
            mergeable: self.contains(Self::MRG_RXBUF),
            offloads: Offloads::empty(),
        }
    }

    /// The same as [`netdev`] names them.
    pub fn ring_features(self) -> RingFeatures {
        RING_FEATURES
            .iter()
            .filter(|(bit, _)| self.contains(*bit))
            .fold(RingFeatures::empty(), |all, (_, feature)| all | *feature)
    }

    /// Those of them that this driver acts on.
    pub fn usable_ring_features(self) -> RingFeatures {
        (self & ACTED_ON).ring_features()
    }

    /// These, without those that need a control queue where there is none.
    pub fn consistent(self) -> Self {
        if self.contains(Self::CTRL_VQ) { self } else { self - NEED_CONTROL }
    }

    /// Whether there may be several pairs of queues.
    pub fn has_pairs(self) -> bool {
        self.intersects(Self::MQ | Self::RSS)
    }

    /// Offloads that a device with these features can be asked for.
    pub fn offloads(self) -> Offloads {
        negotiation::possible(self)
    }

    /// The bits that switch these receive offloads (`VIRTIO_NET_F_CTRL_GUEST_OFFLOADS`).
    pub(crate) fn switched_by(offloads: Offloads) -> Self {
        [
            (Offloads::RX_CHECKSUM, Self::GUEST_CSUM),
            (Offloads::RX_LRO, Self::GUEST_CSUM | Self::GUEST_TSO4 | Self::GUEST_TSO6),
            (Offloads::RX_USO, Self::GUEST_CSUM | Self::GUEST_USO4 | Self::GUEST_USO6),
        ]
        .into_iter()
        .filter(|(offload, _)| offloads.contains(*offload))
        .fold(Self::empty(), |all, (_, bits)| all | bits)
    }

    /// The bits that stand for `features`.
    pub fn of_ring(features: RingFeatures) -> Self {
        RING_FEATURES
            .iter()
            .filter(|(_, feature)| features.contains(*feature))
            .fold(Self::empty(), |all, (bit, _)| all | *bit)
    }
}

/// Features of a ring, and their bits.
const RING_FEATURES: [(Features, RingFeatures); 7] = [
    (Features::IN_ORDER, RingFeatures::IN_ORDER),
    (Features::MRG_RXBUF, RingFeatures::MERGEABLE),
    (Features::INDIRECT_DESC, RingFeatures::INDIRECT),
    (Features::EVENT_IDX, RingFeatures::EVENT_IDX),
    (Features::NOTIFICATION_DATA, RingFeatures::NOTIFICATION_DATA),
    (Features::ACCESS_PLATFORM, RingFeatures::ACCESS_PLATFORM),
    (Features::RING_RESET, RingFeatures::RING_RESET),
];

/// Smallest MTU that a device may state (virtio 1.2, 5.1.4.1).
pub const MIN_MTU: u16 = 68;

/// Bytes of the header in front of each frame (virtio 1.2, 5.1.6).
pub const HEADER_BYTES: u16 = 12;

/// Bits that are accepted wherever they are offered: what each asks of a driver is done here.
const HARMLESS: Features = Features::VERSION_1
    .union(Features::MAC)
    .union(Features::STATUS)
    .union(Features::SPEED_DUPLEX)
    .union(Features::EVENT_IDX)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::ORDER_PLATFORM)
    // Where the transport has no register for it, it is not offered either.
    .union(Features::RING_RESET);

/// Bits that are accepted where something asks for them: they cost a driver something that serves those only who want
/// what they bring. (Under IN_ORDER a device may finish many entries with one completion, and buffers are then taken
/// one at a time; with MRG_RXBUF headers are read.)
const ON_REQUEST: Features = Features::IN_ORDER
    .union(Features::MRG_RXBUF)
    .union(Features::INDIRECT_DESC)
    .union(Features::NOTIFICATION_DATA);

/// Bits that ask for nothing but that control commands are possible, accepted together with the control queue.
const CONTROL: Features = Features::CTRL_VQ
    .union(Features::CTRL_RX)
    .union(Features::CTRL_RX_EXTRA)
    .union(Features::CTRL_GUEST_OFFLOADS)
    .union(Features::CTRL_MAC_ADDR)
    .union(Features::GUEST_ANNOUNCE);

/// Bits that mean nothing without a control queue (virtio 1.2, 5.1.3.1).
const NEED_CONTROL: Features = CONTROL
    .union(Features::CTRL_VLAN)
    .union(Features::MQ)
    .union(Features::RSS)
    .union(Features::HASH_REPORT);

/// Features of the rings that this driver acts on.
const ACTED_ON: Features = HARMLESS.union(ON_REQUEST);

/// Features by which a device may say something of a received frame in its header.
pub(crate) const SPEAKING: Features = Features::MRG_RXBUF
    .union(Features::GUEST_CSUM)
    .union(Features::GUEST_TSO4)
    .union(Features::GUEST_TSO6)
    .union(Features::GUEST_USO4)
    .union(Features::GUEST_USO6);
