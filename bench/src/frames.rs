//! Test frames: told apart by a number, so that a frame that is lost, doubled or damaged is seen.

/// The test frame `number`, of `len` bytes (at least 18).
pub fn frame(number: u32, len: usize) -> Vec<u8> {
    let mut frame = vec![0u8; len];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    for (at, byte) in frame[18..].iter_mut().enumerate() {
        *byte =
            number.wrapping_mul(31).wrapping_add(u32::try_from(at).unwrap_or(0)).to_le_bytes()[0];
    }
    frame
}
