//! Command lines that break the rules (robustness: rates, sizes, ranges, twice and not at all, what is no text, cores,
//! sockets, files that cannot be read or written): refused before anything is sent, with status 2 and what is accepted.

mod program;

use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use program::{PORT, end, loop_ports, pktgen, refused, refused_each, temporary};

const RUN: [&str; 3] = ["run", "--port", PORT];
const SEARCH: [&str; 3] = ["search", "--port", PORT];

#[track_caller]
fn each(option: &str, values: &[&str], because: &[&str]) {
    for value in values {
        refused(RUN.iter().copied().chain([option, value]), 2, because);
    }
}

#[test]
fn rates() {
    let accepted = "accepted: `max`, or a number above 0 with a unit";
    let none = [
        "",
        " ",
        "0",
        "0pps",
        "-1",
        "-1pps",
        "+1pps",
        "NaN",
        "NaNpps",
        "inf",
        "1e400",
        "1e400pps",
        "1e3pps",
        "1T",
        "1000",
        "10 Mbps",
        "1,5Mpps",
        ".pps",
        "1.2.3pps",
        "0x10pps",
        "1Mpps/s",
        "0.4pps",
        "2Gpps",
        "1001Gbit/s",
        "99999999999999999999999999pps",
        "0%@10G",
        "101%@10G",
        "-5%@10G",
        "NaN%@10G",
        "50%@11G",
        "50%@",
        "50%",
        "%@10G",
        "Max",
        "MAX",
        "1mpps",
        "\u{0661}Mpps",
        "1\u{00b5}pps",
    ];
    each("--rate", &none, &["--rate", accepted]);
    // A rate of bits and one of packets are told apart by their units, and a unit is not guessed.
    for (text, reads) in
        [("10Mbps", "10Mbit/s"), ("10Mpps", "10Mpps"), ("10Mbit/s_L1", "10Mbit/s_L1")]
    {
        assert_eq!(text.parse::<pktgen::Rate>().unwrap().to_string(), reads);
    }
}

#[test]
fn sizes() {
    let none = [
        "",
        "0",
        "13",
        "59",
        "65281",
        "65536",
        "4294967360",
        "64-32",
        "-64",
        "+64",
        "64.0",
        "NaN",
        "1e2",
        "64,",
        ",64",
        "64,,128",
        "64x",
        "64x0",
        "x4",
        "64x-1",
        "64x99999",
        "sweep:",
        "sweep:64",
        "sweep:128-64",
        "sweep:64-128/0",
        "sweep:64-128/-1",
        "sweep:59-128",
        "sweep:64-65281",
        "uniform:128-64",
        "uniform:64-128@x",
        "uniform:64-128@",
        "imix",
        "IMIX-CSIT",
        "imix-csit,64",
        "normal:64-128",
        "uniform:60-65280",
    ];
    each("--size", &none, &["--size", "accepted: bytes from 60 to 65280", "sweep:FROM-TO"]);
}

#[test]
fn frames() {
    refused_each(
        &[&RUN[..], &["--frame"]].concat(),
        &[
            ("ipv4/udp", "begins with `ethernet`"),
            ("ethernet/udp", "accepted: vlan, qinq"),
            ("ethernet/ethernet", "cannot follow ethernet"),
            ("ethernet/ipv4/udp/", "is no protocol; accepted: ethernet"),
            ("ethernet//udp", "is no protocol"),
            ("ethernet/ipv4/gre", "something must follow"),
            ("ethernet/ipv4(source=10.0.0.256)/udp", "10.0.0.256"),
            ("ethernet/ipv4(source=fe80::1)/udp", "does not fit 32 bits"),
            ("ethernet/ipv4(source=1", "closing parenthesis"),
            ("ethernet/ipv4(source)", "accepted: FIELD=VALUE"),
            ("ethernet/ipv4(colour=1)/udp", "colour"),
            ("ethernet/vlan(id=4096)/ipv4/udp", "id"),
            ("ethernet/ipv4/udp(source=65536)", "source"),
            ("hex:00", "at least 14 bytes"),
            ("hex:0", "pairs of hexadecimal digits"),
            ("hex:xyxyxyxyxyxyxyxyxyxyxyxyxyxyxyxy", "pairs of hexadecimal digits"),
            ("pcap:/nonexistent.pcap#1", "/nonexistent.pcap"),
            ("pcap:/dev/zero", "not a regular file"),
        ],
    );
    // A frame that is too small for what it holds, or too large for a buffer.
    let large = format!("hex:{}", "00".repeat(65_281));
    refused(["run", "--port", "discard", "--frame", &large], 2, &["at most 65280"]);
    let layers = format!("ethernet{}/ipv4/udp", "/vlan".repeat(100));
    refused(["run", "--port", "discard", "--frame", &layers], 2, &["bytes"]);
}

