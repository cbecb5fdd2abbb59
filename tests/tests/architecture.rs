//! ARCHITECTURE.md's invariants, as far as a test can see them: who depends on whom, where `unsafe` stands, no `std`
//! feature under an image, and that each file says what it is.

use end_to_end::{build, workspace};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may name whom, of our own crates (dev-dependencies apart). A new crate is to be entered here.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("netbuf", &[]),
    ("netdev", &["netbuf"]),
    ("eventloop", &["netbuf", "netdev"]),
    ("virtio", &["netbuf", "netdev"]),
    ("vhost-user", &["netbuf", "netdev", "virtio"]),
    ("plat-kvm", &[]),
    ("plat-linux", &[]),
    (
        "barewire",
        &["netbuf", "netdev", "eventloop", "virtio", "vhost-user", "plat-kvm", "plat-linux"],
    ),
    ("pktgen", &["barewire", "netbuf", "netdev", "eventloop", "vhost-user", "plat-linux"]),
    (
        "bench",
        &[
            "barewire",
            "netbuf",
            "netdev",
            "eventloop",
            "virtio",
            "vhost-user",
            "plat-linux",
            "pktgen",
        ],
    ),
    ("run", &["pktgen", "plat-linux"]),
    ("end-to-end", &["pktgen"]),
];

/// Crates that have no business with `unsafe` at all.
const FORBID_UNSAFE: &[&str] = &[
    "netdev/src/lib.rs",
    "eventloop/src/lib.rs",
    "tools/pktgen/src/lib.rs",
    "tools/run/src/main.rs",
    "tests/src/lib.rs",
];

fn metadata() -> Value {
    let output =
        build::cargo(&["metadata", "--format-version=1", "--locked"]).output().expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "cargo metadata failed (is Cargo.lock committed and current?):\n{errors}"
    );
    serde_json::from_slice(&output.stdout).expect("cargo prints JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("{key} is a list in {value}"))
}

/// Our packages by name.
fn ours(metadata: &Value) -> BTreeMap<&str, &Value> {
    let members: BTreeSet<_> =
        list(metadata, "workspace_members").iter().map(Value::as_str).collect();
    let packages = list(metadata, "packages").iter();
    packages.filter(|p| members.contains(&p["id"].as_str())).map(|p| (text(p, "name"), p)).collect()
}

/// What a package names in `[dependencies]`.
fn dependencies(package: &Value) -> impl Iterator<Item = &Value> {
    list(package, "dependencies").iter().filter(|dependency| dependency["kind"].is_null())
}

#[test]
fn dependencies_run_one_way() {
    let metadata = metadata();
    let ours = ours(&metadata);
    for (name, package) in &ours {
        let allowed = MAY_DEPEND_ON.iter().find(|(of, _)| of == name).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("{name} is new: enter it in MAY_DEPEND_ON"));
        for dependency in dependencies(package).map(|dependency| text(dependency, "name")) {
            let known = !ours.contains_key(dependency) || allowed.contains(&dependency);
            assert!(known, "{name} may not depend on {dependency}; allowed: {allowed:?}");
        }
    }
    assert_eq!(ours.len(), MAY_DEPEND_ON.len(), "MAY_DEPEND_ON names a crate that is gone");
}

/// The crates of l2fwd's image as cargo resolves them when it builds that image alone: name and active features.
fn image_crates() -> BTreeMap<String, Vec<String>> {
    let arguments = [
        "tree",
        "--locked",
        "-p",
        "barewire",
        "-e",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{lib} {f}",
    ];
    let output = build::cargo(&arguments).output().expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo tree failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let entry = |line: &str| {
        let (name, features) = line.split_once(' ')?;
        let features =
            features.trim_end_matches("(*)").trim().split(',').map(str::to_owned).collect();
        (!name.is_empty()).then(|| (name.to_owned(), features))
    };
    text.lines().filter_map(entry).collect()
}

