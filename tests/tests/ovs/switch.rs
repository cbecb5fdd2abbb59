//! Open vSwitch with DPDK in a directory of its own: database, sockets and bridge are its alone, and end with it.

use std::path::Path;
use std::process::{Command, Stdio};

use end_to_end::process::{Ended, Process};
use end_to_end::scratch::Scratch;
use rustix::process::Signal;

/// Debian's `openvswitch-switch-dpdk`; its `ovs-vswitchd` on the `PATH` is one without DPDK.
const DAEMON: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
/// Everything else that is needed.
const TOOLS: [&str; 5] = ["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-ofctl", "ip"];

/// A port of the switch: its number is its place among the others, from 1 on.
#[derive(Clone, Debug)]
pub(crate) struct SwitchPort {
    pub(crate) name: String,
    /// `type=` and `options:`, as `ovs-vsctl` takes them.
    pub(crate) words: Vec<String>,
}

/// Whether it is installed; says so where it is not.
pub(crate) fn installed() -> bool {
    let daemon = Path::new(DAEMON).exists();
    if !daemon {
        end_to_end::skip(&format!(
            "{DAEMON} is not there (package openvswitch-switch-dpdk; tools/setup --tests installs it)"
        ));
    }
    daemon && TOOLS.iter().all(|tool| end_to_end::have(tool))
}

/// A running switch.
pub(crate) struct Switch<'a> {
    scratch: &'a Scratch,
    /// Of the core that moves packets.
    core: usize,
    bridge: String,
    ports: usize,
    starts: u32,
    daemon: Option<Process>,
    _database: Process,
}

impl<'a> Switch<'a> {
    /// Starts it with these ports, neighbours joined in pairs: 1 and 2, 3 and 4, ...
    pub(crate) fn start(scratch: &'a Scratch, core: usize, ports: &[SwitchPort]) -> Self {
        let database = scratch.file("conf.db");
        run(command(scratch, "ovsdb-tool").args(["create", &database, SCHEMA]));
        let mut server = command(scratch, "ovsdb-server");
        server.arg(format!("--remote=punix:{}", scratch.file("db.sock")));
        server.arg(format!("--unixctl={}", scratch.file("db.ctl"))).arg(&database);
        let server = Process::start(&mut server);
        // An interface of the system has the bridge's name, so no other test may have it.
        let bridge = format!("bw{}", std::process::id());
        let mut switch = Self {
            scratch,
            core,
            bridge,
            ports: ports.len(),
            starts: 0,
            daemon: None,
            _database: server,
        };
        // (It waits for the database.)
        switch.control(&["--no-wait".into(), "init".into()]);
        switch.configure(ports);
        switch.start_daemon();
        switch
    }

    fn configure(&self, ports: &[SwitchPort]) {
        let mut words: Vec<String> =
            ["--no-wait", "set", "Open_vSwitch", "."].map(String::from).into();
        let prefix = &self.bridge;
        words.extend([
            "other_config:dpdk-init=true".into(),
            format!("other_config:dpdk-extra=\"--no-huge --legacy-mem -m 768 --no-pci --no-telemetry --file-prefix={prefix}\""),
            // Without, it tries for 660 MB, and gives up where half of that is in one piece no more.
            "other_config:per-port-memory=true".into(),
            format!("other_config:pmd-cpu-mask={}", mask(self.core)),
        ]);
        let more = ["--", "add-br", prefix, "--", "set", "bridge", prefix];
        words.extend(more.map(String::from));
        words.extend(["datapath_type=netdev", "fail-mode=secure"].map(String::from));
        for (number, port) in (1..).zip(ports) {
            let add = ["--", "add-port", prefix, &port.name, "--", "set", "Interface", &port.name];
            words.extend(add.map(String::from));
            words.push(format!("ofport_request={number}"));
            words.extend_from_slice(&port.words);
        }
        self.control(&words);
    }

    /// Starts the daemon, which forgets its flows when it ends.
    pub(crate) fn start_daemon(&mut self) {
        let mut daemon = command(self.scratch, DAEMON);
        // No datapath of the kernel's, and none of the system's routes.
        daemon.args(["--disable-system", "--disable-system-route"]);
        daemon.arg(format!("--unixctl={}", self.scratch.file("switch.ctl")));
        daemon.arg(format!("unix:{}", self.scratch.file("db.sock")));
        self.daemon = Some(Process::start(&mut daemon));
        self.starts += 1;
        // A change is confirmed once it has taken over all that the database says.
        let change = format!("other_config:starts={}", self.starts);
        self.control(&["set".into(), "bridge".into(), self.bridge.clone(), change]);
        for first in (1..=self.ports).step_by(2) {
            self.join(first, first + 1);
            self.join(first + 1, first);
        }
    }

    fn join(&self, from: usize, to: usize) {
        let flow = format!("in_port={from},actions=output:{to}");
        run(command(self.scratch, "ovs-ofctl").args(["add-flow", &self.bridge, &flow]));
    }

    /// Kills the daemon: it has no chance to say goodbye to anybody.
    pub(crate) fn kill_daemon(&mut self) {
        let daemon = self.daemon.take().expect("it runs");
        daemon.signal(Signal::KILL);
        let ended = daemon.end();
        assert_eq!(ended.status.code(), None, "it ended by itself:\n{}", ended.output);
    }

    /// What the daemon has said.
    pub(crate) fn said(&self) -> String {
        self.daemon.as_ref().map(|daemon| daemon.lines().join("\n")).unwrap_or_default()
    }

    /// Whether each port is there, in the daemon's own words.
    pub(crate) fn assert_ports(&self) {
        let words = ["--columns=name,error,ofport", "list", "Interface"].map(String::from);
        let listed = self.control(&words).output;
        let without = listed
            .lines()
            .filter(|line| line.starts_with("error "))
            .all(|line| line.ends_with("[]"));
        assert!(without, "{listed}\n{}", self.said());
    }

    fn control(&self, words: &[String]) -> Ended {
        let mut control = command(self.scratch, "ovs-vsctl");
        control.arg(format!("--db=unix:{}", self.scratch.file("db.sock")));
        control.args(["--retry", "--timeout=30"]).args(words);
        let ended = Process::start(&mut control).end();
        let why = || format!("{control:?}: {}\nThe switch said:\n{}", ended.output, self.said());
        assert!(ended.status.success(), "{}", why());
        ended
    }
}

impl Drop for Switch<'_> {
    fn drop(&mut self) {
        self.daemon = None;
        // The bridge's own interface outlives a daemon that is killed.
        let mut delete = command(self.scratch, "ip");
        let _ = delete.args(["link", "delete", &self.bridge]).stderr(Stdio::null()).status();
    }
}

/// A mask with a core's bit, whatever its number.
fn mask(core: usize) -> String {
    format!("{:#x}{}", 1 << (core % 4), "0".repeat(core / 4))
}

/// One of its programs, whose files all are in `scratch`.
fn command(scratch: &Scratch, program: &str) -> Command {
    let mut command = Command::new(program);
    let directories = ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"];
    // (The last two are DPDK's.)
    for name in directories.into_iter().chain(["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"]) {
        command.env(name, scratch.as_ref());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

/// Runs a command that ends by itself and must succeed.
fn run(command: &mut Command) {
    let ended = Process::start(command).end();
    assert!(ended.status.success(), "{command:?}: {:?}\n{}", ended.status, ended.output);
}
