//! This crate's gates in a build whose ring halves believe what a peer writes: what is left of their instructions is the
//! work, and the difference is what the checks cost.
//!
//! See `drivers/virtio/src/checks.rs` for what is left out and why no product can be built so. It is built into a
//! directory of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is built.
const DIRECTORY: &str = "target/unchecked";

/// Builds the twin of the program `gates`.
///
/// # Errors
/// cargo cannot be run, or fails; in words.
pub fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg barewire_unchecked")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["build", "--quiet", "--locked", "--release", "-p", "bench", "--bin", "gates"])
        .args(["--target-dir", DIRECTORY])
        .status()
        .map_err(|error| format!("cargo cannot be run: {error}"))?;
    if !status.success() {
        return Err("the twin without checks cannot be built".into());
    }
    Ok(root.join(DIRECTORY).join("release/gates"))
}
