//! The frame by which the network learns where a guest is: what a front end asks for by `SEND_RARP` once its guest has
//! moved here and cannot say so itself.
//!
//! It enters the port as if the guest had sent it, so that whatever the function does with a guest's broadcasts is
//! done with this one, too.

use netdev::MacAddress;

/// Bytes of the shortest Ethernet frame, FCS excluded.
const LEN: usize = 60;

/// Ethertype of RARP, and behind it hardware Ethernet, protocol IPv4 with their addresses' lengths, and the
/// operation "request reverse" (RFC 903).
const RARP: [u8; 10] = [0x80, 0x35, 0, 1, 0x08, 0, 6, 4, 0, 3];

/// The broadcast of `mac`.
pub(super) fn rarp(mac: MacAddress) -> [u8; LEN] {
    let mut frame = [0; LEN];
    frame[..6].copy_from_slice(&MacAddress::BROADCAST.0);
    frame[6..12].copy_from_slice(&mac.0);
    frame[12..22].copy_from_slice(&RARP);
    // Sender and target are the guest; neither has an IP address.
    frame[22..28].copy_from_slice(&mac.0);
    frame[32..38].copy_from_slice(&mac.0);
    frame
}

/// The payload of `SEND_RARP`: the address in its first six bytes.
pub(crate) fn payload(mac: MacAddress) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// The address in a payload; `None` for one that no port can have.
pub(super) fn address(payload: u64) -> Option<MacAddress> {
    let [a, b, c, d, e, f, ..] = payload.to_le_bytes();
    Some(MacAddress([a, b, c, d, e, f])).filter(|mac| mac.is_valid_unicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_the_first_six_bytes() {
        let mac = MacAddress([2, 1, 2, 3, 4, 5]);
        assert_eq!(payload(mac), 0x0504_0302_0102);
        assert_eq!(address(payload(mac) | 0xabcd << 48), Some(mac));
        assert_eq!(address(0), None);
        assert_eq!(address(payload(MacAddress::BROADCAST)), None);
    }
}
