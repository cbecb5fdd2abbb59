//! What comes out: a table while it runs, and a file of JSON.

use std::fmt;

use plat_linux::Clock;
use serde::{Deserialize, Serialize};

use super::cores::Cores;
use super::generator::Kind;
use super::plan::{Direction, Path, Place};
use super::tally::{Figure, Ratio};
use crate::ceiling::Mode;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Where we stand in for DPDK.
    pub place: Place,
    /// How the cores were placed.
    pub mode: Mode,
    /// The ring's format.
    pub path: Path,
    /// Which way packets went.
    pub direction: Direction,
    /// Bytes of a frame, L2 header included, FCS excluded.
    pub size: u16,
}

/// One line of the file's `results`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What was compared.
    #[serde(flatten)]
    pub case: Case,
    /// Median of ours, in million packets per second at the receiver.
    pub ours_mpps: f64,
    /// Median of DPDK's.
    pub dpdk_mpps: f64,
    /// How they compare.
    pub ratio: Ratio,
    /// Median of the cycles per packet of the side in question, where it is ours.
    pub ours_cycles: Option<f64>,
    /// The same, where it is DPDK's.
    pub dpdk_cycles: Option<f64>,
}

/// One line of the file's `limits`: what the two cores could have exchanged in the same trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// What was compared.
    #[serde(flatten)]
    pub case: Case,
    /// Packets that move as many cache lines, one way, and nothing else, in million per second.
    pub ceiling_mpps: f64,
    /// Ours, as a fraction of it.
    pub ours: f64,
    /// DPDK's, as a fraction of it.
    pub dpdk: f64,
}

/// One line of the file's `generators`: pktgen and testpmd filling a port that throws frames away, on one core.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GeneratorRow {
    /// What pktgen sends.
    pub ours: Kind,
    /// testpmd's mode.
    pub dpdk: &'static str,
    /// How the cores were placed.
    pub mode: Mode,
    /// Bytes of a frame.
    pub size: u16,
    /// Median of ours, in million packets per second.
    pub ours_mpps: f64,
    /// Median of DPDK's.
    pub dpdk_mpps: f64,
    /// How they compare.
    pub ratio: Ratio,
    /// Median of our cycles per packet.
    pub ours_cycles: Option<f64>,
    /// Median of DPDK's.
    pub dpdk_cycles: Option<f64>,
}

impl fmt::Display for GeneratorRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours, dpdk, mode, size, ours_mpps, dpdk_mpps, ratio, .. } = self;
        let cycles = |cycles: Option<f64>| cycles.map_or("-".into(), |c| format!("{c:.0}"));
        let (one, other) = (cycles(self.ours_cycles), cycles(self.dpdk_cycles));
        write!(f, "pktgen {ours} against testpmd {dpdk}, {size} B, {}: ", mode.name())?;
        write!(f, "{ours_mpps:.2} and {dpdk_mpps:.2} Mpps, ")?;
        write!(f, "ratio {:.2} ({:.2} to {:.2}, ", ratio.median, ratio.min, ratio.max)?;
        write!(f, "n {}, discarded {}), ", ratio.n, ratio.discarded)?;
        write!(f, "{one} and {other} cycles per packet")
    }
}

/// On what, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    /// The machine, as it was when the run began.
    #[serde(flatten)]
    pub machine: plat_linux::Environment,
    /// The version of testpmd.
    pub dpdk: String,
    /// What `rustc --version` says.
    pub rustc: String,
    /// The version of Barewire.
    pub barewire: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// The cores of the two sides.
    pub side_cores: Cores,
    /// Entries of each ring, on both sides.
    pub ring: u16,
    /// The receive and transmit paths of DPDK's driver.
    pub dpdk_path: &'static str,
    /// What the packets of both pairs lie in.
    pub pages: &'static str,
    /// Milliseconds that packets are counted for in a turn.
    pub window_ms: u64,
    /// Frames of which every byte was compared in twin runs.
    pub verified_frames: u64,
    /// Frames of pktgen that were dissected in runs beside those that were timed.
    pub checked_frames: u64,
}

impl Environment {
    /// Reads the facts that need no telling.
    pub fn read(
        dpdk: String,
        side_cores: Cores,
        ring: u16,
        huge_pages: bool,
        vectorized: bool,
        window_ms: u64,
    ) -> Self {
        Self {
            machine: plat_linux::Environment::read(&Clock::new()),
            dpdk,
            rustc: crate::environment::Environment::here().rustc,
            barewire: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            side_cores,
            ring,
            dpdk_path: if vectorized { "vectorized" } else { "ordinary" },
            pages: if huge_pages { "huge" } else { "ordinary" },
            window_ms,
            verified_frames: 0,
            checked_frames: 0,
        }
    }
}

/// The file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// On what, and how.
    pub environment: Environment,
    /// The ratios.
    pub results: Vec<Row>,
    /// The same cases, as fractions of what the cores can do.
    pub limits: Vec<Limit>,
    /// The generators.
    pub generators: Vec<GeneratorRow>,
}

impl Report {
    /// Nothing compared yet.
    pub fn new(environment: Environment) -> Self {
        Self { environment, results: Vec::new(), limits: Vec::new(), generators: Vec::new() }
    }

