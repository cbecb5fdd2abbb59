//! What the monitor hands over at entry: `hvm_start_info` (Xen public header `arch-x86/hvm/start_info.h`).
//!
//! Parsing is pure: it takes bytes and gives numbers or an error, so that every malformed table is tested on the
//! host. It reads no memory itself and trusts no address: `Span::check` decides what may be looked at. Modules
//! (`nr_modules`) are ignored: an image has no initrd.

use crate::error::BootError;

/// Bytes of `hvm_start_info`, version 1.
pub(crate) const START_INFO_SIZE: usize = 56;
/// Bytes of one `hvm_memmap_table_entry`.
pub(crate) const MEMORY_MAP_ENTRY_SIZE: usize = 24;
const MAGIC: u32 = 0x336e_c578;

/// The fields of the start info that this platform uses, as physical addresses (0: absent).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StartInfo {
    pub(crate) command_line: u64,
    pub(crate) rsdp: u64,
    pub(crate) memory_map: u64,
    pub(crate) memory_map_entries: u32,
}

impl StartInfo {
    /// Decodes the table; version 0 has no memory map, which this platform cannot do without.
    pub(crate) fn parse(bytes: &[u8; START_INFO_SIZE]) -> Result<Self, BootError> {
        if u32_at(bytes, 0) != MAGIC {
            return Err(BootError::StartInfoMagic(u32_at(bytes, 0)));
        }
        if u32_at(bytes, 4) < 1 {
            return Err(BootError::StartInfoVersion);
        }
        Ok(Self {
            command_line: u64_at(bytes, 24),
            rsdp: u64_at(bytes, 32),
            memory_map: u64_at(bytes, 40),
            memory_map_entries: u32_at(bytes, 48),
        })
    }
}

/// Decodes one memory map entry to (start, length, type).
pub(crate) fn memory_map_entry(bytes: &[u8; MEMORY_MAP_ENTRY_SIZE]) -> (u64, u64, u32) {
    (u64_at(bytes, 0), u64_at(bytes, 8), u32_at(bytes, 16))
}

/// What a table's address is checked against before a byte of it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    /// First address of the image.
    pub(crate) image_start: u64,
    /// First address behind the image.
    pub(crate) image_end: u64,
}

impl Span {
    /// Whether `length` bytes at `address` are mapped by the first page tables (below 4 GiB) and outside the image,
    /// whose own variables would otherwise alias the table. Page 0 is allowed (SeaBIOS' option ROM keeps the memory
    /// map at 0x5a8), address 0 is not.
    pub(crate) fn check(
        self,
        what: &'static str,
        address: u64,
        length: u64,
    ) -> Result<(), BootError> {
        let error = Err(BootError::OutOfRange { what, address });
        let Some(end) = address.checked_add(length) else { return error };
        let in_image = address < self.image_end && end > self.image_start;
        if address == 0 || end > 1 << 32 || in_image { error } else { Ok(()) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> [u8; START_INFO_SIZE] {
        let mut bytes = [0; START_INFO_SIZE];
        bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[24..32].copy_from_slice(&0x2_0000u64.to_le_bytes());
        bytes[32..40].copy_from_slice(&0xf_5000u64.to_le_bytes());
        bytes[40..48].copy_from_slice(&0x7000u64.to_le_bytes());
        bytes[48] = 5;
        bytes
    }

    #[test]
    fn fields_are_where_the_header_says() {
        let expected = StartInfo {
            command_line: 0x2_0000,
            rsdp: 0xf_5000,
            memory_map: 0x7000,
            memory_map_entries: 5,
        };
        assert_eq!(StartInfo::parse(&table()), Ok(expected));
    }

    #[test]
    fn bad_magic_and_old_version_are_refused() {
        let mut bytes = table();
        bytes[0] ^= 1;
        assert_eq!(StartInfo::parse(&bytes), Err(BootError::StartInfoMagic(MAGIC ^ 1)));
        let mut bytes = table();
        bytes[4] = 0;
        assert_eq!(StartInfo::parse(&bytes), Err(BootError::StartInfoVersion));
    }

    #[test]
    fn addresses_out_of_range_are_refused() {
        let span = Span { image_start: 0x10_0000, image_end: 0x20_0000 };
        assert!(span.check("t", 0x5a8, 56).is_ok());
        assert!(span.check("t", 0xf_ffc8, 56).is_ok());
        assert!(span.check("t", 0x20_0000, 56).is_ok());
        for (address, length) in [
            (0, 56),
            (0xf_ffc9, 56),
            (0x1f_ffff, 1),
            (0x1000, u64::MAX),
            (u64::MAX, 1),
            (0xffff_ffff, 2),
            (1 << 32, 1),
        ] {
            assert!(span.check("t", address, length).is_err(), "{address:#x}+{length:#x}");
        }
    }

    #[test]
    fn a_memory_map_entry_is_decoded() {
        let mut bytes = [0; MEMORY_MAP_ENTRY_SIZE];
        bytes[2] = 0x10;
        bytes[11] = 0x7f;
        bytes[16] = 1;
        assert_eq!(memory_map_entry(&bytes), (0x10_0000, 0x7f00_0000, 1));
    }
}
