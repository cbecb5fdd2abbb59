//! What whoever names a port has decided before the function that runs on it is asked: words such as DPDK's
//! `queues=2,packed_vq=1`, which stand above the function's own [`Config`].

use netdev::{Config, RingFeatures, RingFormat};

/// Decisions that hold at each start of a device. The default decides nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preset {
    /// Most pairs of queues; `None`: as many as there can be.
    pub pairs: Option<u16>,
    /// Entries of each ring, a power of two. In the back end it is checked and no more: the front end chooses.
    pub queue_size: Option<u16>,
    /// Packed rings and no others, or split ones and no others.
    pub packed: Option<bool>,
    /// What the rings must do.
    pub on: RingFeatures,
    /// What the rings must not do.
    pub off: RingFeatures,
}

impl Preset {
    /// `config` with what was decided in its place.
    pub(crate) fn over(&self, config: &Config) -> Config {
        let format = |packed| if packed { RingFormat::Packed } else { RingFormat::Split };
        Config {
            rx_ring: self.queue_size.or(config.rx_ring),
            tx_ring: self.queue_size.or(config.tx_ring),
            ring_format: self.packed.map_or(config.ring_format, format),
            ring_features: (config.ring_features | self.on) - self.off,
            ring_features_off: (config.ring_features_off | self.off) - self.on,
            ..*config
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_stand_above_the_config_and_nothing_else_changes() {
        let config = Config {
            port: 3,
            rx_ring: Some(64),
            ring_format: RingFormat::Packed,
            ring_features: RingFeatures::IN_ORDER,
            ring_features_off: RingFeatures::MERGEABLE,
            ..Config::default()
        };
        assert_eq!(Preset::default().over(&config), config);
        let preset = Preset {
            pairs: None,
            queue_size: Some(256),
            packed: Some(false),
            on: RingFeatures::MERGEABLE,
            off: RingFeatures::IN_ORDER,
        };
        let over = Config {
            rx_ring: Some(256),
            tx_ring: Some(256),
            ring_format: RingFormat::Split,
            ring_features: RingFeatures::MERGEABLE,
            ring_features_off: RingFeatures::IN_ORDER,
            ..config
        };
        assert_eq!(preset.over(&config), over);
    }
}
