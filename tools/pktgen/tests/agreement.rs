//! Agreement with independent implementations: the PyPI packages `mlrsearch` and `hdrhistogram`.
//!
//! Both are asked in a Python process that this test starts. The simulated device is ours and serves both searches; the
//! latencies are ours and are counted by both histograms. Where Python or a package is missing, a test says so and is
//! skipped.

mod peers;

use std::io::{BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use pktgen::latency::{HIGHEST, Histogram, PERCENTILES};
use pktgen::search::simulated::Simulated;
use pktgen::search::{DeviceUnderTest, Goal, GoalOutcome, LossRatios, Search, SearchOptions};
use serde_json::{Value, json};

/// A Python script that is spoken with line by line.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script that needs `module`; `None`: skipped.
    fn start(script: &str, module: &str) -> Option<Self> {
        let python = peers::python(&[module])?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/agreement").join(script);
        let mut command = Command::new(python);
        let mut child =
            command.arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Some(Self { child, input, output })
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").and_then(|()| self.input.flush()).unwrap();
    }

    /// The next line; `None` at the end.
    fn hear(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).expect("lines of text");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().expect("started").success(), "the script failed");
    }
}

fn options() -> SearchOptions {
    SearchOptions { max_rate: 10_000_000, ..SearchOptions::default() }
}

/// What the other implementation found for a goal: lower and upper bound, conditional throughput.
type Theirs = (f64, f64, f64);

/// `None`: skipped.
fn ask_mlrsearch(goals: &[Goal], device: &mut Simulated) -> Option<Vec<Theirs>> {
    let mut peer = Peer::start("mlrsearch_peer.py", "MLRsearch")?;
    let goal = |g: &Goal| {
        json!({
            "name": g.name, "loss_ratio": g.loss_ratio, "exceed_ratio": g.exceed_ratio,
            "goal_width": g.goal_width, "initial_s": g.initial_trial.as_secs_f64(),
            "final_s": g.final_trial.as_secs_f64(), "sum_s": g.duration_sum.as_secs_f64(),
            "preceding_targets": g.preceding_targets,
        })
    };
    let goals: Vec<_> = goals.iter().map(goal).collect();
    let range = options();
    peer.say(
        &json!({"min_rate": range.min_rate, "max_rate": range.max_rate, "goals": goals})
            .to_string(),
    );
    let mut found = Vec::new();
    while let Some(line) = peer.hear() {
        let words: Vec<_> = line.split(' ').collect();
        let numbers = |words: &[&str]| -> Vec<f64> {
            words.iter().map(|word| word.parse().unwrap_or_else(|_| panic!("{line}"))).collect()
        };
        match words[0] {
            "measure" => {
                let asked = numbers(&words[1..]);
                let rate = format!("{:.0}", asked[0]).parse().expect("a rounded number");
                let trial = device.measure(rate, Duration::from_secs_f64(asked[1])).unwrap();
                peer.say(&format!("{} {}", trial.offered, trial.lost));
            }
            "result" => {
                let bounds = numbers(&words[2..]);
                found.push((bounds[0], bounds[1], bounds[2]));
            }
            _ => panic!("{line}"),
        }
    }
    peer.end();
    assert_eq!(found.len(), goals.len(), "one result per goal");
    Some(found)
}

fn search(goals: &[Goal], device: &mut Simulated) -> Vec<GoalOutcome> {
    let search = Search::LossRatios(LossRatios { goals: goals.to_vec() });
    let outcome = search.run(device, &options(), &mut |_| ControlFlow::Continue(())).unwrap();
    goals.iter().map(|goal| outcome.goal(&goal.name).unwrap().clone()).collect()
}

