//! How much to offer: packets per second, bits per second, or as much as the port takes.

use std::fmt;
use std::str::FromStr;

/// The rate offered in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// As many frames as the port takes.
    Max,
    /// Frames per second; at least 1.
    Packets(u64),
    /// Bits per second of frames; at least 1. Counted: the L2 header and the payload. Not counted: the FCS, the
    /// preamble and the gap between frames (which make 10 GbE carry 14.88 Mpps of frames of 60 bytes).
    Bits(u64),
}

/// The highest rate that is understood, in frames per second.
const MAX_PACKETS: u64 = 1_000_000_000;
/// The highest rate that is understood, in bits per second.
const MAX_BITS: u64 = 1_000_000_000_000;

impl Rate {
    /// The rate in frames of `size` bytes (L2 header included, FCS excluded) per second; `None`: no limit.
    pub fn packets_per_second(self, size: u32) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::Packets(packets) => Some(as_float(packets)),
            Self::Bits(bits) => Some(as_float(bits) / (8.0 * f64::from(size))),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is at most 1e12, and a float holds 9e15 exactly"
)]
fn as_float(value: u64) -> f64 {
    value as f64
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRateError(String);

impl fmt::Display for ParseRateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; accepted: `max`, or a number above 0 with a unit: pps, kpps, Mpps (packets), bps, kbps, Mbps, \
             Gbps or bit/s, kbit/s, Mbit/s, Gbit/s (bits of frames), such as 1.5Mpps or 10Gbit/s",
            self.0
        )
    }
}

impl std::error::Error for ParseRateError {}

impl FromStr for Rate {
    type Err = ParseRateError;

    fn from_str(text: &str) -> Result<Self, ParseRateError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let error = |what: String| ParseRateError(what);
        let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let value: f64 = number.parse().map_err(|_| error(format!("`{text}` is no rate")))?;
        if unit.is_empty() {
            return Err(error(format!("`{text}` has no unit")));
        }
        let unknown = || error(format!("`{unit}` is no unit of a rate"));
        let (factor, base) = match unit.as_bytes()[0] {
            b'k' | b'K' => (1e3, &unit[1..]),
            b'M' => (1e6, &unit[1..]),
            b'G' => (1e9, &unit[1..]),
            b'T' => (1e12, &unit[1..]),
            _ => (1.0, unit),
        };
        let (make, most): (fn(u64) -> Self, u64) = match base {
            "pps" => (Self::Packets, MAX_PACKETS),
            "bps" | "bit/s" => (Self::Bits, MAX_BITS),
            _ => return Err(unknown()),
        };
        let value = (value * factor).round();
        if value < 1.0 {
            return Err(error(format!("`{text}` is less than one per second")));
        }
        if value > as_float(most) {
            return Err(error(format!("`{text}` is more than can be counted (1Gpps, 1Tbit/s)")));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number from 1 to 1e12"
        )]
        Ok(make(value as u64))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match *self {
            Self::Max => return f.write_str("max"),
            Self::Packets(value) => (value, "pps"),
            Self::Bits(value) => (value, "bit/s"),
        };
        let (divisor, prefix) = match value {
            1_000_000_000.. => (1e9, "G"),
            1_000_000.. => (1e6, "M"),
            1_000.. => (1e3, "k"),
            _ => (1.0, ""),
        };
        write!(f, "{}{prefix}{unit}", as_float(value) / divisor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_and_bits_are_told_apart() {
        for (text, rate) in [
            ("max", Rate::Max),
            ("1pps", Rate::Packets(1)),
            ("64kpps", Rate::Packets(64_000)),
            ("1.5Mpps", Rate::Packets(1_500_000)),
            ("10Mpps", Rate::Packets(10_000_000)),
            ("10Mbps", Rate::Bits(10_000_000)),
            ("1Gbit/s", Rate::Bits(1_000_000_000)),
            ("1Tbps", Rate::Bits(1_000_000_000_000)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
    }

    #[test]
    fn bad_rates_say_what_is_accepted() {
        for text in [
            "",
            "0",
            "0pps",
            "-1",
            "-1pps",
            "NaN",
            "inf",
            "1e400",
            "1T",
            "1Tpps",
            "1000",
            "Mpps",
            ".",
            "1.2.3pps",
            "10mbps",
            "10 Mpps",
            "0.4pps",
            "MAX",
            "1Mppps",
            "2Tbps",
            "99999999999999999999999Gpps",
            "1\u{b5}pps",
        ] {
            let error = text.parse::<Rate>().expect_err(text).to_string();
            assert!(error.contains("accepted: `max`"), "{text}: {error}");
        }
    }

    #[test]
    fn rates_print_as_they_read() {
        for text in ["max", "1pps", "64kpps", "1.5Mpps", "10Mbit/s", "1.25Gbit/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bits_count_the_frame_without_fcs() {
        assert_eq!(Rate::Bits(512_000).packets_per_second(64), Some(1000.0));
        assert_eq!(Rate::Packets(7).packets_per_second(1500), Some(7.0));
        assert_eq!(Rate::Max.packets_per_second(64), None);
    }
}
