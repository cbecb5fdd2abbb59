//! Links the examples as bootable images when the machine is `kvm`.
//!
//! With the feature `linux` (which wins where both are on) they are ordinary processes and nothing is said to the
//! linker. The layout itself stands in `plat/kvm/image.ld`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let on = |feature: &str| std::env::var_os(feature).is_some();
    if on("CARGO_FEATURE_LINUX") || !on("CARGO_FEATURE_KVM") {
        return;
    }
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR");
    let script = format!("{directory}/plat/kvm/image.ld");
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
