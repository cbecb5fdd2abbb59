//! Results of every kind: of the program where that is quick, of simulated devices, and one that nobody hopes for.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pktgen::Environment;
use pktgen::document::{Document, Outcome};
use pktgen::search::simulated::Simulated;
use pktgen::search::{
    BackToBack, FrameLoss, LossRatios, Recovery, Search, SearchOptions, Soak, Throughput,
};
use plat_linux::Clock;
use serde_json::{Value, json};

/// Each with a name.
pub(crate) fn all() -> Vec<(&'static str, Value)> {
    let scratch = std::env::temp_dir().join(format!("pktgen-documents-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let mut all = programs(&scratch);
    std::fs::remove_dir_all(&scratch).unwrap();
    all.extend(searches());
    let run = all[0].1.clone();
    all.push(("hostile", hostile(run)));
    all
}

const SCENARIO: &str = r#"
rate = "40kpps"

[[stream]]
name = "voice"
weight = 3
size = "200"
frame = "ethernet/vlan(id=5)/ipv4/udp"

[[stream]]
name = "video, in bursts"
size = "1300"
profile = "burst:50/5ms"

[[stream]]
name = "everything else"
size = "imix-csit"
fields = ["ipv4.source=inc:10.0.0.1-10.0.0.16"]
flows = 16
per-flow = true
"#;

/// Of the program, over two ports that are each other's peers.
fn programs(scratch: &Path) -> Vec<(&'static str, Value)> {
    let (scenario, capture) = (scratch.join("streams.toml"), scratch.join("run.pcapng"));
    std::fs::write(&scenario, SCENARIO).unwrap();
    let (scenario, capture) = (text(&scenario), text(&capture));
    [
        ("run", &["run", "--rate", "20kpps", "--duration", "2.2", "--latency"][..]),
        (
            "run-streams",
            &[
                "run",
                "--scenario",
                &scenario,
                "--duration",
                "3.2",
                "--latency",
                "--capture",
                &capture,
            ],
        ),
        ("replay", &["replay", &capture, "--direction", "forward", "--compare"]),
        ("search-latency", &["search", "latency", "--at", "5kpps,10kpps,20kpps", "--trial", "0.3"]),
    ]
    .map(|(name, arguments)| (name, program(scratch, name, arguments)))
    .into()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn program(scratch: &Path, name: &str, arguments: &[&str]) -> Value {
    let socket: PathBuf = scratch.join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(arguments)
        .args(["--port", &format!("vhost-user:{},server", socket.display())])
        .args(["--port", &format!("virtio-user:{}", socket.display())])
        .args(["--quiet", "--json", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Of simulated devices, in no time.
fn searches() -> Vec<(&'static str, Value)> {
    let minute = Duration::from_secs(60);
    let slope = || Simulated::gradual(2_345_678.0, 0.7);
    let found = |search: Search, device: &mut Simulated| searched(&search, device, |_| false);
    let steps = FrameLoss { stop_when_clean: false, ..FrameLoss::default() };
    vec![
        ("search-ndr-pdr", found(Search::ndr_pdr(), &mut slope().with_noise(0.1, 5))),
        (
            "search-generator-limited",
            found(Search::ndr_pdr(), &mut Simulated::step(9e6).with_generator(3_333_333.0)),
        ),
        (
            "search-one-trial",
            searched(&Search::LossRatios(LossRatios { goals: goals() }), &mut slope(), |done| {
                done > 0
            }),
        ),
        ("search-throughput", found(Search::Throughput(Throughput::default()), &mut slope())),
        ("search-frame-loss", found(Search::FrameLoss(steps), &mut slope())),
        (
            "search-back-to-back",
            found(
                Search::BackToBack(BackToBack { repeats: 5, ..BackToBack::default() }),
                &mut slope().with_buffer(4321).with_noise(0.2, 9),
            ),
        ),
        (
            "search-recovery",
            found(
                Search::Recovery(Recovery { repeats: 3, ..Recovery::new(2_000_000) }),
                &mut slope().with_buffer(100_000),
            ),
        ),
        (
            "search-soak",
            found(
                Search::Soak(Soak {
                    rate: 1_000_000,
                    trial: Duration::from_secs(1),
                    total: 5 * minute,
                }),
                &mut slope().with_noise(0.05, 3),
            ),
        ),
    ]
}

fn goals() -> Vec<pktgen::search::Goal> {
    [("ndr", 0.0), ("one in a thousand", 0.001), ("pdr", 0.005)]
        .map(|(name, loss)| pktgen::search::Goal::new(name, loss))
        .into()
}

/// The document of a search that is stopped once `enough` says so of the trials made.
fn searched(search: &Search, device: &mut Simulated, enough: fn(u64) -> bool) -> Value {
    let outcome = search
        .run(device, &SearchOptions::default(), &mut |progress| {
            if enough(progress.trials) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    let document = Document::new(
        "search",
        Outcome::Search {
            interrupted: outcome.completion.is_partial(),
            size: 64,
            ports: Vec::new(),
            search: serde_json::to_value(&outcome).unwrap(),
            environment: Box::new(Environment::read(&Clock::new(), None)),
        },
    );
    serde_json::to_value(document).unwrap()
}

/// A run of hours with everything that can go wrong, in words and numbers as long as can be.
fn hostile(mut run: Value) -> Value {
    let long = "interface_".repeat(12);
    let hours: Vec<Value> = (1..=1024).map(|n| second(f64::from(n) * 8.0)).collect();
    run["timeline"] = hours.into();
    run["interrupted"] = true.into();
    run["failed"] = json!([format!("loss>0: {long} has 18446744073709551615"), "p99>50us"]);
    run["command"] = json!([
        "pktgen",
        "run",
        "--port",
        format!("vhost-user:/tmp/{long},server"),
        "--size",
        long
    ]);
    for direction in run["directions"].as_array_mut().unwrap() {
        for figure in [
            "sent",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "corrupted",
            "misdirected",
            "late",
        ] {
            direction[figure] = u64::MAX.into();
        }
        direction["offered_mpps"] = 1_234.567_891.into();
        direction["rate_error"] = (-0.999_999).into();
    }
    let stream = run["streams"][0].clone();
    let many = |number: u64| {
        let mut stream = stream.clone();
        stream["name"] = format!("{long}{number}").into();
        stream["sent"] = u64::MAX.into();
        stream
    };
    run["streams"] = (0..40).map(many).collect();
    for port in run["ports"].as_array_mut().unwrap() {
        port["name"] = format!("vhost-user:/tmp/{long}").into();
        port["receive_drops"] =
            json!({"oversize": u64::MAX, "no buffer": 7, "bad descriptor": 123_456_789});
    }
    run["environment"]["cpu"] = format!("A CPU with {long}").into();
    run
}

/// A moment of it: nothing comes back in the middle.
fn second(elapsed: f64) -> Value {
    let received =
        if (3000.0..5000.0).contains(&elapsed) { 0.0 } else { 14.88 + (elapsed / 700.0).sin() };
    let direction = |name: &str, missing: f64| {
        json!({"direction": name, "sent": elapsed * 16e6, "received": elapsed * 15e6, "missing": missing,
               "troubles": 3, "sent_mpps": 16.0, "received_mpps": received})
    };
    json!({"elapsed_s": elapsed, "cycles_per_packet": 81.0, "burst_fill": 31.0, "latency": null,
           "directions": [direction("forward", elapsed * elapsed * 1e5), direction("backward", 0.0)]})
}
