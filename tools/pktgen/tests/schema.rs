//! What the program really writes, against the schemas, judged by an independent implementation (PyPI `jsonschema`): every
//! kind of result, whole and interrupted. The judge is stricter than the schemas: a field that they do not write down is
//! an error here.

mod peers;
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use program::{end, loop_ports, pktgen, temporary};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Reads the schemas' directory, the schema's name and a file of JSON lines; prints what is wrong.
const JUDGE: &str = r##"
import json, pathlib, sys
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

def close(schema):
    """No object that the schema describes has other fields than those."""
    if not isinstance(schema, dict):
        return
    if "properties" in schema and "additionalProperties" not in schema:
        schema["unevaluatedProperties"] = False
    for part in [*schema.get("properties", {}).values(), *schema.get("oneOf", []), schema.get("items")]:
        close(part)

directory, name, lines = sys.argv[1:]
schemas = [json.loads(p.read_text()) for p in sorted(pathlib.Path(directory).glob("*.json"))]
for schema in schemas:
    Draft202012Validator.check_schema(schema)
    schema["unevaluatedProperties"] = False
    for part, definition in schema.get("$defs", {}).items():
        # A second is part of a line, which has more.
        if part != "second":
            close(definition)
registry = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in schemas)
schema = next(s for s in schemas if s["$id"] == name)
validator = Draft202012Validator(schema, registry=registry)
bad = 0
for number, line in enumerate(open(lines), 1):
    for error in validator.iter_errors(json.loads(line)):
        inner = [(list(e.absolute_path), e.message[:300]) for e in error.context or []]
        print(number, list(error.absolute_path), error.message[:600], inner[:8])
        bad += 1
sys.exit(bad > 0)
"##;

const DOCUMENT: &str = "pktgen-document-1";
const LINE: &str = "pktgen-line-1";

/// A Python that has the judge.
fn judging_python() -> Option<PathBuf> {
    peers::python(&["jsonschema", "referencing"])
}

fn judge(python: &Path, schema: &str, lines: &str) -> Output {
    let file = temporary(schema);
    fs::write(&file, lines).unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    Command::new(python).args(["-c", JUDGE]).arg(directory).arg(schema).arg(file).output().unwrap()
}

#[track_caller]
fn valid(python: &Path, schema: &str, lines: &str) {
    let output = judge(python, schema, lines);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}{}\n{lines}", String::from_utf8_lossy(&output.stderr));
}

/// Both outputs of pktgen on a loop, judged: the document. A busy machine may keep a search from its end: then the status
/// is 1, and there is a result all the same.
#[track_caller]
fn judged(python: &Path, name: &str, arguments: &[&str]) -> Value {
    let file = temporary(&format!("{name}.jsonl"));
    let mut command = pktgen(arguments);
    command.args(["--quiet", "--json", "-", "--jsonl"]).arg(&file);
    if !arguments.contains(&"--port") {
        command.args(loop_ports(name));
    }
    let ended = end(&mut command);
    assert!(matches!(ended.status.code(), Some(0 | 1)), "{name}: {}", ended.stderr);
    judged_outputs(python, name, &ended.stdout, &fs::read_to_string(&file).unwrap())
}

#[track_caller]
fn judged_outputs(python: &Path, name: &str, document: &str, lines: &str) -> Value {
    let document: Value = serde_json::from_str(document).unwrap_or_else(|e| panic!("{name}: {e}"));
    valid(python, DOCUMENT, &document.to_string());
    valid(python, LINE, lines);
    let last: Value = serde_json::from_str(lines.lines().last().expect("a line")).unwrap();
    let mut expected = document.clone();
    expected["type"] = "result".into();
    assert_eq!(last, expected, "{name}: the last line is the document");
    document
}

