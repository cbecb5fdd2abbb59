//! Measures cycles per packet of each ring half over burst sizes, frame sizes and queues, and writes the page of figures.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bench::environment::Environment;
use bench::page::{Origin, page};
use bench::record::Record;
use bench::sweep::Sweep;
use clap::Parser;
use plat_linux::CpuTimes;

/// Cycles per packet of each half of a ring over burst sizes, frame sizes and queues: docs/figures.md, and its plots
#[derive(Parser)]
struct Options {
    /// The page; its plots go into a directory of that name beside it
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/figures.md"))]
    page: PathBuf,
    /// Rounds, in each of which every point is measured; what is drawn is the median
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// Chunks of some thousand packets for each point in each round
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = clap::value_parser!(u16).range(1..=1000))]
    chunks: u16,
    /// Begin no round after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    most: u64,
    /// The core to stay on; else the last that may be used
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

fn run(options: &Options) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        return Err("cycles of a debug build mean nothing: use `cargo run --release`".into());
    }
    // (Before this program has one core only, and before the page changes, which would make the tree a dirty one.)
    let (here, record) = (Environment::here(), Record::read(&Record::path())?);
    let last = plat_linux::allowed_cores()?.last().copied().unwrap_or(0);
    plat_linux::pin_to_core(options.core.unwrap_or(last))?;
    let before = CpuTimes::read();
    let (sweep, rounds) = measure(options);
    let load =
        before.zip(CpuTimes::read()).map(|(before, after)| said(after.since(&before), here.cpus));
    let Environment { cpu, cpus, kernel, rustc, revision, .. } = here;
    let origin = Origin {
        command: command(),
        date: today(),
        machine: format!("{cpus} cores of {cpu}, Linux {kernel}, {rustc}, revision {revision}"),
        load: load.unwrap_or_default(),
        rounds,
    };
    write(&options.page, &origin, &sweep, &record)
}

/// Rounds until there are as many as wanted, or time is over.
fn measure(options: &Options) -> (Sweep, usize) {
    let (mut sweep, began) = (Sweep::new(), Instant::now());
    let (wanted, most) = (usize::from(options.rounds), Duration::from_secs(options.most));
    let mut rounds = 0;
    while rounds < wanted && (rounds == 0 || began.elapsed() < most) {
        sweep.round(options.chunks.into());
        rounds += 1;
        let (so_far, left) = (began.elapsed(), wanted - rounds);
        let rest = so_far / u32::try_from(rounds).unwrap_or(1) * u32::try_from(left).unwrap_or(0);
        let rest = rest.min(most.saturating_sub(so_far));
        println!("round {rounds} of {wanted}; about {:.0} s to go", rest.as_secs_f64());
    }
    (sweep, rounds)
}

/// How busy the machine was. This program keeps one core busy.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn said(times: CpuTimes, cores: usize) -> String {
    let share = |part: u64| part as f64 * 100.0 / times.total.max(1) as f64;
    let busy = share(times.total - times.idle.min(times.total)) - share(times.steal);
    let others = (busy - 100.0 / cores as f64).max(0.0);
    let stolen = share(times.steal);
    format!(
        "Meanwhile other programs used {others:.0} % of the machine, and {stolen:.1} % was stolen."
    )
}

/// How this program was called.
fn command() -> String {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let words = if given.is_empty() { "" } else { " -- " };
    format!("cargo run --release -p bench --bin figures{words}{}", given.join(" "))
}

/// The day, as `date` has it.
fn today() -> String {
    let output = std::process::Command::new("date").args(["--utc", "+%Y-%m-%d"]).output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn write(path: &Path, origin: &Origin, sweep: &Sweep, record: &Record) -> Result<(), Failure> {
    let directory = path.with_extension("");
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    std::fs::create_dir_all(&directory)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    let put = |path: PathBuf, text: String| {
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    let plots = sweep.plots();
    for (name, plot) in &plots {
        put(directory.join(format!("{name}.svg")), plot.draw()?)?;
    }
    put(path.to_owned(), page(origin, &name, &plots, record))?;
    println!("written: {}, and {} plots beside it", path.display(), plots.len());
    Ok(())
}
