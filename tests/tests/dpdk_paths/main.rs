//! The ten ring paths of DPDK 22.11, with us as its back end and as its driver: frames of seven sizes in a loop, one way
//! and the other, and after ports were stopped and started again. Every byte is compared, and nothing may be lost.
//!
//! By default each path in each role runs every mode with a few sizes, another few each time; `BAREWIRE_DPDK=full`
//! takes all sizes everywhere.

mod ours;
mod path;
mod rig;

use barewire::ports::Role;
use end_to_end::{have, skip, turn};
use netdev::RingFeatures;
use path::Path;
use rig::{Rig, Setup};

const SIZES: [usize; 7] = [64, 128, 256, 512, 1024, 1280, 1518];

/// What our rings must be able to do in each role. Of a path that needs more the rest is not offered, and both sides fall
/// back.
const ABLE: [(Role, RingFeatures); 2] = [(Role::BackEnd, PATHS_NEED), (Role::FrontEnd, PATHS_NEED)];

/// What the ten paths need.
const PATHS_NEED: RingFeatures = RingFeatures::IN_ORDER.union(RingFeatures::MERGEABLE);

/// `few` sizes, others for each `number`, or all of them.
fn sizes(number: usize, few: usize) -> Vec<usize> {
    let full = std::env::var_os("BAREWIRE_DPDK").is_some_and(|value| value == "full");
    let few = if full { SIZES.len() } else { few };
    (0..few).map(|step| SIZES[(number + 3 * step) % SIZES.len()]).collect()
}

/// Every mode of one path in one role; `number` turns the sizes, ring sizes and who listens.
fn runs(path: Path, role: Role, number: usize) {
    let cores = plat_linux::allowed_cores().expect("there are cores");
    let received_sizes = sizes(number + 1, 2);
    let setup = Setup {
        path,
        role,
        listen: number.is_multiple_of(4) || number % 4 == 3,
        ring: if number % 4 < 2 { 256 } else { 1024 },
        core: cores[cores.len() - 1],
        received_sizes: &received_sizes,
    };
    let mut rig = Rig::new(&setup);
    let (_, must) =
        ABLE.into_iter().find(|(whose, _)| *whose == role).expect("both roles are there");
    assert!(rig.able().contains(must), "{role:?}: {} is less than {must}", rig.able());
    let lacking = path.features() - rig.able();
    if !lacking.is_empty() {
        skip(&format!(
            "{} as {role:?}: {lacking}, which our rings do not have; without",
            path.words()
        ));
    }
    match path.stays_faulty(role) {
        false => everything(&mut rig, number),
        true => everything_with_fresh_buffers(&mut rig, number),
    }
    rig.finish();
}

/// Every mode, then after each side's restart a loop.
fn everything(rig: &mut Rig, number: usize) {
    for size in sizes(number, 2) {
        rig.loops(size);
    }
    rig.receives();
    rig.transmits(&sizes(number + 2, 2));
    for size in sizes(number + 3, 1) {
        rig.restart_testpmd();
        rig.loops(size);
        if rig.restart_ours() {
            rig.loops(size);
        }
    }
}

/// The same, with the restarts before testpmd sends anything ([`Path::stays_faulty`]).
fn everything_with_fresh_buffers(rig: &mut Rig, number: usize) {
    for size in sizes(number + 3, 1) {
        rig.is_counted(size);
        rig.restart_testpmd();
        rig.is_counted(size);
        rig.restart_ours();
    }
    for size in sizes(number, 2) {
        rig.loops(size);
    }
    rig.receives();
    rig.transmits(&sizes(number + 2, 2));
}

/// The paths of one half of the table, in both roles.
fn all_paths(packed: bool) {
    if !have("dpdk-testpmd") {
        return;
    }
    let both = Path::ALL.iter().flat_map(|path| ABLE.map(|(role, _)| (*path, role)));
    for (number, (path, role)) in both.enumerate().filter(|(_, (path, _))| path.packed == packed) {
        if !path.is_possible() {
            skip(&format!("{}: this processor has no AVX-512", path.words()));
            continue;
        }
        let _turn = turn::take();
        eprintln!("{} as {role:?}", path.words());
        runs(path, role, number);
    }
}

#[test]
fn split_paths_in_both_roles() {
    all_paths(false);
}

#[test]
fn packed_paths_in_both_roles() {
    all_paths(true);
}

#[test]
fn sizes_and_modes_turn_so_that_all_occur() {
    let all = |offset: usize, few: usize| {
        let mut seen: Vec<_> = (0..20).flat_map(|number| sizes(number + offset, few)).collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    for (offset, few) in [(0, 2), (1, 2), (2, 2), (3, 1)] {
        assert_eq!(all(offset, few), SIZES);
    }
}
