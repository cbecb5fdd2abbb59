//! DPDK's testpmd as one side: its command line, and what its tables say.
//!
//! Cycles are its own (`--record-core-cycles`): while swapping and receiving, of the bursts that brought packets;
//! while generating and sending, of every attempt, those included that found the ring full.

use std::process::Command as Program;
use std::time::Instant;

use super::job::{Account, Work};
use super::plan::{Path, Role};
use super::side::{Conversation, Side, SideError, Wiring};

/// The program.
const PROGRAM: &str = "dpdk-testpmd";
/// MiB of its memory, and packet buffers in it: rings, caches and bursts several times over. (Without a word it
/// makes 20 times as many, which is no faster, and takes 376 MiB.)
pub const MEMORY_MIB: usize = 32;
/// The same where the pages are ordinary ones and cost nothing before they are used.
const ORDINARY_MEMORY_MIB: usize = 128;
const BUFFERS: usize = 8192;

/// Its version.
///
/// # Errors
/// It is not installed; in words.
pub fn version() -> Result<String, String> {
    // The last two contradict each other: it ends as soon as it has said its version.
    let words = ["-v", "--no-pci", "--no-huge", "--in-memory"];
    let output = Program::new(PROGRAM).args(words).output().map_err(|error| {
        format!("{PROGRAM} cannot be run ({error}); `tools/setup --tests` installs it (Debian package dpdk-dev)")
    })?;
    let said = [output.stdout, output.stderr].concat();
    Ok(version_in(&String::from_utf8_lossy(&said)))
}

fn version_in(text: &str) -> String {
    let line = text.lines().find_map(|line| line.split_once("RTE Version: ").map(|(_, rest)| rest));
    line.unwrap_or("unknown").trim().trim_matches('\'').to_owned()
}

/// A running testpmd.
pub struct Testpmd {
    conversation: Conversation,
    began: Instant,
    last: Account,
}

/// How a testpmd is started, beside what every one of ours has in common: a prompt, one core for both of its threads,
/// no PCI, and a single file per memory region, so that a peer can map it.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The core.
    pub core: usize,
    /// Its memory lies in huge pages, or else in ordinary ones.
    pub huge_pages: bool,
    /// Tells its files from others' (`--file-prefix`).
    pub prefix: String,
    /// Its ports (`--vdev`), in order.
    pub devices: Vec<String>,
    /// Further words for DPDK's environment.
    pub environment: Vec<String>,
    /// Further words for testpmd itself.
    pub options: Vec<String>,
}

impl Launch {
    fn words(&self) -> Vec<String> {
        let core = self.core;
        let (memory, size) = match self.huge_pages {
            true => ("--in-memory", MEMORY_MIB),
            false => ("--no-huge", ORDINARY_MEMORY_MIB),
        };
        let mut words = vec![
            format!("--lcores=0@{core},1@{core}"),
            format!("-m{size}"),
            memory.into(),
            "--no-pci".into(),
            "--no-telemetry".into(),
            "--single-file-segments".into(),
            format!("--file-prefix={}", self.prefix),
        ];
        words.extend(self.devices.iter().map(|device| format!("--vdev={device}")));
        words.extend_from_slice(&self.environment);
        words.extend(["--", "-i", "--nb-cores=1"].map(String::from));
        words.push(format!("--total-num-mbufs={BUFFERS}"));
        words.extend_from_slice(&self.options);
        words
    }
}

impl Testpmd {
    /// Starts it as one side of a pair, and waits until it takes commands.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub fn start(role: Role, wiring: &Wiring) -> Result<Self, SideError> {
        Self::launch(&format!("DPDK's {role}"), &side(role, wiring, std::process::id()))
    }

    /// Starts it, and waits until it takes commands. `name` stands in messages.
    ///
    /// # Errors
    /// It cannot be started, or ends at once.
    pub fn launch(name: &str, launch: &Launch) -> Result<Self, SideError> {
        // Its standard output would else be held back, because it is no terminal.
        let mut program = Program::new("stdbuf");
        program.arg("-oL").arg(PROGRAM).args(launch.words());
        let mut conversation = Conversation::start(name, &mut program)?;
        conversation.hear(|line| line.starts_with("Checking link statuses"))?;
        Ok(Self { conversation, began: Instant::now(), last: Account::default() })
    }

    /// Gives commands, and waits for the line for which `is_last` holds; the lines up to then.
    ///
    /// # Errors
    /// It has ended or does not say so.
    pub fn ask(
        &mut self,
        commands: &str,
        is_last: impl FnMut(&str) -> bool,
    ) -> Result<Vec<String>, SideError> {
        self.conversation.forget();
        self.conversation.say(commands)?;
        self.conversation.hear(is_last)
    }

    /// Its latest messages on standard error: what DPDK's drivers say of themselves.
    pub fn messages(&self) -> Vec<String> {
        self.conversation.complaints()
    }
}