#[test]
fn fields_flows_and_profiles() {
    refused_each(
        &RUN,
        &[
            ("--field udp.source", "accepted: NAME=V"),
            ("--field =5", "accepted: NAME=V"),
            ("--field udp.source=", "accepted:"),
            ("--field udp.source=inc:9-5", "is reversed; accepted: FROM-TO with FROM <= TO"),
            ("--field udp.source=dec:9-5", "is reversed"),
            ("--field udp.source=random:9-5", "is reversed"),
            ("--field udp.source=inc:1-5/0", "accepted: a step of at least 1"),
            ("--field udp.source=inc:1-5/99999999999999999999", "step or seed"),
            ("--field udp.source=inc:5", "accepted: FROM-TO"),
            ("--field udp.source=inc:-5", "accepted"),
            ("--field udp.source=list:", "accepted"),
            ("--field udp.source=NaN", "accepted"),
            ("--field udp.source=1e400", "accepted"),
            ("--flows 0", "at least 1"),
            ("--flows -1", "--flows"),
            ("--per-flow", "--flows"),
            ("--per-flow --flows 65537", "from 1 to 65536"),
            ("--profile uniform", "accepted: constant, poisson"),
            ("--profile burst:0/1ms", "accepted: constant, poisson"),
            ("--profile burst:10/0ms", "accepted: a number above 0 with ns"),
            ("--profile burst:10/0.0001ns", "accepted: a number above 0 with ns"),
            ("--profile ramp:max/1s", "cannot begin at max"),
            ("--profile ramp:1pps/1e9s", "is no time"),
            ("--latency=0", "--latency"),
            ("--latency=-1", "--latency"),
        ],
    );
    // What only the frame can tell.
    refused_each(
        &["run", "--port", "discard"],
        &[
            ("--field udp.colour=5", "udp.colour"),
            ("--field tcp.source=5", "tcp"),
            ("--field udp.source=65536", "udp.source"),
            ("--field udp.source=inc:1-65536", "udp.source"),
            ("--field @200+2=5", "@200+2"),
            ("--field @-1+2=5", "@-1+2"),
            ("--field @0+17=5", "@0+17"),
            ("--field udp.source=1 --field udp.source=2", "udp.source"),
        ],
    );
}

#[test]
fn counts_times_and_directions() {
    each("--count", &["0", "-1", "1.5", "x", "NaN", "1e3", "99999999999999999999"], &["--count"]);
    let times =
        ["", "0", "-1", "NaN", "inf", "1e400", "1e3", "1000000001", "10s", "0x1", "0.0000000001"];
    for option in ["--duration", "--warm-up"] {
        each(option, &times, &[option, "accepted: seconds above 0 and up to 1e9"]);
    }
    each("--direction", &["", "up", "Both", "a-b"], &["possible values: both, forward"]);
    each("--queues", &["0", "-1", "65536", "x"], &["--queues"]);
    refused_each(&RUN, &[("--count 1 --duration 1", "cannot be used with")]);
}

