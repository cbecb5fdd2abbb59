//! Links the examples as bootable images when the machine is `kvm`.
//!
//! With the feature `linux` (which wins where both are on) they are ordinary processes and nothing is said to the
//! linker. The layout itself stands in `plat/kvm/image.ld`.

use std::path::Path;

#[path = "plat/kvm/link.rs"]
mod link;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let on = |feature: &str| std::env::var_os(feature).is_some();
    if on("CARGO_FEATURE_LINUX") || !on("CARGO_FEATURE_KVM") {
        return;
    }
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR");
    link::examples_as_images(&Path::new(&directory).join("plat/kvm"));
}
