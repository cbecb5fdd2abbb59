//! docs/pktgen.md: its commands still run, and print what the page says they print.
//!
//! Figures differ from machine to machine, so of each line of output that the page shows only the words are looked for, all in
//! one line of what the command prints.

use end_to_end::build::{self, Program};
use end_to_end::process::{Ended, Process};
use end_to_end::scratch::Scratch;
use end_to_end::{have, turn, workspace};
use std::path::Path;
use std::process::Command;

/// How often a command may fail because the machine let one side not run for long enough to lose a frame.
const ATTEMPTS: usize = 4;

/// A command of the page, and the lines that it shows below.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// What stands in the page's `console` blocks.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block has an end");
        let mut first = true;
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => steps.push(Step { command: command.into(), shown: Vec::new() }),
                None if first => panic!("a block begins with output: {line}"),
                None => steps.last_mut().expect("not first").shown.push(line.into()),
            }
            first = false;
        }
    }
    steps
}

/// Sets variables, and nothing else.
fn is_assignment(command: &str) -> bool {
    command.split_once('=').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase()))
}

/// The words of a line that are the same on every machine: of letters, but no units.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    parts
        .filter(|part| part.len() > 1 && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'))
        .filter(|part| !["us", "ns", "ms", "Mpps", "kpps", "none"].contains(part))
        .collect()
}

/// Whether all of the words stand in one line of the output. What a search finds out, between bounds or not, is the
/// machine's affair.
fn has_line(output: &str, shown: &str) -> bool {
    let wanted = words(shown.split(" between ").next().unwrap_or(shown));
    output.lines().any(|line| {
        let found = words(line);
        wanted.iter().all(|word| found.contains(word))
    })
}

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
fn carry_out(step: &Step, variables: &str, directory: &Path) -> String {
    let script = format!("{variables}{}", step.command);
    let script = script.replace("/tmp/", &format!("{}/", directory.display()));
    for attempt in 1..=ATTEMPTS {
        let ended = shell(&script);
        if ended.status.success() {
            return ended.output;
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
    let page = std::fs::read_to_string(workspace().join("docs/pktgen.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() >= 10, "{steps:#?}");
    let (scratch, _turn) = (Scratch::new(), turn::take());
    let directory = scratch.file("");
    let mut variables = String::new();
    for step in &steps {
        if is_assignment(&step.command) {
            variables += &format!("{}\n", step.command);
            continue;
        }
        if step.command.starts_with("chromium ") && !have("chromium") {
            continue;
        }
        println!("$ {}", step.command);
        let output = carry_out(step, &variables, Path::new(directory.trim_end_matches('/')));
        for shown in step.shown.iter().filter(|line| *line != "...") {
            assert!(
                has_line(&output, shown),
                "`{}` does not print a line like\n{shown}\nbut\n{output}",
                step.command
            );
        }
    }
    assert!(Path::new(&scratch.file("ndr-image/index.html")).exists(), "a report was written");
}

#[test]
fn a_line_that_is_not_printed_is_found_out() {
    let output = "forward   20 sent, 20 received, 0 lost\n  1.0 s  trial 1: 2 Mpps";
    assert!(has_line(output, "forward   19 sent, 18 received, 1 lost"));
    assert!(!has_line(output, "forward   19 sent, 18 received, 1 late"));
    assert!(!has_line(output, "trial 1: 20 sent"), "in one line");
    assert!(is_assignment("A=1 B=2") && !is_assignment("pktgen run --port=x"));
}
