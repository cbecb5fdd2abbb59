//! The link arguments of an image, shared by the build scripts that have images as examples: this package's (the
//! self-test image) and the facade's at the root of the workspace. Cargo applies link arguments only to the package
//! that prints them.

use std::path::Path;

/// Links the examples of the package that is being built as bootable images; `platform` is this folder.
pub(crate) fn examples_as_images(platform: &Path) {
    let script = platform.join("image.ld");
    let script = script.display();
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
