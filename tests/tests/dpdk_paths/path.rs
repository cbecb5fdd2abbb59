//! The ten ring paths of DPDK's virtio driver, and what each means for the two sides.

use barewire::ports::Role;
use netdev::{Config, RingFeatures, RingFormat};

/// Feature bits (virtio 1.2, 5.1.3 and 6): `VIRTIO_NET_F_MRG_RXBUF`, `VIRTIO_F_RING_PACKED`, `VIRTIO_F_IN_ORDER`.
const BITS: [u32; 3] = [15, 34, 35];

/// A path: what its rings are and do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) packed: bool,
    pub(crate) mergeable: bool,
    pub(crate) in_order: bool,
    /// DPDK's driver takes several packets per instruction. To its peer the ring looks as it does without.
    pub(crate) vectorized: bool,
}

impl Path {
    const fn new(packed: bool, mergeable: bool, in_order: bool, vectorized: bool) -> Self {
        Self { packed, mergeable, in_order, vectorized }
    }

    /// All ten. (DPDK vectorizes packed rings only in order, and split ones only out of it.)
    pub(crate) const ALL: [Self; 10] = [
        Self::new(false, true, false, false),
        Self::new(false, false, false, false),
        Self::new(false, true, true, false),
        Self::new(false, false, true, false),
        Self::new(false, false, false, true),
        Self::new(true, true, false, false),
        Self::new(true, false, false, false),
        Self::new(true, true, true, false),
        Self::new(true, false, true, false),
        Self::new(true, false, true, true),
    ];

    /// The words of `net_virtio_user`.
    pub(crate) fn words(self) -> String {
        let [packed, mergeable, in_order, vectorized] =
            [self.packed, self.mergeable, self.in_order, self.vectorized].map(u8::from);
        format!(
            "packed_vq={packed},mrg_rxbuf={mergeable},in_order={in_order},vectorized={vectorized}"
        )
    }

    /// The features of its rings that both sides must have.
    pub(crate) fn features(self) -> RingFeatures {
        let mut features = RingFeatures::empty();
        features.set(RingFeatures::IN_ORDER, self.in_order);
        features.set(RingFeatures::MERGEABLE, self.mergeable);
        features
    }

    /// What our side is told: the path, as far as it is `able`, and no other.
    pub(crate) fn config(self, able: RingFeatures) -> Config {
        let ring_format = if self.packed { RingFormat::Packed } else { RingFormat::Split };
        let ring_features = self.features() & able;
        let mut ring_features_off =
            (RingFeatures::IN_ORDER | RingFeatures::MERGEABLE) - self.features();
        // Our driver has no vectorized path to choose; this is its plainest ring.
        let plain = RingFeatures::INDIRECT | RingFeatures::EVENT_IDX;
        ring_features_off.set(plain, self.vectorized);
        Config { ring_format, ring_features, ring_features_off, ..Config::default() }
    }

    /// The path that both sides fall back to where ours is only `able` to do so much.
    pub(crate) fn fallback(self, able: RingFeatures) -> Self {
        let in_order = self.in_order && able.contains(RingFeatures::IN_ORDER);
        Self {
            mergeable: self.mergeable && able.contains(RingFeatures::MERGEABLE),
            in_order,
            vectorized: self.vectorized && (in_order || !self.packed),
            ..self
        }
    }

    /// Whether `features`, as negotiated, are those of the path.
    pub(crate) fn is_in(self, features: u64) -> bool {
        let expected = [self.mergeable, self.packed, self.in_order];
        BITS.iter().zip(expected).all(|(bit, on)| (features >> bit & 1 == 1) == on)
    }

    /// What DPDK's driver says of its receive path once it has started.
    pub(crate) fn receive_path(self) -> &'static str {
        match self {
            Self { packed: true, vectorized: true, .. } => "packed ring vectorized Rx path",
            Self { packed: true, mergeable: true, .. } => "packed ring mergeable buffer Rx path",
            Self { packed: true, .. } => "packed ring standard Rx path",
            Self { vectorized: true, .. } => "using vectorized Rx path",
            Self { in_order: true, .. } => "using inorder Rx path",
            Self { mergeable: true, .. } => "using mergeable buffer Rx path",
            Self { .. } => "using standard Rx path",
        }
    }

    /// Whether DPDK's driver misreads after a restart what it receives into buffers from which it had sent before. (Its
    /// vectorized receive path for packed rings takes them as they are when it starts, moves no packet's beginning back
    /// to where frames begin, and hands out frames with the last one's header in front.)
    pub(crate) fn stays_faulty(self, ours: Role) -> bool {
        self.packed && self.vectorized && ours == Role::BackEnd
    }

    /// Whether this machine's processor has what DPDK's driver needs for it.
    pub(crate) fn is_possible(self) -> bool {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let avx512 = ["avx512f", "avx512bw", "avx512vl"].iter().all(|flag| flags.contains(flag));
        avx512 || !(self.packed && self.vectorized)
    }
}
