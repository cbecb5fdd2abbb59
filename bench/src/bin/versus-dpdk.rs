//! Side by side with DPDK: packets per second and cycles per packet, ours and testpmd's on the same work, in turns.

use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bench::ceiling::{self, MODE_LINES, Mode, lines_of};
use bench::versus::cores::{Cores, two_cores};
use bench::versus::disturbance::Disturbance;
use bench::versus::forwarder::Forwarder;
use bench::versus::generator::{Generators, Kind};
use bench::versus::pair::{Pair, Timing};
use bench::versus::plan::{Direction, Path, Place, Role, Roles};
use bench::versus::progress::Progress;
use bench::versus::report::{Case, Environment, HEAD, Report, TableLine};
use bench::versus::side::Wiring;
use bench::versus::testpmd;
use bench::versus::trial::{Look, Rig, Turn, Who, compare};
use clap::{Parser, ValueEnum};

/// Side by side with DPDK's testpmd, one core per side: ratios of packet rates, and cycles per packet.
///
/// Places: "loop" is our back end and our driver against DPDK's vhost and virtio-user; "backend" is our back end in
/// vhost's place, under virtio-user; "driver" is our driver in virtio-user's place, over vhost. Directions are seen
/// from the side in question, in a loop from the driver. Cycles are those of the side that swaps, receives or
/// sends; DPDK's senders also count attempts that find the ring full. "generator" is pktgen beside testpmd's txonly and
/// flowgen, each into a port that throws frames away.
#[derive(Parser, Debug)]
struct Options {
    /// Trials that count, of one cache mode at least
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    trials: u16,
    /// Only this place; else all
    #[arg(long, value_name = "PLACE")]
    only: Option<Only>,
    /// Write the results there, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Ring formats
    #[arg(long, value_delimiter = ',', value_name = "PATH,...", default_value = "split,packed")]
    paths: Vec<Path>,
    /// Which way packets go
    #[arg(long, value_delimiter = ',', value_name = "DIRECTION,...", default_value = "both,rx,tx")]
    directions: Vec<Direction>,
    /// Bytes of a frame, L2 header included, FCS excluded
    #[arg(long, value_delimiter = ',', value_name = "BYTES,...", default_value = "64,1518",
          value_parser = clap::value_parser!(u16).range(60..=1518))]
    sizes: Vec<u16>,
    /// Cache modes that are reported: the machine chooses, and trials in another one do not count
    #[arg(long, value_delimiter = ',', value_name = "MODE,...", default_value = "shared,separate")]
    modes: Vec<Mode>,
    /// The paths of DPDK's driver
    #[arg(long, value_enum, default_value_t = Dpdk::Ordinary)]
    dpdk: Dpdk,
    /// Milliseconds that packets are counted for in a turn
    #[arg(long, value_name = "MS", default_value_t = 700, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    window: u64,
    /// Entries of each ring, ours and DPDK's
    #[arg(long, value_name = "ENTRIES", default_value_t = 1024, value_parser = ring)]
    ring: u16,
    /// The cores of the back end and of the driver; else the first two that may be used
    #[arg(long, value_name = "A,B")]
    cores: Option<Cores>,
    /// What the packets of both pairs lie in
    #[arg(long, value_enum, default_value_t = Pages::Auto)]
    pages: Pages,
    /// Count disturbed trials too: to try this program on a machine in use, where no figure means anything
    #[arg(long)]
    keep_disturbed: bool,
    /// Be one side of ours: what this program starts
    #[arg(long, hide = true, requires = "socket", requires = "core")]
    side: Option<Role>,
    #[arg(long, hide = true)]
    socket: Option<PathBuf>,
    #[arg(long, hide = true)]
    core: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Only {
    Loop,
    Backend,
    Driver,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dpdk {
    /// Those that it takes without a word
    Ordinary,
    /// Those that take several packets per instruction (`vectorized=1`), which need AVX-512 for packed rings
    Vectorized,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Pages {
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

/// Between the start of a turn and the first count.
const SETTLE: Duration = Duration::from_millis(200);

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.side {
        Some(role) => be_side(&options, role),
        None => run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("versus-dpdk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn be_side(options: &Options, role: Role) -> Result<bool, Failure> {
    let (Some(socket), Some(core)) = (options.socket.clone(), options.core) else {
        return Err("a side needs --socket and --core".into());
    };
    let path = options.paths.first().copied().unwrap_or(Path::Split);
    let huge_pages = options.pages == Pages::Huge;
    let forwarder = Forwarder { role, socket, core, path, ring: options.ring, huge_pages };
    forwarder.run()?;
    Ok(true)
}

fn run(options: &Options) -> Result<bool, Failure> {
    let dpdk = testpmd::version()?;
    let cores = two_cores(options.cores)?;
    if cfg!(debug_assertions) {
        eprintln!(
            "versus-dpdk: a debug build of ours against a release build of DPDK; use `cargo run --release`"
        );
    }
    let huge_pages = choose_pages(options.pages)?;
    let vectorized = options.dpdk == Dpdk::Vectorized;
    let environment =
        Environment::read(dpdk, cores, options.ring, huge_pages, vectorized, options.window);
    println!("{}", serde_json::to_string(&environment)?);
    let report = Report::new(environment);
    let (directory, program) = (Directory::new()?, std::env::current_exe()?);
    let mut comparison = Comparison {
        options,
        program,
        cores,
        huge_pages,
        report,
        directory,
        without: 0,
        progress: progress(options),
    };
    comparison.save()?;
    eprintln!("{}", comparison.progress);
    println!("{HEAD}");
    for place in places(options) {
        for &path in &options.paths {
            comparison.place(place, path)?;
        }
    }
    if generators(options) {
        comparison.generators()?;
    }
    comparison.finish()
}

/// The places that were asked for.
fn places(options: &Options) -> impl Iterator<Item = Place> {
    let only = options.only;
    Place::ALL.into_iter().filter(move |&place| only.is_none_or(|only| only.place() == Some(place)))
}

/// Whether generators were.
fn generators(options: &Options) -> bool {
    options.only.is_none_or(|only| only == Only::Generator)
}

fn progress(options: &Options) -> Progress {
    let cases = options.paths.len() * options.directions.len() * places(options).count();
    let cases = cases + if generators(options) { Kind::ALL.len() } else { 0 };
    let cases = u32::try_from(cases * options.sizes.len()).unwrap_or(u32::MAX);
    // A look at the ceiling, two for larger frames, and starting and asking two programs.
    let turn = SETTLE + Duration::from_millis(options.window + 250);
    Progress::new(cases, options.trials, turn)
}

/// Whether huge pages are used.
fn choose_pages(pages: Pages) -> Result<bool, Failure> {
    // At most three testpmds at a time, and the two forwarders' 2 and 5.
    let needed = 3 * testpmd::MEMORY_MIB / 2 + 7;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = meminfo.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
    let free = free.and_then(|free| free.trim().parse().ok()).unwrap_or(0);
    match pages {
        Pages::Ordinary => Ok(false),
        Pages::Auto | Pages::Huge if free >= needed => Ok(true),
        Pages::Auto => {
            eprintln!(
                "versus-dpdk: ordinary pages, because {free} of {needed} huge pages of 2 MiB are free \
                 (sysctl vm.nr_hugepages=N sets them aside)"
            );
            Ok(false)
        }
        Pages::Huge => {
            Err(format!("{needed} free huge pages of 2 MiB are needed, there are {free}").into())
        }
    }
}

/// A directory for sockets, removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("barewire-versus-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct Comparison<'a> {
    options: &'a Options,
    /// This one, which also is each side of ours.
    program: PathBuf,
    cores: Cores,
    huge_pages: bool,
    report: Report,
    directory: Directory,
    /// Cases without an undisturbed trial.
    without: usize,
    progress: Progress,
}

impl Comparison<'_> {
    /// Everything in one place over one path.
    fn place(&mut self, place: Place, path: Path) -> Result<(), Failure> {
        let start = |ours: &[Role], socket: &FilePath| {
            let (cores, ring, huge_pages) = (self.cores, self.options.ring, self.huge_pages);
            let (program, vectorized) = (&self.program, self.options.dpdk == Dpdk::Vectorized);
            Pair::start(
                ours,
                &Wiring { program, socket, cores, path, ring, huge_pages, vectorized },
            )
        };
        let mut ours = start(place.ours(), &self.directory.0.join(format!("{place}-{path}-ours")))?;
        let first = self.options.sizes.first().copied().unwrap_or(64);
        let mut verified = 0;
        for &size in &self.options.sizes {
            for &role in place.ours() {
                verified += ours.verify(role, size)?;
            }
        }
        self.report.environment.verified_frames += verified;
        let mut dpdk = start(&[], &self.directory.0.join(format!("{place}-{path}-dpdk")))?;
        dpdk.meet(place, first)?;
        for &direction in &self.options.directions {
            for &size in &self.options.sizes {
                self.case(place, path, direction, size, (&mut ours, &mut dpdk))?;
            }
        }
        Ok(())
    }

    fn case(
        &mut self,
        place: Place,
        path: Path,
        direction: Direction,
        size: u16,
        (ours, dpdk): (&mut Pair, &mut Pair),
    ) -> Result<(), Failure> {
        let timing = self.timing();
        let processes = [ours.ids(), dpdk.ids()].concat();
        let roles = place.roles(direction);
        let (cores, keep_disturbed) = (self.cores, self.options.keep_disturbed);
        let mut turns = Turns { ours, dpdk, roles, size, timing, processes, cores, keep_disturbed };
        let tally = compare(&mut turns, self.options.trials.into(), &self.options.modes)
            .map_err(|error| format!("{place}, {path}, {direction}, {size} B: {error}"))?;
        let mut figures = 0;
        for &mode in &self.options.modes {
            let case = Case { place, mode, path, direction, size };
            if let Some(figure) = tally.figure(mode) {
                let (row, limit) = self.report.add(case, &figure);
                println!("{}", TableLine(row, limit));
                figures += 1;
            } else if tally.discarded(mode) > 0 {
                let (discarded, mode) = (tally.discarded(mode), mode.name());
                println!(
                    "{place}, {path}, {direction}, {size} B, {mode}: all {discarded} trials were disturbed"
                );
            }
        }
        self.case_is_done(figures)
    }

    /// pktgen beside testpmd's senders.
    fn generators(&mut self) -> Result<(), Failure> {
        let mut both = Generators::start(self.cores.driver, self.huge_pages)?;
        for kind in Kind::ALL {
            for &size in &self.options.sizes {
                self.report.environment.verified_frames += both.verify(kind, size)?;
                let (cores, keep_disturbed) = (self.cores, self.options.keep_disturbed);
                let (both, timing) = (&mut both, self.timing());
                let mut turns = GeneratorTurns { both, kind, size, timing, cores, keep_disturbed };
                let tally = compare(&mut turns, self.options.trials.into(), &self.options.modes)?;
                let mut figures = 0;
                for &mode in &self.options.modes {
                    if let Some(figure) = tally.figure(mode) {
                        println!("{}", self.report.add_generator(kind, mode, size, &figure));
                        figures += 1;
                    } else if tally.discarded(mode) > 0 {
                        let discarded = tally.discarded(mode);
                        println!(
                            "pktgen {kind}, {size} B, {}: all {discarded} trials were disturbed",
                            mode.name()
                        );
                    }
                }
                self.case_is_done(figures)?;
            }
        }
        Ok(())
    }

    fn timing(&self) -> Timing {
        Timing { settle: SETTLE, window: Duration::from_millis(self.options.window) }
    }

    /// Takes note of a case with so many figures.
    fn case_is_done(&mut self, figures: usize) -> Result<(), Failure> {
        self.without += usize::from(figures == 0);
        self.progress.step();
        eprintln!("{}", self.progress);
        self.save()
    }

    /// Writes what there is, so that an interruption does not cost what was measured.
    fn save(&self) -> Result<(), Failure> {
        let Some(path) = &self.options.json else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.report)? + "\n";
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn finish(self) -> Result<bool, Failure> {
        self.save()?;
        println!(
            "{} results in {:.0} s; {} frames compared byte by byte in twin runs, every one in order",
            self.report.results.len() + self.report.generators.len(),
            self.progress.elapsed().as_secs_f64(),
            self.report.environment.verified_frames
        );
        if self.without > 0 {
            eprintln!(
                "versus-dpdk: {} cases have no undisturbed trial: the machine is in use",
                self.without
            );
        }
        Ok(self.without == 0)
    }
}

/// Both pairs at one case.
struct Turns<'a> {
    ours: &'a mut Pair,
    dpdk: &'a mut Pair,
    roles: Roles,
    size: u16,
    timing: Timing,
    processes: Vec<u32>,
    cores: Cores,
    keep_disturbed: bool,
}

impl Rig for Turns<'_> {
    type Error = Failure;

    fn look(&mut self) -> Result<Look, Failure> {
        look(self.cores, self.size)
    }

    fn turn(&mut self, who: Who) -> Result<Turn, Failure> {
        let pair = match who {
            Who::Ours => &mut *self.ours,
            Who::Dpdk => &mut *self.dpdk,
        };
        let turn = pair.turn(&self.roles, self.size, self.timing, &self.processes)?;
        Ok(kept(turn, self.keep_disturbed))
    }
}

