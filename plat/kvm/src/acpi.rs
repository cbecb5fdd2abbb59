//! The two things that ACPI is asked for: where the PCI configuration space is mapped, and where the timer is.
//!
//! Static tables only, no AML. Everything is bounds-checked and checksummed; a table that is wrong is a table that is
//! absent. The parsers take bytes and are tested on the host; `find` is the only one that touches memory.

use core::ops::RangeInclusive;

/// What the tables told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Acpi {
    /// PCI Express configuration space of segment 0.
    pub(crate) ecam: Option<Ecam>,
    /// I/O port of the power management timer.
    pub(crate) timer: Option<u16>,
}

/// Memory-mapped PCI configuration space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ecam {
    /// Address of bus 0 (even where the first bus is another one).
    pub(crate) base: u64,
    /// The buses that are there.
    pub(crate) buses: RangeInclusive<u8>,
}

const HEADER: usize = 36;
const LARGEST_TABLE: usize = 1 << 16;
const MOST_TABLES: usize = 64;

/// Reads the tables that the root pointer at `rsdp` leads to, through `memory` (address, length), which gives None for
/// what is not mapped.
pub(crate) fn find(rsdp: u64, memory: impl Fn(u64, usize) -> Option<&'static [u8]>) -> Acpi {
    let mut acpi = Acpi::default();
    let Some((root, entry_size)) = memory(rsdp, 36).and_then(root_table) else { return acpi };
    let table = |address: u64| {
        let length = u32_at(memory(address, HEADER)?, 4)?;
        let length =
            usize::try_from(length).ok().filter(|n| (HEADER..LARGEST_TABLE).contains(n))?;
        memory(address, length).filter(|bytes| sums_to_zero(bytes))
    };
    let Some(root) = table(root) else { return acpi };
    for entry in root[HEADER..].chunks_exact(entry_size).take(MOST_TABLES) {
        let address =
            if entry_size == 8 { u64_at(entry, 0) } else { u32_at(entry, 0).map(u64::from) };
        let Some(bytes) = address.and_then(table) else { continue };
        match &bytes[..4] {
            b"MCFG" => acpi.ecam = ecam(bytes),
            b"FACP" => acpi.timer = timer(bytes),
            _ => {}
        }
    }
    acpi
}

/// From the root pointer: address of the XSDT (or RSDT) and the size of its entries.
fn root_table(rsdp: &[u8]) -> Option<(u64, usize)> {
    if rsdp.get(..8)? != b"RSD PTR " || !sums_to_zero(&rsdp[..20]) {
        return None;
    }
    let revision = rsdp[15];
    match u64_at(rsdp, 24) {
        Some(xsdt) if revision >= 2 && xsdt != 0 && sums_to_zero(rsdp) => Some((xsdt, 8)),
        _ => Some((u32_at(rsdp, 16)?.into(), 4)),
    }
}

/// From the MCFG: segment 0's configuration space, if it is plausible.
fn ecam(mcfg: &[u8]) -> Option<Ecam> {
    mcfg.get(44..)?.chunks_exact(16).find_map(|entry| {
        let base = u64_at(entry, 0)?;
        let segment = u16::from_le_bytes([entry[8], entry[9]]);
        let buses = entry[10]..=entry[11];
        let end = base.checked_add(256 << 20)?;
        let plausible = base >= 1 << 20 && base % (1 << 20) == 0 && end <= 1 << 46;
        (segment == 0 && plausible && !buses.is_empty()).then_some(Ecam { base, buses })
    })
}

/// From the FADT: the port of the power management timer.
fn timer(fadt: &[u8]) -> Option<u16> {
    u16::try_from(u32_at(fadt, 76)?).ok().filter(|port| *port != 0)
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::{vec, vec::Vec};

    fn seal(bytes: &mut [u8], at: usize) {
        let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        bytes[at] = bytes[at].wrapping_sub(sum);
    }

    fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..4].copy_from_slice(name);
        bytes[4] = u8::try_from(HEADER + body.len()).unwrap();
        bytes.extend_from_slice(body);
        seal(&mut bytes, 9);
        bytes
    }

    /// Memory of one page at 0x1000: RSDP at 0x1000, RSDT at 0x1100, MCFG at 0x1200, FADT at 0x1300.
    fn memory(change: impl Fn(&mut [u8])) -> &'static [u8] {
        let mut page = vec![0; 0x1000];
        page[..8].copy_from_slice(b"RSD PTR ");
        page[16..20].copy_from_slice(&0x1100u32.to_le_bytes());
        seal(&mut page[..20], 8);
        let mut rsdt = Vec::new();
        rsdt.extend_from_slice(&0x1200u32.to_le_bytes());
        rsdt.extend_from_slice(&0x1300u32.to_le_bytes());
        let mut mcfg = vec![0; 24];
        mcfg[8..16].copy_from_slice(&0xb000_0000u64.to_le_bytes());
        mcfg[19] = 0xff;
        let mut fadt = vec![0; 80];
        fadt[40..44].copy_from_slice(&0x608u32.to_le_bytes());
        for (at, bytes) in [
            (0x100, table(b"RSDT", &rsdt)),
            (0x200, table(b"MCFG", &mcfg)),
            (0x300, table(b"FACP", &fadt)),
        ] {
            page[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        change(&mut page);
        page.leak()
    }

    fn find_in(page: &'static [u8]) -> Acpi {
        find(0x1000, |address, length| {
            let at = usize::try_from(address.checked_sub(0x1000)?).ok()?;
            page.get(at..at.checked_add(length)?)
        })
    }

    #[test]
    fn both_tables_are_found() {
        let ecam = Some(Ecam { base: 0xb000_0000, buses: 0..=255 });
        assert_eq!(find_in(memory(|_| {})), Acpi { ecam, timer: Some(0x608) });
    }

    #[test]
    fn damage_makes_a_table_absent() {
        let nothing = Acpi::default();
        assert_eq!(find_in(memory(|page| page[0] = b'X')), nothing, "signature");
        assert_eq!(find_in(memory(|page| page[17] ^= 1)), nothing, "root pointer checksum");
        assert_eq!(find_in(memory(|page| page[0x105] = 0xff)), nothing, "RSDT length");
        assert_eq!(
            find_in(memory(|page| page[0x104] = 3)),
            nothing,
            "RSDT shorter than its header"
        );
        let acpi = find_in(memory(|page| page[0x230] ^= 1));
        assert_eq!(acpi, Acpi { ecam: None, timer: Some(0x608) }, "MCFG checksum");
        let acpi = find_in(memory(|page| page[0x124..0x128].fill(0xff)));
        assert_eq!(acpi, nothing, "RSDT checksum after its entry changed");
    }

    #[test]
    fn implausible_configuration_space_is_refused() {
        for base in [0u64, 0x1234_5678, !0xf_ffff] {
            let mut mcfg = vec![0; 60];
            mcfg[44..52].copy_from_slice(&base.to_le_bytes());
            mcfg[55] = 0xff;
            assert_eq!(ecam(&mcfg), None, "{base:#x}");
        }
        assert_eq!(ecam(&[0; 43]), None);
        assert_eq!(timer(&[0; 79]), None);
    }
}
