//! Captures as others read them: tshark decodes every protocol without a complaint, scapy reads every field as it was
//! asked for and puts the same bytes together, and what scapy and editcap write we read as they wrote it.

mod cases;
#[path = "../peers/mod.rs"]
mod peers;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use netbuf::{DeviceMemory, Pool, PoolConfig};
use netdev::loopback;
use pktgen::capture::{Capture, Recorder};
use pktgen::{Direction, Options, Rate, Runner, StreamSpec};
use serde_json::Value;

use cases::{CASES, COUNT, Case, SIZES, first_size, spec};

/// A directory that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let place =
            std::env::temp_dir().join(format!("pktgen-dissectors-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        Self(place)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends the streams over a loopback and records them.
fn record(path: &Path, streams: Vec<StreamSpec>) {
    let (a, b) = loopback::pair();
    let recorder = Recorder::create(path, &["a".into(), "b".into()]).unwrap();
    let devices = [("a", a), ("b", b)].map(|(name, device)| (name.into(), recorder.tap(device)));
    let config = PoolConfig { buffers: 8192, ..PoolConfig::default() };
    let pool = Pool::new(DeviceMemory::from_heap(config.device_bytes()), config).unwrap();
    let options = Options {
        rate: Rate::Packets(1_000_000),
        direction: Direction::Forward,
        count: Some(100_000),
        streams,
        ..Options::default()
    };
    let mut runner = Runner::with_devices(devices.into(), pool, options).unwrap();
    let report = runner.run(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_clean(), "{report}");
    drop(runner);
    recorder.finish().unwrap();
}

/// The checksums that tshark verifies, and what it says of each: 0 bad, 1 good, 2 not verified, 3 there is none.
const CHECKSUMS: [&str; 5] = [
    "ip.checksum.status",
    "udp.checksum.status",
    "tcp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
];

/// What tshark makes of a frame.
struct Decoded {
    len: usize,
    protocols: String,
    /// Of all checksums, from the outside.
    checksums: Vec<String>,
    complaints: String,
}

/// Severities of tshark's experts from which on something is wrong: warnings and errors, not notes.
const WARNING: u32 = 0x0060_0000;

fn tshark(path: &Path) -> Vec<Decoded> {
    let mut arguments: Vec<&OsStr> = vec!["-r".as_ref(), path.as_ref(), "-T".as_ref()];
    arguments.extend(["fields", "-E", "separator=|", "-E", "aggregator=,"].map(OsStr::new));
    // The sequence numbers of a generator are no conversation.
    let preferences = ["ip.check_checksum", "udp.check_checksum", "tcp.check_checksum"];
    let preferences = preferences.map(|name| format!("{name}:TRUE"));
    for preference in
        preferences.iter().map(String::as_str).chain(["tcp.analyze_sequence_numbers:FALSE"])
    {
        arguments.extend(["-o", preference].map(OsStr::new));
    }
    let complaints = ["_ws.malformed", "_ws.short", "_ws.expert.message", "_ws.expert.severity"];
    for field in ["frame.len", "frame.protocols"].iter().chain(&CHECKSUMS).chain(&complaints) {
        arguments.extend([OsStr::new("-e"), field.as_ref()]);
    }
    let decoded = |line: &String| {
        let fields: Vec<&str> = line.split('|').collect();
        let severities = fields[10].split(',').filter_map(|word| word.parse::<u32>().ok());
        let complains =
            fields[7].len() + fields[8].len() > 0 || severities.into_iter().any(|s| s >= WARNING);
        let split = |text: &&str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        Decoded {
            len: fields[0].parse().unwrap(),
            protocols: fields[1].into(),
            checksums: fields[2..7].iter().filter(|f| !f.is_empty()).flat_map(split).collect(),
            complaints: if complains { fields[7..].join(" ") } else { String::new() },
        }
    };
    peers::lines_of("tshark", &arguments).iter().map(decoded).collect()
}

#[test]
fn tshark_decodes_every_protocol_without_complaint() {
    if peers::program("tshark").is_none() {
        return;
    }
    let scratch = Scratch::new("tshark");
    for name in ["all.pcap", "all.pcapng"] {
        let path = scratch.file(name);
        record(&path, (0..CASES.len()).map(spec).collect());
        let mut seen = BTreeMap::new();
        for frame in tshark(&path) {
            let number = (frame.len - first_size(0)) / SIZES;
            let case = &CASES[number];
            assert!(
                frame.protocols.trim_end_matches(":data") == case.tshark,
                "{}: tshark sees {}",
                case.frame,
                frame.protocols
            );
            let words = format!("{}: {:?} {}", case.frame, frame.checksums, frame.complaints);
            let tunnel = case.tshark.contains("ip:udp:vxlan");
            let fine = |status: &String| status == "1" || (tunnel && status == "3");
            assert!(frame.checksums.iter().all(fine), "{words}");
            let checked = ["ip:", "udp", "tcp", "icmp"].iter();
            let expected: usize =
                checked.map(|name| format!("{}:", case.tshark).matches(name).count()).sum();
            assert_eq!(frame.checksums.len(), expected, "{words}");
            assert_eq!(frame.complaints, "", "{words}");
            *seen.entry(number).or_insert(0) += 1;
        }
        assert_eq!(seen, (0..CASES.len()).map(|case| (case, COUNT)).collect());
    }
}

#[test]
fn tshark_finds_the_wrong_checksums_that_were_asked_for_and_no_other() {
    if peers::program("tshark").is_none() {
        return;
    }
    let scratch = Scratch::new("wrong");
    let path = scratch.file("wrong.pcap");
    let stream = |number: usize, kind: &str, frame: &str| StreamSpec {
        frame: frame.parse().unwrap(),
        checksums: format!("wrong:{kind}").parse().unwrap(),
        size: (100 + number).to_string().parse().unwrap(),
        count: Some(5),
        ..StreamSpec::default()
    };
    let wrong = [
        ("ipv4", "ethernet/ipv4/udp"),
        ("udp", "ethernet/ipv4/udp"),
        ("tcp", "ethernet/ipv6/tcp"),
        ("icmp", "ethernet/ipv4/icmp"),
        ("icmp", "ethernet/ipv6/icmp"),
    ];
    let streams = wrong.iter().enumerate().map(|(n, (kind, frame))| stream(n, kind, frame));
    record(&path, streams.collect());
    let frames = tshark(&path);
    assert_eq!(frames.len(), 5 * wrong.len());
    for frame in frames {
        let bad = frame.checksums.iter().filter(|status| *status == "0").count();
        assert_eq!(bad, 1, "{} {:?}", frame.protocols, frame.checksums);
        let (kind, spec) = wrong[frame.len - 100];
        // The order of the checksums is that of the headers; only IPv4 has one of its own in front.
        let place = usize::from(spec.contains("ipv4") && kind != "ipv4");
        assert_eq!(frame.checksums[place], "0", "{kind} of {spec}: {:?}", frame.checksums);
    }
}

/// What scapy makes of the packets of a file.
fn scapy(python: &Path, path: &Path) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dissectors/scapy_peer.py");
    let arguments: [&OsStr; 3] = [script.as_ref(), "read".as_ref(), path.as_ref()];
    let lines = peers::lines_of(python, &arguments);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Frame `k` of `case` as scapy sees it.
#[track_caller]
fn compare(case: &Case, k: usize, packet: &Value) {
    let layers = packet["layers"].as_array().unwrap();
    let names: Vec<_> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    let expected: Vec<_> = case.scapy.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "{}", case.frame);
    for ((name, fields), layer) in case.scapy.iter().zip(layers) {
        for (field, values) in fields.split_whitespace().map(|pair| pair.split_once('=').unwrap()) {
            let values: Vec<_> = values.split('|').collect();
            let found = &layer["fields"][field];
            assert_eq!(
                found,
                values[k % values.len()],
                "{}: frame {k}, {name}.{field}",
                case.frame
            );
        }
    }
    assert_eq!(packet["rebuilt"], true, "{}: scapy makes other bytes of frame {k}", case.frame);
}

#[test]
fn scapy_reads_every_field_as_it_was_asked_for() {
    let Some(python) = peers::python(&["scapy.all"]) else { return };
    let scratch = Scratch::new("scapy");
    for name in ["all.pcap", "all.pcapng"] {
        let path = scratch.file(name);
        record(&path, (0..CASES.len()).map(spec).collect());
        let capture = Capture::open(&path).unwrap();
        let packets = scapy(&python, &path);
        assert_eq!(packets.len(), COUNT * CASES.len());
        assert_eq!(capture.frames().len(), packets.len());
        let first = packets[0]["nanoseconds"].as_u64().unwrap();
        let mut seen = [0; CASES.len()];
        for ((packet, frame), time) in packets.iter().zip(capture.frames()).zip(capture.times()) {
            assert_eq!(packet["bytes"], hex(frame));
            // To the nanosecond.
            assert_eq!(packet["nanoseconds"].as_u64().unwrap() - first, *time);
            let number = (frame.len() - first_size(0)) / SIZES;
            compare(&CASES[number], seen[number], packet);
            seen[number] += 1;
        }
        assert_eq!(seen, [COUNT; CASES.len()]);
        let spread = capture.times().iter().any(|time| time % 1000 != 0);
        assert!(spread, "stamps of nanoseconds");
    }
}

/// Frames and their times, the first at 1.7e18 ns as clocks have it today.
fn timed() -> Vec<(u64, Vec<u8>)> {
    let frame = |n: u64| {
        let size = 60 + usize::try_from(n * 37 % 1400).unwrap();
        (1_700_000_000_000_000_000 + n * 1_001_004, vec![u8::try_from(n).unwrap(); size])
    };
    (0..100).map(frame).collect()
}

/// Whether we read what somebody wrote; `unit` nanoseconds are the finest that the file has.
#[track_caller]
fn reads(path: &Path, frames: &[(u64, Vec<u8>)], unit: u64) {
    let capture = Capture::open(path).unwrap();
    let name = path.display();
    assert_eq!(capture.frames().len(), frames.len(), "{name}");
    for (number, (time, bytes)) in frames.iter().enumerate() {
        assert_eq!(&*capture.frames()[number], &**bytes, "{name}: frame {number}");
        let ours = capture.times()[number];
        let theirs = time / unit * unit - frames[0].0 / unit * unit;
        assert_eq!(ours, theirs, "{name}: time of frame {number}");
    }
    assert_eq!((capture.undersize, capture.cut, capture.backwards), (0, 0, 0), "{name}");
}

#[test]
fn what_scapy_writes_is_read_as_it_was_written() {
    let Some(python) = peers::python(&["scapy.all"]) else { return };
    let scratch = Scratch::new("written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dissectors/scapy_peer.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg("write")
        .arg(&scratch.0)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let frames = timed();
    let mut input = child.stdin.take().unwrap();
    for (time, bytes) in &frames {
        writeln!(input, "{time} {}", hex(bytes)).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    reads(&scratch.file("micro.pcap"), &frames, 1000);
    reads(&scratch.file("nano.pcap"), &frames, 1);
    reads(&scratch.file("micro.pcapng"), &frames, 1000);
}

#[test]
fn what_editcap_makes_of_our_captures_is_read_as_it_was() {
    if peers::program("editcap").is_none() {
        return;
    }
    let scratch = Scratch::new("editcap");
    for own in ["own.pcap", "own.pcapng"] {
        let path = scratch.file(own);
        record(&path, (0..CASES.len()).map(spec).collect());
        let capture = Capture::open(&path).unwrap();
        // Written by editcap in nanoseconds, the frames and their distances are the same.
        for format in ["nsecpcap", "pcapng"] {
            let other = scratch.file(&format!("{own}-{format}"));
            let arguments: [&OsStr; 4] =
                ["-F".as_ref(), format.as_ref(), path.as_ref(), other.as_ref()];
            peers::lines_of("editcap", &arguments);
            let read = Capture::open(&other).unwrap();
            assert_eq!(read.frames(), capture.frames(), "{own} as {format}");
            assert_eq!(read.times(), capture.times(), "{own} as {format}");
        }
    }
}
