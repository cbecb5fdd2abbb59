//! Links this package's example (the self-test image) as a bootable image.
//!
//! The facade's build script at the root of the workspace does the same for its examples; the two cannot share
//! code because Cargo applies link arguments only to the package that prints them.

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR");
    let script = format!("{directory}/image.ld");
    println!("cargo::rerun-if-changed={script}");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-no-pie",
        &format!("-Wl,-T,{script}"),
        "-Wl,--build-id=sha1",
        "-Wl,--gc-sections",
        "-Wl,-z,max-page-size=4096",
    ] {
        println!("cargo::rustc-link-arg-examples={argument}");
    }
}
