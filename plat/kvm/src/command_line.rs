//! The kernel command line: bytes from the monitor, made into a string that can be believed.
//!
//! Checked here: length, and that every byte is printable ASCII or a blank. What the words mean is the facade's
//! business, except for `virtio_mmio.device=` (see `mmio.rs`), which describes the machine, not the program. A NUL in
//! the middle cannot be told from the end: PVH passes a NUL-terminated string.

use crate::error::BootError;

/// The most bytes that are accepted, without the terminating NUL.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Checks one byte at `offset`: `Ok(None)` is the end.
pub(crate) fn accept(offset: usize, byte: u8) -> Result<Option<u8>, BootError> {
    match byte {
        0 => Ok(None),
        _ if offset >= MAX_COMMAND_LINE => Err(BootError::CommandLineLength(MAX_COMMAND_LINE)),
        b' '..=b'~' | b'\t' | b'\n' | b'\r' => Ok(Some(byte)),
        _ => Err(BootError::CommandLineByte { offset, byte }),
    }
}

/// Copies a NUL-terminated string, read byte by byte through `read`, into `into`; gives its length.
pub(crate) fn copy(
    into: &mut [u8; MAX_COMMAND_LINE],
    read: impl Fn(usize) -> u8,
) -> Result<usize, BootError> {
    let mut length = 0;
    while let Some(byte) = accept(length, read(length))? {
        into[length] = byte;
        length += 1;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(text: &[u8]) -> Result<usize, BootError> {
        let mut into = [0; MAX_COMMAND_LINE];
        let length = copy(&mut into, |at| text.get(at).copied().unwrap_or(0))?;
        assert_eq!(&into[..length], &text[..length]);
        Ok(length)
    }

    #[test]
    fn accepts_what_fits() {
        assert_eq!(copied(b""), Ok(0));
        assert_eq!(copied(b"netdev.ip=10.0.0.2/24 \"quoted words\""), Ok(36));
        assert_eq!(copied(&[b'x'; MAX_COMMAND_LINE]), Ok(MAX_COMMAND_LINE));
    }

    #[test]
    fn embedded_nul_ends_it() {
        assert_eq!(copied(b"ab\0cd"), Ok(2));
    }

    #[test]
    fn too_long_is_an_error() {
        assert_eq!(
            copied(&[b'x'; MAX_COMMAND_LINE + 1]),
            Err(BootError::CommandLineLength(MAX_COMMAND_LINE))
        );
    }

    #[test]
    fn control_and_non_ascii_bytes_are_errors() {
        for byte in [1, 0x1b, 0x7f, 0x80, 0xc3, 0xff] {
            assert_eq!(
                copied(&[b'a', b'=', byte]),
                Err(BootError::CommandLineByte { offset: 2, byte })
            );
        }
    }
}
