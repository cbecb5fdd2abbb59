//! Prints what two cores of this machine can exchange at most, and whether they share caches.

use std::process::ExitCode;
use std::time::Duration;

use bench::ceiling::{self, MODE_LINES, MOST_LINES, Mode};
use bench::statistics::{Summary, summary};
use bench::versus::cores::{Cores, two_cores};
use clap::Parser;

/// What two cores can exchange at most through a ring: one 16-byte descriptor and some data lines per packet
#[derive(Parser)]
struct Options {
    /// Data lines per packet, its virtio header's included: 2 for a frame of 64 bytes, 25 for 1518
    #[arg(long, value_delimiter = ',', default_value = "2,3,5,9,17,25",
          value_parser = clap::value_parser!(u16).range(1..=MOST_LINES as i64))]
    lines: Vec<u16>,
    /// Windows to measure; one more is discarded
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    windows: u16,
    /// Milliseconds of a window
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    milliseconds: u64,
    /// The two cores: the one that writes, and the one that reads; else the first two that may be used
    #[arg(long, value_name = "A,B")]
    cores: Option<Cores>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ceiling: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let cores = two_cores(options.cores)?;
    if cfg!(debug_assertions) {
        eprintln!("ceiling: a debug build is slower than the cores; use `cargo run --release`");
    }
    let clock = plat_linux::Clock::new();
    println!("{}", serde_json::to_string(&plat_linux::Environment::read(&clock))?);
    println!("{:>5}  {:>8}{:>8}{:>8}  mode", "lines", "median", "min", "max");
    for &lines in &options.lines {
        let pair = (cores.back_end, cores.driver);
        let before = Mode::of(ceiling::quick(pair, MODE_LINES)?);
        let window = Duration::from_millis(options.milliseconds);
        let rates = ceiling::measure(pair, lines.into(), options.windows.into(), window)?;
        let after = Mode::of(ceiling::quick(pair, MODE_LINES)?);
        let mode = if before == after { before.name() } else { "changed while measuring" };
        let Some(Summary { median, min, max, .. }) = summary(&rates) else { continue };
        println!("{lines:>5}  {median:>8.1}{min:>8.1}{max:>8.1}  {mode}");
    }
    println!("Mpps, one way, bursts of {}; every line compared", netbuf::BURST);
    Ok(())
}