#[test]
fn no_std_feature_under_an_image() {
    let crates = image_crates();
    for needed in ["barewire", "netbuf", "netdev", "virtio", "plat_kvm", "virtio_drivers"] {
        assert!(
            crates.contains_key(needed),
            "{needed} is missing: is this the image's tree? {crates:?}"
        );
    }
    assert!(!crates.contains_key("plat_linux"), "the image has no Linux platform");
    for (name, features) in &crates {
        assert!(
            !features.iter().any(|feature| feature == "std"),
            "{name} has its feature `std` on: {features:?}"
        );
    }
}

#[test]
fn what_an_image_uses_has_no_default_features() {
    let metadata = metadata();
    let ours = ours(&metadata);
    let image: BTreeSet<_> =
        image_crates().into_keys().map(|name| name.replace('_', "-")).collect();
    let mut seen = 0;
    for (name, package) in ours.iter().filter(|(name, _)| image.contains(**name)) {
        for dependency in dependencies(package).filter(|dependency| dependency["path"].is_null()) {
            let dependency_name = text(dependency, "name");
            if image.contains(dependency_name) {
                seen += 1;
                let defaults = dependency["uses_default_features"].as_bool();
                assert_eq!(
                    defaults,
                    Some(false),
                    "{name} takes {dependency_name} with its default features"
                );
            }
        }
    }
    assert!(seen > 0, "no dependency of an image's crate was looked at");
}

/// The Rust sources of the repository, relative to it.
fn sources() -> Vec<PathBuf> {
    fn walk(directory: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).expect("a directory of the repository").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let skipped = name == "target" || name.to_string_lossy().starts_with('.');
            if path.is_dir() && !skipped {
                walk(&path, into);
            } else if path.extension().is_some_and(|end| end == "rs") {
                into.push(path.strip_prefix(workspace()).expect("under the workspace").to_owned());
            }
        }
    }
    let mut sources = Vec::new();
    walk(workspace(), &mut sources);
    sources.sort();
    assert!(sources.len() > 50, "the repository has more sources than {}", sources.len());
    sources
}

fn read(path: &Path) -> String {
    fs::read_to_string(workspace().join(path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The source without comments and literals.
fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest));
        if let Some(length) = skipped {
            code.push(' ');
            rest = &rest[length..];
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
            // `r` and `b` may begin a literal, which was looked at above; here they begin a word.
            code.push_str(&rest[..end]);
            rest = &rest[end..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let (mut depth, mut at) = (1, 2);
    while depth > 0 && at < text.len() {
        let here = &text.as_bytes()[at..];
        (depth, at) = match here {
            [b'/', b'*', ..] => (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth - 1, at + 2),
            _ => (depth, at + 1),
        };
    }
    Some(at)
}

/// The length of a string or character literal that begins here.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        let rest = text.strip_prefix(prefix);
        rest.is_some_and(|rest| {
            rest.starts_with('"') || prefix.contains('r') && rest.starts_with("#\"")
        })
    });
    let start = prefix.map_or(0, str::len);
    let body = &text[start..];
    if prefix.is_some_and(|prefix| prefix.contains('r')) {
        let hashes = body.bytes().take_while(|byte| *byte == b'#').count();
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = start + hashes + 1;
        return Some(text[inside..].find(&end).map_or(text.len(), |at| inside + at + end.len()));
    }
    if let Some(inside) = body.strip_prefix('"') {
        return Some(start + 1 + closing(inside, b'"')?);
    }
    // A lifetime has no closing quote.
    let inside = body.strip_prefix('\'').filter(|_| start == 0)?;
    let first = inside.chars().next()?;
    let is_char = first == '\\' || inside[first.len_utf8()..].starts_with('\'');
    if is_char { Some(1 + closing(inside, b'\'')?) } else { None }
}

/// Where the text continues behind the closing quote.
fn closing(inside: &str, quote: u8) -> Option<usize> {
    let mut escaped = false;
    inside
        .bytes()
        .position(|byte| {
            let ends = byte == quote && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })
        .map(|at| at + 1)
}

fn uses_unsafe(source: &str) -> bool {
    let code = code(source);
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).any(|word| word == "unsafe")
}

