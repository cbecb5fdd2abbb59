//! The page of figures, `docs/figures.md`: plots, the same as tables, and the instruction counts of `bench/gates.json`.

use std::fmt::Write;

use crate::figures::Plot;
use crate::record::Record;

/// Where and how the figures came to be.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The command.
    pub command: String,
    /// The day, in UTC.
    pub date: String,
    /// Processor, cores, kernel, compiler, revision.
    pub machine: String,
    /// What else went on meanwhile.
    pub load: String,
    /// How often each point was measured.
    pub rounds: usize,
}

/// What all of the figures are.
const METHOD: &str = "\
Time stamp counter cycles per packet of each half of a virtqueue, by itself, in one thread on one core: the driver half sends a \
burst, the device half takes it, sends it back, and the driver half takes it and posts new buffers. Each half is timed apart from \
the others, with everything that it does per packet: checks on all that the peer wrote, copies (the device half's), refill, \
reclaim, notification checks. No line moves between two cores here, so this is what the software costs; what two cores do \
together, and what DPDK does there, is measured by `versus-dpdk`. Every frame's contents are verified.

IMIX is FD.io CSIT's (7 frames of 60 bytes, 4 of 566, 1 of 1514, FCS excluded). Frames of 9000 bytes lie in buffers of 2048: chained \
over indirect tables towards the device, over mergeable buffers towards the driver. Rings have 512 entries, those for 9000 bytes 256.
";

/// The page; the plots lie in `directory` beside it, each under its name.
pub fn page(origin: &Origin, directory: &str, plots: &[(&str, Plot)], record: &Record) -> String {
    let mut page = String::from("# Figures\n\n");
    let Origin { command, date, machine, load, rounds } = origin;
    let _ = writeln!(
        page,
        "Written by `{command}` on {date}: {machine}. A point is the median of {rounds} rounds. {load}\n\n{METHOD}"
    );
    for (name, plot) in plots {
        let _ = writeln!(page, "## {}\n", plot.caption);
        let _ = writeln!(page, "![{}]({directory}/{name}.svg)\n", plot.caption);
        table(&mut page, plot);
    }
    instructions(&mut page, record);
    page
}

fn table(page: &mut String, plot: &Plot) {
    let _ = writeln!(page, "| {} | {} |", plot.label, plot.marks.join(" | "));
    let _ = writeln!(page, "| --- |{}", " ---: |".repeat(plot.marks.len()));
    for (format, series) in &plot.panels {
        for series in series {
            let points: Vec<_> = series.points.iter().copied().map(short).collect();
            let _ = writeln!(page, "| {format}, {} | {} |", series.name, points.join(" | "));
        }
    }
    page.push('\n');
}

/// Three digits, more or less.
fn short(cycles: f64) -> String {
    if cycles < 99.95 { format!("{cycles:.1}") } else { format!("{cycles:.0}") }
}

/// Limits and counts, and of the ring halves what is left without the checks.
fn instructions(page: &mut String, record: &Record) {
    let environment = &record.environment;
    let _ = writeln!(
        page,
        "## Instructions per packet\n\nBursts of 32 frames of 64 bytes (the long checksum: 1494), counted by callgrind ({}, {}); CI fails \
         above the limit, or above a goal that was reached (`cargo run --release -p bench --bin gates`). \"Without checks\" is a \
         twin of the ring halves, in no product, that believes every id, length, flag, address and index that the peer wrote \
         (`gates --twin`): the difference is what not trusting the peer costs. Where the two are alike, the check is part of a comparison that is \
         made in any case, of whether there is anything to take.\n",
        environment.valgrind, environment.rustc
    );
    page.push_str("| gate | instructions | goal | limit | without checks | checks cost |\n");
    page.push_str("| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for (name, numbers) in &record.gates {
        let goal = numbers.goal.map_or_else(String::new, |goal| format!("{goal:.0}"));
        let twin = numbers.unchecked.map_or_else(
            || " | ".into(),
            |without| format!("{without:.2} | {:.2}", numbers.recorded - without),
        );
        let limit = numbers.enforced();
        let _ =
            writeln!(page, "| {name} | {:.2} | {goal} | {limit:.1} | {twin} |", numbers.recorded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Series;

    #[test]
    fn the_page_says_what_where_when_and_how() {
        let origin = Origin {
            command: "the command".into(),
            date: "the date".into(),
            machine: "the machine".into(),
            load: "Quiet.".into(),
            rounds: 7,
        };
        let halves = vec![Series { name: "half".into(), points: vec![3.4, 560.2] }];
        let plot = Plot {
            caption: "caption".into(),
            label: "label".into(),
            marks: vec!["64".into(), "128".into()],
            joined: 2,
            logarithmic: false,
            panels: vec![("format".into(), halves)],
        };
        let record = Record::read(&Record::path()).unwrap();
        let page = page(&origin, "figures", &[("name", plot)], &record);
        for part in [
            "Written by `the command` on the date: the machine. A point is the median of 7 rounds. Quiet.",
            "![caption](figures/name.svg)",
            "| label | 64 | 128 |\n| --- | ---: | ---: |\n| format, half | 3.4 | 560 |\n",
            "\n| driver-receive | ",
        ] {
            assert!(page.contains(part), "{part:?} in {page}");
        }
    }
}
