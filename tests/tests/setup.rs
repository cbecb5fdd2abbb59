//! tools/setup: does nothing where nothing lacks, and says what it did.

use end_to_end::{skip, workspace};
use std::process::{Command, Output};

fn setup(arguments: &[&str]) -> Output {
    Command::new(workspace().join("tools/setup"))
        .args(arguments)
        .output()
        .expect("tools/setup can be started")
}

#[test]
fn a_second_run_does_nothing() {
    if !setup(&["--check"]).status.success() {
        skip("packages lack here, and a test installs none: run tools/setup");
        return;
    }
    let output = setup(&[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("packages: nothing lacks") && text.contains("huge pages: "), "{text}");
    assert!(!text.contains("installing"), "{text}");
}

#[test]
fn unknown_options_are_usage_errors() {
    let output = setup(&["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("accepted: --tests"), "{output:?}");
}

#[test]
fn what_lacks_is_named_without_root_and_sudo() {
    let scratch = end_to_end::scratch::Scratch::new();
    // A machine with nothing but a shell and the few tools that the script itself uses.
    for tool in ["id", "cat", "sed", "apt-get"] {
        let path = ["/usr/bin", "/bin"]
            .map(|d| std::path::Path::new(d).join(tool))
            .into_iter()
            .find(|p| p.exists());
        let Some(path) = path else {
            skip(&format!("no {tool} here"));
            return;
        };
        std::os::unix::fs::symlink(path, scratch.file(tool)).unwrap();
    }
    let output = Command::new("/bin/sh")
        .arg(workspace().join("tools/setup"))
        .arg("--check")
        .env("PATH", scratch.as_ref())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("these lack: qemu-system-x86"), "{errors}");
}
