//! Links this package's example (the self-test image) as a bootable image.

use std::path::Path;

mod link;

fn main() {
    let directory = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR");
    link::examples_as_images(Path::new(&directory));
}
