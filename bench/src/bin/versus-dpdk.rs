//! Side by side with DPDK: packets per second and cycles per packet, ours and testpmd's on the same work, in turns.

use std::path::{Path as FilePath, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::ceiling::{self, MODE_LINES, Mode, lines_of};
use bench::versus::cores::{Cores, two_cores};
use bench::versus::disturbance::Disturbance;
use bench::versus::forwarder::Forwarder;
use bench::versus::pair::{Pair, Timing};
use bench::versus::plan::{Direction, Path, Place, Role, Roles};
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
/// sends; DPDK's senders also count attempts that find the ring full.
#[derive(Parser, Debug)]
struct Options {
    /// Trials that count, of one cache mode at least
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    trials: u16,
    /// Only this place
    #[arg(long, value_name = "PLACE")]
    only: Option<Place>,
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
    let environment = Environment::read(dpdk, cores, options.ring, huge_pages, options.window);
    println!("{}", serde_json::to_string(&environment)?);
    let report = Report { environment, results: Vec::new(), limits: Vec::new() };
    let (directory, program) = (Directory::new()?, std::env::current_exe()?);
    let mut comparison = Comparison {
        options,
        program,
        cores,
        huge_pages,
        report,
        directory,
        without: 0,
        began: Instant::now(),
    };
    comparison.save()?;
    println!("{HEAD}");
    for place in
        Place::ALL.into_iter().filter(|&place| options.only.is_none_or(|only| only == place))
    {
        for &path in &options.paths {
            comparison.place(place, path)?;
        }
    }
    comparison.finish()
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
    began: Instant,
}

impl Comparison<'_> {
    /// Everything in one place over one path.
    fn place(&mut self, place: Place, path: Path) -> Result<(), Failure> {
        let start = |ours: &[Role], socket: &FilePath| {
            let (cores, ring, huge_pages) = (self.cores, self.options.ring, self.huge_pages);
            let program = &self.program;
            Pair::start(ours, &Wiring { program, socket, cores, path, ring, huge_pages })
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
        let timing = Timing {
            settle: Duration::from_millis(200),
            window: Duration::from_millis(self.options.window),
        };
        let processes = [ours.ids(), dpdk.ids()].concat();
        let roles = place.roles(direction);
        let (cores, keep_disturbed) = (self.cores, self.options.keep_disturbed);
        let mut turns = Turns { ours, dpdk, roles, size, timing, processes, cores, keep_disturbed };
        let tally = compare(&mut turns, self.options.trials.into())
            .map_err(|error| format!("{place}, {path}, {direction}, {size} B: {error}"))?;
        let mut figures = 0;
        for mode in Mode::ALL {
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
        self.without += usize::from(figures == 0);
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
            self.report.results.len(),
            self.began.elapsed().as_secs_f64(),
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
        let cores = (self.cores.back_end, self.cores.driver);
        let rate = ceiling::quick(cores, MODE_LINES)?;
        let lines = lines_of(self.size);
        let limit = if lines == MODE_LINES { rate } else { ceiling::quick(cores, lines)? };
        Ok(Look { mode: Mode::of(rate), limit })
    }

    fn turn(&mut self, who: Who) -> Result<Turn, Failure> {
        let pair = match who {
            Who::Ours => &mut *self.ours,
            Who::Dpdk => &mut *self.dpdk,
        };
        let mut turn = pair.turn(&self.roles, self.size, self.timing, &self.processes)?;
        if self.keep_disturbed {
            turn.disturbance = Disturbance::default();
        }
        Ok(turn)
    }
}
