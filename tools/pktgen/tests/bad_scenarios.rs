//! Scenario files that break the rules: refused with status 2, the file, the line and what is accepted.

mod program;

use std::fs;

use program::{PORT, end, loop_ports, pktgen, refused, temporary};

/// Each text is refused with all of the words, which follow each other between bars.
#[track_caller]
fn refused_texts(table: &[(&str, &str)]) {
    let path = temporary("bad.toml");
    let path = path.to_str().unwrap();
    for (text, because) in table {
        fs::write(path, text).unwrap();
        let words: Vec<_> = because.split('|').chain([path]).collect();
        refused(["run", "--port", PORT, "--scenario", path], 2, &words);
    }
}

#[test]
fn what_is_no_toml() {
    let deep = format!("a = {}", "[".repeat(100_000));
    refused_texts(&[
        ("", "there is no stream; accepted: one table [[stream]] for each"),
        ("# nothing\n", "there is no stream"),
        ("rate", "line 1"),
        ("[[stream]\n", "line 1"),
        ("[stream]\n", "line 1"),
        ("[[stream]]\nname = \"a", "line 2"),
        ("[[stream]]\nname = \"a\"\nname = \"b\"", "line 3|duplicate key"),
        ("[[stream]]\nname = \"\\q\"", "line 2"),
        ("\u{feff}[[stream]]\nsize = 5", "line 2"),
        ("[[stream]]\n\0", "line 2"),
        (&deep, "line 1"),
    ]);
}

#[test]
fn what_is_not_known() {
    refused_texts(&[
        ("\n\nspeed = 1", "line 3|unknown field `speed`, expected one of `rate`"),
        ("[[stream]]\nflow = 5", "line 2|unknown field `flow`, expected one of `name`"),
        ("[[streams]]\n", "line 1|unknown field `streams`"),
        ("[other]\n", "line 1|unknown field `other`"),
        ("port = \"vhost-user:/a\"", "line 1|unknown field `port`"),
    ]);
}

#[test]
fn values_that_cannot_be() {
    refused_texts(&[
        ("rate = 5", "line 1|expected a string"),
        ("rate = \"5\"", "line 1|accepted: `max`, or a number above 0"),
        ("rate = \"-1pps\"", "line 1|accepted: `max`, or a number above 0"),
        ("rate = \"1e400pps\"", "line 1|accepted: `max`, or a number above 0"),
        ("rate = \"NaNpps\"", "line 1|accepted: `max`, or a number above 0"),
        ("rate = nan", "line 1|expected a string"),
        ("duration = \"10\"", "line 1|accepted: a number above 0 with ns, us, ms, s, m or h"),
        ("duration = \"0s\"", "line 1|accepted: a number above 0 with ns"),
        ("duration = \"-1s\"", "line 1|accepted: a number above 0 with ns"),
        ("duration = \"0.0000000001s\"", "line 1|accepted: a number above 0 with ns"),
        ("catch-up = \"1e9h\"", "line 1|accepted: a number above 0 with ns"),
        ("count = -1", "line 1|invalid value: integer `-1`"),
        ("count = 1.5", "line 1|expected u64"),
        ("count = 99999999999999999999", "line 1"),
        ("direction = \"up\"", "line 1|accepted: both, forward (A to B), backward (B to A)"),
        ("[[stream]]\nsize = \"64-32\"", "line 2|accepted: bytes from 60 to 65280"),
        ("[[stream]]\nsize = \"59\"", "line 2|accepted: bytes from 60 to 65280"),
        ("[[stream]]\nsize = \"sweep:128-64\"", "line 2|is reversed"),
        ("[[stream]]\nsize = 64", "line 2|expected a string"),
        (
            "[[stream]]\nframe = \"ethernet/udp\"",
            "line 2|udp cannot follow ethernet; accepted: vlan",
        ),
        ("[[stream]]\nfields = [\n \"udp.source=inc:2-1\",\n]", "line 2|reversed"),
        ("[[stream]]\nfields = \"udp.source=1\"", "line 2|expected a sequence"),
        ("[[stream]]\nprofile = \"poison\"", "line 2|accepted: constant, poisson"),
        ("[[stream]]\nchecksums = \"bad\"", "line 2|accepted: correct, keep, wrong:LAYER"),
        ("[[stream]]\ncoverage = \"all\"", "line 2|accepted: whole, without-macs, payload"),
        ("[[stream]]\nstamp = \"no\"", "line 2|expected a boolean"),
        ("[[stream]]\nweight = -1", "line 2|invalid value: integer `-1`"),
        ("[[stream]]\nweight = 4294967296", "line 2|invalid value"),
        ("[[stream]]\nname = \"x\"\nweight = 0", "stream 1 (`x`): a weight|at least 1"),
        ("[[stream]]\n[[stream]]\ncount = 0", "stream 2 (``)|at least 1"),
        ("[[stream]]\nflows = 0", "stream 1|at least 1"),
        ("[[stream]]\nper-flow = true", "need `flows` from 1 to 65536"),
        ("[[stream]]\nper-flow = true\nflows = 65537", "need `flows` from 1 to 65536"),
        ("[[stream]]\nper-flow = true\nflows = 5\nstamp = false", "need a stamp"),
    ]);
    // Sizes that add up to more than a number holds.
    let times = vec!["64x65535"; 70_000].join(",");
    refused_texts(&[(&format!("[[stream]]\nsize = \"{times}\""), "all at most 10000 times")]);
}

