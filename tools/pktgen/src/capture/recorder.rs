//! Recording what comes back, to pcap or pcapng with nanosecond stamps.
//!
//! The packet path copies frames into chunks of memory; a thread writes full chunks and hands them back. Where the
//! file is slower than the traffic, frames are left out of it and counted: a disk must not slow the generator. Probes
//! of the warm-up are left out too. The time of a frame is that of its burst.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netdev::tap::{self, Direction, FrameSink, Sighting};
use netdev::{Device, TimeSource};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapTsResolution, PcapWriter};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::{DataLink, Endianness};
use plat_linux::Clock;

use crate::{Error, stamp};

/// Bytes of a chunk.
const CHUNK: usize = 256 << 10;
/// Chunks there are.
const CHUNKS: usize = 64;
/// Bytes in front of a frame in a chunk: port, time, length.
const RECORD: usize = 2 + 8 + 4;
/// Ten to the minus ninth of a second.
const NANOSECONDS: u8 = 9;

/// A capture file in the making.
pub struct Recorder {
    name: String,
    outlet: Rc<RefCell<Outlet>>,
    clock: Clock,
    writer: JoinHandle<io::Result<()>>,
}

/// What a recorder wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Frames in the file.
    pub frames: u64,
    /// Frames left out because the file was slower than the traffic.
    pub left_out: u64,
}

impl Recorder {
    /// Makes the file: pcapng if its name ends in `.pcapng`, else pcap. `ports` are the names of pcapng's interfaces.
    ///
    /// # Errors
    /// [`Error::Usage`]: the file cannot be made.
    pub fn create(path: &Path, ports: &[String]) -> Result<Self, Error> {
        let name = path.display().to_string();
        let fail =
            |error: &dyn std::fmt::Display| Error::Usage(format!("cannot write {name}: {error}"));
        let file = BufWriter::new(File::create(path).map_err(|error| fail(&error))?);
        let is_pcapng = path.extension().is_some_and(|extension| extension == "pcapng");
        let file = if is_pcapng { Format::pcapng(file, ports) } else { Format::pcap(file) };
        let mut file = file.map_err(|error| fail(&error))?;
        let (full, chunks) = sync_channel::<Vec<u8>>(CHUNKS);
        let (back, spare) = sync_channel::<Vec<u8>>(CHUNKS);
        for _ in 0..CHUNKS {
            let _ = back.try_send(Vec::with_capacity(CHUNK));
        }
        let writer = std::thread::Builder::new().name("capture".into()).spawn(move || {
            for mut chunk in chunks {
                file.write_chunk(&chunk)?;
                chunk.clear();
                let _ = back.try_send(chunk);
            }
            file.flush()
        });
        let writer = writer.map_err(|error| fail(&error))?;
        let outlet =
            Outlet { full: Some(full), spare, chunk: Vec::new(), recorded: Recorded::default() };
        Ok(Self { name, outlet: Rc::new(RefCell::new(outlet)), clock: Clock::new(), writer })
    }

