//! docs/pktgen.md: its commands still run, and print what the page says they print.
//!
//! Figures differ from machine to machine, so of each line of output that the page shows only the words are looked for, all in
//! one line of what the command prints. With `BAREWIRE_UPDATE=1` what the commands print now takes the place of what the
//! page shows, and the pictures that they make of that of the page's.

mod page;

use end_to_end::build::{self, Program};
use end_to_end::process::{Ended, Process};
use end_to_end::scratch::Scratch;
use end_to_end::{have, turn, workspace};
use page::{Page, Step, find};
use std::path::Path;
use std::process::Command;

/// How often a command may fail because the machine let one side not run for long enough to lose a frame.
const ATTEMPTS: usize = 4;

/// Bytes of a picture at most: whoever clones the repository loads it.
const PICTURE: u64 = 200_000;

/// Runs a shell's command with everything of `/tmp` in a directory of this test's own.
#[track_caller]
fn shell(script: &str) -> Ended {
    let tools = Program::Pktgen.path().parent().expect("a file is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(workspace());
    command.env("PATH", format!("{}:{path}", tools.display()));
    command.env("CARGO_TARGET_DIR", build::directory());
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    Process::start(&mut command).end()
}

/// Runs a step until it succeeds; what it printed.
#[track_caller]
fn carry_out(step: &Step, variables: &str, directory: &str) -> String {
    let script = format!("{variables}{}", step.command).replace("/tmp/", directory);
    for attempt in 1..=ATTEMPTS {
        let ended = shell(&script);
        if ended.status.success() {
            return ended.output.replace(directory, "/tmp/");
        }
        println!("attempt {attempt} of `{}`:\n{}", step.command, ended.output);
    }
    panic!("`{}` failed in each of {ATTEMPTS} attempts", step.command);
}

#[test]
fn the_pages_commands_print_what_it_says() {
    if !have("qemu-system-x86_64") {
        return;
    }
    // Compiled before the page's commands wait for them.
    for program in [Program::Launcher, Program::L2fwd, Program::L2fwdProcess, Program::Pktgen] {
        program.path();
    }
    let file = workspace().join("docs/pktgen.md");
    let mut page = Page::new(&std::fs::read_to_string(&file).unwrap());
    let steps = page.steps();
    assert!(steps.len() >= 10, "{steps:#?}");
    let is_update = std::env::var_os("BAREWIRE_UPDATE").is_some();
    let (scratch, _turn) = (Scratch::new(), turn::take());
    let directory = scratch.file("");
    let mut variables = String::new();
    for step in &steps {
        if step.is_assignment() {
            variables += &format!("{}\n", step.command);
            continue;
        }
        if step.command.starts_with("chromium ") && !have("chromium") {
            continue;
        }
        println!("$ {}", step.command);
        let output = carry_out(step, &variables, &directory);
        let mut lines = output.lines();
        for (number, shown) in step.shown.iter().filter(|(_, line)| line != "...") {
            let Some(found) = find(&mut lines, shown) else {
                panic!("`{}` does not print a line like\n{shown}\nbut\n{output}", step.command);
            };
            if is_update {
                page.replace(*number, found);
            }
        }
    }
    assert!(Path::new(&scratch.file("ndr-image/index.html")).exists(), "a report was written");
    if is_update {
        page.stamp(&stamp());
        std::fs::write(&file, page.text()).unwrap();
    }
    for name in ["report-light.png", "report-dark.png"] {
        let (made, kept) = (scratch.file(name), workspace().join("docs/pktgen").join(name));
        if is_update && Path::new(&made).exists() {
            std::fs::create_dir_all(kept.parent().unwrap()).unwrap();
            std::fs::copy(&made, &kept).unwrap();
        }
        let bytes = std::fs::metadata(&kept).unwrap().len();
        assert!((5_000..PICTURE).contains(&bytes), "{name}: {bytes} bytes");
    }
}

/// Where and when outputs were taken.
fn stamp() -> String {
    let machine = plat_linux::Environment::read(&plat_linux::Clock::new());
    let date = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().unwrap().stdout;
    format!(
        "{}, {}, {} cores, Linux {}, load {}",
        String::from_utf8_lossy(&date).trim(),
        machine.cpu.as_deref().unwrap_or("an unknown CPU"),
        machine.cores,
        machine.kernel,
        machine.load_1m.map_or("unknown".into(), |load| format!("{load:.1}")),
    )
}
