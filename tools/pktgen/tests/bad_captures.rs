//! Capture files that break the rules, and some that only look so, given to the program: what breaks them is refused
//! with status 2, the place in the file and what is accepted; what does not is played.

mod program;

use std::fs;
use std::path::PathBuf;

use program::{PORT, end, loop_ports, pktgen, refused, temporary};

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const SECTION: u32 = 0x0a0d_0d0a;
const ACCEPTED: &str = "accepted: pcap (micro- or nanosecond) and pcapng files of Ethernet frames";

/// Number `n` of any number of frames.
fn frame(n: u8) -> Vec<u8> {
    let mut frame = vec![n; 60];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// A packet of a pcap file: seconds, the fraction, the length there, the length on the wire, bytes.
struct Packet(u32, u32, u32, u32, Vec<u8>);

fn whole(time: u32, bytes: Vec<u8>) -> Packet {
    let len = u32::try_from(bytes.len()).unwrap();
    Packet(time, 0, len, len, bytes)
}

/// A pcap file; `swapped`: in the byte order that this machine does not have.
fn pcap(magic: u32, swapped: bool, snaplen: u32, link: u32, packets: &[Packet]) -> Vec<u8> {
    let word = |value: u32| if swapped { value.to_be_bytes() } else { value.to_le_bytes() };
    let version = if swapped { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut file = [word(magic), version, word(0), word(0), word(snaplen), word(link)].concat();
    for Packet(seconds, fraction, included, original, bytes) in packets {
        file.extend([*seconds, *fraction, *included, *original].map(word).concat());
        file.extend(bytes);
    }
    file
}

fn usual(packets: &[Packet]) -> Vec<u8> {
    pcap(MICRO, false, 65_535, ETHERNET, packets)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &len, body, &len].concat()
}

fn section() -> Vec<u8> {
    let magic = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0];
    block(SECTION, &[&magic[..], &[0xff; 8]].concat())
}

fn interface(link: u8, options: &[u8]) -> Vec<u8> {
    block(1, &[&[link, 0, 0, 0, 0, 0, 0, 0][..], options].concat())
}

fn enhanced(interface: u32, len: u32, bytes: &[u8]) -> Vec<u8> {
    block(6, &[&[interface, 0, 0, len, len].map(u32::to_le_bytes).concat()[..], bytes].concat())
}

/// A section with one frame.
fn good_pcapng() -> Vec<u8> {
    [section(), interface(1, &[]), enhanced(0, 60, &frame(1))].concat()
}

/// The file with a word at this place in the place of the one there.
fn with_word(mut file: Vec<u8>, place: usize, word: u32) -> Vec<u8> {
    file[place..place + 4].copy_from_slice(&word.to_le_bytes());
    file
}

