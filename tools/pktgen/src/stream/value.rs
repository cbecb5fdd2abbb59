//! Values of fields as text: numbers, addresses; and lists of `key=value` in parentheses.

use std::net::{Ipv4Addr, Ipv6Addr};

use netdev::MacAddress;

/// The words that every message about a bad value ends in.
const ACCEPTED: &str =
    "a number (10, 0x0a), an IPv4 address, an IPv6 address or a MAC address (02:00:00:00:00:01)";

/// Reads a value: a number, or an address as the number that its bytes make.
pub(crate) fn parse(text: &str) -> Result<u128, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain {
        let most = |_| format!("`{text}` is more than 128 bits hold; accepted: {ACCEPTED}");
        return text.parse().map_err(most);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        return hex.then(|| u128::from_str_radix(digits, 16).ok()).flatten().ok_or_else(|| {
            format!("`{text}` is no hexadecimal number of at most 128 bits; accepted: {ACCEPTED}")
        });
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(u128::from(address.to_bits()));
    }
    if let Ok(MacAddress([a, b, c, d, e, f])) = text.parse::<MacAddress>() {
        return Ok(u128::from(u64::from_be_bytes([0, 0, a, b, c, d, e, f])));
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(address.to_bits());
    }
    Err(format!("`{text}` is no value; accepted: {ACCEPTED}"))
}

/// Reads a plain whole number.
pub(crate) fn number<N: std::str::FromStr>(text: &str, what: &str) -> Result<N, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|_| plain);
    value.ok_or_else(|| format!("`{text}` is no {what}; accepted: a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_or_addresses() {
        assert_eq!(parse("10"), Ok(10));
        assert_eq!(parse("0x0A"), Ok(10));
        assert_eq!(parse("10.0.0.1"), Ok(0x0a00_0001));
        assert_eq!(parse("02:00:00:00:00:ff"), Ok(0x0200_0000_00ff));
        assert_eq!(parse("::1"), Ok(1));
        assert_eq!(parse("2001:db8::2").map(|v| v >> 96), Ok(0x2001_0db8));
    }

    #[test]
    fn what_is_no_value_says_what_is() {
        for text in ["", "-1", "+1", "1.5", "0x", "0xg", "10.0.0.256", "x", "NaN", "1e3"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(number::<u16>("65536", "port").is_err() && number::<u16>("+1", "port").is_err());
    }
}