/// Both find the same, within the goal's width: bounds, and the figure that the draft wants compared.
fn compare(goals: &[Goal], device: &Simulated, name: &str) -> bool {
    let (mut for_us, mut for_them) = (device.clone(), device.clone());
    let Some(theirs) = ask_mlrsearch(goals, &mut for_them) else { return false };
    let ours = search(goals, &mut for_us);
    println!("{name}: {} trials against {} of mlrsearch", for_us.trials, for_them.trials);
    for ((goal, ours), (lower, upper, conditional)) in goals.iter().zip(ours).zip(theirs) {
        let (our_lower, our_upper) = (ours.lower.unwrap() as f64, ours.upper.unwrap() as f64);
        let our_conditional = ours.conditional_throughput.unwrap();
        println!(
            "  {}: {our_lower} - {our_upper} ({our_conditional}), theirs {lower} - {upper} ({conditional})",
            goal.name
        );
        // A whole frame per second is lost to rounding on either side.
        let near = |a: f64, b: f64| (a - b).abs() <= goal.goal_width * a.max(b) + 2.0;
        assert!(near(our_lower, lower), "{name}, {}: lower bounds", goal.name);
        assert!(near(our_upper, upper), "{name}, {}: upper bounds", goal.name);
        assert!(near(our_conditional, conditional), "{name}, {}: conditional", goal.name);
        assert!(our_lower <= upper + 2.0 && lower <= our_upper + 2.0, "{name}: apart");
    }
    true
}

#[test]
fn searches_agree_with_mlrsearch() {
    let second = Duration::from_secs(1);
    let usual = vec![Goal::ndr(), Goal::pdr()];
    let csit: Vec<_> = usual
        .iter()
        .map(|g| Goal { final_trial: second, duration_sum: 21 * second, ..g.clone() })
        .collect();
    let others = vec![
        Goal { goal_width: 0.001, ..Goal::new("narrow", 0.0) },
        Goal { exceed_ratio: 0.0, duration_sum: 10 * second, ..Goal::new("strict", 0.001) },
        Goal { goal_width: 0.02, preceding_targets: 3, ..Goal::new("wide", 0.05) },
    ];
    let devices = [
        ("step", Simulated::step(1_234_567.0)),
        ("low step", Simulated::step(23_456.7)),
        ("high step", Simulated::step(9_345_678.0)),
        ("gradual", Simulated::gradual(2_000_000.0, 0.05)),
        ("steep", Simulated::gradual(700_000.0, 0.9)),
    ];
    for (name, device) in devices {
        for goals in [&usual, &csit, &others] {
            if !compare(goals, &device, name) {
                return;
            }
        }
    }
    // Each search meets its own noise; a tenth of the trials is far from the half that is allowed.
    for seed in 0..5 {
        let device = Simulated::step(3_000_000.0).with_noise(0.1, seed);
        assert!(compare(&csit, &device, &format!("noise {seed}")));
    }
}

/// Latencies of four kinds: each value, many decades, a long tail, and one value only. Of 100 000 values each percentile
/// is a whole number of values: between two ranks the package takes the nearer one, and we the higher one.
fn kinds() -> [(&'static str, Vec<u64>); 4] {
    let mut state = 1u64;
    let mut random = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let decades = (0..100_000).map(|n| (random() % 9_000 + 1_000) * 10u64.pow(n % 7)).collect();
    let tail = (0..100_000).map(|n| 5_000 + n % 97 + if n % 1_000 == 0 { n * 1_000 } else { 0 });
    [
        ("each", (1..=100_000).collect()),
        ("decades", decades),
        ("tail", tail.collect()),
        ("one", vec![123_456_789]),
    ]
}

#[test]
fn histograms_agree_with_hdrhistogram() {
    for (name, values) in kinds() {
        let Some(mut peer) = Peer::start("hdrhistogram_peer.py", "hdrh.histogram") else { return };
        peer.say(&json!({"highest": HIGHEST, "digits": 3, "percentiles": PERCENTILES}).to_string());
        let lines: String = values.iter().map(|value| format!("{value}\n")).collect();
        peer.say(&(lines + "end"));
        let line = peer.hear().expect("an answer");
        let theirs: Value = serde_json::from_str(&line).unwrap();
        peer.end();
        let mut ours = Histogram::new();
        values.iter().for_each(|&value| ours.record(value));
        println!("{name}: {theirs}");
        assert_eq!(theirs["count"], ours.len(), "{name}");
        assert_eq!(theirs["min"], ours.min(), "{name}");
        assert_eq!(theirs["max"], ours.max(), "{name}");
        let percentiles = PERCENTILES.map(|percentile| ours.percentile(percentile));
        assert_eq!(theirs["percentiles"], json!(percentiles), "{name}");
        // Our average is exact; theirs is of what the counts stand for.
        let (mean, theirs) = (ours.distribution().mean_ns, theirs["mean"].as_f64().unwrap());
        assert!((mean / theirs - 1.0).abs() < 1e-3, "{name}: {mean} and {theirs}");
    }
}