fn saved(name: &str, bytes: &[u8]) -> PathBuf {
    let path = temporary(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Each file is refused with these words, by the command that plays it and by the one that takes a frame of it.
#[track_caller]
fn refused_files(table: Vec<(&str, Vec<u8>, &str)>) {
    for (name, bytes, because) in table {
        let path = saved("bad.pcap", &bytes);
        let path = path.to_str().unwrap();
        println!("{name}:");
        refused(["replay", path, "--port", PORT], 2, &[path, because, ACCEPTED]);
        let frame = format!("pcap:{path}#1");
        refused(["run", "--frame", &frame, "--port", PORT], 2, &[because, ACCEPTED]);
    }
}

/// The file is played: so many frames come back, and these words are said about the others.
#[track_caller]
fn played(name: &str, bytes: &[u8], frames: u64, about: &str) {
    let path = saved(&format!("{name}.pcap"), bytes);
    let mut command = pktgen(["replay", path.to_str().unwrap(), "--rate", "1kpps", "--compare"]);
    command.args(["--direction", "forward", "--json", "-"]).args(loop_ports(name));
    let ended = end(&mut command);
    assert_eq!(ended.status.code(), Some(0), "{name}: {}", ended.stderr);
    let document: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let direction = &document["directions"][0];
    assert_eq!((&direction["received"], &direction["lost"]), (&frames.into(), &0.into()), "{name}");
    assert!(ended.stderr.contains(about), "{name}: {}", ended.stderr);
}

#[test]
fn empty_and_cut_headers() {
    let file = usual(&[whole(0, frame(1))]);
    let cut = |len: usize| file[..len].to_vec();
    let mut table =
        vec![("empty", Vec::new(), "the file is empty"), ("no packet", cut(24), "no frame")];
    for len in [1, 3, 4, 8, 23] {
        table.push(("header", cut(len), "the file header has 24 bytes, the file"));
    }
    for len in [25, 39, 40, 41, 99] {
        table.push(("packet", cut(len), "packet 1 (byte 24): needs"));
    }
    let two = usual(&[whole(0, frame(1)), whole(0, frame(2))]);
    table.push(("second packet", two[..two.len() - 1].to_vec(), "packet 2 (byte 100): needs"));
    refused_files(table);
}

#[test]
fn magics() {
    let file = |magic| pcap(magic, false, 65_535, ETHERNET, &[whole(0, frame(1))]);
    let text = b"time,source,destination\n0.1,10.0.0.1,10.0.0.2\n".to_vec();
    refused_files(vec![
        ("none", file(0), "file header"),
        ("all ones", file(u32::MAX), "file header"),
        ("modified", file(0xa1b2_cd34), "file header"),
        ("another's", file(0xa1e2_cb12), "file header"),
        ("text", text, "file header"),
    ]);
    for (name, magic) in [("micro", MICRO), ("nano", NANO)] {
        for swapped in [false, true] {
            let packets = [whole(1, frame(1)), whole(1, frame(2))];
            let file = pcap(magic, swapped, 65_535, ETHERNET, &packets);
            played(&format!("{name}-{swapped}"), &file, 2, "");
        }
    }
}

#[test]
fn lengths() {
    let packet = |included, original| usual(&[Packet(0, 0, included, original, frame(1))]);
    let large = usual(&[whole(0, vec![1; 70_000])]);
    refused_files(vec![
        (
            "more than the rest",
            packet(61, 61),
            "packet 1 (byte 24): needs 61 bytes, the file has 60 more",
        ),
        ("more than there can be", packet(u32::MAX, u32::MAX), "packet 1 (byte 24): needs"),
        ("half of that", packet(1 << 31, 1 << 31), "packet 1 (byte 24): needs"),
        ("shorter on the wire", packet(60, 59), "packet 1 (byte 24)"),
        ("over 64 KiB", large, "packet 1 (byte 24)"),
        (
            "over the snapshot length",
            pcap(MICRO, false, 59, ETHERNET, &[whole(0, frame(1))]),
            "packet 1 (byte 24)",
        ),
        ("nothing but empty packets", usual(&[whole(0, vec![]), whole(0, vec![])]), "no frame"),
    ]);
    let packets = [whole(0, vec![]), whole(0, vec![1; 13]), whole(0, frame(1))];
    played(
        "short",
        &usual(&packets),
        1,
        "2 frames are too short for an Ethernet header and are left out",
    );
    let cut = Packet(0, 0, 60, 1514, frame(2));
    played(
        "cut",
        &usual(&[whole(0, frame(1)), cut]),
        2,
        "1 frames were cut when they were captured",
    );
}

#[test]
fn times() {
    let late = [whole(9, frame(1)), whole(3, frame(2)), whole(4, frame(3))];
    played("backwards", &usual(&late), 3, "1 frames have a time before that of the frame in front");
    let fraction = |magic, fraction| {
        pcap(magic, false, 65_535, ETHERNET, &[Packet(u32::MAX, fraction, 60, 60, frame(1))])
    };
    refused_files(vec![
        ("microseconds", fraction(MICRO, 1_000_000), "packet 1 (byte 24)"),
        ("nanoseconds", fraction(NANO, 1_000_000_000), "packet 1 (byte 24)"),
        ("more than there can be", fraction(NANO, u32::MAX), "packet 1 (byte 24)"),
    ]);
    played("last", &fraction(NANO, 999_999_999), 1, "");
}

#[test]
fn links_that_are_not_ethernet() {
    for link in [0, 101, 105, 113, 276, u32::MAX] {
        let file = pcap(MICRO, false, 65_535, link, &[whole(0, frame(1))]);
        refused_files(vec![("link", file, "file header: the link type is")]);
    }
    let file = [section(), interface(113, &[]), enhanced(0, 60, &frame(1))].concat();
    refused_files(vec![("interface", file, "interface: the link type is")]);
}

#[test]
fn pcapng_blocks() {
    let (good, at) = (good_pcapng(), section().len());
    let mut table: Vec<(&str, Vec<u8>, &str)> = Vec::new();
    for len in [5, 8, 12, 27, at + 4, at + 19, at + 21, good.len() - 1] {
        table.push(("cut", good[..len].to_vec(), "packet 1 (byte"));
    }
    for length in [0, 4, 8, 11, 13, 21, u32::MAX] {
        table.push(("length", with_word(good.clone(), at + 4, length), "packet 1 (byte 28)"));
        table.push(("section", with_word(good.clone(), 4, length), "packet 1 (byte 0)"));
    }
    let end = good.len() - 4;
    let options = |options: &[u8]| [section(), interface(1, options)].concat();
    let frame = frame(1);
    table.extend([
        ("trailing length", with_word(good.clone(), end, 0), "packet 1 (byte"),
        ("byte order", with_word(good.clone(), 8, 0x1234_5678), "packet 1 (byte 0)"),
        ("nothing but a section", section(), "no frame"),
        ("no interface", [section(), enhanced(0, 60, &frame)].concat(), "packet 1 (byte 28)"),
        (
            "unknown interface",
            [section(), interface(1, &[]), enhanced(1, 60, &frame)].concat(),
            "packet 1 (byte",
        ),
        (
            "packet overrun",
            [section(), interface(1, &[]), enhanced(0, 4000, &frame)].concat(),
            "packet 1 (byte",
        ),
        ("option overrun", options(&[9, 0, 200, 0]), "packet 1 (byte 28)"),
        ("option of one byte", options(&[9]), "packet 1 (byte 28)"),
    ]);
    refused_files(table);
}

/// What a resolution of 2^-127 or 10^-127 seconds makes of a time may be refused or taken; the program ends either way.
#[test]
fn pcapng_resolutions() {
    for resolution in [0xff, 0x80, 0x7f, 20, 9, 6, 0] {
        let options = [9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0];
        let file = [section(), interface(1, &options), enhanced(0, 60, &frame(1))].concat();
        let path = saved("resolution.pcapng", &file);
        let mut command = pktgen(["replay", path.to_str().unwrap(), "--quiet"]);
        let ended = end(command.args(loop_ports("resolution")));
        let refused = ended.status.code() == Some(2) && ended.stderr.contains(ACCEPTED);
        let played = ended.status.success() && ended.stdout.contains("1 sent, 1 received");
        assert!(refused || played, "{resolution:x}: {}", ended.stderr);
    }
}

/// A section in the other byte order in the middle of a file.
#[test]
fn pcapng_sections_of_both_byte_orders() {
    let mut other = good_pcapng();
    let (at, packet) = (28, 48);
    let end = other.len() - 4;
    // Words that are numbers, then halves of them: section, interface, packet.
    for word in [4, 8, 24, at, at + 4, at + 16, packet, packet + 4, packet + 20, packet + 24, end] {
        other[word..word + 4].reverse();
    }
    for half in [12, at + 8] {
        other[half..half + 2].reverse();
    }
    played("orders", &[good_pcapng(), other, good_pcapng()].concat(), 3, "");
}

#[test]
fn files_that_cannot_be_read() {
    let fifo = temporary("fifo.pcap");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    let mut paths =
        vec!["/nonexistent/capture.pcap", "/", "/dev/zero", "/dev/null", "/proc/self/mem"];
    match made {
        Ok(status) if status.success() => paths.push(fifo.to_str().unwrap()),
        _ => println!("skipped: no mkfifo for a file that nobody writes to"),
    }
    for path in paths {
        refused(["replay", path, "--port", PORT], 2, &[path, ACCEPTED]);
    }
    let forbidden = saved("forbidden.pcap", &usual(&[whole(0, frame(1))]));
    fs::set_permissions(&forbidden, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    if fs::File::open(&forbidden).is_ok() {
        println!("skipped: this user may read every file");
    } else {
        refused(["replay", forbidden.to_str().unwrap(), "--port", PORT], 2, &["Permission denied"]);
    }
}

#[test]
fn options_of_a_replay() {
    let file = saved(
        "options.pcap",
        &usual(&[whole(0, frame(1)), whole(0, frame(2)), whole(0, frame(3))]),
    );
    let file = file.to_str().unwrap();
    program::refused_each(
        &["replay", file, "--port", PORT],
        &[
            ("--speed 0", "accepted: a factor from 0.001 to 1000"),
            ("--speed -1", "accepted: a factor"),
            ("--speed NaN", "accepted: a factor"),
            ("--speed 1e400", "accepted: a factor"),
            ("--speed 1001", "accepted: a factor"),
            ("--speed 2 --rate 1pps", "cannot be used with"),
            ("--rate 0pps", "accepted: `max`, or a number above 0"),
            ("--loops 0", "--loops"),
            ("--loops -1", "--loops"),
            ("--loops 1 --duration 1", "cannot be used with"),
            ("--filter-port 80-", "accepted: numbers from 0 to 65535"),
            ("--filter-port 80,", "accepted: numbers from 0 to 65535"),
            ("--filter-port 65536", "accepted: numbers"),
            ("--filter-port http", "accepted: numbers"),
            ("--filter-length 128-64", "reversed"),
            ("--filter-length 1500", "none of the 3 frames passes the filter"),
            ("--rewrite src-ip=1.2.3", "accepted: src-mac=MAC"),
            ("--rewrite src-mac=1", "accepted: src-mac=MAC"),
            ("--rewrite 10.0.0.0/33=10.0.0.0/33", "accepted: src-mac=MAC"),
            ("--rewrite 10.0.0.0/8=10.0.0.0/16", "accepted: src-mac=MAC"),
            ("--macs-fixed", "--compare"),
            ("--capture /nonexistent/directory/back.pcap", "cannot write"),
            ("--size 64", "unexpected argument"),
        ],
    );
    refused(
        ["replay", file, "--port", "discard", "--rate", "50%@10G"],
        2,
        &["accepted: pps, bit/s, max"],
    );
    refused(["replay", file, "--port", PORT, "--capture", file], 2, &["would overwrite"]);
}