#[test]
fn what_is_missing_or_said_twice() {
    for (arguments, because) in [
        (&[][..], "Usage: pktgen"),
        (&["walk"], "unrecognized subcommand"),
        (&["run"], "--port"),
        (&["run", "--port"], "--port"),
        (&["run", "--port", PORT, "--rate"], "--rate"),
        (&["run", "--port", PORT, "64"], "unexpected argument"),
        (&["run", "--port", PORT, "--rates", "1pps"], "--rate"),
        (&["replay", "--port", PORT], "<FILE>"),
        (&["report", "x.json"], "--out"),
        (&["report", "--out", "x"], "<FILE>"),
        (&["completions"], "<SHELL>"),
        (&["completions", "cmd"], "possible values"),
    ] {
        refused(arguments, 2, &[because]);
    }
    for twice in [
        "--rate 1pps --rate 2pps",
        "--size 64 --size 64",
        "--count 1 --count 2",
        "--direction both --direction both",
        "--warm-up 1 --warm-up 1",
        "--frame ethernet --frame ethernet",
        "--json a --json b",
        "--quiet --quiet",
        "--latency --latency",
        "--queues 1 --queues 1",
    ] {
        refused_each(&RUN, &[(twice, "cannot be used multiple times")]);
    }
}

#[test]
fn ports() {
    let long = format!("vhost-user:/{}", "x".repeat(107));
    let none = [
        "",
        "a",
        ":",
        "vhost-user",
        "vhost-user:",
        "vhost-user:,server",
        "VHOST-USER:/a",
        "tap:eth0",
        "discard:",
        "vhost-user:/a,client",
        "vhost-user:/a,",
        "vhost-user:/a,server,server",
        "vhost-user:/a,server=1",
        "vhost-user:/a,queues=0",
        "vhost-user:/a,queues=129",
        "vhost-user:/a,queues=-1",
        "vhost-user:/a,queues=NaN",
        "vhost-user:/a,queues=2,queues=2",
        "vhost-user:/a,queue_size=0",
        "vhost-user:/a,queue_size=300",
        "vhost-user:/a,queue_size=65536",
        "vhost-user:/a,packed_vq=2",
        "vhost-user:/a,packed_vq=",
        "vhost-user:/a,=1",
        "virtio-user:/a,vectorized=1",
        &long,
    ];
    let option = "accepted: vhost-user:PATH[,OPTION]... or virtio-user:PATH[,OPTION]..., where OPTION is server";
    for port in none {
        refused(["run", "--port", port], 2, &["--port", option, "or discard"]);
        refused(["ports", port], 2, &[option]);
    }
    // 107 bytes are the most that a socket's path can have.
    let longest = format!("vhost-user:/{}", "x".repeat(106));
    assert!(longest.parse::<pktgen::PortSpec>().is_ok());
    let socket = "/nonexistent/directory/socket";
    for (ports, status, because) in [
        (&["vhost-user:/nonexistent/directory/socket"][..], 2, "two ports have the socket"),
        (&["vhost-user:/b", "vhost-user:/c"], 2, "3 ports were given; one or two can be used"),
        (&[], 1, socket),
    ] {
        let more = ports.iter().flat_map(|port| ["--port", port]);
        refused(RUN.iter().copied().chain(more), status, &[because]);
    }
    refused(["ports", PORT], 1, &[socket]);
    let taken = temporary("taken");
    let _listener = std::os::unix::net::UnixListener::bind(&taken).unwrap();
    let port = format!("vhost-user:{},server", taken.display());
    refused(["run", "--port", &port, "--quiet"], 1, &[taken.to_str().unwrap()]);
}

#[test]
fn cores() {
    refused_each(
        &["run", "--port", "discard"],
        &[
            ("--core 100000", "core 100000 cannot be used; possible: "),
            ("--core 0,100000", "core 100000 cannot be used; possible: "),
            ("--core 0,0", "core 0 was given twice; accepted: each core once"),
            ("--core 0,", "--core"),
            ("--core -1", "--core"),
            ("--core x", "--core"),
            ("--core 99999999999999999999", "--core"),
            ("--core 0,1 --queues 3", "accepted: a queue for each core, 2"),
            ("--core 0,1 --profile burst:10/1ms", "accepted: one core"),
            ("--core 0,1 --flows 5 --per-flow", "accepted: one core"),
        ],
    );
    let cores = "leaves some of 2 cores without a queue; accepted: queues=2 or more";
    refused(["run", "--port", "virtio-user:/a,queues=1", "--core", "0,1"], 2, &[cores]);
}

