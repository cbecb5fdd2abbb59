//! Capture files: read whole, checked, and kept as plain frames.
//!
//! Classic pcap (micro- and nanosecond, either byte order) and pcapng, Ethernet only. Time stamps are not kept: a
//! replay goes at a fixed rate. A file that breaks its format is refused as a whole, with the place.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapParseError, PcapParser};
use pcap_file::pcapng::{Block, PcapNgParseError, PcapNgParser};

/// The frames of a capture, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Capture {
    frames: Arc<[Box<[u8]>]>,
    /// Frames that are too short to have an Ethernet header; not in `frames`.
    pub undersize: u64,
    /// Frames of which the file holds only the beginning; they are played as they are.
    pub cut: u64,
}

/// Why a capture was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureError(String);

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; accepted: pcap (micro- or nanosecond) and pcapng files of Ethernet frames",
            self.0
        )
    }
}

impl std::error::Error for CaptureError {}

const ETHERNET_HEADER: usize = 14;
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or breaks its format: what, and where.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let named =
            |what: &dyn fmt::Display| CaptureError(format!("capture {}: {what}", path.display()));
        let about = fs::metadata(path).map_err(|error| named(&error))?;
        if !about.is_file() {
            return Err(named(&"not a regular file"));
        }
        let mut bytes = Vec::new();
        // No more than the file had: one that grows while it is read, or /proc's kind, cannot fill the memory.
        let file = File::open(path).map_err(|error| named(&error))?;
        file.take(about.len()).read_to_end(&mut bytes).map_err(|error| named(&error))?;
        Self::parse(&bytes).map_err(|CaptureError(what)| named(&what))
    }

    /// Reads a file's contents.
    ///
    /// # Errors
    /// They break the format: what, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, CaptureError> {
        if bytes.is_empty() {
            return Err(CaptureError("the file is empty".into()));
        }
        let mut collector = Collector::default();
        if bytes.starts_with(&SECTION_HEADER) {
            collector.read_pcapng(bytes)?;
        } else {
            collector.read_pcap(bytes)?;
        }
        if collector.frames.is_empty() {
            return Err(CaptureError("the file holds no frame".into()));
        }
        let Collector { frames, undersize, cut } = collector;
        Ok(Self { frames: frames.into(), undersize, cut })
    }

    /// A capture of these frames.
    ///
    /// # Errors
    /// There is no frame that has an Ethernet header.
    pub fn from_frames(frames: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, CaptureError> {
        let mut collector = Collector::default();
        for frame in frames {
            let len = frame.len();
            collector.add(&frame, len);
        }
        if collector.frames.is_empty() {
            return Err(CaptureError("no frame was given".into()));
        }
        Ok(Self { frames: collector.frames.into(), undersize: collector.undersize, cut: 0 })
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Box<[u8]>] {
        &self.frames
    }

    /// Bytes of the longest frame, L2 header included, FCS excluded.
    pub fn longest(&self) -> usize {
        self.frames.iter().map(|frame| frame.len()).max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Collector {
    frames: Vec<Box<[u8]>>,
    undersize: u64,
    cut: u64,
}

impl Collector {
    fn add(&mut self, frame: &[u8], original: usize) {
        if frame.len() < ETHERNET_HEADER {
            self.undersize += 1;
            return;
        }
        self.cut += u64::from(frame.len() < original);
        self.frames.push(frame.into());
    }

    fn read_pcap(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let (mut rest, parser) = PcapParser::new(bytes).map_err(|error| {
            CaptureError(match error {
                PcapParseError::IncompleteBuffer(needed, found) => {
                    format!("the file header has {needed} bytes, the file {found}")
                }
                PcapParseError::Validation(error) => format!("file header: {error}"),
            })
        })?;
        ethernet(parser.header().datalink, "file header")?;
        while !rest.is_empty() {
            let place = Packet { number: self.number(), offset: bytes.len() - rest.len() };
            let (after, packet) = parser.next_packet(rest).map_err(|error| match error {
                PcapParseError::IncompleteBuffer(needed, found) => place.cut_short(needed, found),
                PcapParseError::Validation(error) => place.error(&error),
            })?;
            self.add(packet.data(), usize::try_from(packet.orig_len()).unwrap_or(usize::MAX));
            rest = after;
        }
        Ok(())
    }

    fn read_pcapng(&mut self, bytes: &[u8]) -> Result<(), CaptureError> {
        let place = |rest: &[u8], number| Packet { number, offset: bytes.len() - rest.len() };
        let block_error = |place: Packet, error| match error {
            PcapNgParseError::IncompleteBuffer(needed, found) => place.cut_short(needed, found),
            other => place.error(&chain(&other)),
        };
        let (mut rest, mut parser) =
            PcapNgParser::new(bytes).map_err(|error| block_error(place(bytes, 1), error))?;
        while !rest.is_empty() {
            let place = place(rest, self.number());
            let (after, block) =
                parser.next_block(rest).map_err(|error| block_error(place, error))?;
            match &block {
                Block::InterfaceDescription(interface) => {
                    ethernet(interface.linktype, "interface")?;
                }
                Block::EnhancedPacket(packet) => self.add(&packet.data, whole(packet.original_len)),
                Block::SimplePacket(packet) => self.add(&packet.data, whole(packet.original_len)),
                Block::Packet(packet) => self.add(&packet.data, whole(packet.original_len)),
                _ => {}
            }
            rest = after;
        }
        Ok(())
    }

    fn number(&self) -> u64 {
        self.frames.len() as u64 + self.undersize + 1
    }
}

fn whole(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

fn ethernet(link: DataLink, at: &str) -> Result<(), CaptureError> {
    if link == DataLink::ETHERNET {
        return Ok(());
    }
    Err(CaptureError(format!("{at}: the link type is {link:?}, not Ethernet")))
}

/// An error with its causes behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |mut text, cause| {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        text
    })
}

/// Where a packet or block is in its file.
#[derive(Clone, Copy)]
struct Packet {
    number: u64,
    offset: usize,
}

impl Packet {
    fn error(self, what: &dyn fmt::Display) -> CaptureError {
        CaptureError(format!("packet {} (byte {}): {what}", self.number, self.offset))
    }

    fn cut_short(self, needed: usize, found: usize) -> CaptureError {
        self.error(&format_args!("needs {needed} bytes, the file has {found} more"))
    }
}

#[cfg(test)]
mod tests;