/// What can be told only once there is a port.
#[test]
fn streams_that_do_not_fit_their_run() {
    let path = temporary("misfit.toml");
    let path = path.to_str().unwrap();
    for (text, because) in [
        ("[[stream]]\nfields = [\"tcp.source=5\"]", "tcp"),
        ("[[stream]]\nfields = [\"udp.source=65536\"]", "udp.source"),
        ("[[stream]]\nframe = \"ethernet/ipv6/tcp\"\nsize = \"64\"", "bytes"),
        (
            "[[stream]]\nrate = \"1Mpps\"\nweight = 1\nprofile = \"ramp:2Gpps/1s\"",
            "accepted: constant",
        ),
    ] {
        fs::write(path, text).unwrap();
        refused(["run", "--port", "discard", "--scenario", path], 2, &[because]);
    }
    fs::write(path, "[[stream]]\n").unwrap();
    for option in
        ["--size 64", "--frame ethernet", "--field udp.source=1", "--flows 3", "--profile poisson"]
    {
        let line = format!("--scenario {path} {option}");
        program::refused_each(&["run", "--port", PORT], &[(&line, "cannot be used with")]);
    }
    fs::write(path, "direction = \"forward\"\n[[stream]]\ndirection = \"backward\"\n").unwrap();
    let mut command = pktgen(["run", "--scenario", path]);
    let ended = end(command.args(loop_ports("directions")));
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("no stream goes in the direction of the run"),
        "{}",
        ended.stderr
    );
}

#[test]
fn files_that_cannot_be_read() {
    let path = temporary("unreadable.toml");
    let path = path.to_str().unwrap();
    let reading = |path: &str, because: &str| {
        let words = [&format!("cannot read the scenario {path}"), because];
        refused(["run", "--port", PORT, "--scenario", path], 2, &words);
    };
    fs::write(path, [b'#', 0xff, 0xfe]).unwrap();
    reading(path, "no UTF-8 text");
    fs::File::create(path).unwrap().set_len(17 << 20).unwrap();
    reading(path, "accepted: at most 16777216");
    for (path, because) in [
        ("/nonexistent/scenario.toml", "No such file"),
        ("/", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("/proc/self/mem", ""),
    ] {
        if path == "/proc/self/mem" {
            // It has no length: nothing is read.
            refused(["run", "--port", PORT, "--scenario", path], 2, &["there is no stream"]);
        } else {
            reading(path, because);
        }
    }
}
