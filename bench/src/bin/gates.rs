//! Counts the instructions per packet of each measured function, and fails where one exceeds its limit.

use std::path::Path;
use std::process::ExitCode;

use bench::callgrind;
use bench::environment::Environment;
use bench::gates::{FRAME, Gate, PACKETS, all, halves};
use bench::record::{Record, Verdict};
use bench::twin;
use clap::Parser;

/// Instructions per packet under callgrind, against the limits in bench/gates.json.
#[derive(Parser)]
struct Options {
    /// Write what is counted now to bench/gates.json (the limits stay)
    #[arg(long)]
    record: bool,
    /// Say so and succeed where valgrind is not installed, instead of failing
    #[arg(long)]
    skip_without_valgrind: bool,
    /// Count ring halves that believe their peer as well, which takes a build of its own; what the checks cost
    #[arg(long)]
    twin: bool,
    /// Only the gates whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Run one measured function and end: what this program starts under callgrind
    #[arg(long, value_name = "NAME", hide = true)]
    measure: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.measure {
        Some(name) => measure(name),
        None => check(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("gates: {error}");
            ExitCode::FAILURE
        }
    }
}

type Outcome = Result<bool, Box<dyn std::error::Error>>;

fn measure(name: &str) -> Outcome {
    let gate = all().find(|gate| gate.name == name).ok_or("no such gate")?;
    (gate.run)();
    Ok(true)
}

fn said(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "ok",
        Verdict::AboveGoal => "above goal",
        Verdict::Exceeded => "EXCEEDED",
    }
}

fn check(options: &Options) -> Outcome {
    if cfg!(debug_assertions) {
        return Err("counts of a debug build mean nothing: use `cargo run --release`".into());
    }
    if !callgrind::available() {
        if options.skip_without_valgrind {
            println!(
                "skipped: no instruction was counted, valgrind is not installed (tools/setup)"
            );
            return Ok(true);
        }
        return Err("valgrind is not installed; tools/setup installs it".into());
    }
    let path = Record::path();
    let mut record = Record::read(&path)?;
    let wanted = options.only.as_deref().unwrap_or("");
    let selected: Vec<&Gate> = all().filter(|gate| gate.name.contains(wanted)).collect();
    if selected.is_empty() {
        let names: Vec<&str> = all().map(|gate| gate.name).collect();
        return Err(format!("no gate's name contains {wanted:?}: {}", names.join(", ")).into());
    }
    println!("instructions per packet, bursts of 32 frames of {FRAME} bytes");
    println!("{:<36}{:>8}{:>10}{:>8}{:>6}  ", "gate", "now", "recorded", "limit", "goal");
    let mut exceeded = 0;
    let program = std::env::current_exe()?;
    for &gate in &selected {
        let now = count(&program, gate)?;
        let numbers = record
            .gates
            .get_mut(gate.name)
            .ok_or_else(|| format!("{}: no limit for {}", path.display(), gate.name))?;
        let verdict = numbers.verdict(now);
        let goal = numbers.goal.map_or_else(String::new, |goal| format!("{goal:.0}"));
        exceeded += u32::from(verdict == Verdict::Exceeded);
        println!(
            "{:<36}{now:>8.2}{:>10.2}{:>8.1}{goal:>6}  {:<12}{}",
            gate.name,
            numbers.recorded,
            numbers.enforced(),
            said(verdict),
            gate.what
        );
        numbers.recorded = (now * 100.0).round() / 100.0;
    }
    if options.twin {
        print_twin(&selected, &mut record)?;
    }
    if options.record {
        // (Instructions of this program, whatever kernel it runs on.)
        record.environment = Environment { kernel: String::new(), ..Environment::here() };
        record.write(&path)?;
        println!("recorded in {}", path.display());
    }
    if exceeded > 0 {
        println!(
            "{exceeded} over the limit. Profile with BAREWIRE_KEEP_CALLGRIND=1 and callgrind_annotate; a limit \
             is changed by hand in bench/gates.json, with the reason in the commit; --record notes the counts."
        );
    }
    Ok(exceeded == 0)
}

/// Counts the twin's halves, and prints them beside those of the product.
fn print_twin(selected: &[&Gate], record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    let program = twin::build()?;
    println!("\n{:<36}{:>8}{:>11}{:>8}", "what checks cost", "with", "without", "cost");
    for gate in halves().filter(|half| selected.iter().any(|gate| gate.name == half.name)) {
        let Some(numbers) = record.gates.get_mut(gate.name) else { continue };
        let without = count(&program, gate)?;
        let cost = numbers.recorded - without;
        println!("{:<36}{:>8.2}{without:>11.2}{cost:>8.2}", gate.name, numbers.recorded);
        numbers.unchecked = Some((without * 100.0).round() / 100.0);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(program: &Path, gate: &Gate) -> Result<f64, Box<dyn std::error::Error>> {
    let total = callgrind::count(program, &["--measure", gate.name], gate.function)?;
    let less = match gate.less {
        Some(name) => count(program, all().find(|gate| gate.name == name).ok_or("no such gate")?)?,
        None => 0.0,
    };
    Ok(total as f64 / PACKETS as f64 - less)
}