    /// Adds a generator's figure.
    pub fn add_generator(
        &mut self,
        kind: Kind,
        mode: Mode,
        size: u16,
        figure: &Figure,
    ) -> &GeneratorRow {
        let Figure { ours_mpps, dpdk_mpps, ratio, ours_cycles, dpdk_cycles, .. } = *figure;
        let at = self.generators.len();
        self.generators.push(GeneratorRow {
            ours: kind,
            dpdk: kind.dpdk(),
            mode,
            size,
            ours_mpps,
            dpdk_mpps,
            ratio,
            ours_cycles,
            dpdk_cycles,
        });
        &self.generators[at]
    }

    /// Adds a figure.
    pub fn add(&mut self, case: Case, figure: &Figure) -> (&Row, &Limit) {
        let Figure { ours_mpps, dpdk_mpps, ratio, ours_cycles, dpdk_cycles, limit_mpps } = *figure;
        let row = Row { case, ours_mpps, dpdk_mpps, ratio, ours_cycles, dpdk_cycles };
        let limit = Limit {
            case,
            ceiling_mpps: limit_mpps,
            ours: ours_mpps / limit_mpps,
            dpdk: dpdk_mpps / limit_mpps,
        };
        let at = self.results.len();
        self.results.push(row);
        self.limits.push(limit);
        (&self.results[at], &self.limits[at])
    }
}

/// The head of the table.
pub const HEAD: &str = "place    mode      path    dir   size | ours Mpps  DPDK Mpps | ratio    min    max    n  \
                        disc | ours cyc  DPDK cyc | of limit";

/// A line of the table.
pub struct TableLine<'a>(pub &'a Row, pub &'a Limit);

impl fmt::Display for TableLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { case, ours_mpps, dpdk_mpps, ratio, ours_cycles, dpdk_cycles } = self.0;
        let Case { place, mode, path, direction, size } = case;
        let cycles =
            |cycles: &Option<f64>| cycles.map_or("-".into(), |cycles| format!("{cycles:.0}"));
        write!(f, "{place:<8} {:<9} {path:<7} {direction:<5} {size:>4} | ", mode.name())?;
        write!(f, "{ours_mpps:>9.2} {dpdk_mpps:>10.2} | ")?;
        write!(f, "{:>5.2} {:>6.2} {:>6.2} ", ratio.median, ratio.min, ratio.max)?;
        write!(f, "{:>4} {:>5} | ", ratio.n, ratio.discarded)?;
        write!(f, "{:>8} {:>9} | ", cycles(ours_cycles), cycles(dpdk_cycles))?;
        write!(f, "{:.0} % / {:.0} %", self.1.ours * 100.0, self.1.dpdk * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let cores = Cores { back_end: 0, driver: 1 };
        Report::new(Environment::read("DPDK".into(), cores, 1024, false, false, 700))
    }

    const CASE: Case = Case {
        place: Place::Backend,
        mode: Mode::Separate,
        path: Path::Split,
        direction: Direction::Rx,
        size: 64,
    };
    const FIGURE: Figure = Figure {
        ours_mpps: 12.0,
        dpdk_mpps: 5.0,
        ratio: Ratio { median: 2.4, min: 1.5, max: 5.0, n: 10, discarded: 2 },
        ours_cycles: Some(75.25),
        dpdk_cycles: None,
        limit_mpps: 24.0,
    };

    #[test]
    fn the_json_has_the_agreed_fields() {
        let mut report = report();
        report.add(CASE, &FIGURE);
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({
            "place": "backend", "mode": "separate", "path": "split", "direction": "rx", "size": 64,
            "ours_mpps": 12.0, "dpdk_mpps": 5.0,
            "ratio": {"median": 2.4, "min": 1.5, "max": 5.0, "n": 10, "discarded": 2},
            "ours_cycles": 75.25, "dpdk_cycles": null
        });
        assert_eq!(json["results"], serde_json::json!([expected]));
        assert_eq!(json["limits"][0]["ours"], 0.5);
        for field in [
            "cpu",
            "cores",
            "tsc_hz",
            "governor",
            "huge_pages_total",
            "load_1m",
            "kernel",
            "git_revision",
            "dpdk",
            "rustc",
            "barewire",
            "command",
            "side_cores",
            "ring",
            "dpdk_path",
            "pages",
            "window_ms",
            "verified_frames",
            "checked_frames",
        ] {
            assert!(json["environment"].get(field).is_some(), "environment.{field}");
        }
    }

    #[test]
    fn generators_are_listed_by_themselves() {
        let mut report = report();
        let line = report.add_generator(Kind::FourFields, Mode::Shared, 64, &FIGURE).to_string();
        assert_eq!(
            line,
            "pktgen four-fields against testpmd flowgen, 64 B, shared: 12.00 and 5.00 Mpps, ratio 2.40 (1.50 to 5.00, n 10, \
             discarded 2), 75 and - cycles per packet"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["results"], serde_json::json!([]));
        let row = &json["generators"][0];
        assert_eq!((&row["ours"], &row["dpdk"]), (&"four-fields".into(), &"flowgen".into()));
    }

    #[test]
    fn the_table_has_columns() {
        let mut report = report();
        let (row, limit) = report.add(CASE, &FIGURE);
        let line = TableLine(row, limit).to_string();
        let bars = |text: &str| text.match_indices('|').map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(bars(&line), bars(HEAD), "\n{HEAD}\n{line}");
        assert!(line.ends_with("|       75         - | 50 % / 21 %"), "{line}");
    }
}
