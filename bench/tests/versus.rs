//! `versus-dpdk` from outside: our two sides over a real socket, in every direction and format, with contents
//! compared; and what the command line refuses. (What DPDK says is parsed from recorded text, in testpmd.rs.)

use std::path::{Path as FilePath, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use bench::versus::cores::Cores;
use bench::versus::pair::{Pair, Timing, VERIFIED};
use bench::versus::plan::{Direction, Path, Place};
use bench::versus::side::Wiring;

const PROGRAM: &str = env!("CARGO_BIN_EXE_versus-dpdk");

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("bw-versus-{}-{name}", std::process::id()))
}

/// Both sides ours, on the first and the last core that there is.
fn loops(path: Path) {
    let cores = plat_linux::allowed_cores().unwrap();
    let cores = Cores { back_end: cores[0], driver: cores[cores.len() - 1] };
    let socket = socket(&path.to_string());
    let program = FilePath::new(PROGRAM);
    let wiring = Wiring {
        program,
        socket: &socket,
        cores,
        path,
        ring: 256,
        huge_pages: false,
        vectorized: false,
    };
    let mut pair = Pair::start(Place::Loop.ours(), &wiring).unwrap();
    let window = Duration::from_millis(50);
    let timing = Timing { settle: window, window };
    for size in [64, 1518] {
        for &role in Place::Loop.ours() {
            assert!(pair.verify(role, size).unwrap() >= VERIFIED);
        }
        for direction in [Direction::Both, Direction::Rx, Direction::Tx] {
            let roles = Place::Loop.roles(direction);
            let processes = pair.ids();
            // A window in which this machine gives a side no time at all says nothing.
            let moved = (0..20).any(|_| {
                let turn = pair.turn(&roles, size, timing, &processes).unwrap();
                turn.mpps > 0.0 && turn.cycles.is_some_and(|cycles| cycles > 0.0)
            });
            assert!(moved, "{path}, {direction}, {size} B: no packet passed");
        }
    }
}

#[test]
fn our_two_sides_over_split_rings() {
    loops(Path::Split);
}

#[test]
fn our_two_sides_over_packed_rings() {
    loops(Path::Packed);
}

fn run(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn bad_options_are_usage_errors() {
    let bad: [&[&str]; 11] = [
        &["--trials", "0"],
        &["--trials", "-1"],
        &["--only", "elsewhere"],
        &["--sizes", "59"],
        &["--modes", "both"],
        &["--dpdk", "fast"],
        &["--sizes", "1519"],
        &["--cores", "1,1"],
        &["--ring", "1000"],
        &["--side", "driver"],
        &["--nonsense"],
    ];
    for words in bad {
        let (status, said) = run(Command::new(PROGRAM).args(words));
        assert_eq!(status, Some(2), "{words:?}: {said}");
    }
}

#[test]
fn without_dpdk_it_says_how_to_get_it() {
    let (status, said) = run(Command::new(PROGRAM).env("PATH", "/nowhere"));
    assert_eq!(status, Some(1));
    assert!(said.contains("dpdk-testpmd") && said.contains("tools/setup --tests"), "{said}");
}

#[test]
fn a_core_that_is_not_there_is_named() {
    let mut ceiling = Command::new(env!("CARGO_BIN_EXE_ceiling"));
    let (status, said) = run(ceiling.args(["--cores", "0,1022"]));
    assert_eq!(status, Some(1));
    assert!(said.contains("core 1022 cannot be used"), "{said}");
}