#[test]
fn runs() {
    let Some(python) = judging_python() else { return };
    let scenario = temporary("streams.toml");
    let text = "rate = \"20kpps\"\nduration = \"1.2s\"\n[[stream]]\nname = \"flows\"\nflows = 5\nper-flow = true\n\
                fields = [\"udp.source=inc:1-5\"]\n[[stream]]\nname = \"bare\"\nstamp = false\nsize = \"imix-trex\"\n";
    fs::write(&scenario, text).unwrap();
    let (scenario, capture) = (scenario.to_str().unwrap(), temporary("back.pcapng"));
    let capture = capture.to_str().unwrap();
    let plain = judged(&python, "plain", &["run", "--duration", "1.2", "--rate", "10kpps"]);
    assert!(!plain["timeline"].as_array().unwrap().is_empty() && plain["latency"].is_null());
    let latency =
        ["run", "--count", "5000", "--latency", "--fail-on", "p99<0ns", "--fail-on", "max>0ns"];
    let latency = judged(&python, "latency", &latency);
    assert_eq!(latency["failed"].as_array().unwrap().len(), 2, "{}", latency["failed"]);
    let streams = judged(&python, "streams", &["run", "--scenario", scenario, "--latency=10"]);
    assert_eq!(streams["streams"][0]["flows"]["flows"], 5, "{streams}");
    let captured = judged(&python, "captured", &["run", "--count", "100", "--capture", capture]);
    assert_eq!(captured["capture"]["frames"], 200, "both ways");
    judged(&python, "discard", &["run", "--port", "discard", "--count", "1000", "--rate", "max"]);
    let cores = plat_linux::allowed_cores().unwrap();
    if let [a, b, ..] = cores[..] {
        let cores = format!("{a},{b}");
        judged(&python, "cores", &["run", "--core", &cores, "--count", "1000", "--latency"]);
    } else {
        println!("skipped: two threads need two cores, and there is one");
    }
}

