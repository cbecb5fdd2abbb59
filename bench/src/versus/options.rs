//! What `versus-dpdk` can be asked for.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use super::cores::Cores;
use super::generator::Kind;
use super::pair::Timing;
use super::plan::{Direction, Path, Place, Role};
use super::progress::Progress;
use crate::ceiling::Mode;

/// Between the start of a turn and the first count.
const SETTLE: Duration = Duration::from_millis(200);

/// Side by side with DPDK's testpmd, one core per side: ratios of packet rates, and cycles per packet.
///
/// Places: "loop" is our back end and our driver against DPDK's vhost and virtio-user; "backend" is our back end in
/// vhost's place, under virtio-user; "driver" is our driver in virtio-user's place, over vhost. Directions are seen
/// from the side in question, in a loop from the driver. Cycles are those of the side that swaps, receives or
/// sends; DPDK's senders also count attempts that find the ring full. "generator" is pktgen beside testpmd's txonly and
/// flowgen, each into a port that throws frames away.
#[derive(Parser, Debug)]
pub struct Options {
    /// Trials that count, of one cache mode at least
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub trials: u16,
    /// Only these places; else all
    #[arg(long, value_delimiter = ',', value_name = "PLACE,...")]
    pub only: Vec<Only>,
    /// Write the results there, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Ring formats
    #[arg(long, value_delimiter = ',', value_name = "PATH,...", default_value = "split,packed")]
    pub paths: Vec<Path>,
    /// Which way packets go
    #[arg(long, value_delimiter = ',', value_name = "DIRECTION,...", default_value = "both,rx,tx")]
    pub directions: Vec<Direction>,
    /// Bytes of a frame, L2 header included, FCS excluded
    #[arg(long, value_delimiter = ',', value_name = "BYTES,...", default_value = "64,1518",
          value_parser = clap::value_parser!(u16).range(60..=1518))]
    pub sizes: Vec<u16>,
    /// Cache modes that are reported: the machine chooses, and trials in another one do not count
    #[arg(long, value_delimiter = ',', value_name = "MODE,...", default_value = "shared,separate")]
    pub modes: Vec<Mode>,
    /// The paths of DPDK's driver
    #[arg(long, value_enum, default_value_t = Dpdk::Ordinary)]
    pub dpdk: Dpdk,
    /// Milliseconds that packets are counted for in a turn
    #[arg(long, value_name = "MS", default_value_t = 700, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    pub window: u64,
    /// Entries of each ring, ours and DPDK's
    #[arg(long, value_name = "ENTRIES", default_value_t = 1024, value_parser = ring)]
    pub ring: u16,
    /// The cores of the back end and of the driver; else the first two that may be used
    #[arg(long, value_name = "A,B")]
    pub cores: Option<Cores>,
    /// What the packets of both pairs lie in
    #[arg(long, value_enum, default_value_t = Pages::Auto)]
    pub pages: Pages,
    /// Count disturbed trials too: to try this program on a machine in use, where no figure means anything
    #[arg(long)]
    pub keep_disturbed: bool,
    /// Be one side of ours: what this program starts
    #[arg(long, hide = true, requires = "socket", requires = "core")]
    pub side: Option<Role>,
    /// The side's socket
    #[arg(long, hide = true)]
    pub socket: Option<PathBuf>,
    /// The side's core
    #[arg(long, hide = true)]
    pub core: Option<usize>,
}

impl Options {
    /// The places that were asked for.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        Place::ALL.into_iter().filter(|&place| self.wants(|only| only.place() == Some(place)))
    }

    /// Whether generators were.
    pub fn generators(&self) -> bool {
        self.wants(|only| only == Only::Generator)
    }

    fn wants(&self, what: impl Fn(Only) -> bool) -> bool {
        self.only.is_empty() || self.only.iter().copied().any(what)
    }

    /// What is still to be done.
    pub(super) fn progress(&self) -> Progress {
        let cases = self.paths.len() * self.directions.len() * self.places().count();
        let cases = cases + if self.generators() { Kind::ALL.len() } else { 0 };
        let cases = u32::try_from(cases * self.sizes.len()).unwrap_or(u32::MAX);
        // A look at the ceiling, two for larger frames, and starting and asking two programs.
        let turn = SETTLE + Duration::from_millis(self.window + 250);
        Progress::new(cases, self.trials, turn)
    }

    pub(super) fn timing(&self) -> Timing {
        Timing { settle: SETTLE, window: Duration::from_millis(self.window) }
    }
}

/// What can be compared alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// Both ends
    Loop,
    /// The back end
    Backend,
    /// The driver
    Driver,
    /// pktgen
    Generator,
}

impl Only {
    /// The place, if it is one.
    const fn place(self) -> Option<Place> {
        match self {
            Self::Loop => Some(Place::Loop),
            Self::Backend => Some(Place::Backend),
            Self::Driver => Some(Place::Driver),
            Self::Generator => None,
        }
    }
}

/// The paths of DPDK's virtio driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dpdk {
    /// Those that it takes without a word
    Ordinary,
    /// Those that take several packets per instruction (`vectorized=1`), which need AVX-512 for packed rings
    Vectorized,
}

/// What packets lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Pages {
    /// Huge ones if enough are free for all four processes
    Auto,
    /// Huge pages of 2 MiB
    Huge,
    /// Ordinary ones
    Ordinary,
}

fn ring(text: &str) -> Result<u16, String> {
    let entries =
        text.parse().ok().filter(|n: &u16| n.is_power_of_two() && (64..=1024).contains(n));
    entries.ok_or_else(|| "a power of two from 64 to 1024 is needed".into())
}
