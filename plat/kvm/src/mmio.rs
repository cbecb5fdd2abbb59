//! virtio-mmio devices: where their registers are.
//!
//! A virtio-mmio slot cannot be enumerated, somebody has to name it: the command line
//! (`virtio_mmio.device=512@0xfeb00000:5`, Linux' spelling; Firecracker and QEMU's microvm append it by themselves), or
//! the knowledge of where microvm puts its slots, used only on a machine without port-mapped PCI, which microvm is and
//! other QEMU machines are not. Its AML tables are not interpreted. A slot counts if the magic value is there and the
//! device id is not zero (an empty slot).

use crate::paging;
use core::fmt;
use core::ptr::NonNull;

const PARAMETER: &str = "virtio_mmio.device=";
const MAGIC: u32 = 0x7472_6976;
const LEAST_SIZE: u64 = 0x100;
/// Index of the interrupt acknowledgement register among the words.
const ACKNOWLEDGEMENT: usize = 0x64 / 4;
/// QEMU `include/hw/i386/microvm.h`: base, distance and number of slots.
const MICROVM: (u64, u64, u32) = (0xfeb0_0000, 512, 24);

/// A virtio-mmio device that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MmioSlot {
    /// Its registers, identity-mapped.
    pub registers: NonNull<u8>,
    /// How many bytes of registers there are, the configuration space included.
    pub size: usize,
    /// 1: legacy, 2: modern (virtio 1.x). QEMU's microvm is legacy unless told
    /// `-global virtio-mmio.force-legacy=off`.
    pub version: u32,
    /// The virtio device id: 1 is a network card.
    pub device_id: u32,
    line: Option<u32>,
    acknowledgement: NonNull<u32>,
}

impl MmioSlot {
    /// Its interrupt line, as a global number; None: not known.
    #[must_use]
    pub fn line(&self) -> Option<u32> {
        self.line
    }

    /// Its interrupt acknowledgement register (virtio 1.2, 4.2.2), mapped for good.
    pub(crate) fn acknowledgement(&self) -> NonNull<u32> {
        self.acknowledgement
    }
}

/// A parameter of the command line that does not say where a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotError<'a>(pub &'a str);

impl fmt::Display for SlotError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(word) = self;
        write!(f, "`{word}`: expected {PARAMETER}SIZE@ADDRESS:IRQ[:ID], such as 512@0xfeb00000:5")
    }
}

/// Where the registers of a slot are said to be, and its interrupt line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    address: u64,
    size: u64,
    line: Option<u32>,
}

impl Place {
    /// The addresses of the registers. (A place is made so that this does not overflow.)
    pub(crate) fn range(&self) -> core::ops::Range<u64> {
        self.address..self.address + self.size
    }
}

/// The places that `command_line` names.
///
/// # Errors
///
/// Each `virtio_mmio.device=` that is malformed, too small, misaligned or overflowing.
pub(crate) fn named(command_line: &str) -> impl Iterator<Item = Result<Place, SlotError<'_>>> {
    command_line.split_ascii_whitespace().filter_map(|word| {
        let value = word.strip_prefix(PARAMETER)?;
        Some(place(value).ok_or(SlotError(word)))
    })
}

/// Parses `SIZE@ADDRESS:IRQ[:ID]`; size and address as C writes numbers, with an optional K, M or G.
fn place(value: &str) -> Option<Place> {
    let (size, rest) = value.split_once('@')?;
    let mut rest = rest.split(':');
    let address = number(rest.next()?)?;
    let line = u32::try_from(number(rest.next()?)?).ok();
    let id = rest.next().map(number);
    let size = number(size)?;
    let valid = (LEAST_SIZE..=1 << 20).contains(&size)
        && address >= 0x1000
        && address % 4 == 0
        && address.checked_add(size).is_some()
        && line.is_some()
        && id != Some(None)
        && rest.next().is_none();
    valid.then_some(Place { address, size, line })
}

