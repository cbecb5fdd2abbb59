//! The way here from Unikraft: every `uk_netdev_*` call and `uk_netbuf` field, and what it became.
//!
//! This module has no code. It follows Unikraft's `lib/uknetdev/include/uk/netdev.h`, `netdev_core.h` and
//! `netbuf.h` (mainline of June 2024). "Absent" is deliberate everywhere; the reason stands beside it.
//!
//! # Calls on a device
//!
//! | Unikraft | Barewire | Difference |
//! | --- | --- | --- |
//! | `uk_netdev_drv_register` | absent | drivers register nowhere; the platform's `main` hands devices over as values |
//! | `uk_netdev_count`, `uk_netdev_get` | the machine's list of devices | no global registry: whoever holds the [`Device`] owns it |
//! | `uk_netdev_id_get` | [`Config::port`] | the network function numbers its ports |
//! | `uk_netdev_drv_name_get` | [`Info::driver`] | |
//! | `uk_netdev_state_get`, `enum uk_netdev_state` | the types [`Device`] and [`Port`] | a state that is a type cannot be wrong |
//! | `uk_netdev_probe` | absent | a driver's constructor probes; a device that exists has been probed |
//! | `uk_netdev_info_get` | [`Device::info`] | |
//! | `uk_netdev_einfo_get`, `uk_netdev_*_einfo`, `enum uk_netdev_einfo_type` | absent | addresses of a network stack are command-line parameters (`netdev.ip=`), no driver's business |
//! | `uk_netdev_rxq_info_get`, `uk_netdev_txq_info_get` | [`Info::rx_ring`], [`Info::tx_ring`] | sizes are powers of two (`nb_is_power_of_two`, `nb_align`); all queues of a direction are alike |
//! | `uk_netdev_configure`, `uk_netdev_rxq_configure`, `uk_netdev_txq_configure`, `uk_netdev_start` | [`Device::start`] with a [`Config`] | one step: nothing half configured; failure gives the device back |
//! | (no stop) | [`Port::stop`] | gives the device back, to be started otherwise |
//! | `uk_netdev_hwaddr_get`, `uk_netdev_hwaddr_set` | [`Control::mac`], [`Control::set_mac`] | [`Info::mac`] before start |
//! | `uk_netdev_promiscuous_get`, `uk_netdev_promiscuous_set` | [`Control::set_promiscuous`] | the caller knows what it set; also [`Control::set_all_multicast`] |
//! | `uk_netdev_mtu_get`, `uk_netdev_mtu_set` | [`Info::max_frame`], [`Config::max_frame`] | counts the L2 header; set at start because the buffers depend on it |
//! | `uk_netdev_rxq_intr_enable` | [`RxQueue::arm`] | its `1` ("packets are pending") is [`Armed::PacketsPending`] |
//! | `uk_netdev_rxq_intr_disable` | [`RxQueue::rx_burst`] | polling disarms |
//! | `uk_netdev_rx_one` | [`RxQueue::rx_burst`] | up to [`BURST`] packets per call, appended |
//! | `uk_netdev_tx_one` | [`TxQueue::tx_burst`] | what is not taken stays the caller's |
//! | `uk_netdev_status_successful`, `_notready`, `_more`, `UK_NETDEV_STATUS_*` | the number that a burst call returns | no status word: zero is "not ready", a full burst is "more"; `UNDERRUN` is counted ([`DropCause::NoBuffer`], `Pool::stats`) |
//! | `uk_netdev_status_test_set`, `_test_unset` | absent | as above |
//! | (driver callbacks) `struct uk_netdev_ops`, `rx_one`, `tx_one` | [`Device`], [`RxQueue`], [`TxQueue`], [`Control`] | traits |
//!
//! # Structures
//!
//! | Unikraft | Barewire | Difference |
//! | --- | --- | --- |
//! | `uk_netdev_info.max_rx_queues`, `.max_tx_queues` | [`Info::rx_queues`], [`Info::tx_queues`] | |
//! | `uk_netdev_info.in_queue_pairs` | absent | a driver rounds up to pairs by itself |
//! | `uk_netdev_info.max_mtu` | [`Info::max_frame`] | L2 header included |
//! | `uk_netdev_info.nb_encap_tx` | [`Info::headroom`] | checked against the pool at start |
//! | `uk_netdev_info.nb_encap_rx` | absent | a receive buffer has the pool's headroom; the device's header goes there |
//! | `uk_netdev_info.ioalign` | absent | frames start on a cache line in every pool |
//! | `uk_netdev_info.features`, `UK_NETDEV_F_PARTIAL_CSUM`, `UK_NETDEV_F_TSO4` | [`Info::offloads`]: [`Offloads::TX_CHECKSUM`] with [`Offloads::RX_CHECKSUM`], [`Offloads::TX_TSO4`] | asked for in [`Config::offloads`] |
//! | `UK_NETDEV_F_RXQ_INTR` | [`Armed::Unsupported`] | known by asking |
//! | `UK_NETDEV_F_TXQ_INTR` | absent | sent buffers are reclaimed by polling |
//! | `uk_netdev_queue_info.nb_max`, `.nb_min` | [`RingLimits::max`], [`RingLimits::min`] | |
//! | `uk_netdev_conf.nb_rx_queues`, `.nb_tx_queues` | [`Config::rx_queues`], [`Config::tx_queues`] | |
//! | `uk_netdev_rxqueue_conf.callback`, `.callback_cookie` | absent | nothing calls back: the event loop sleeps on armed queues and polls |
//! | `uk_netdev_rxqueue_conf.alloc_rxpkts`, `.alloc_rxpkts_argp` | the [`Pool`] given to [`Device::start`] | a burst of buffers is one copy of pointers, not a callback |
//! | `uk_netdev_rxqueue_conf.a`, `uk_netdev_txqueue_conf.a` | absent | rings are allocated once, at start, by the driver |
//! | `uk_netdev_rxqueue_conf.s` | absent | there is no scheduler |
//! | `uk_netdev_stats` | [`RxQueue::stats`], [`TxQueue::stats`] | per queue, no lock, drops by cause instead of `errors` and `fifo` |
//! | `uk_netdev.scratch_pad` | absent | a wrapper device holds its own state |
//!
//! # `struct uk_netbuf`
//!
//! | Unikraft | Barewire (`netbuf` crate) | Difference |
//! | --- | --- | --- |
//! | `next` | [`Netbuf::chain`], [`Netbuf::unchain`], [`Netbuf::segments`] | |
//! | `prev` | absent | nothing walks backwards; one more line to write per segment |
//! | `flags`: `UK_NETBUF_F_DATA_VALID` | [`Netbuf::checksum`]: `Checksum::Valid` | |
//! | `flags`: `UK_NETBUF_F_PARTIAL_CSUM`, `csum_start`, `csum_offset` | `Checksum::Partial { start, offset }` | `start` counts from the frame's first byte; `push` and `trim` do not adjust it |
//! | `flags`: `UK_NETBUF_F_GSO_TCPV4`, `header_len`, `gso_size` | [`Netbuf::gso`]: `Gso { kind, size, header_len }` | further kinds: TCP over IPv6, UDP |
//! | `data` | [`Netbuf::data`], [`Netbuf::bytes`], [`Netbuf::bytes_mut`] | |
//! | `len` | the length of [`Netbuf::bytes`]; [`Netbuf::len`] over the chain | |
//! | `refcount` | absent | one owner; copy, or redesign the stage that needs two |
//! | `priv` | absent | a stack keeps its state beside its packets, not in them |
//! | `buf`, `buflen` | [`Netbuf::room`], [`Netbuf::capacity`] | |
//! | `dtor`, `_a`, `_b` | absent | `Drop` returns the buffer to its [`Pool`], also from another core |
//! | (none) | [`Netbuf::port`], [`Netbuf::vlan`], [`Netbuf::rss_hash`], [`Netbuf::timestamp`] | |
//!
//! # Calls on a `uk_netbuf`
//!
//! | Unikraft | Barewire (`netbuf` crate) | Difference |
//! | --- | --- | --- |
//! | `uk_netbuf_alloc_buf` | [`Pool::alloc`], [`Pool::alloc_burst`] | from a pool; nothing is allocated after start |
//! | `uk_netbuf_alloc`, `uk_netbuf_alloc_indir`, `uk_netbuf_init`, `uk_netbuf_init_indir`, `uk_netbuf_prepare_buf` | absent | a packet lies in device-visible memory, always |
//! | `uk_netbuf_free`, `uk_netbuf_free_single` | `Drop`, `netbuf::free_burst` | |
//! | `uk_netbuf_ref`, `uk_netbuf_ref_single`, `uk_netbuf_refcount_single_get` | absent | one owner |
//! | `uk_netbuf_headroom`, `uk_netbuf_tailroom` | [`Netbuf::headroom`], [`Netbuf::tailroom`] | |
//! | `uk_netbuf_header` with a positive length | [`Netbuf::push`] | returns the bytes to fill |
//! | `uk_netbuf_header` with a negative length | [`Netbuf::trim`] | |
//! | (none) | [`Netbuf::append`], [`Netbuf::truncate`] | |
//! | `uk_netbuf_connect`, `uk_netbuf_append` | [`Netbuf::chain`] | |
//! | `uk_netbuf_disconnect` | [`Netbuf::unchain`] | |
//! | `uk_netbuf_chain_last`, `uk_netbuf_chain_first` | absent | a packet is named by its first segment |
//! | `UK_NETBUF_CHAIN_FOREACH`, `UK_NETBUF_CHAIN_FOREACH_R` | [`Netbuf::segments`], [`Netbuf::segments_mut`] | forwards only |
//! | `uk_netbuf_get_priv` | absent | as `priv` |
//! | `uk_netbuf_sglist_append` | absent | a driver walks the segments itself |
//!
//! [`Device`]: crate::Device
//! [`Device::info`]: crate::Device::info
//! [`Device::start`]: crate::Device::start
//! [`Port`]: crate::Port
//! [`Port::stop`]: crate::Port::stop
//! [`Control`]: crate::Control
//! [`Control::mac`]: crate::Control::mac
//! [`Control::set_mac`]: crate::Control::set_mac
//! [`Control::set_promiscuous`]: crate::Control::set_promiscuous
//! [`Control::set_all_multicast`]: crate::Control::set_all_multicast
//! [`Config`]: crate::Config
//! [`Config::port`]: crate::Config::port
//! [`Config::max_frame`]: crate::Config::max_frame
//! [`Config::offloads`]: crate::Config::offloads
//! [`Config::rx_queues`]: crate::Config::rx_queues
//! [`Config::tx_queues`]: crate::Config::tx_queues
//! [`Info::driver`]: crate::Info::driver
//! [`Info::mac`]: crate::Info::mac
//! [`Info::max_frame`]: crate::Info::max_frame
//! [`Info::headroom`]: crate::Info::headroom
//! [`Info::offloads`]: crate::Info::offloads
//! [`Info::rx_queues`]: crate::Info::rx_queues
//! [`Info::tx_queues`]: crate::Info::tx_queues
//! [`Info::rx_ring`]: crate::Info::rx_ring
//! [`Info::tx_ring`]: crate::Info::tx_ring
//! [`RingLimits::max`]: crate::RingLimits::max
//! [`RingLimits::min`]: crate::RingLimits::min
//! [`Offloads::TX_CHECKSUM`]: crate::Offloads::TX_CHECKSUM
//! [`Offloads::RX_CHECKSUM`]: crate::Offloads::RX_CHECKSUM
//! [`Offloads::TX_TSO4`]: crate::Offloads::TX_TSO4
//! [`RxQueue`]: crate::RxQueue
//! [`RxQueue::arm`]: crate::RxQueue::arm
//! [`RxQueue::rx_burst`]: crate::RxQueue::rx_burst
//! [`RxQueue::stats`]: crate::RxQueue::stats
//! [`TxQueue`]: crate::TxQueue
//! [`TxQueue::tx_burst`]: crate::TxQueue::tx_burst
//! [`TxQueue::stats`]: crate::TxQueue::stats
//! [`Armed::PacketsPending`]: crate::Armed::PacketsPending
//! [`Armed::Unsupported`]: crate::Armed::Unsupported
//! [`DropCause::NoBuffer`]: crate::DropCause::NoBuffer
//! [`BURST`]: crate::BURST
//! [`Pool`]: crate::Pool
//! [`Pool::alloc`]: crate::Pool::alloc
//! [`Pool::alloc_burst`]: crate::Pool::alloc_burst
//! [`Netbuf::append`]: crate::Netbuf::append
//! [`Netbuf::bytes`]: crate::Netbuf::bytes
//! [`Netbuf::bytes_mut`]: crate::Netbuf::bytes_mut
//! [`Netbuf::capacity`]: crate::Netbuf::capacity
//! [`Netbuf::chain`]: crate::Netbuf::chain
//! [`Netbuf::checksum`]: crate::Netbuf::checksum
//! [`Netbuf::data`]: crate::Netbuf::data
//! [`Netbuf::gso`]: crate::Netbuf::gso
//! [`Netbuf::headroom`]: crate::Netbuf::headroom
//! [`Netbuf::len`]: crate::Netbuf::len
//! [`Netbuf::port`]: crate::Netbuf::port
//! [`Netbuf::push`]: crate::Netbuf::push
//! [`Netbuf::room`]: crate::Netbuf::room
//! [`Netbuf::rss_hash`]: crate::Netbuf::rss_hash
//! [`Netbuf::segments`]: crate::Netbuf::segments
//! [`Netbuf::segments_mut`]: crate::Netbuf::segments_mut
//! [`Netbuf::tailroom`]: crate::Netbuf::tailroom
//! [`Netbuf::timestamp`]: crate::Netbuf::timestamp
//! [`Netbuf::trim`]: crate::Netbuf::trim
//! [`Netbuf::truncate`]: crate::Netbuf::truncate
//! [`Netbuf::unchain`]: crate::Netbuf::unchain
//! [`Netbuf::vlan`]: crate::Netbuf::vlan
