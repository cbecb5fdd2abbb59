//! What `--metrics` serves, read by independent implementations: the PyPI package `prometheus-client`, and `promtool`.

mod peers;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

/// Reads a page; prints each sample as `type name{label="value",..} value`, sorted labels.
const READER: &str = r#"
import sys
from prometheus_client.parser import text_string_to_metric_families
text = sys.stdin.read()
names = set()
for family in text_string_to_metric_families(text):
    assert family.name not in names, f"{family.name} stands twice"
    names.add(family.name)
    assert family.documentation and family.type in ("counter", "gauge"), family
    assert family.samples, f"{family.name} has no samples"
    labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
    assert len(labels) == len(set(labels)), f"{family.name}: a sample stands twice"
    for sample in family.samples:
        words = ",".join(f'{k}="{v}"' for k, v in sorted(sample.labels.items()))
        print(family.type, sample.name + "{" + words + "}", sample.value)
"#;

/// pktgen with two ports on one socket, ended when dropped.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let socket = temporary(name);
        let ports = [
            format!("vhost-user:{},server", socket.display()),
            format!("virtio-user:{}", socket.display()),
        ];
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pktgen"))
            .args(arguments)
            .args(["--port", &ports[0], "--port", &ports[1], "--quiet"])
            .args(["--metrics", &free.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address: free.to_string() }
    }

    /// The page, once it has `word`.
    fn page_with(&mut self, word: &str) -> String {
        loop {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended without `{word}`");
            let mut answer = String::new();
            if let Ok(mut stream) = TcpStream::connect(&self.address) {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
                stream.read_to_string(&mut answer).unwrap();
            }
            let (head, page) = answer.split_once("\r\n\r\n").unwrap_or_default();
            if page.contains(word) {
                assert!(head.contains("text/plain; version=0.0.4"), "{head}");
                return page.to_owned();
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn temporary(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("pktgen-figures-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory.join(name)
}

fn read_by(command: &mut Command, page: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The samples that the Python package finds.
#[track_caller]
fn samples(python: &PathBuf, page: &str) -> Vec<String> {
    let output = read_by(Command::new(python).args(["-c", READER]), page);
    assert!(output.status.success(), "{}\n{page}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The pages of a run with a stream whose name wants escaping, and of a search; had once.
fn pages() -> &'static [String; 2] {
    static PAGES: OnceLock<[String; 2]> = OnceLock::new();
    PAGES.get_or_init(serve)
}

fn serve() -> [String; 2] {
    let scenario = temporary("scenario.toml");
    std::fs::write(&scenario, "[[stream]]\nname = 'a \"quoted\\ name'\nrate = \"10kpps\"\n")
        .unwrap();
    let arguments =
        ["run", "--duration", "600", "--latency", "--scenario", scenario.to_str().unwrap()];
    let run = Serving::start("run", &arguments).page_with("pktgen_received_frames_total");
    let arguments = ["search", "soak", "--at", "10kpps", "--trial", "0.2"];
    let search = Serving::start("search", &arguments).page_with("pktgen_search_trials_total");
    [run, search]
}

#[test]
fn a_client_library_reads_the_figures() {
    let Some(python) = peers::python(&["prometheus_client"]) else { return };
    let [run, search] = pages();
    let found = samples(&python, run);
    let has = |start: &str| found.iter().any(|line| line.starts_with(start));
    assert!(has("gauge pktgen_up{} 1"), "{found:#?}");
    assert!(has("counter pktgen_sent_frames_total{direction=\"forward\"} "), "{found:#?}");
    assert!(found.iter().any(|line| line.contains("a \"quoted\\ name")), "{found:#?}");
    let lines = run.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(found.len(), lines, "every line is read as a sample: {run}");
    assert!(
        samples(&python, search).iter().any(|line| line.contains("pktgen_search_trials_total"))
    );
    // A reader that takes everything would prove nothing.
    let wrong = run.replacen("} ", "} many ", 1);
    assert!(!read_by(Command::new(&python).args(["-c", READER]), &wrong).status.success());
}

#[test]
fn promtool_finds_nothing_wrong() {
    let Some(promtool) = peers::program("promtool") else { return };
    for page in pages() {
        let output = read_by(Command::new(&promtool).args(["check", "metrics"]), page);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && words.is_empty(), "{words}\n{page}");
    }
}
