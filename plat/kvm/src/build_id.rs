//! The build id that the linker wrote into the image (NT_GNU_BUILD_ID), for panic reports: it names the file whose
//! symbols belong to the addresses.

use crate::symbols;
use core::fmt;

/// The identity of this image; prints as hexadecimal digits, or `unknown` for an image linked without one.
#[derive(Debug, Clone, Copy)]
pub struct BuildId(&'static [u8]);

/// The build id of the running image.
#[must_use]
pub fn build_id() -> BuildId {
    let note = symbols::build_id_note();
    let length = crate::to_usize(note.end.saturating_sub(note.start));
    let start = core::ptr::with_exposed_provenance(crate::to_usize(note.start));
    // SAFETY: image.ld places the two symbols around a read-only section of the image.
    let note = unsafe { core::slice::from_raw_parts(start, length) };
    BuildId(description(note))
}

/// The description of the ELF note in `note`: behind three words and the four bytes "GNU\0".
fn description(note: &[u8]) -> &[u8] {
    let length = note.get(4).copied().map_or(0, usize::from);
    note.get(16..16 + length).unwrap_or(&[])
}

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unknown");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::string::ToString;

    #[test]
    fn the_description_is_printed() {
        let note = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\x01\xab\xff";
        assert_eq!(BuildId(description(note)).0, [1, 0xab, 0xff]);
        assert_eq!(BuildId(&[1, 0xab, 0xff]).to_string(), "01abff");
    }

    #[test]
    fn a_missing_or_short_note_is_unknown() {
        assert_eq!(BuildId(description(&[])).to_string(), "unknown");
        assert_eq!(BuildId(description(&[4, 0, 0, 0, 20, 0])).to_string(), "unknown");
    }
}
