//! Boots the self-test image in QEMU on every machine type and looks at what it prints and how it ends.
//!
//! The image is built by a nested cargo (a test build of the same example is an ordinary program that cannot boot).
//! Where QEMU or a firmware file is absent the test says `skipped: reason` past libtest's capture, and passes.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
const TIMEOUT: Duration = Duration::from_secs(60);

const Q35: &[&str] = &["-M", "q35"];
const Q35_QBOOT: &[&str] = &["-M", "q35", "-bios", "qboot.rom"];
const PC: &[&str] = &["-M", "pc"];
const PC_QBOOT: &[&str] = &["-M", "pc", "-bios", "qboot.rom"];
const MICROVM: &[&str] = &["-M", "microvm,isa-serial=on"];
const MACHINES: [&[&str]; 5] = [Q35, Q35_QBOOT, PC, PC_QBOOT, MICROVM];

/// Network cards without a network: the tests look at their registers only.
const PCI_NET: &[&str] = &["-device", "virtio-net-pci,vectors=0"];
const MMIO_NET: &[&str] =
    &["-device", "virtio-net-device", "-global", "virtio-mmio.force-legacy=off"];

/// How a machine ended.
#[derive(Debug)]
struct End {
    status: Option<i32>,
    output: String,
}

impl End {
    #[track_caller]
    fn expect(self, status: i32, texts: &[&str]) -> String {
        assert_eq!(self.status, Some(status), "{}", self.output);
        for text in texts {
            assert!(self.output.contains(text), "`{text}` is missing in:\n{}", self.output);
        }
        self.output
    }
}

fn skip(reason: &str) {
    // Not `eprintln!`: libtest would swallow it.
    let _ = writeln!(std::io::stderr(), "skipped: {reason}");
}

fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let target = test.ancestors().nth(3).expect("tests lie in TARGET/PROFILE/deps");
        let status = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "-q", "--release", "-p", "plat-kvm", "--example", "selftest"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(status.expect("cargo runs").success(), "the image does not build");
        target.join("release/examples/selftest")
    })
}

