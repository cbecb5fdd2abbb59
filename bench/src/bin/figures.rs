//! Measures cycles per packet of each ring half over burst and frame sizes in one thread, prints them, and draws
//! them.

use std::path::PathBuf;
use std::process::ExitCode;

use bench::cycles;
use bench::environment::Environment;
use bench::figures::{Series, draw};
use bench::pair::{Halves, Pair};
use clap::{Parser, ValueEnum};

/// Cycles per packet of each half of a ring, over burst sizes and frame sizes, as a table and as a plot (SVG)
#[derive(Parser)]
struct Options {
    /// Where the plot goes
    #[arg(long, value_name = "FILE", default_value = "cycles.svg")]
    svg: PathBuf,
    /// Ring formats
    #[arg(long, value_delimiter = ',', value_name = "FORMAT,...", default_value = "split,packed")]
    formats: Vec<Format>,
    /// Burst sizes, for frames of 64 bytes
    #[arg(long, value_delimiter = ',', value_name = "PACKETS,...",
          default_value = "1,2,4,8,16,24,32,64,128,256",
          value_parser = clap::value_parser!(u16).range(1..=256))]
    bursts: Vec<u16>,
    /// Frame sizes in bytes, L2 header included, FCS excluded, for bursts of 32
    #[arg(long, value_delimiter = ',', value_name = "BYTES,...",
          default_value = "64,128,256,512,768,1024,1280,1518",
          value_parser = clap::value_parser!(u16).range(18..=2048))]
    sizes: Vec<u16>,
    /// Chunks of some thousand packets; a point is their median
    #[arg(long, value_name = "N", default_value_t = 101, value_parser = clap::value_parser!(u16).range(1..))]
    chunks: u16,
    /// The core to stay on
    #[arg(long, value_name = "CORE")]
    core: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Split,
    Packed,
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

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    if cfg!(debug_assertions) {
        return Err("cycles of a debug build mean nothing: use `cargo run --release`".into());
    }
    if let Some(core) = options.core {
        plat_linux::pin_to_core(core)?;
    }
    let (mut over_burst, mut over_size) = (Vec::new(), Vec::new());
    for format in &options.formats {
        let mut pair: Box<dyn Halves> = match format {
            Format::Split => Box::new(Pair::new()),
            Format::Packed => Box::new(Pair::packed()),
        };
        let chunks = options.chunks.into();
        over_burst.extend(series(pair.as_mut(), &options.bursts, |pair, burst| {
            cycles::per_packet(pair, burst.into(), 64, chunks)
        }));
        over_size.extend(series(pair.as_mut(), &options.sizes, |pair, size| {
            cycles::per_packet(pair, netbuf::BURST, size.into(), chunks)
        }));
    }
    print("packets per burst, frames of 64 B", &over_burst);
    print("bytes per frame, bursts of 32", &over_size);
    let Environment { cpu, kernel, rustc, revision, .. } = Environment::here();
    let note = format!(
        "one thread, both halves in turns, contents verified, checks on; {cpu}, Linux {kernel}, {rustc}, {revision}"
    );
    let svg = draw("Cycles per packet of each ring half", &note, &over_burst, &over_size)?;
    std::fs::write(&options.svg, svg)
        .map_err(|error| format!("{}: {error}", options.svg.display()))?;
    println!("{note}\nplot: {}", options.svg.display());
    Ok(())
}

/// A series for each half.
fn series(
    pair: &mut dyn Halves,
    at: &[u16],
    mut measure: impl FnMut(&mut dyn Halves, u16) -> [f64; 4],
) -> Vec<Series> {
    let named = |name: &'static str| Series { name: name.to_owned(), points: Vec::new() };
    let mut all: Vec<Series> = pair.names().into_iter().map(named).collect();
    for &x in at {
        let cycles = measure(pair, x);
        all.iter_mut().zip(cycles).for_each(|(series, y)| series.points.push((x.into(), y)));
    }
    all
}

fn print(title: &str, all: &[Series]) {
    println!("cycles per packet over {title}");
    let head = all.first().map_or(&[][..], |series| &series.points);
    let sizes: String = head.iter().map(|(x, _)| format!("{x:>8}")).collect();
    println!("{:<22}{sizes}", "");
    for Series { name, points } in all {
        let line: String = points.iter().map(|(_, y)| format!("{y:>8.1}")).collect();
        println!("{name:<22}{line}");
    }
}
