//! The launcher from outside: bad command lines, absent things, ends of every kind, and nothing left behind.
//!
//! Most of it needs no network function: plat/kvm's self-test image ends as its command line says.

use end_to_end::build::Program;
use end_to_end::process::{Process, launch, launcher};
use end_to_end::scratch::Scratch;
use end_to_end::{have, turn};
use rustix::process::Signal;
use std::os::unix::net::UnixListener;

const QEMU: &str = "qemu-system-x86_64";

#[test]
fn bad_options_are_usage_errors_that_say_what_is_accepted() {
    for (arguments, words) in [
        (&["--machine", "virt"][..], "q35, microvm, pc"),
        (&["--accel", "hvf"], "tcg, kvm"),
        (&["--memory", "4M"], "too little memory"),
        (&["--memory", "lots"], "not a memory size"),
        (&["--firmware", "uefi"], "seabios, qboot"),
        (&["--port", "net:x"], "vhost-user:PATH[,server]"),
        (&["--port", "vhost-user:"], "has no path"),
        (&["--duration", "0"], "seconds above 0"),
        (&["--duration", "NaN"], "seconds above 0"),
        (&["--duration", "1", "--duration", "2"], "cannot be used multiple times"),
        (&["--rate", "1000"], "accepted: `max`"),
        (&["--size", "13"], "from 60 to"),
        (&["--rate"], "a value is required"),
        (&["--no-such-option"], "unexpected argument"),
        (&["--rate", "max", "--port", "user"], "--rate is for the built-in pktgen"),
        (&["--", "a=\"b c\" d"], "blanks and quotes"),
    ] {
        launch(Program::L2fwd, arguments).expect(2, &[words]);
    }
    let long = format!("vhost-user:/{}", "x".repeat(107));
    launch(Program::L2fwd, &["--port", &long]).expect(2, &["at most 107"]);
}

#[test]
fn arguments_that_are_not_utf8_are_usage_errors() {
    use std::os::unix::ffi::OsStrExt;
    let mut command = launcher(Program::L2fwd, &["--memory"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff"));
    Process::start(&mut command).end().expect(2, &["UTF-8"]);
}

#[test]
fn what_is_absent_is_named() {
    if !have(QEMU) {
        return;
    }
    let scratch = Scratch::new();
    launch(Program::L2fwd, &["--pcap", &scratch.file("absent.pcap")]).expect(1, &["absent.pcap"]);
    launch(Program::Selftest, &["--json", &scratch.file("no/result.json")])
        .expect(1, &["cannot write"]);
    launch(Program::Selftest, &["--port", "tap:no-such-tap"])
        .expect(1, &["ip tuntap add dev no-such-tap"]);
    launch(Program::Selftest, &["--port", "tap:lo"]).expect(1, &["lo is not a TAP"]);
    let nowhere = format!("vhost-user:{}", scratch.file("no/socket"));
    launch(Program::Selftest, &["--port", &nowhere]).expect(1, &["there is no directory"]);
}

#[test]
fn malformed_captures_are_clear_errors() {
    if !have(QEMU) {
        return;
    }
    let scratch = Scratch::new();
    let whole: &[u8] =
        &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    let other_link = [&whole[..20], &[101, 0, 0, 0]].concat();
    for (name, bytes) in [
        ("empty", &whole[..0]),
        ("short", &whole[..23]),
        ("no-magic", b"this is not a capture at all"),
        ("not-ethernet", &other_link[..]),
        ("no-frames", whole),
    ] {
        let file = scratch.file(name);
        std::fs::write(&file, bytes).unwrap();
        let ended = launch(Program::L2fwd, &["--pcap", &file]);
        let code = ended.status.code();
        assert!(matches!(code, Some(1 | 2)), "{name}: {code:?}\n{}", ended.output);
        assert!(ended.output.contains("run: "), "{name}: {}", ended.output);
        assert!(!ended.output.contains("panicked"), "{name}: {}", ended.output);
    }
}

#[test]
fn an_absent_qemu_is_named_with_its_package() {
    let mut command = launcher(Program::Selftest, &[]);
    command.env("PATH", "/nonexistent");
    Process::start(&mut command).end().expect(1, &["qemu-system-x86", "tools/setup"]);
}

#[test]
fn what_is_not_an_image_is_refused() {
    let mut command = std::process::Command::new(Program::Launcher.path());
    command.arg(Program::Launcher.path());
    Process::start(&mut command).end().expect(1, &["no Xen PVH note"]);
    let mut command = std::process::Command::new(Program::Launcher.path());
    command.arg(end_to_end::workspace().join("Cargo.toml"));
    Process::start(&mut command).end().expect(1, &["no 64-bit x86 ELF"]);
}

#[test]
fn a_socket_in_use_is_not_taken_over() {
    if !have(QEMU) {
        return;
    }
    let scratch = Scratch::new();
    let socket = scratch.file("socket");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = format!("vhost-user:{socket},server");
    launch(Program::Selftest, &["--port", &port]).expect(1, &["in use"]);
    assert!(listener.accept().is_err(), "the owner was not disturbed by a connection");
    std::fs::write(scratch.file("file"), "precious").unwrap();
    let port = format!("vhost-user:{},server", scratch.file("file"));
    launch(Program::Selftest, &["--port", &port]).expect(1, &["not a socket"]);
    assert_eq!(std::fs::read_to_string(scratch.file("file")).unwrap(), "precious");
}

#[test]
fn a_dry_run_prints_the_command_and_starts_nothing() {
    let mut command =
        launcher(Program::L2fwd, &["--dry-run", "--machine", "microvm", "--", "mac-updating=off"]);
    command.env("PATH", "/nonexistent");
    let output = Process::start(&mut command).end().expect(0, &["-append mac-updating=off"]);
    assert!(output.starts_with("qemu-system-x86_64 ") && output.lines().count() == 1, "{output}");
    assert!(
        output.contains("-machine microvm,") && output.contains("virtio-net-device"),
        "{output}"
    );
}

#[test]
fn the_images_end_becomes_words_and_a_status() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm"] {
        for (word, status, words) in [
            ("hello", 0, "the image ended: success"),
            ("fail", 1, "the image ended: failure"),
            ("panic", 1, "the image panicked"),
            ("null", 1, "page fault"),
            ("gp", 1, "general protection fault"),
            ("opcode", 1, "by an exception"),
            ("nonsense", 2, "refused its command line"),
            ("double", 1, "reset without telling a status"),
        ] {
            launch(Program::Selftest, &["--machine", machine, "--", word]).expect(status, &[words]);
        }
    }
    launch(Program::Selftest, &["--", "panic"])
        .expect(1, &["panic at ", "as asked", "backtrace", "build id"]);
}

