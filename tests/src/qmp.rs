//! QEMU's monitor (QMP): what QEMU itself says of a guest, and what it is told to do to it.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// A connection.
#[derive(Debug)]
pub struct Monitor {
    socket: UnixStream,
    answers: Lines<BufReader<UnixStream>>,
}

/// A virtio device as QEMU sees it.
#[derive(Debug)]
pub struct Virtio {
    /// Its path in QEMU's tree of objects.
    pub path: String,
    /// The names of the features that its driver has accepted.
    pub accepted: Vec<String>,
    /// Accepted features that QEMU has no names for, by their bits.
    pub nameless: u64,
    /// The names of the bits of its status.
    pub status: Vec<String>,
}

impl Virtio {
    /// Whether its driver has accepted the feature of this name.
    pub fn has(&self, feature: &str) -> bool {
        self.accepted.iter().any(|name| name == feature)
    }

    /// Whether QEMU has given up on its driver.
    pub fn needs_reset(&self) -> bool {
        self.status.iter().any(|name| name == "VIRTIO_CONFIG_S_NEEDS_RESET")
    }
}

impl Monitor {
    /// Connects to a QEMU that listens there.
    pub fn connect(path: &str) -> Self {
        let socket = UnixStream::connect(path).expect("QEMU listens");
        let mut answers = BufReader::new(socket.try_clone().expect("it can be cloned")).lines();
        answers.next();
        let mut monitor = Self { socket, answers };
        monitor.ask("qmp_capabilities", json!({}));
        monitor
    }

    /// Runs a command; its answer.
    #[track_caller]
    pub fn ask(&mut self, execute: &str, arguments: Value) -> Value {
        let command = json!({"execute": execute, "arguments": arguments});
        writeln!(self.socket, "{command}").expect("QEMU reads its monitor");
        let mut answers = self.answers.by_ref().map(|line| line.expect("QEMU answers"));
        let answer = answers.find(|line| !line.contains("\"event\"")).expect("QEMU answers");
        let answer: Value = serde_json::from_str(&answer).expect("answers are JSON");
        assert!(answer.get("return").is_some(), "{command}: {answer}");
        answer["return"].clone()
    }

    /// The network devices, in the order of their making.
    pub fn network_devices(&mut self) -> Vec<Virtio> {
        let list = self.ask("x-query-virtio", json!({}));
        let all = list.as_array().expect("a list").iter();
        let network = all.filter(|device| device["name"] == "virtio-net");
        let mut paths: Vec<_> = network.map(|device| words(&device["path"])).collect();
        paths.sort();
        paths.into_iter().map(|path| self.device(path)).collect()
    }

    fn device(&mut self, path: String) -> Virtio {
        let state = self.ask("x-query-virtio-status", json!({"path": path}));
        let features = &state["guest-features"];
        let accepted = [names(&features["dev-features"]), names(&features["transports"])].concat();
        let nameless = features["unknown-dev-features"].as_u64().unwrap_or(0);
        let status = names(&state["status"]["statuses"]);
        Virtio { path, accepted, nameless, status }
    }
}

/// Names of a list of `NAME: explanation`.
fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.map(|text| words(text).split(':').next().unwrap_or_default().to_owned()).collect()
}

fn words(text: &Value) -> String {
    text.as_str().unwrap_or_default().to_owned()
}
