//! Capture files: read whole, checked, and kept as plain frames.
//!
//! Classic pcap (micro- and nanosecond, either byte order) and pcapng, Ethernet only. Of the time stamps the distances
//! are kept; a time that goes backwards is counted and taken for no distance. A file that breaks its format is refused
//! as a whole, with the place.

pub mod filter;
pub mod recorder;
pub mod rewrite;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use filter::{Filter, Span};
pub use recorder::Recorder;
pub use rewrite::Rewrite;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapParseError, PcapParser};
use pcap_file::pcapng::{Block, PcapNgParseError, PcapNgParser};

use crate::file;

/// The frames of a capture, in order. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Capture {
    frames: Arc<[Box<[u8]>]>,
    /// For each frame, nanoseconds since the first; never decreasing.
    times: Arc<[u64]>,
    /// Frames that are too short to have an Ethernet header; not in `frames`.
    pub undersize: u64,
    /// Frames of which the file holds only the beginning; they are played as they are.
    pub cut: u64,
    /// Frames whose time is before that of the frame in front.
    pub backwards: u64,
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

/// Bytes of the largest file that is read: it is kept in memory.
const MOST: u64 = 4 << 30;

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
        let bytes = file::read(path, MOST).map_err(|error| named(&error))?;
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
        Ok(collector.finish())
    }

    /// A capture of these frames, all of one moment.
    ///
    /// # Errors
    /// There is no frame that has an Ethernet header.
    pub fn from_frames(frames: impl IntoIterator<Item = Vec<u8>>) -> Result<Self, CaptureError> {
        Self::from_timed(frames.into_iter().map(|frame| (Duration::ZERO, frame)))
    }

    /// A capture of these frames, each with its time since any moment.
    ///
    /// # Errors
    /// There is no frame that has an Ethernet header.
    pub fn from_timed(
        frames: impl IntoIterator<Item = (Duration, Vec<u8>)>,
    ) -> Result<Self, CaptureError> {
        let mut collector = Collector::default();
        for (time, frame) in frames {
            let len = frame.len();
            collector.add(&frame, len, Some(time));
        }
        if collector.frames.is_empty() {
            return Err(CaptureError("no frame was given".into()));
        }
        Ok(collector.finish())
    }

    /// The frames that `filter` takes, at their times.
    ///
    /// # Errors
    /// It takes none.
    pub fn filtered(&self, filter: &Filter) -> Result<Self, CaptureError> {
        let both = self.frames.iter().zip(self.times.iter());
        let kept: Vec<_> = both.filter(|(frame, _)| filter.takes(frame)).collect();
        let Some((_, first)) = kept.first() else {
            return Err(CaptureError(format!(
                "none of the {} frames passes the filter",
                self.frames.len()
            )));
        };
        Ok(Self {
            frames: kept.iter().map(|(frame, _)| (*frame).clone()).collect(),
            times: kept.iter().map(|(_, time)| *time - *first).collect(),
            ..*self
        })
    }

    /// The frames with every one of `rules` applied, in that order.
    #[must_use]
    pub fn rewritten(&self, rules: &[Rewrite]) -> Self {
        let mut frames: Vec<_> = self.frames.to_vec();
        for frame in &mut frames {
            rules.iter().for_each(|rule| rule.apply(frame));
        }
        Self { frames: frames.into(), times: self.times.clone(), ..*self }
    }

    /// Time from the first frame to the last.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.times.last().copied().unwrap_or_default())
    }

    /// Nanoseconds between frame `position` and the one before it; before the first, when it is played again, lies the
    /// mean of the others.
    pub(crate) fn gap_before(&self, position: usize) -> u64 {
        match position {
            0 => {
                let gaps = self.times.len() as u64 - 1;
                self.times.last().copied().unwrap_or_default().checked_div(gaps).unwrap_or(0)
            }
            _ => self.times[position] - self.times[position - 1],
        }
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Box<[u8]>] {
        &self.frames
    }

    /// For each frame, nanoseconds since the first; never decreasing.
    pub fn times(&self) -> &[u64] {
        &self.times
    }

    /// Bytes of the longest frame, L2 header included, FCS excluded.
    pub fn longest(&self) -> usize {
        self.frames.iter().map(|frame| frame.len()).max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Collector {
    frames: Vec<Box<[u8]>>,
    times: Vec<u64>,
    undersize: u64,
    cut: u64,
    backwards: u64,
    /// The time of the last frame that had one.
    last: Option<Duration>,
    /// Nanoseconds from the first frame to that.
    elapsed: u64,
}

impl Collector {
    /// `time`: none where the file has none, which is taken for no distance.
    fn add(&mut self, frame: &[u8], original: usize, time: Option<Duration>) {
        if frame.len() < ETHERNET_HEADER {
            self.undersize += 1;
            return;
        }
        if let Some(time) = time {
            let distance = self.last.map_or(Some(Duration::ZERO), |last| time.checked_sub(last));
            self.backwards += u64::from(distance.is_none());
            let distance =
                u64::try_from(distance.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
            self.elapsed = self.elapsed.saturating_add(distance);
            self.last = Some(time);
        }
        self.cut += u64::from(frame.len() < original);
        self.frames.push(frame.into());
        self.times.push(self.elapsed);
    }

    fn finish(self) -> Capture {
        let first = self.times.first().copied().unwrap_or_default();
        Capture {
            frames: self.frames.into(),
            times: self.times.iter().map(|time| time - first).collect(),
            undersize: self.undersize,
            cut: self.cut,
            backwards: self.backwards,
        }
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
            self.add(packet.data(), whole(packet.orig_len()), Some(packet.timestamp()));
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
                Block::EnhancedPacket(packet) => {
                    self.add(&packet.data, whole(packet.original_len), Some(packet.timestamp));
                }
                Block::SimplePacket(packet) => {
                    self.add(&packet.data, whole(packet.original_len), None);
                }
                Block::Packet(packet) => {
                    self.add(&packet.data, whole(packet.original_len), Some(packet.timestamp));
                }
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