    /// Records what `device` receives once it is started.
    pub fn tap(&self, device: Box<dyn Device>) -> Box<dyn Device> {
        let clock = self.clock;
        let now = || clock.to_nanos(clock.now());
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let origin = u64::try_from(epoch.as_nanos()).unwrap_or(0).saturating_sub(now());
        let time: TimeSource = Rc::new(move || origin + clock.to_nanos(clock.now()));
        tap::wrap(device, self.outlet.clone(), time)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Error::Output`]: it could not be written.
    pub fn finish(self) -> Result<Recorded, Error> {
        let recorded = self.outlet.borrow_mut().close();
        let written =
            self.writer.join().unwrap_or_else(|_| Err(io::Error::other("the writer ended")));
        written.map_err(|error| Error::Output(format!("cannot write {}: {error}", self.name)))?;
        Ok(recorded)
    }
}

/// The packet path's end.
struct Outlet {
    /// `None` once closed.
    full: Option<SyncSender<Vec<u8>>>,
    spare: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    recorded: Recorded,
}

impl FrameSink for Outlet {
    fn frame(&mut self, sighting: &Sighting, bytes: &[u8]) {
        let is_probe = stamp::magic(bytes) == Some(stamp::PROBE_MAGIC);
        if sighting.direction != Direction::Received || is_probe {
            return;
        }
        let needed = RECORD + bytes.len();
        if self.chunk.capacity() - self.chunk.len() < needed && !self.turn_over() {
            self.recorded.left_out += 1;
            return;
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.chunk.extend_from_slice(&sighting.port.to_ne_bytes());
        self.chunk.extend_from_slice(&sighting.timestamp.to_ne_bytes());
        self.chunk.extend_from_slice(&len.to_ne_bytes());
        self.chunk.extend_from_slice(bytes);
        self.recorded.frames += 1;
    }
}

impl Outlet {
    /// Gives the chunk away and takes an empty one; whether there was one.
    fn turn_over(&mut self) -> bool {
        let (Some(full), Ok(empty)) = (&self.full, self.spare.try_recv()) else { return false };
        let chunk = std::mem::replace(&mut self.chunk, empty);
        // There is room for every chunk that exists; a writer that failed says so at the end.
        let _ = full.try_send(chunk);
        true
    }

    fn close(&mut self) -> Recorded {
        if let Some(full) = self.full.take() {
            let _ = full.send(std::mem::take(&mut self.chunk));
        }
        self.recorded
    }
}

enum Format {
    Pcap(PcapWriter<BufWriter<File>>),
    Pcapng(PcapNgWriter<BufWriter<File>>),
}

impl Format {
    fn pcap(file: BufWriter<File>) -> io::Result<Self> {
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: PcapTsResolution::NanoSecond,
            endianness: Endianness::native(),
            ..PcapHeader::default()
        };
        PcapWriter::with_header(file, header).map(Self::Pcap).map_err(io::Error::other)
    }

    fn pcapng(file: BufWriter<File>, ports: &[String]) -> io::Result<Self> {
        let mut writer = PcapNgWriter::new(file).map_err(io::Error::other)?;
        for port in ports {
            let mut interface = InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0);
            let resolution =
                InterfaceTsResolution::new(false, NANOSECONDS).map_err(io::Error::other)?;
            interface.options.push(InterfaceDescriptionOption::IfName(port.as_str().into()));
            interface.options.push(InterfaceDescriptionOption::IfTsResol(resolution));
            writer.write_pcapng_block(interface).map_err(io::Error::other)?;
        }
        Ok(Self::Pcapng(writer))
    }

    fn write_chunk(&mut self, mut chunk: &[u8]) -> io::Result<()> {
        while let Some((head, rest)) = chunk.split_first_chunk::<RECORD>() {
            let [p0, p1, t0, t1, t2, t3, t4, t5, t6, t7, l0, l1, l2, l3] = *head;
            let port = u16::from_ne_bytes([p0, p1]);
            let time = u64::from_ne_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
            let len = u32::from_ne_bytes([l0, l1, l2, l3]);
            let (frame, rest) = rest.split_at(usize::try_from(len).unwrap_or(usize::MAX));
            self.write(port, Duration::from_nanos(time), frame)?;
            chunk = rest;
        }
        Ok(())
    }

    fn write(&mut self, port: u16, timestamp: Duration, frame: &[u8]) -> io::Result<()> {
        let original_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        match self {
            Self::Pcap(writer) => {
                let packet =
                    PcapPacket::new(timestamp, original_len, frame).map_err(io::Error::other)?;
                writer.write_packet(&packet).map(drop).map_err(chained)
            }
            Self::Pcapng(writer) => {
                let interface_id = u32::from(port);
                let data = frame.into();
                let packet = EnhancedPacketBlock {
                    interface_id,
                    timestamp,
                    original_len,
                    data,
                    options: vec![],
                };
                writer.write_pcapng_block(packet).map(drop).map_err(chained)
            }
        }
    }

    fn flush(self) -> io::Result<()> {
        match self {
            Self::Pcap(writer) => writer.into_inner().flush(),
            Self::Pcapng(writer) => writer.into_inner().flush(),
        }
    }
}

/// The innermost cause: "no space left", rather than "a write failed".
fn chained(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    io::Error::other(text)
}