/// One side of a pair.
fn side(role: Role, wiring: &Wiring, unique: u32) -> Launch {
    let socket = wiring.socket.display();
    let device = match role {
        Role::BackEnd => format!("net_vhost0,iface={socket},queues=1"),
        Role::Driver => format!(
            "net_virtio_user0,path={socket},queues=1,queue_size={},packed_vq={}{}",
            wiring.ring,
            u8::from(wiring.path == Path::Packed),
            vectorized(wiring),
        ),
    };
    let name = socket.to_string();
    let name = name.rsplit('/').next().unwrap_or_default();
    Launch {
        core: wiring.core(role),
        huge_pages: wiring.huge_pages,
        prefix: format!("bw{unique}-{role}-{name}"),
        devices: vec![device],
        environment: if wiring.vectorized {
            vec!["--force-max-simd-bitwidth=512".into()]
        } else {
            Vec::new()
        },
        options: vec!["--record-core-cycles".into()],
    }
}

/// What virtio-user takes its vectorized paths for: packed rings in order, split ones out of it, neither with mergeable
/// buffers.
fn vectorized(wiring: &Wiring) -> &'static str {
    match (wiring.vectorized, wiring.path) {
        (false, _) => "",
        (true, Path::Split) => ",mrg_rxbuf=0,in_order=0,vectorized=1",
        (true, Path::Packed) => ",mrg_rxbuf=0,in_order=1,vectorized=1",
    }
}

/// The words that prepare and begin `work`. Its generator counts the FCS to the size, its sender does not.
fn beginning(work: Work, size: u16) -> Result<String, SideError> {
    let (mode, size) = match work {
        Work::Swap => ("macswap", size),
        Work::Generate => ("flowgen", size + 4),
        Work::Send => ("txonly", size),
        Work::Receive => ("rxonly", size),
        Work::Verify => return Err(SideError("testpmd compares no contents".into())),
    };
    Ok(format!("set fwd {mode}\nset txpkts {size}\nstart"))
}

impl Side for Testpmd {
    fn start(&mut self, work: Work, size: u16) -> Result<(), SideError> {
        self.conversation.forget();
        self.conversation.say(&beginning(work, size)?)
    }

    fn account(&mut self) -> Result<Account, SideError> {
        self.conversation.say("show fwd stats all\nshow port stats 0")?;
        let mut tables = Tables::default();
        self.conversation.hear(|line| tables.read(line))?;
        let nanos = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last = tables.account(&self.last, nanos);
        Ok(self.last)
    }

    fn stop(&mut self) -> Result<(), SideError> {
        self.conversation.say("stop")?;
        self.conversation.hear(|line| line.trim_end() == "Done.").map(|_| ())
    }

    fn id(&self) -> u32 {
        self.conversation.id()
    }
}

/// The table of forward statistics, and after it that of the port, line by line.
#[derive(Clone, Debug, Default)]
struct Tables {
    account: Account,
    /// Received packets per second since the last such table, by testpmd's clock; and sent ones.
    receive_rate: u64,
    send_rate: u64,
    in_port: bool,
}

impl Tables {
    /// Reads a line; whether it is the last.
    fn read(&mut self, line: &str) -> bool {
        let account = &mut self.account;
        if line.contains("NIC statistics for port") {
            self.in_port = true;
        } else if self.in_port {
            let number = |key| after(line, key);
            account.received = number("RX-packets:").unwrap_or(account.received);
            account.received_bytes = number("RX-bytes:").unwrap_or(account.received_bytes);
            account.sent = number("TX-packets:").unwrap_or(account.sent);
            self.receive_rate = number("Rx-pps:").unwrap_or(self.receive_rate);
            self.send_rate = number("Tx-pps:").unwrap_or(self.send_rate);
            let line = line.trim();
            return line.len() > 10 && line.bytes().all(|byte| byte == b'#');
        } else if let Some(cycles) = after(line, "(total cycles=") {
            account.cycles = cycles;
            account.packets = after(line, " packets=").unwrap_or(0);
        }
        false
    }

