//! The file to boot: is it an image, and which?
//!
//! An image is a 64-bit x86 ELF with the Xen PVH note, by which QEMU finds its entry. Only headers and notes are read;
//! nothing in the file is trusted to be in bounds.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file that QEMU can boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Where it is.
    pub path: PathBuf,
    /// Its file stem, such as `l2fwd`.
    pub name: String,
    /// What its loadable segments take in the file, in bytes.
    pub loadable: u64,
}

/// Why a file is not an image.
#[derive(Debug)]
pub(crate) enum ImageError {
    /// It cannot be read.
    Read(std::io::Error),
    /// It is no 64-bit little-endian x86 ELF.
    NotElf,
    /// Its headers point outside the file.
    Malformed,
    /// It is an ELF, but has no Xen PVH note.
    NoNote,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::NotElf => f.write_str("is not an image: no 64-bit x86 ELF file"),
            Self::Malformed => f.write_str("is not an image: its ELF headers point outside the file"),
            Self::NoNote => f.write_str(
                "is not an image: it has no Xen PVH note (was it built with the feature `linux`, or by \
                 `cargo test`?)",
            ),
        }
    }
}

const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const X86_64: u16 = 62;
const XEN_PHYS32_ENTRY: u32 = 18;

impl Image {
    /// Reads the file's headers.
    pub(crate) fn open(path: &Path) -> Result<Self, ImageError> {
        let bytes = std::fs::read(path).map_err(ImageError::Read)?;
        let loadable = inspect(&bytes)?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Ok(Self { path: path.into(), name: name.unwrap_or_default(), loadable })
    }
}

/// Checks that the bytes are an image; gives the size of what is loaded from it.
fn inspect(bytes: &[u8]) -> Result<u64, ImageError> {
    let is_elf = bytes.starts_with(b"\x7fELF\x02\x01") && read16(bytes, 18) == Some(X86_64);
    if !is_elf {
        return Err(ImageError::NotElf);
    }
    let headers = Headers::read(bytes).ok_or(ImageError::Malformed)?;
    let mut loadable = 0u64;
    let mut note = false;
    for index in 0..headers.count {
        let segment = headers.segment(bytes, index).ok_or(ImageError::Malformed)?;
        match segment.kind {
            PT_LOAD => loadable = loadable.saturating_add(segment.contents.len() as u64),
            PT_NOTE => note |= has_pvh_note(segment.contents),
            _ => {}
        }
    }
    if note { Ok(loadable) } else { Err(ImageError::NoNote) }
}

struct Headers {
    offset: usize,
    size: usize,
    count: usize,
}

struct Segment<'a> {
    kind: u32,
    contents: &'a [u8],
}

impl Headers {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            offset: usize::try_from(read64(bytes, 32)?).ok()?,
            size: read16(bytes, 54)?.into(),
            count: read16(bytes, 56)?.into(),
        })
    }

    fn segment<'a>(&self, bytes: &'a [u8], index: usize) -> Option<Segment<'a>> {
        let at = self.offset.checked_add(index.checked_mul(self.size)?)?;
        let header = bytes.get(at..at.checked_add(56)?)?;
        let offset = usize::try_from(read64(header, 8)?).ok()?;
        let size = usize::try_from(read64(header, 32)?).ok()?;
        let contents = bytes.get(offset..offset.checked_add(size)?)?;
        Some(Segment { kind: read32(header, 0)?, contents })
    }
}

/// Walks notes: name size, description size, type, then both parts, each padded to four bytes.
fn has_pvh_note(mut notes: &[u8]) -> bool {
    let padded = |size: u32| usize::try_from(size).ok()?.checked_next_multiple_of(4);
    loop {
        let sizes = (read32(notes, 0).and_then(padded), read32(notes, 4).and_then(padded));
        let (Some(name), Some(description)) = sizes else { return false };
        let kind = read32(notes, 8);
        if kind == Some(XEN_PHYS32_ENTRY) && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let end = name.checked_add(description).and_then(|size| size.checked_add(12));
        let Some(rest) = end.and_then(|end| notes.get(end..)) else { return false };
        notes = rest;
    }
}

fn read16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn read32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

fn read64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF with one PT_LOAD of 5 bytes and one PT_NOTE that holds `notes`.
    fn elf(notes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 2 * 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 2;
        let at = bytes.len();
        for (header, kind, size) in [(64, 1u8, 5u8), (120, 4, u8::try_from(notes.len()).unwrap())] {
            bytes[header] = kind;
            bytes[header + 8] = u8::try_from(at).unwrap();
            bytes[header + 32] = size;
        }
        bytes.extend_from_slice(notes);
        bytes
    }

    fn note(kind: u8, name: &[u8; 4]) -> Vec<u8> {
        let mut note = vec![4, 0, 0, 0, 4, 0, 0, 0, kind, 0, 0, 0];
        note.extend_from_slice(name);
        note.extend_from_slice(&[0x10, 0, 0x10, 0]);
        note
    }

    #[test]
    fn an_image_has_the_note() {
        let both = [note(3, b"GNU\0"), note(18, b"Xen\0")].concat();
        assert!(matches!(inspect(&elf(&both)), Ok(5)));
    }

    #[test]
    fn what_is_not_an_image_says_why() {
        assert!(matches!(inspect(b""), Err(ImageError::NotElf)));
        assert!(matches!(inspect(b"#!/bin/sh\n"), Err(ImageError::NotElf)));
        assert!(matches!(inspect(&elf(&note(3, b"GNU\0"))), Err(ImageError::NoNote)));
        assert!(matches!(inspect(&elf(&note(18, b"Abc\0"))), Err(ImageError::NoNote)));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let whole = elf(&note(18, b"Xen\0"));
        for length in 0..whole.len() {
            assert!(inspect(&whole[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn lying_note_sizes_end_the_walk() {
        let mut lying = note(3, b"GNU\0");
        lying[..8].fill(0xff);
        assert!(matches!(inspect(&elf(&lying)), Err(ImageError::NoNote)));
    }
}
