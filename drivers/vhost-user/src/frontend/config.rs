//! The configuration space that the driver sees: made up here, because a vhost-user back end has none.

use netdev::MacAddress;
use virtio_drivers::{Error, Result};
use zerocopy::FromBytes;

/// Bytes of `virtio_net_config` up to and including `mtu` (virtio 1.2, 5.1.4).
const BYTES: usize = 12;

/// The address, the link's state, one pair of queues, and no MTU.
pub(super) fn space(mac: MacAddress, link_up: bool) -> [u8; BYTES] {
    let mut space = [0; BYTES];
    space[..6].copy_from_slice(&mac.0);
    space[6] = u8::from(link_up);
    space[8] = 1;
    space
}

/// The field at `offset`.
pub(super) fn read<T: FromBytes>(space: &[u8], offset: usize) -> Result<T> {
    let end = offset.checked_add(size_of::<T>()).ok_or(Error::ConfigSpaceTooSmall)?;
    let field = space.get(offset..end).ok_or(Error::ConfigSpaceTooSmall)?;
    T::read_from_bytes(field).map_err(|_| Error::ConfigSpaceTooSmall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_specification_has_them() {
        let space = space(MacAddress([2, 1, 2, 3, 4, 5]), true);
        assert_eq!(read::<u8>(&space, 5), Ok(5));
        assert_eq!(read::<u16>(&space, 6), Ok(1));
        assert_eq!(read::<u16>(&space, 8), Ok(1));
        assert_eq!(read::<u16>(&space, 12), Err(Error::ConfigSpaceTooSmall));
        assert_eq!(read::<u16>(&space, usize::MAX), Err(Error::ConfigSpaceTooSmall));
    }
}
