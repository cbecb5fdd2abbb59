//! The device status (virtio 1.2, 2.1), as `SET_STATUS` and `GET_STATUS` carry it.
//!
//! What the driver writes is kept, but for two bits that are the device's to decide: FEATURES_OK stays only if the
//! features that were accepted are ones that the rings can run with, and NEEDS_RESET says that a ring is broken.

use super::rings::Rings;

/// `FEATURES_OK`: the driver has accepted features, and the device them.
const FEATURES_OK: u8 = 8;
/// `DEVICE_NEEDS_RESET`.
const NEEDS_RESET: u8 = 64;

/// What becomes of a status that a driver writes.
pub(super) fn accepted(written: u8, features_fit: bool) -> u8 {
    let refused = if features_fit { 0 } else { FEATURES_OK };
    written & !(refused | NEEDS_RESET)
}

/// What the driver reads.
pub(super) fn seen(kept: u8, rings: &Rings) -> u8 {
    let broken = rings.each().any(|(_, ring)| ring.is_broken());
    kept | if broken { NEEDS_RESET } else { 0 }
}