#[test]
fn searches() {
    refused_each(
        &SEARCH,
        &[
            ("everything", "possible values"),
            ("--max-rate max", "accepted: 1Mpps or 1Gbit/s, not max"),
            ("--max-rate 0pps", "accepted: `max`, or a number above 0"),
            ("--min-rate -1", "accepted: `max`, or a number above 0"),
            ("--min-rate 2Mpps --max-rate 1Mpps", "a lowest rate of at least 1 below the highest"),
            ("--min-rate 1Mpps --max-rate 1Mpps", "a lowest rate of at least 1 below the highest"),
            ("--goal ndr", "accepted: NAME=LOSS"),
            ("--goal =0", "accepted: NAME=LOSS"),
            ("--goal all=100%", "accepted: NAME=LOSS"),
            ("--goal nan=NaN", "accepted: NAME=LOSS"),
            ("--goal a=-1%", "accepted: NAME=LOSS"),
            ("--goal a=1e-3", "accepted: NAME=LOSS"),
            ("--goal a=0 --goal a=1%", "accepted: a name for each"),
            ("--width 0", "is no share; accepted"),
            ("--width 100%", "is no share; accepted"),
            ("--width NaN", "is no share; accepted"),
            ("--size 59", "from 60 to 65280"),
            ("--size 64,128", "from 60 to 65280"),
            ("--steps 5", "accepted with frame-loss"),
            ("frame-loss --steps 0", "accepted: from 1 to 1000"),
            ("frame-loss --steps 1001", "accepted: from 1 to 1000"),
            ("back-to-back --repeats 0", "accepted"),
            ("recovery --at 1Mpps --repeats 10001", "accepted: from 1 to 10000"),
            ("latency", "accepted: --at 1Mpps"),
            ("latency --at 1Mpps,", "accepted: `max`"),
            ("latency --at 20Mpps", "accepted: the search's, from"),
            ("soak", "accepted: --at 1Mpps"),
            ("soak --at 1Mpps,2Mpps", "one rate"),
            ("soak --at max", "accepted: 1Mpps or 1Gbit/s, not max"),
            ("soak --at 1Mpps --goal x=0", "accepted with loss-ratios"),
            ("throughput --at 1Mpps", "accepted with latency, recovery, soak"),
            ("--trial 0", "accepted: seconds above 0"),
            ("--trial 1000001", "accepted: above 0 and at most 1000000 s"),
            ("--max-time 0", "accepted: seconds above 0"),
            (
                "throughput --trial 2 --max-time 1",
                "first trial takes 2 s; accepted: more time, or shorter trials",
            ),
            ("--fail-on loss>0", "this search does not find it; accepted"),
            ("--fail-on nosuch<1Mpps", "this search does not find it"),
            ("--goal a=0 --fail-on ndr<1Mpps", "this search does not find it"),
            ("soak --at 1Mpps --fail-on p99>1us", "this search does not find it"),
        ],
    );
}

