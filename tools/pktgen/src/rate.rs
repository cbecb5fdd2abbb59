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
    /// Bits per second of the line; at least 1. Counted: the frame, and the [`LINE_OVERHEAD`](Rate::LINE_OVERHEAD)
    /// bytes of FCS, preamble and gap (IEEE 802.3). A share of a named link is this.
    Line(u64),
}

/// The links that have a name, in Mbit/s.
const LINKS: [(&str, u64); 10] = [
    ("1G", 1_000),
    ("2.5G", 2_500),
    ("5G", 5_000),
    ("10G", 10_000),
    ("25G", 25_000),
    ("40G", 40_000),
    ("50G", 50_000),
    ("100G", 100_000),
    ("200G", 200_000),
    ("400G", 400_000),
];

/// The highest rate that is understood, in frames per second.
const MAX_PACKETS: u64 = 1_000_000_000;
/// The highest rate that is understood, in bits per second.
const MAX_BITS: u64 = 1_000_000_000_000;

impl Rate {
    /// Bytes on the line besides a frame: FCS (4), preamble and start delimiter (8), gap (12).
    pub const LINE_OVERHEAD: u32 = 24;

    /// The rate in frames of `size` bytes (L2 header included, FCS excluded) per second; `None`: no limit.
    pub fn packets_per_second(self, size: u32) -> Option<f64> {
        self.packets_per_second_of(f64::from(size))
    }

    /// As [`packets_per_second`](Self::packets_per_second), for frames of `mean` bytes on average.
    pub fn packets_per_second_of(self, mean: f64) -> Option<f64> {
        match self {
            Self::Max => None,
            Self::Packets(packets) => Some(as_float(packets)),
            Self::Bits(bits) => Some(as_float(bits) / (8.0 * mean)),
            Self::Line(bits) => {
                Some(as_float(bits) / (8.0 * (mean + f64::from(Self::LINE_OVERHEAD))))
            }
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
             Gbps or bit/s, kbit/s, Mbit/s, Gbit/s (bits of frames; with _L1 behind it: of the line), such as 1.5Mpps or \
             10Gbit/s, or a share of a link (50%@10G; 1G, 2.5G, 5G, 10G, 25G, 40G, 50G, 100G, 200G, 400G)",
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
        if let Some((share, link)) = text.split_once("%@") {
            return share_of(share, link).map_err(error);
        }
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
            "bps" | "bit/s" | "bps_L2" | "bit/s_L2" => (Self::Bits, MAX_BITS),
            "bps_L1" | "bit/s_L1" => (Self::Line, MAX_BITS),
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

/// `share` percent of the link `link`.
fn share_of(share: &str, link: &str) -> Result<Rate, String> {
    let Some((_, mega)) = LINKS.iter().find(|(name, _)| *name == link) else {
        return Err(format!("`{link}` is no link"));
    };
    let plain = share.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let percent = share.parse::<f64>().ok().filter(|p| plain && *p > 0.0 && *p <= 100.0);
    let Some(percent) = percent else {
        return Err(format!("`{share}` is no percentage above 0 and up to 100"));
    };
    let bits = (as_float(mega * 1_000_000) * percent / 100.0).round().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 4e11")]
    Ok(Rate::Line(bits as u64))
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match *self {
            Self::Max => return f.write_str("max"),
            Self::Packets(value) => (value, "pps"),
            Self::Bits(value) => (value, "bit/s"),
            Self::Line(value) => (value, "bit/s_L1"),
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
    fn shares_of_a_link_count_the_line() {
        let full: Rate = "100%@10G".parse().unwrap();
        assert_eq!(full, "10Gbit/s_L1".parse().unwrap());
        let mpps = full.packets_per_second(60).unwrap() / 1e6;
        assert!((mpps - 14.880_952).abs() < 1e-5, "{mpps}");
        assert_eq!("50%@2.5G".parse::<Rate>().unwrap().to_string(), "1.25Gbit/s_L1");
        for text in [
            "0%@10G", "101%@10G", "NaN%@10G", "-1%@10G", "50%@11G", "50%", "%@10G", "1e1%@10G",
            "1pps_L1",
        ] {
            assert!(
                text.parse::<Rate>().unwrap_err().to_string().contains("accepted: `max`"),
                "{text}"
            );
        }
    }

    #[test]
    fn bits_count_the_frame_without_fcs() {
        assert_eq!(Rate::Bits(512_000).packets_per_second(64), Some(1000.0));
        assert_eq!(Rate::Packets(7).packets_per_second(1500), Some(7.0));
        assert_eq!(Rate::Max.packets_per_second(64), None);
    }
}