fn number(text: &str) -> Option<u64> {
    let (text, factor) = match text.as_bytes().last()? {
        b'K' | b'k' => (&text[..text.len() - 1], 1 << 10),
        b'M' | b'm' => (&text[..text.len() - 1], 1 << 20),
        b'G' | b'g' => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None; // from_str_radix would accept a sign
    }
    u64::from_str_radix(digits, radix).ok()?.checked_mul(factor)
}

/// The places to look at when the command line names none; `first_line` is the first slot's interrupt line, the
/// others' follow.
pub(crate) fn microvm(first_line: Option<u32>) -> impl Iterator<Item = Place> {
    let (base, size, count) = MICROVM;
    (0..count).map(move |slot| Place {
        address: base + u64::from(slot) * size,
        size,
        line: first_line.map(|first| first + slot),
    })
}

/// Looks whether a device answers at `place`.
///
/// # Safety
///
/// `place` is no RAM that Rust owns.
pub(crate) unsafe fn probe(place: Place) -> Option<MmioSlot> {
    let Place { address, size, line } = place;
    if !paging::map_device(address, size) {
        return None;
    }
    let start = core::ptr::with_exposed_provenance_mut::<u32>(crate::to_usize(address));
    // SAFETY: the place is mapped, aligned, larger than these registers, and not Rust's; reading the first three
    // registers of a virtio-mmio device, or addresses that nothing decodes, has no side effect.
    let [magic, version, device_id] =
        [0, 1, 2].map(|register| unsafe { start.add(register).read_volatile() });
    if magic != MAGIC || !matches!(version, 1 | 2) || device_id == 0 {
        return None;
    }
    let registers = NonNull::new(start)?;
    // SAFETY: within the registers, as above.
    let acknowledgement = unsafe { registers.add(ACKNOWLEDGEMENT) };
    let (registers, size) = (registers.cast(), crate::to_usize(size));
    Some(MmioSlot { registers, size, version, device_id, line, acknowledgement })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Option<Result<Place, SlotError<'_>>> {
        named(line).next()
    }

    #[test]
    fn what_monitors_append_is_understood() {
        let line = "netdev.ip=10.0.0.2/24 virtio_mmio.device=512@0xfeb00e00:12 \
                    virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=0x1K@4096M:7:3";
        let mut places = named(line);
        for (address, size, line) in
            [(0xfeb0_0e00, 512, 12), (0xd000_0000, 4096, 5), (1 << 32, 1024, 7)]
        {
            let place = Place { address, size, line: Some(line) };
            assert_eq!(places.next(), Some(Ok(place)));
        }
        assert_eq!(places.next(), None);
    }

    #[test]
    fn other_words_are_not_ours() {
        for line in ["", "virtio_mmio.devices=1", "xvirtio_mmio.device=512@0x1000:1", "device="] {
            assert_eq!(one(line), None);
        }
    }

    #[test]
    fn malformed_places_are_errors() {
        for value in [
            "",
            "@",
            "512",
            "512@",
            "512@0xfeb00000",
            "512@0xfeb00000:",
            "@0xfeb00000:5",
            "512@:5",
            "512@0xfeb00000:5:",
            "512@0xfeb00000:5:1:2",
            "512@0xfeb00000:x",
            "-512@0xfeb00000:5",
            "+512@0xfeb00000:5",
            "512@0xfeb00001:5",
            "512@0:5",
            "16@0xfeb00000:5",
            "2M@0xfeb00000:5",
            "K@0xfeb00000:5",
            "0x@0xfeb00000:5",
            "512@0xffffffffffffff00:5",
            "512@99999999999999999999:5",
            "99999999999G@0xfeb00000:5",
            "512@0xfeb00000:99999999999",
            "1\u{e9}@0x1000:1",
        ] {
            assert_eq!(place(value), None, "{value}");
        }
    }

    #[test]
    fn an_error_quotes_the_word_and_says_what_is_accepted() {
        extern crate std;
        let error = one("a virtio_mmio.device=junk b").unwrap().unwrap_err();
        let text = std::format!("{error}");
        assert!(text.contains("`virtio_mmio.device=junk`") && text.contains("SIZE@ADDRESS:IRQ"));
    }
}