#[test]
fn outputs() {
    refused_each(
        &RUN,
        &[
            (
                "--json /nonexistent/directory/report.json",
                "cannot write /nonexistent/directory/report.json",
            ),
            ("--json /", "cannot write /"),
            ("--jsonl /nonexistent/directory/lines", "cannot write"),
            ("--report /proc/nonexistent", "cannot write"),
            ("--report /dev/null", "cannot write"),
            (
                "--capture /nonexistent/directory/back.pcap",
                "cannot write /nonexistent/directory/back.pcap",
            ),
            ("--json - --jsonl -", "cannot both"),
            ("--tui", "--tui needs a terminal"),
            ("--tui --quiet", "cannot be used with"),
            ("--metrics 0.0.0.0:9464", "accepted: a loopback address"),
            ("--metrics 192.0.2.1:9464", "accepted: a loopback address"),
            ("--metrics 127.0.0.1:65536", "accepted: a loopback address"),
            ("--metrics 127.0.0.1", "accepted: a loopback address"),
            ("--metrics x", "accepted: a loopback address"),
            ("--fail-on loss", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on loss>-1", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on loss>NaN", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on loss>1e400", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on losses>0", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on p98.7>1us", "accepted: FIGURE COMPARISON BOUND"),
            ("--fail-on ndr<1Mpps", "this is no search"),
            ("--fail-on p99>1us", "accepted with --latency"),
            ("--fail-on rate_error>1% --rate max", "accepted with --rate RATE"),
        ],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    refused([&RUN[..], &["--metrics", &taken]].concat(), 2, &["cannot serve metrics on", &taken]);
}

#[test]
fn what_is_no_text() {
    let bytes = |text: &'static [u8]| std::ffi::OsStr::from_bytes(text);
    let plain =
        |words: &[&'static str]| words.iter().map(|w| bytes(w.as_bytes())).collect::<Vec<_>>();
    for (before, word) in [
        (&["run", "--port"][..], &b"vhost-user:/\xff\xfe"[..]),
        (&["run", "--port", PORT, "--rate"], b"1\xffpps"),
        (&["run", "--port", PORT, "--size"], b"\xf0\x28\x8c\x28"),
        (&["run", "--port", PORT, "--frame"], b"ethernet\x80"),
        (&["run", "--port", PORT, "--start"], b"true \xff"),
        (&["\u{fffd}"], b"\xff"),
    ] {
        let arguments: Vec<_> = plain(before).into_iter().chain([bytes(word)]).collect();
        refused(arguments, 2, &["error: "]);
    }
    // A file's name is whatever it is.
    let arguments: Vec<_> = plain(&["replay", "--port", PORT])
        .into_iter()
        .chain([bytes(b"/nonexistent/\xff.pcap")])
        .collect();
    refused(arguments, 2, &["/nonexistent/", "No such file"]);
}

/// Standard output and files that take nothing: status 1, after a run that was made. A reader that went away: 0.
#[test]
fn full_disks_and_closed_pipes() {
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let run = |name: &str, more: &[&str]| {
        let mut command = pktgen(["run", "--count", "10"]);
        command.args(loop_ports(name)).args(more);
        command
    };
    let capture = temporary("full.pcapng");
    let _ = std::fs::remove_file(&capture);
    std::os::unix::fs::symlink("/dev/full", &capture).unwrap();
    for (name, option, file) in [
        ("full-json", "--json", "/dev/full"),
        ("full-jsonl", "--jsonl", "/dev/full"),
        ("full-capture", "--capture", capture.to_str().unwrap()),
    ] {
        let ended = end(&mut run(name, &[option, file]));
        let words = format!("cannot write {file}: No space left");
        assert!(
            ended.status.code() == Some(1) && ended.stderr.contains(&words),
            "{}",
            ended.stderr
        );
        assert!(
            ended.stdout.contains("10 sent, 10 received"),
            "the result is shown: {}",
            ended.stdout
        );
    }
    for (arguments, name) in [
        (&["run", "--count", "10"][..], "full-out"),
        (&["ports"], ""),
        (&["completions", "bash"], ""),
    ] {
        let mut command = pktgen(arguments);
        if !name.is_empty() {
            command.args(loop_ports(name));
        }
        let output = command.stdout(full()).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains("cannot write"), "{error}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && !error.contains("panicked"), "{error}");
    }
    // Nobody to complain to is no reason to fail in another way.
    let status = pktgen(["run", "--port", "x"]).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn saved_results_that_are_none() {
    let (file, out) = (temporary("report.json"), temporary("page"));
    let (file_name, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let report = |file: &str, because: &[&str]| refused(["report", file, "--out", out], 2, because);
    let _ = std::fs::remove_file(&file);
    report(file_name, &[file_name, "No such file"]);
    for path in ["/dev/zero", "/", "/proc/self/mem"] {
        report(path, &[path]);
    }
    let nested = "[".repeat(100_000);
    for (text, because) in [
        ("", "accepted: a result of --json"),
        ("{", "accepted: a result of --json"),
        ("\u{feff}{}", "accepted: a result of --json"),
        (&nested, "accepted: a result of --json"),
        ("[]", "no result of pktgen"),
        ("null", "no result of pktgen"),
        ("{}", "no result of pktgen"),
        ("{\"schema\":\"pktgen\"}", "schema version"),
        ("{\"schema\":\"pktgen\",\"schema_version\":2}", "schema version is 2; accepted: 1"),
    ] {
        std::fs::write(&file, text).unwrap();
        report(file_name, &[because]);
    }
    std::fs::write(&file, [0xff, 0xfe]).unwrap();
    report(file_name, &["UTF-8"]);
}