    /// The account, `nanos` after the beginning by our clock. Its time is testpmd's own where it can be told from the
    /// rate: its answers come when its core has a moment, and are late by some of the window.
    fn account(mut self, last: &Account, nanos: u64) -> Account {
        let (moved, rate) = match self.receive_rate {
            0 => (self.account.sent.saturating_sub(last.sent), self.send_rate),
            rate => (self.account.received.saturating_sub(last.received), rate),
        };
        let own = u128::from(moved) * 1_000_000_000 / u128::from(rate.max(1));
        let own = u64::try_from(own).unwrap_or(u64::MAX);
        let known = rate > 0 && last.nanos > 0;
        self.account.nanos = if known { last.nanos.saturating_add(own) } else { nanos };
        self.account
    }
}

/// The number that follows `key`.
fn after(line: &str, key: &str) -> Option<u64> {
    let rest = line.split_once(key)?.1.trim_start();
    let digits = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versus::cores::Cores;

    /// Recorded from DPDK 22.11.
    const FIRST: &str = include_str!("recorded/first.txt");
    const SECOND: &str = include_str!("recorded/second.txt");

    fn read(text: &str) -> Tables {
        let mut tables = Tables::default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.iter().position(|line| tables.read(line));
        assert_eq!(
            last,
            Some(lines.len() - 1),
            "the table ends with its last line, and no earlier"
        );
        tables
    }

    #[test]
    fn recorded_tables_are_understood() {
        let account = read(FIRST).account(&Account::default(), 77);
        let expected = Account {
            nanos: 77,
            received: 1_929_472,
            received_bytes: 115_768_320,
            sent: 1_930_816,
            cycles: 5_003_326_796,
            packets: 1_930_816,
            ..Account::default()
        };
        assert_eq!(account, expected);
        let later = read(SECOND).account(&account, 5_000_000_000);
        assert_eq!((later.received, later.packets), (2_895_808, 2_897_440));
        // 966,336 packets at 947,388 per second.
        assert_eq!(later.nanos, 77 + 1_020_000_253);
        assert_eq!(later.received_bytes / later.received, 60);
    }

    #[test]
    fn a_port_that_received_nothing_has_our_time() {
        let text = FIRST.replace("1929472", "0").replace("115768320", "0");
        let account = read(&text).account(&Account { nanos: 5, ..Account::default() }, 99);
        assert_eq!((account.received, account.nanos), (0, 99));
    }

    #[test]
    fn numbers_end_where_digits_end() {
        assert_eq!(after("x: 12 y:34z", "x:"), Some(12));
        assert_eq!(after("x: 12 y:34z", "y:"), Some(34));
        assert_eq!(after("x: -", "x:"), None);
        assert_eq!(version_in("EAL: RTE Version: 'DPDK 22.11.7'\n"), "DPDK 22.11.7");
        assert_eq!(version_in("?"), "unknown");
    }

    #[test]
    fn the_command_lines_are_those_of_the_facts() {
        let wiring = Wiring {
            program: "".as_ref(),
            socket: "/tmp/x/dpdk.sock".as_ref(),
            cores: Cores { back_end: 2, driver: 3 },
            path: Path::Packed,
            ring: 1024,
            huge_pages: false,
            vectorized: false,
        };
        let words = side(Role::Driver, &wiring, 7).words().join(" ");
        for part in [
            "--lcores=0@3,1@3 ",
            " --no-huge ",
            " --single-file-segments ",
            " --file-prefix=bw7-driver-dpdk.sock ",
            "path=/tmp/x/dpdk.sock,queues=1,queue_size=1024,packed_vq=1 -- -i --nb-cores=1",
        ] {
            assert!(words.contains(part), "{part:?} in {words:?}");
        }
        let words = side(Role::Driver, &Wiring { vectorized: true, ..wiring }, 7).words().join(" ");
        for part in [
            "packed_vq=1,mrg_rxbuf=0,in_order=1,vectorized=1 ",
            " --force-max-simd-bitwidth=512 -- ",
        ] {
            assert!(words.contains(part), "{part:?} in {words:?}");
        }
        let words =
            side(Role::BackEnd, &Wiring { huge_pages: true, ..wiring }, 7).words().join(" ");
        assert!(words.contains("--lcores=0@2,1@2 ") && words.contains("--in-memory"));
        assert!(words.contains("net_vhost0,iface=/tmp/x/dpdk.sock,queues=1 "));
    }

    #[test]
    fn its_generator_counts_the_fcs() {
        let words = |work| beginning(work, 64).map_err(|error| error.0);
        assert_eq!(words(Work::Generate).unwrap(), "set fwd flowgen\nset txpkts 68\nstart");
        assert_eq!(words(Work::Send).unwrap(), "set fwd txonly\nset txpkts 64\nstart");
        assert!(words(Work::Verify).is_err());
    }
}
