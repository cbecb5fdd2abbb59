//! The launcher: boots an image in QEMU, gives it traffic if it is one that wants some, and says what came of it.
//!
//! `tools/run/runner.sh` calls it for every image that cargo is to run. What stands where: `options.rs` and `port.rs`
//! the command line, `image.rs` the file, `plan.rs` what the image's name selects, `command.rs` QEMU's command,
//! `session.rs` the run, `result.rs` its outcome. Deliberately absent: other monitors than QEMU, and anything that
//! reaches into the guest except by its ports and its console.
#![forbid(unsafe_code)]

mod checks;
mod command;
mod console;
mod device;
mod end;
mod failure;
mod image;
mod options;
mod plan;
mod port;
mod qemu;
mod result;
mod scratch;
mod session;
mod traffic;

use clap::Parser;
use console::{complain, say};
use failure::Failure;
use image::Image;
use options::Options;
use plan::{Plan, Surroundings};
use plat_linux::StopFlag;
use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == qemu::BECOME) {
        complain(format_args!("run: {}", qemu::become_qemu(arguments)));
        return ExitCode::FAILURE;
    }
    match launch(&Options::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            complain(format_args!("run: {failure}"));
            ExitCode::from(failure.status)
        }
    }
}

fn launch(options: &Options) -> Result<u8, Failure> {
    let image = Image::open(&options.image)
        .map_err(|error| Failure::failed(format!("{} {error}", options.image.display())))?;
    let around = Surroundings { scratch: &scratch::Scratch::path(), free_udp_port };
    let plan = plan::make(options, &image, around)?;
    if options.dry_run {
        let line = command::shell_quoted(&plan.guest.command());
        return match writeln!(std::io::stdout(), "{line}") {
            Ok(()) => Ok(0),
            Err(error) => Err(Failure::failed(format!("cannot print: {error}"))),
        };
    }
    let json = options.json.as_deref().map(open_json).transpose()?;
    let stop = StopFlag::install()
        .map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
    announce(&plan, &image);
    let outcome = session::run(&plan, &stop)?;
    let status = result::exit_status(&plan, &outcome);
    result::print(&plan, &outcome);
    // Where the image ended by itself, that is the reason of all else.
    if let Some(failure) = outcome.failure.as_ref().filter(|_| outcome.end.is_none()) {
        complain(format_args!("run: {failure}"));
    }
    if let Some(mut file) = json {
        result::write_json(&mut file, options, &image, &outcome, status).map_err(|error| {
            Failure::failed(format!("the result could not be written: {error}"))
        })?;
    }
    Ok(status)
}

fn announce(plan: &Plan, image: &Image) {
    say(format_args!(
        "run: {} on {}, {} bytes to load",
        image.name,
        plan.guest.machine.name(),
        image.loadable
    ));
    if plan.guest.gdb {
        say(format_args!(
            "run: the machine waits for: gdb {} -ex 'target remote {}' -ex 'hbreak pvh_start' -ex continue",
            image.path.display(),
            command::GDB
        ));
    }
}

/// Asks the kernel for a port that is free now.
fn free_udp_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn open_json(path: &Path) -> Result<File, Failure> {
    File::create(path)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}