#[test]
fn replays() {
    let Some(python) = judging_python() else { return };
    let file = temporary("played.pcap");
    let mut bytes = [0xa1b2_3c4du32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for n in 0..20u32 {
        bytes.extend([1000, n * 1000, 60 + n, 60 + n].map(u32::to_le_bytes).concat());
        bytes.extend(vec![0x55; 60 + n as usize]);
    }
    fs::write(&file, bytes).unwrap();
    let (file, back) = (file.to_str().unwrap(), temporary("back.pcap"));
    let back = back.to_str().unwrap();
    for (name, options) in [
        ("as-captured", &[][..]),
        ("compared", &["--compare", "--rate", "10kpps", "--loops", "3"]),
        ("recorded", &["--capture", back, "--speed", "10", "--direction", "forward"]),
    ] {
        let document = judged(&python, name, &[&["replay", file][..], options].concat());
        assert_eq!((&document["kind"], &document["size"]), (&"replay".into(), &Value::Null));
    }
}

/// Each kind of search, short and such that it ends, and how to make it long: by many trials, or by a long one.
const SEARCHES: [(&str, &[&str], &[&str]); 7] = [
    ("loss-ratios", &["--trial", "0.05", "--width", "20%"], &["--trial", "60"]),
    ("throughput", &["--trial", "0.05", "--width", "20%"], &["--trial", "60"]),
    (
        "latency",
        &["--trial", "0.05", "--at", "5kpps,10kpps"],
        &["--trial", "0.3", "--at", "5kpps", "--repeats", "900"],
    ),
    ("frame-loss", &["--trial", "0.05", "--steps", "3"], &["--trial", "60"]),
    (
        "back-to-back",
        &["--trial", "0.02", "--repeats", "2"],
        &["--trial", "0.2", "--repeats", "900"],
    ),
    (
        "recovery",
        &["--trial", "0.05", "--at", "10kpps"],
        &["--trial", "0.2", "--at", "10kpps", "--repeats", "900"],
    ),
    (
        "soak",
        &["--trial", "0.1", "--at", "10kpps", "--duration", "0.3"],
        &["--trial", "0.2", "--at", "10kpps"],
    ),
];
const RATES: [&str; 4] = ["--min-rate", "1kpps", "--max-rate", "50kpps"];

#[test]
fn searches() {
    let Some(python) = judging_python() else { return };
    for (kind, short, _) in SEARCHES {
        let arguments = [&["search", kind, "--max-time", "10"][..], &RATES, short].concat();
        let document = judged(&python, kind, &arguments);
        let found = &document["search"]["findings"];
        assert_eq!(
            (&document["search"]["search"], &found["kind"]),
            (&kind.into(), &kind.replace('-', "_").into())
        );
        assert!(document["ports"][1]["feature_bits"].is_string(), "{kind}: {}", document["ports"]);
        println!("{kind}: {}", document["search"]["completion"]);
    }
}

/// Starts pktgen, sends it `SIGINT` when a line has `word`, and judges both outputs.
#[track_caller]
fn interrupted(python: &Path, name: &str, arguments: &[&str], word: &str) -> Value {
    let file = temporary(&format!("{name}.json"));
    let mut command = pktgen(arguments);
    command.args(loop_ports(name)).args(["--quiet", "--jsonl", "-", "--json"]).arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.lines().last().is_some_and(|line| line.contains(word)) {
        assert!(out.read_line(&mut lines).unwrap() > 0, "{name} ended by itself: {lines}");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    out.read_to_string(&mut lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{name}: {words}");
    assert!(words.contains("interrupted: the result is of the part that ran"), "{name}: {words}");
    let document = judged_outputs(python, name, &fs::read_to_string(&file).unwrap(), &lines);
    assert_eq!(document["interrupted"], true, "{name}");
    document
}

#[test]
fn what_was_interrupted_is_a_result_of_the_same_form() {
    let Some(python) = judging_python() else { return };
    let running = "\"phase\":\"running\"";
    let run = ["run", "--rate", "10kpps", "--latency"];
    let document = interrupted(&python, "interrupted-run", &run, running);
    assert!(document["directions"][0]["sent"].as_u64() > Some(0), "{document}");
    for (kind, _, long) in SEARCHES {
        let arguments = [&["search", kind][..], &RATES, long].concat();
        let name = format!("interrupted-{kind}");
        // One trial is too long to end, or there is a second.
        let trials = if long.contains(&"60") { 0 } else { 1 };
        let document = interrupted(&python, &name, &arguments, &format!("\"trials\":{trials},"));
        let search = &document["search"];
        assert_eq!(search["completion"], "stopped", "{kind}");
        assert!(trials == 0 || kind == "recovery" || search["trials"][0].is_object(), "{search}");
    }
}

/// Nothing has come through: there is no result, only the seconds until then.
#[test]
fn an_interrupted_warm_up_has_no_result() {
    let Some(python) = judging_python() else { return };
    let port = format!("vhost-user:{},server", temporary("lonely").display());
    let mut command = pktgen(["run", "--port", &port, "--quiet", "--jsonl", "-"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    out.read_line(&mut lines).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    out.read_to_string(&mut lines).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    valid(&python, LINE, &lines);
    assert!(lines.contains("\"phase\":\"warm-up\"") && !lines.contains("\"result\""), "{lines}");
}

/// A judge that accepts everything would prove nothing.
#[test]
fn what_is_wrong_is_found() {
    let Some(python) = judging_python() else { return };
    let good = judged(&python, "wrong", &["run", "--count", "10"]);
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        assert!(!judge(&python, DOCUMENT, &value.to_string()).status.success(), "{value}");
    };
    wrong(&|value| value["directions"][0]["lost"] = (-1).into());
    wrong(&|value| value["directions"][0]["losses"] = 0.into());
    wrong(&|value| value["streams"][0]["sent"] = "10".into());
    wrong(&|value| value["schema_version"] = 2.into());
    wrong(&|value| value["surprise"] = 0.into());
    wrong(&|value| value["kind"] = "search".into());
    wrong(&|value| drop(value.as_object_mut().unwrap().remove("environment")));
    let line = "{\"schema\":\"pktgen\",\"schema_version\":1,\"type\":\"second\"}";
    assert!(!judge(&python, LINE, line).status.success());
}
