//! Why a device did not start.

use alloc::boxed::Box;
use core::fmt;

use crate::{Device, Offloads, RingFeatures, RingFormat};

/// A failed start: the device, unchanged, and the reason.
pub struct StartError {
    /// The device, to start otherwise.
    pub device: Box<dyn Device>,
    /// What stood in the way.
    pub reason: StartFailure,
}

impl StartError {
    /// What [`Device::split`] answers for a device that is driven from one core only.
    #[cold]
    pub fn indivisible(device: Box<dyn Device>, asked: u16) -> Self {
        Self { device, reason: StartFailure::Lanes { asked, max: 0 } }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartError").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl core::error::Error for StartError {}

/// The reason of a [`StartError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartFailure {
    /// More (or fewer) queues than the device has.
    Queues {
        /// Receive or transmit queues asked for.
        asked: u16,
        /// Most that the device has; at least one is needed.
        max: u16,
    },
    /// More lanes (or fewer) than the device can be taken apart into.
    Lanes {
        /// Lanes asked for.
        asked: u16,
        /// Most that are possible; 0: the device is driven from one core.
        max: u16,
    },
    /// Numbers of queues that a device of pairs cannot have: more transmit than receive queues, or, where its peer must
    /// serve both rings of a pair, different ones.
    QueuePairs {
        /// Receive queues asked for.
        rx: u16,
        /// Transmit queues asked for.
        tx: u16,
    },
    /// A ring size that the device cannot take.
    RingSize {
        /// Entries asked for.
        asked: u16,
        /// Fewest entries.
        min: u16,
        /// Most entries. Sizes are powers of two.
        max: u16,
    },
    /// A ring format that the device does not have.
    RingFormat(RingFormat),
    /// Features of the rings that were asked for and cannot be had (or were asked for and ruled out at once).
    RingFeatures(RingFeatures),
    /// Offloads that were asked for as required and are not offered.
    Offloads(Offloads),
    /// A frame size beyond what the device or the pool's buffers take.
    MaxFrame {
        /// Bytes asked for, L2 header included, FCS excluded.
        asked: u32,
        /// Most bytes possible.
        max: u32,
    },
    /// The pool's buffers have less headroom than the driver's header takes.
    Headroom {
        /// Bytes needed.
        needed: u16,
        /// Bytes that the pool gives.
        given: u16,
    },
    /// The pool has too few buffers to fill the receive rings.
    PoolTooSmall {
        /// Buffers needed.
        needed: usize,
        /// Buffers available.
        available: usize,
    },
    /// Memory for the rings could not be had.
    NoMemory,
    /// The device broke the rules of its interface, in words.
    Device(&'static str),
}

impl fmt::Display for StartFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queues { asked, max } => {
                write!(f, "{asked} queues were asked for; the device has 1 to {max}")
            }
            Self::Lanes { max: 0, .. } => {
                f.write_str("the device can be driven from one core only")
            }
            Self::Lanes { asked, max } => {
                write!(
                    f,
                    "{asked} lanes were asked for; the device can be taken apart into 1 to {max}"
                )
            }
            Self::QueuePairs { rx, tx } => write!(
                f,
                "{rx} receive and {tx} transmit queues were asked for; the device has them in pairs"
            ),
            Self::RingSize { asked, min, max } => write!(
                f,
                "a ring of {asked} entries was asked for; a power of two from {min} to {max} is possible"
            ),
            Self::RingFormat(asked) => write!(f, "the device has no {asked} rings"),
            Self::RingFeatures(missing) => write!(f, "the device's rings do not have {missing}"),
            Self::Offloads(missing) => write!(f, "the device does not offer {missing}"),
            Self::MaxFrame { asked, max } => {
                write!(f, "frames of {asked} bytes were asked for; at most {max} are possible")
            }
            Self::Headroom { needed, given } => {
                write!(
                    f,
                    "the driver needs {needed} bytes of headroom; the pool's buffers have {given}"
                )
            }
            Self::PoolTooSmall { needed, available } => {
                write!(f, "the receive rings take {needed} buffers; the pool has {available}")
            }
            Self::NoMemory => f.write_str("there is no device memory left for the rings"),
            Self::Device(what) => write!(f, "the device broke the rules: {what}"),
        }
    }
}

impl core::error::Error for StartFailure {}
