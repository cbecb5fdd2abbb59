//! The comparison: every place, path, direction and size in turn, printed and saved as it comes.

use std::path::{Path as FilePath, PathBuf};

use super::cores::{Cores, two_cores};
use super::generator::{Generators, Kind};
use super::options::{Dpdk, Options, Pages};
use super::pair::Pair;
use super::plan::{Direction, Path, Place, Role};
use super::progress::Progress;
use super::report::{Case, Environment, HEAD, Report, TableLine};
use super::side::Wiring;
use super::testpmd;
use super::trial::{Failure, compare};
use super::turns::{GeneratorTurns, Turns};

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

/// All that is compared, and what came of it so far.
pub struct Comparison<'a> {
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

impl<'a> Comparison<'a> {
    /// Reads the environment, and makes what is needed.
    ///
    /// # Errors
    /// DPDK, two cores or memory are missing.
    pub fn new(options: &'a Options) -> Result<Self, Failure> {
        let dpdk = testpmd::version()?;
        let cores = two_cores(options.cores)?;
        let huge_pages = choose_pages(options.pages)?;
        let vectorized = options.dpdk == Dpdk::Vectorized;
        let environment =
            Environment::read(dpdk, cores, options.ring, huge_pages, vectorized, options.window);
        println!("{}", serde_json::to_string(&environment)?);
        Ok(Self {
            options,
            program: std::env::current_exe()?,
            cores,
            huge_pages,
            report: Report::new(environment),
            directory: Directory::new()?,
            without: 0,
            progress: options.progress(),
        })
    }

    /// Compares all that was asked for; whether each case has figures.
    ///
    /// # Errors
    /// A side ended or does not answer, a frame is wrong, or the results cannot be written.
    pub fn run(mut self) -> Result<bool, Failure> {
        self.save()?;
        eprintln!("{}", self.progress);
        println!("{HEAD}");
        for place in self.options.places() {
            for &path in &self.options.paths {
                self.place(place, path)?;
            }
        }
        if self.options.generators() {
            self.generators()?;
        }
        self.finish()
    }

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
        let timing = self.options.timing();
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
                self.report.environment.checked_frames += both.verify(kind, size)?;
                let (cores, keep_disturbed) = (self.cores, self.options.keep_disturbed);
                let (both, timing) = (&mut both, self.options.timing());
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
            "{} results in {:.0} s; {} frames compared byte by byte, {} of pktgen's dissected, in twin runs",
            self.report.results.len() + self.report.generators.len(),
            self.progress.elapsed().as_secs_f64(),
            self.report.environment.verified_frames,
            self.report.environment.checked_frames
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
