//! Side by side with DPDK: packets per second and cycles per packet, ours and testpmd's on the same work, in turns.

use std::process::ExitCode;

use bench::versus::comparison::Comparison;
use bench::versus::forwarder::Forwarder;
use bench::versus::options::{Options, Pages};
use bench::versus::plan::{Path, Role};
use bench::versus::trial::Failure;
use clap::Parser;

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match options.side {
        Some(role) => be_side(&options, role),
        None => run(&options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("versus-dpdk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn be_side(options: &Options, role: Role) -> Result<bool, Failure> {
    let (Some(socket), Some(core)) = (options.socket.clone(), options.core) else {
        return Err("a side needs --socket and --core".into());
    };
    let path = options.paths.first().copied().unwrap_or(Path::Split);
    let huge_pages = options.pages == Pages::Huge;
    let forwarder = Forwarder { role, socket, core, path, ring: options.ring, huge_pages };
    forwarder.run()?;
    Ok(true)
}

fn run(options: &Options) -> Result<bool, Failure> {
    if cfg!(debug_assertions) {
        eprintln!(
            "versus-dpdk: a debug build of ours against a release build of DPDK; use `cargo run --release`"
        );
    }
    Comparison::new(options)?.run()
}
