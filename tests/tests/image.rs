//! What is in the image of l2fwd: its size, whose symbols, and what the packet path can reach.

use end_to_end::build::{self, Program};
use end_to_end::elf::{self, Calls};
use std::collections::BTreeSet;

/// The most that l2fwd's loadable segments may take in the file.
const MOST_BYTES: u64 = 128 * 1024;

/// Every crate that may leave symbols in the image: those that cargo says it is built from, and the language's own.
fn crates() -> BTreeSet<String> {
    let output = build::cargo(&[
        "tree", "--locked", "-p", "barewire", "-e", "normal", "--prefix", "none", "-f", "{lib}",
    ])
    .output()
    .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let words =
        text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    let language = ["core", "alloc", "compiler_builtins", "l2fwd"];
    words.map(str::to_owned).chain(language.map(str::to_owned)).collect()
}

/// The crate in whose name a symbol stands, where the name tells: `_ZN4core3fmt...` or `_RNvCs1234_4core...`.
fn crate_of(symbol: &str) -> Option<&str> {
    let numbered = match symbol.strip_prefix("_ZN") {
        Some(path) => path,
        None => {
            let path = symbol.strip_prefix("_R")?;
            let disambiguated = path.split_once("Cs")?.1;
            disambiguated.split_once('_')?.1
        }
    };
    let digits = numbered.bytes().take_while(u8::is_ascii_digit).count();
    let length: usize = numbered[..digits].parse().ok()?;
    let name = numbered[digits..].get(..length)?;
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then_some(name).filter(
        |name| {
            // `_$LT$..` and the like begin a trait implementation, not a crate.
            !name.starts_with('_')
        },
    )
}

#[test]
fn symbols_tell_their_crate() {
    assert_eq!(crate_of("_ZN4core3fmt5write17h0123456789abcdefE"), Some("core"));
    assert_eq!(crate_of("_RNvNtCs1a2b_6netbuf4pool4free"), Some("netbuf"));
    assert_eq!(crate_of("_ZN58_$LT$a..B$u20$as$u20$c..D$GT$1e17h0123456789abcdefE"), None);
    assert_eq!(crate_of("memcpy"), None);
}

#[test]
fn loadable_segments_are_small() {
    let bytes = elf::loadable_bytes(Program::L2fwd.path());
    println!("l2fwd: {bytes} bytes to load");
    assert!(bytes > 4096, "{bytes} bytes are no image");
    assert!(bytes <= MOST_BYTES, "{bytes} bytes to load, {MOST_BYTES} are allowed");
}

#[test]
fn no_foreign_symbols() {
    let symbols = elf::symbols(Program::L2fwd.path());
    let allowed = crates();
    let found: BTreeSet<_> = symbols.iter().filter_map(|symbol| crate_of(symbol)).collect();
    assert!(
        found.contains("core") && found.contains("plat_kvm"),
        "the image has symbols: {found:?}"
    );
    let foreign: Vec<_> = found.iter().filter(|name| !allowed.contains(**name)).collect();
    assert!(foreign.is_empty(), "symbols of {foreign:?} in l2fwd's image; allowed: {allowed:?}");
    for library in libraries() {
        let hit = symbols.iter().find(|symbol| symbol.contains(&library));
        assert!(hit.is_none(), "a symbol of lib/{library} in l2fwd's image: {hit:?}");
    }
}

/// Crates in `lib/` as symbols spell them, and those that are to come.
fn libraries() -> BTreeSet<String> {
    let entries =
        std::fs::read_dir(end_to_end::workspace().join("lib")).into_iter().flatten().flatten();
    let here = entries.map(|entry| entry.file_name().to_string_lossy().replace('-', "_"));
    here.chain(["netstack", "smoltcp", "VirtIOBlk"].map(str::to_owned)).collect()
}

/// Functions of the packet path keep names of their own even with fat LTO, because they are called through `dyn`.
fn is_packet_path(name: &str) -> bool {
    name.contains("rx_burst") || name.contains("tx_burst")
}

fn is_allocator(name: &str) -> bool {
    let own =
        ["__rust_alloc", "__rust_dealloc", "__rust_realloc", "__rg_", "__rdl_", "alloc::alloc"];
    own.iter().any(|part| name.contains(part)) || name.contains("talc::")
}

/// Follows direct calls and jumps from `rx_burst` and `tx_burst`. Calls through pointers are not followed: the packet
/// path has none, the loop above it has one per burst, to these very functions.
#[test]
fn the_packet_path_reaches_no_allocator() {
    let calls = Calls::of(Program::L2fwd.path());
    let everything = calls.reached_from(|_| true);
    assert!(
        everything.iter().any(|name| is_allocator(name)),
        "an image has an allocator: were its names recognised?"
    );
    let path = calls.reached_from(is_packet_path);
    for part in ["rx_burst", "tx_burst"] {
        assert!(path.iter().any(|name| name.contains(part)), "no function with {part} in its name");
    }
    let allocating: Vec<_> = path.iter().filter(|name| is_allocator(name)).collect();
    assert!(allocating.is_empty(), "the packet path reaches {allocating:?}");
    println!("{} functions on the packet path, no allocator among them", path.len());
}