/// Boots `machine` with `line` as its command line; None (and a word about it) where that is impossible here.
fn boot(machine: &[&str], memory: &str, more: &[&str], line: &str) -> Option<End> {
    boot_ending(machine, memory, more, line, &["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
}

fn boot_ending(
    machine: &[&str],
    memory: &str,
    more: &[&str],
    line: &str,
    exit: &[&str],
) -> Option<End> {
    if Command::new(QEMU).arg("--version").stdout(Stdio::null()).status().is_err() {
        skip("qemu-system-x86_64 is not installed");
        return None;
    }
    let needs_qboot = machine.contains(&"qboot.rom") || machine[1].starts_with("microvm");
    if needs_qboot && !Path::new("/usr/share/qemu/qboot.rom").exists() {
        skip("QEMU's qboot.rom is not installed");
        return None;
    }
    let mut child = Command::new(QEMU)
        .args(["-accel", "tcg", "-nodefaults", "-display", "none", "-no-reboot"])
        .args(["-serial", "stdio", "-m", memory])
        .args(machine)
        .args(exit)
        .args(more)
        .arg("-kernel")
        .arg(image())
        .args(["-append", line])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    let mut stdout = child.stdout.take().expect("stdout is piped");
    // A command line that says "slow" asks for a reader that lets the pipe run full.
    let delay = if line.contains("slow") { Duration::from_secs(3) } else { Duration::ZERO };
    let reader = std::thread::spawn(move || {
        std::thread::sleep(delay);
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).expect("QEMU's output is readable");
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("QEMU can be waited for") {
            break Some(status);
        }
        if start.elapsed() > TIMEOUT {
            child.kill().expect("QEMU can be killed");
            child.wait().expect("QEMU can be waited for");
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let output = reader.join().expect("the reader does not panic");
    let status = status.unwrap_or_else(|| panic!("no end after {TIMEOUT:?}:\n{output}"));
    Some(End { status: status.code(), output })
}

/// The number before `unit` in the first line that starts with `prefix` and has it.
fn number(output: &str, prefix: &str, unit: &str) -> u64 {
    let lines = output.lines().filter(|line| line.starts_with(prefix));
    let head = lines.filter_map(|line| Some(&line[..line.find(unit)?])).next().expect(unit);
    let digits = head.rsplit(|c: char| !c.is_ascii_digit()).next().expect("split gives one part");
    digits.parse().expect("a number")
}

#[test]
fn every_machine_boots() {
    for machine in MACHINES {
        if let Some(end) = boot(machine, "128M", &[], "hello a=b \"c d\"") {
            let output = end.expect(33, &["hello: command line `hello a=b \"c d\"`", "Hz"]);
            let id = output.split("build id ").nth(1).and_then(|rest| rest.lines().next());
            let id = id.expect("a build id");
            assert!(id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        }
    }
}

#[test]
fn sixteen_mebibytes_are_enough() {
    for machine in MACHINES {
        if let Some(end) = boot(machine, "16M", &[], "hello") {
            let output = end.expect(33, &[]);
            let free = number(&output, "hello: ", " KiB for devices");
            assert!(free >= 12 << 10, "{free} KiB");
        }
    }
}

#[test]
fn memory_below_and_above_4_gib_is_given_out() {
    for cpu in ["qemu64", "max"] {
        let split: &[&str] = &["-M", "q35,max-ram-below-4g=32M"];
        if let Some(end) = boot(split, "96M", &["-cpu", cpu], "memory") {
            let output = end.expect(33, &["memory: "]);
            let taken = number(&output, "memory: ", " KiB");
            assert!(taken >= 80 << 10, "{taken} KiB");
        }
    }
}

#[test]
fn too_little_memory_is_a_clear_error() {
    if let Some(end) = boot(Q35_QBOOT, "4M", &[], "hello") {
        end.expect(39, &["boot: ", "4096 KiB are needed"]);
    }
}

#[test]
fn a_panic_reports_and_exits() {
    let Some(end) = boot(MICROVM, "64M", &[], "panic") else { return };
    let output = end.expect(41, &["panic at ", "selftest.rs:", ": as asked", "build id "]);
    let addresses: Vec<u64> = output
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('#')?.split("0x").nth(1))
        .filter_map(|digits| digits.split_whitespace().next())
        .map(|digits| u64::from_str_radix(digits, 16).expect("an address"))
        .collect();
    assert!(addresses.len() >= 2, "{output}");
    let calls = addresses.iter().map(|address| format!("{:#x}", address - 1));
    let lines = Command::new("addr2line").arg("-ie").arg(image()).args(calls).output();
    let Ok(lines) = lines else { return skip("addr2line is not installed") };
    let lines = String::from_utf8_lossy(&lines.stdout).into_owned();
    assert!(lines.contains("examples/selftest.rs"), "{lines}");
    assert!(lines.contains("src/boot.rs"), "{lines}");
    assert!(!lines.contains("??:"), "every address has a line:\n{lines}");
}

#[test]
fn a_panic_or_trap_while_panicking_ends_too() {
    if let Some(end) = boot(MICROVM, "64M", &[], "panic-in-panic") {
        end.expect(41, &["panic at ", "panic within a panic"]);
    }
    if let Some(end) = boot(MICROVM, "64M", &[], "trap-in-panic") {
        end.expect(43, &["panic at ", "trap: page fault"]);
    }
}

#[test]
fn page_faults_report_what_was_tried() {
    for (word, text) in [
        ("null", "read of absent memory at 0x0000000000000010 (null pointer)"),
        ("absent", "read of absent memory at 0x0000200000000000"),
        ("text", "write to read-only memory at 0x00000000001"),
        ("constant", "write to read-only memory at 0x0000000000100"),
        ("data", "execution of data at 0x"),
        ("overflow", "(stack overflow)"),
    ] {
        if let Some(end) = boot(MICROVM, "64M", &[], word) {
            let report = ["trap: page fault (vector 14", text, "rip 0x", "cr2 0x", "rax 0x"];
            let output = end.expect(43, &report);
            assert!(output.contains("build id ") && output.contains("\n  #1 0x"), "{output}");
        }
    }
}

#[test]
fn other_traps_have_statuses_of_their_own() {
    for (word, status, text) in [
        ("gp", 45, "trap: general protection fault (vector 13, error code 0x0)"),
        ("opcode", 47, "trap: invalid opcode (vector 6,"),
        ("breakpoint", 47, "trap: breakpoint (vector 3,"),
        ("divide", 47, "trap: divide error (vector 0,"),
    ] {
        for machine in [MICROVM, Q35_QBOOT] {
            if let Some(end) = boot(machine, "64M", &[], word) {
                end.expect(status, &[text, "\n  #1 0x"]);
            }
        }
    }
}

#[test]
fn the_programs_own_status_is_passed_on() {
    if let Some(end) = boot(MICROVM, "64M", &[], "fail") {
        end.expect(35, &[]);
    }
    if let Some(end) = boot(MICROVM, "64M", &[], "nonsense") {
        end.expect(37, &["unknown word `nonsense`"]);
    }
}

#[test]
fn without_an_exit_device_the_machine_still_ends() {
    for machine in MACHINES {
        if let Some(end) = boot_ending(machine, "64M", &[], "hello", &[]) {
            end.expect(0, &["hello: "]);
        }
    }
}

#[test]
fn bad_command_lines_are_usage_errors() {
    if let Some(end) = boot(Q35_QBOOT, "64M", &[], "hello caf\u{e9}") {
        end.expect(37, &["boot: the command line has byte 0xc3 at offset 9"]);
    }
    if let Some(end) = boot(MICROVM, "64M", &[], &"x".repeat(5000)) {
        end.expect(37, &["boot: the command line is longer than 4096 bytes"]);
    }
    if let Some(end) = boot(Q35_QBOOT, "64M", &[], "mmio virtio_mmio.device=512@0x200000:1") {
        end.expect(37, &["within RAM"]);
    }
    if let Some(end) = boot(Q35_QBOOT, "64M", &[], "mmio virtio_mmio.device=junk") {
        end.expect(37, &["`virtio_mmio.device=junk`: expected"]);
    }
}

#[test]
fn the_heap_allocates_and_frees() {
    if let Some(end) = boot(Q35_QBOOT, "16M", &[], "heap") {
        end.expect(33, &["intact true"]);
    }
}

#[test]
fn avx_is_on_where_the_cpu_has_it() {
    for (cpu, text) in [("max", "avx: true"), ("qemu64", "avx: false")] {
        if let Some(end) = boot(MICROVM, "64M", &["-cpu", cpu], "avx") {
            end.expect(33, &[text]);
        }
    }
}

#[test]
fn the_console_loses_nothing() {
    for line in ["console", "console slow"] {
        let Some(end) = boot(MICROVM, "64M", &[], line) else { return };
        let output = end.expect(33, &[]);
        let lines = output.lines().filter(|line| line.starts_with("console line "));
        assert!(lines.enumerate().all(|(n, line)| line.contains(&format!("line {n:04} 0123"))));
        assert!(output.contains("console line 1999 "), "{output}");
    }
}

#[test]
fn pci_devices_get_addresses_and_answer() {
    let microvm: &[&str] = &["-M", "microvm,isa-serial=on,pcie=on"];
    for machine in [Q35, Q35_QBOOT, PC, PC_QBOOT, microvm] {
        for memory in ["16M", "128M"] {
            if let Some(end) = boot(machine, memory, PCI_NET, "pci") {
                end.expect(33, &["1af4:10", "virtio: network card [52, 54, 00, 12, 34, 56]"]);
            }
        }
    }
}

#[test]
fn a_device_behind_a_bridge_works_if_firmware_set_it_up() {
    let port = [
        ["-device", "pcie-root-port,id=p,chassis=1,slot=1"],
        ["-device", "virtio-net-pci,bus=p,vectors=0"],
    ];
    if let Some(end) = boot(Q35, "64M", port.as_flattened(), "pci") {
        end.expect(33, &["pci: 01:00.0 1af4:1041", "virtio: network card [52, 54,"]);
    }
}

#[test]
fn mmio_devices_are_found() {
    for machine in ["microvm,isa-serial=on", "microvm,isa-serial=on,acpi=off"] {
        if let Some(end) = boot(&["-M", machine], "64M", MMIO_NET, "mmio") {
            end.expect(33, &["version 2 id 1", "virtio: network card [52, 54, 00, 12, 34, 56]"]);
        }
    }
}

#[test]
fn the_clock_falls_back_to_the_acpi_timer() {
    if let Some(end) = boot(&["-M", "q35,pit=off"], "64M", &[], "hello") {
        let hz = number(&end.expect(33, &["measured by the ACPI timer"]), "hello: ", " Hz");
        assert!((200_000_000..10_000_000_000).contains(&hz), "{hz}");
    }
}

#[test]
fn the_clock_has_a_source_where_there_is_no_timer() {
    let bare: &[&str] = &["-M", "microvm,isa-serial=on,pit=off,rtc=off,pic=off"];
    let (Some(with), Some(without)) =
        (boot(MICROVM, "64M", &[], "hello"), boot(bare, "64M", &[], "hello"))
    else {
        return;
    };
    let with = number(&with.expect(33, &["measured by the PIT"]), "hello: ", " Hz");
    let without = number(&without.expect(33, &["measured by the local APIC"]), "hello: ", " Hz");
    let difference = with.abs_diff(without);
    assert!(difference < with / 10, "{with} Hz and {without} Hz");
}

#[test]
fn sleeps_last_and_halt() {
    let bare: &[&str] = &["-M", "microvm,isa-serial=on,pit=off,rtc=off,pic=off"];
    let late: &[&str] = &["-M", "q35,pit=off"];
    for machine in MACHINES.into_iter().chain([bare, late]) {
        if let Some(end) = boot(machine, "16M", &[], "sleep") {
            let output = end.expect(33, &["sleep: again: Some(Taken)"]);
            let halts = number(&output, "sleep: 100 sleeps", " halts");
            // A polling loop would make thousands; a timer that is a little early makes a few for each sleep.
            assert!((100..1000).contains(&halts), "{output}");
        }
    }
}

#[test]
fn pci_devices_end_a_sleep() {
    let microvm: &[&str] = &["-M", "microvm,isa-serial=on,pcie=on"];
    for machine in [Q35, Q35_QBOOT, PC, PC_QBOOT, microvm] {
        if let Some(end) = boot(machine, "16M", &["-device", "virtio-rng-pci"], "wake") {
            end.expect(33, &["is vector 0x41", "wake: 1280 bytes"]);
        }
    }
    let without: &[&str] = &["-device", "virtio-rng-pci,vectors=0"];
    if let Some(end) = boot(Q35_QBOOT, "16M", without, "wake") {
        end.expect(35, &["wake: before: Err(NotEnabled)", "wake: the PCI function has no MSI-X"]);
    }
}

#[test]
fn mmio_devices_end_a_sleep() {
    // Two, so that they are told apart; the second IOAPIC is there unless ACPI (or itself) is off.
    let devices = [["-device", "virtio-rng-device"]; 2];
    let more = [["-global", "virtio-mmio.force-legacy=off"], devices[0], devices[1]];
    for (machine, line) in [
        ("microvm,isa-serial=on", "wake: line Some(47)"),
        ("microvm,isa-serial=on,pit=off,rtc=off,pic=off", "wake: line Some(47)"),
        ("microvm,isa-serial=on,acpi=off", "wake: line Some(12)"),
        ("microvm,isa-serial=on,acpi=off,pic=off", "wake: line Some(12)"),
    ] {
        if let Some(end) = boot(&["-M", machine], "16M", more.as_flattened(), "wake") {
            let output = end.expect(33, &[line]);
            assert_eq!(output.matches("wake: 1280 bytes").count(), 2, "{output}");
        }
    }
    let one = ["-M", "microvm,isa-serial=on,ioapic2=off"];
    if let Some(end) = boot(&one, "16M", more.as_flattened(), "wake") {
        end.expect(35, &["wake: the interrupt line is not known"]);
    }
}