#[test]
fn the_scanner_knows_code_from_comments_and_literals() {
    for source in [
        "unsafe { f() }",
        "#[unsafe(no_mangle)]",
        "let c = '\"'; unsafe {}",
        "fn f<'a>() {} unsafe impl A {}",
    ] {
        assert!(uses_unsafe(source), "{source}");
    }
    for source in [
        "// unsafe",
        "/* a /* unsafe */ unsafe */ let x = 1;",
        "#![forbid(unsafe_code)]",
        "let s = \"an \\\" unsafe word\";",
        "let s = r#\"unsafe \" still unsafe\"#;",
        "let b = b\"unsafe\"; let q = '\\''; // unsafe",
    ] {
        assert!(!uses_unsafe(source), "{source}");
    }
}

/// The list in ARCHITECTURE.md: entries like "- `path/file.rs`: why".
fn listed() -> BTreeSet<PathBuf> {
    let page = read(Path::new("ARCHITECTURE.md"));
    let section =
        page.split("## Where unsafe lives").nth(1).expect("ARCHITECTURE.md has the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let entries = section.lines().filter_map(|line| line.strip_prefix("- `")?.split_once('`'));
    entries
        .map(|(path, why)| {
            let reason = why.strip_prefix(": ").is_some_and(|why| why.trim().len() > 3);
            assert!(reason, "the entry of {path} does not say why");
            PathBuf::from(path)
        })
        .collect()
}

#[test]
fn unsafe_stands_where_the_architecture_says() {
    let found: BTreeSet<_> =
        sources().into_iter().filter(|path| uses_unsafe(&read(path))).collect();
    let listed = listed();
    let show = |paths: Vec<&PathBuf>| {
        paths.iter().map(|path| format!("- `{}`: ", path.display())).collect::<Vec<_>>().join("\n")
    };
    let unlisted = show(found.difference(&listed).collect());
    assert!(
        unlisted.is_empty(),
        "files with `unsafe` that ARCHITECTURE.md does not list:\n{unlisted}"
    );
    let stale = show(listed.difference(&found).collect());
    assert!(
        stale.is_empty(),
        "ARCHITECTURE.md lists files that have no `unsafe` (any more):\n{stale}"
    );
}

#[test]
fn crates_that_need_no_unsafe_forbid_it() {
    for path in FORBID_UNSAFE {
        assert!(
            code(&read(Path::new(path))).contains("#![forbid(unsafe_code)]"),
            "{path} does not forbid unsafe code"
        );
    }
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> =
        sources().into_iter().filter(|path| !read(path).starts_with("//!")).collect();
    assert!(silent.is_empty(), "files that do not open with `//!`: {silent:?}");
}

/// The build that believes what a peer writes (`drivers/virtio/src/checks.rs`) is a benchmark's: neither platform compiles
/// with it, and nothing in the workspace asks for it but that benchmark.
#[test]
fn checks_are_never_left_out_of_a_product() {
    let word = ["barewire", "unchecked"].join("_");
    let refusal = format!("#[cfg({word})]\ncompile_error!(");
    for platform in ["plat/kvm/src/lib.rs", "plat/linux/src/lib.rs"] {
        let text = fs::read_to_string(workspace().join(platform)).expect("a platform");
        assert!(text.contains(&refusal), "{platform} compiles without checks");
    }
    let asks = |file: &PathBuf| {
        let text = read(file);
        text.contains(&format!("--cfg {word}")) || text.contains(&format!("rustc-cfg={word}"))
    };
    let builders = [".cargo/config.toml", ".ci/run", "tools/run/runner.sh", "tools/setup"];
    let builders = builders.into_iter().map(|file| workspace().join(file));
    let asking: Vec<_> = sources().into_iter().chain(builders).filter(asks).collect();
    let allowed = ["bench/src/twin.rs", "drivers/virtio/src/checks.rs"];
    assert!(
        asking.iter().all(|file| allowed.iter().any(|allowed| file.ends_with(allowed))),
        "{asking:?} ask for it; allowed: {allowed:?}"
    );
    assert_eq!(asking.len(), allowed.len());
}