/// Both generators at one case. (Lines do not move between cores there, but frequencies and caches are of a mode, too.)
struct GeneratorTurns<'a> {
    both: &'a mut Generators,
    kind: Kind,
    size: u16,
    timing: Timing,
    cores: Cores,
    keep_disturbed: bool,
}

impl Rig for GeneratorTurns<'_> {
    type Error = Failure;

    fn look(&mut self) -> Result<Look, Failure> {
        look(self.cores, self.size)
    }

    fn turn(&mut self, who: Who) -> Result<Turn, Failure> {
        let turn = match who {
            Who::Ours => self.both.ours(self.kind, self.size, self.timing)?,
            Who::Dpdk => self.both.dpdk(self.kind, self.size, self.timing)?,
        };
        Ok(kept(turn, self.keep_disturbed))
    }
}

/// Looks at the ceiling for frames of `size` bytes.
fn look(cores: Cores, size: u16) -> Result<Look, Failure> {
    let cores = (cores.back_end, cores.driver);
    let rate = ceiling::quick(cores, MODE_LINES)?;
    let lines = lines_of(size);
    let limit = if lines == MODE_LINES { rate } else { ceiling::quick(cores, lines)? };
    Ok(Look { mode: Mode::of(rate), limit })
}

/// The turn, as a quiet one if disturbed ones are kept.
fn kept(turn: Turn, keep_disturbed: bool) -> Turn {
    let disturbance = if keep_disturbed { Disturbance::default() } else { turn.disturbance };
    Turn { disturbance, ..turn }
}
