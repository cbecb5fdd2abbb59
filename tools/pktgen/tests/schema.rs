//! What the program really writes, against the schemas, judged by an independent implementation (PyPI `jsonschema`).

mod peers;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Reads the schemas' directory, the schema's name and a file of JSON lines; prints what is wrong.
const JUDGE: &str = r#"
import json, pathlib, sys
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
directory, name, lines = sys.argv[1:]
schemas = [json.loads(p.read_text()) for p in sorted(pathlib.Path(directory).glob("*.json"))]
for schema in schemas:
    Draft202012Validator.check_schema(schema)
registry = Registry().with_resources((s["$id"], Resource.from_contents(s)) for s in schemas)
schema = next(s for s in schemas if s["$id"] == name)
validator = Draft202012Validator(schema, registry=registry)
bad = 0
for number, line in enumerate(open(lines), 1):
    for error in validator.iter_errors(json.loads(line)):
        print(number, list(error.absolute_path), error.message[:600], [(list(e.absolute_path), e.message[:300]) for e in error.context or []][:8])
        bad += 1
sys.exit(bad > 0)
"#;

/// A Python that has the judge.
fn judging_python() -> Option<PathBuf> {
    peers::python(&["jsonschema", "referencing"])
}

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-schema-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

fn judge(python: &Path, schema: &str, lines: &str) -> Output {
    let file = temporary(&format!("{schema}-{:x}", lines.len()));
    std::fs::write(&file, lines).unwrap();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema");
    Command::new(python).args(["-c", JUDGE]).arg(directory).arg(schema).arg(file).output().unwrap()
}

#[track_caller]
fn valid(python: &Path, schema: &str, lines: &str) {
    let output = judge(python, schema, lines);
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}{}\n{lines}", String::from_utf8_lossy(&output.stderr));
}

fn pktgen(name: &str, subcommand: &[&str], arguments: &[&str]) -> String {
    let socket = temporary(name);
    let ports = [
        format!("vhost-user:{},server", socket.display()),
        format!("virtio-user:{}", socket.display()),
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_pktgen"))
        .args(subcommand)
        .args(["--port", &ports[0], "--port", &ports[1], "--quiet"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The document in one line.
fn one_line(document: &str) -> String {
    serde_json::from_str::<serde_json::Value>(document).unwrap().to_string()
}

#[test]
fn what_a_run_writes() {
    let Some(python) = judging_python() else { return };
    let document = pktgen(
        "run",
        &["run"],
        &[
            "--duration",
            "1.2",
            "--rate",
            "10kpps",
            "--latency",
            "--json",
            "-",
            "--fail-on",
            "p99<0ns",
        ],
    );
    valid(&python, "pktgen-document-1", &one_line(&document));
    let lines = pktgen(
        "lines",
        &["run"],
        &["--duration", "2.2", "--rate", "10kpps", "--latency=10", "--jsonl", "-"],
    );
    assert!(lines.lines().count() >= 4, "two seconds, the end, the result: {lines}");
    valid(&python, "pktgen-line-1", &lines);
}

#[test]
fn what_a_search_writes() {
    let Some(python) = judging_python() else { return };
    for (name, kind, arguments) in [
        ("ratios", "loss-ratios", &["--trial", "0.05", "--width", "20%"][..]),
        ("throughput", "throughput", &["--trial", "0.05", "--width", "20%"]),
        ("loss", "frame-loss", &["--trial", "0.05", "--steps", "3"]),
        ("soak", "soak", &["--trial", "0.1", "--duration", "0.3", "--at", "10kpps"]),
    ] {
        let common = ["--min-rate", "1kpps", "--max-rate", "100kpps", "--max-time", "5"];
        let document =
            pktgen(name, &["search", kind], &[arguments, &common, &["--json", "-"]].concat());
        valid(&python, "pktgen-document-1", &one_line(&document));
        let lines =
            pktgen(name, &["search", kind], &[arguments, &common, &["--jsonl", "-"]].concat());
        assert!(lines.lines().count() >= 3, "{lines}");
        valid(&python, "pktgen-line-1", &lines);
    }
}

/// A judge that accepts everything would prove nothing.
#[test]
fn what_is_wrong_is_found() {
    let Some(python) = judging_python() else { return };
    let document = pktgen("wrong", &["run"], &["--count", "10", "--json", "-"]);
    let mut value: serde_json::Value = serde_json::from_str(&document).unwrap();
    value["directions"][0]["lost"] = (-1).into();
    assert!(!judge(&python, "pktgen-document-1", &value.to_string()).status.success());
    value["directions"][0]["lost"] = 0.into();
    valid(&python, "pktgen-document-1", &value.to_string());
    value["schema_version"] = 2.into();
    assert!(!judge(&python, "pktgen-document-1", &value.to_string()).status.success());
    assert!(
        !judge(
            &python,
            "pktgen-line-1",
            "{\"schema\":\"pktgen\",\"schema_version\":1,\"type\":\"second\"}"
        )
        .status
        .success()
    );
}