#[test]
fn bad_parameters_of_the_image_are_usage_errors() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for (image, parameters, words) in [
        (Program::L2fwd, "mac-updating=maybe", "on or off"),
        (Program::L2fwd, "no-such-parameter=1", "no-such-parameter"),
        (Program::L2fwd, "=value", "is not a parameter"),
        (Program::UdpEcho, "netdev.ip=10.0.2.300/24", "netdev.ip=10.0.2.300/24"),
    ] {
        launch(image, &["--machine", "microvm", "--port", "user", "--", parameters])
            .expect(2, &[words, "refused its command line"]);
    }
}

#[test]
fn a_full_disk_is_a_failure_and_not_a_result() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    launch(Program::Selftest, &["--json", "/dev/full", "--", "hello"])
        .expect(1, &["the result could not be written"]);
}

/// QEMU processes that descend from none but this image's path: there must be none.
fn qemu_with(marker: &str) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| {
            let text = String::from_utf8_lossy(line);
            text.starts_with(QEMU) && text.contains(marker)
        })
        .count()
}

/// Polls, because the kernel kills and reaps in its own time.
fn gone(marker: &str) -> bool {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while qemu_with(marker) > 0 {
        if std::time::Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    true
}

#[test]
fn an_interrupt_ends_the_run_cleanly() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let arguments = ["--machine", "microvm", "--", "netdev.ip=10.0.2.77/24"];
    let run = Process::start(&mut launcher(Program::UdpEcho, &arguments));
    run.wait_for("first poll", 1);
    assert_eq!(qemu_with("10.0.2.77/24"), 1);
    run.signal(Signal::INT);
    run.end().expect(0, &["ended by the user", "try it: echo hello | nc -u"]);
    assert!(gone("10.0.2.77/24"));
}

#[test]
fn qemu_does_not_outlive_a_launcher_that_is_killed() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let arguments = ["--machine", "microvm", "--", "netdev.ip=10.0.2.78/24"];
    let run = Process::start(&mut launcher(Program::UdpEcho, &arguments));
    run.wait_for("first poll", 1);
    assert_eq!(qemu_with("10.0.2.78/24"), 1);
    run.signal(Signal::KILL);
    assert!(gone("10.0.2.78/24"), "QEMU is still there");
}

#[test]
fn a_duration_ends_an_image_without_traffic() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let scratch = Scratch::new();
    let json = scratch.file("result.json");
    launch(Program::UdpEcho, &["--machine", "microvm", "--duration", "0.5", "--json", &json])
        .expect(0, &["first poll"]);
    let result: serde_json::Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert!(result["boot_ms"].as_f64().is_some_and(|boot| boot > 0.0), "{result}");
    assert!(result["environment"]["kernel"].is_string(), "{result}");
}
