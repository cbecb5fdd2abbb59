//! Why a machine could not be brought up, in words that say what to do about it.

use crate::exit::ExitCode;
use core::fmt;

/// A boot that cannot go on; printed on the console before the image exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootError {
    /// `hvm_start_info` does not start with its magic number.
    StartInfoMagic(u32),
    /// `hvm_start_info` is of version 0, which has no memory map.
    StartInfoVersion,
    /// A table's address lies outside the mapped memory or inside the image.
    OutOfRange {
        /// Which table.
        what: &'static str,
        /// The address that the monitor gave for it.
        address: u64,
    },
    /// The memory map has no entries, or more than this platform keeps.
    MemoryMapEntries(u32),
    /// An entry of the memory map ends behind the last address there is.
    MemoryMapOverflow(u64),
    /// Usable memory overlaps another entry of the memory map.
    MemoryMapOverlap(u64),
    /// The memory map names no usable memory behind the image, or too little.
    NoMemory {
        /// Bytes of usable memory that were found.
        found: u64,
    },
    /// The command line has no terminating NUL within the bytes that are accepted.
    CommandLineLength(usize),
    /// A byte of the command line is neither printable ASCII nor a blank.
    CommandLineByte {
        /// Its offset from the start of the command line.
        offset: usize,
        /// Its value.
        byte: u8,
    },
}

impl BootError {
    /// The status to exit with: a bad command line is the caller's error, everything else the machine's.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::CommandLineLength(_) | Self::CommandLineByte { .. } => ExitCode::USAGE,
            _ => ExitCode::BOOT_FAILURE,
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::StartInfoMagic(magic) => {
                write!(f, "start info has magic {magic:#x}, not 0x336ec578: is this a PVH boot?")
            }
            Self::StartInfoVersion => f.write_str(
                "start info is version 0, without a memory map: a newer monitor is needed",
            ),
            Self::OutOfRange { what, address } => {
                write!(f, "the {what} at {address:#x} is out of range")
            }
            Self::MemoryMapEntries(count) => {
                write!(f, "the memory map has {count} entries; 1 to 64 are accepted")
            }
            Self::MemoryMapOverflow(start) => {
                write!(f, "the memory map entry at {start:#x} ends behind the last address")
            }
            Self::MemoryMapOverlap(start) => {
                write!(f, "the memory map entry at {start:#x} overlaps usable memory")
            }
            Self::NoMemory { found } => {
                write!(
                    f,
                    "{} KiB of usable memory behind the image: 4096 KiB are needed",
                    found / 1024
                )
            }
            Self::CommandLineLength(limit) => {
                write!(f, "the command line is longer than {limit} bytes")
            }
            Self::CommandLineByte { offset, byte } => write!(
                f,
                "the command line has byte {byte:#04x} at offset {offset}: only printable ASCII is accepted"
            ),
        }
    }
}

impl core::error::Error for BootError {}
