//! The launcher's command line: what stands after the first `--` of `cargo run --example NAME -- ...`.
//!
//! Only the form of each value is checked here; what the values mean together is `plan.rs`'s business.

use crate::device::DeviceOptions;
use crate::port::Port;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Boots an image in QEMU.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "run",
    about = "Boots an image in QEMU, with traffic if the image wants any",
    override_usage = "cargo run --release --example NAME -- [OPTIONS] [-- IMAGE_PARAMETERS...]",
    after_help = "Exit status: 0 all went well, 1 a failure (packets lost at a fixed rate, a panic or fault of the \
                  image, no QEMU), 2 a bad command line (the image's own included)."
)]
pub(crate) struct Options {
    /// The image: given by cargo.
    #[arg(hide = true)]
    pub image: PathBuf,

    /// The machine that QEMU imitates.
    #[arg(long, value_enum, default_value_t = Machine::Q35)]
    pub machine: Machine,

    /// How QEMU executes the guest's instructions; tcg even where /dev/kvm exists, which some nested hosts only emulate.
    #[arg(long, value_enum, default_value_t = Accel::Tcg)]
    pub accel: Accel,

    /// The guest's memory: a whole number of MiB, such as 16M or 1G.
    #[arg(long, value_name = "SIZE", default_value = "64M")]
    pub memory: Memory,

    /// What starts the image: by default qboot on microvm, SeaBIOS elsewhere.
    #[arg(long, value_enum)]
    pub firmware: Option<Firmware>,

    /// Network ports, in the order given.
    #[arg(
        long = "port",
        value_name = "PORT",
        help = "A network port: vhost-user:PATH[,server][,queues=N], user[,hostfwd=RULE]..., tap:INTERFACE[,queues=N] or \
                dgram:LOCAL_PATH,REMOTE_PATH; repeatable"
    )]
    pub ports: Vec<Port>,

    /// Options of every virtio-net device, as QEMU reads them: packed=on,mrg_rxbuf=off,rx_queue_size=256.
    #[arg(long, value_name = "OPTIONS")]
    pub device: Option<DeviceOptions>,

    /// Seconds between a lost vhost-user peer and each attempt to reach it again; 0 gives the peer up.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub reconnect: u32,

    /// Ends the run after so many seconds of polling; default 10 with the built-in pktgen, else none.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// What the built-in pktgen offers in each direction: packets or bits per second, such as 100kpps or 50Mbps, or max.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<pktgen::Rate>,

    /// Length of the built-in pktgen's frames in bytes, L2 header included, FCS excluded.
    #[arg(long, value_name = "BYTES")]
    pub size: Option<pktgen::FrameSize>,
    /// Which way the built-in pktgen sends: both, forward (into the first port, out of the second) or backward;
    /// default both, of a capture forward.
    #[arg(long, value_name = "DIRECTION")]
    pub direction: Option<pktgen::Direction>,

    /// Replays this capture through the image, comparing frame by frame.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["size"])]
    pub pcap: Option<PathBuf>,

    /// Writes the result to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Where QEMU's monitor is to listen, as a unix socket that speaks QMP.
    #[arg(long, value_name = "PATH")]
    pub monitor: Option<PathBuf>,

    /// Halts the machine before its first instruction and waits for gdb.
    #[arg(long)]
    pub gdb: bool,

    /// Prints the QEMU command and starts nothing.
    #[arg(long)]
    pub dry_run: bool,

    /// The image's own command line.
    #[arg(last = true, value_name = "IMAGE_PARAMETERS")]
    pub parameters: Vec<String>,
}

/// A machine type of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    /// PCI Express; virtio over PCI.
    Q35,
    /// No PCI; virtio over MMIO. Starts fastest.
    Microvm,
    /// The older PC (i440FX); virtio over PCI.
    Pc,
}

impl Machine {
    /// QEMU's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Q35 => "q35",
            Self::Microvm => "microvm",
            Self::Pc => "pc",
        }
    }
}

/// An accelerator of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Accel {
    /// Translation: works everywhere.
    Tcg,
    /// Hardware virtualization by /dev/kvm.
    Kvm,
}

impl Accel {
    /// QEMU's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// The firmware that loads the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Firmware {
    /// Sets PCI devices up.
    Seabios,
    /// Leaves PCI devices alone: the image sets them up.
    Qboot,
}

/// The guest's memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory(pub u32);

/// Less than this no image boots in: 1 MiB below the image, the image, and packet buffers.
const LEAST_MIB: u64 = 8;
const MOST_MIB: u64 = 1 << 20;

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let accepted =
            "accepted: a whole number of MiB from 8M to 1024G, such as 16M, 65536K or 1G";
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let kib_per_unit: u64 = match unit {
            "K" | "k" => 1,
            "" | "M" | "m" => 1 << 10,
            "G" | "g" => 1 << 20,
            _ => return Err(format!("`{text}` is not a memory size; {accepted}")),
        };
        let kib = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(kib_per_unit));
        let Some(kib) = kib else {
            return Err(format!("`{text}` is not a memory size; {accepted}"));
        };
        let mib = kib / 1024;
        match u32::try_from(mib) {
            Ok(whole) if kib % 1024 == 0 && (LEAST_MIB..=MOST_MIB).contains(&mib) => {
                Ok(Self(whole))
            }
            _ if mib < LEAST_MIB => Err(format!("{text} is too little memory; {accepted}")),
            _ if mib > MOST_MIB => Err(format!("{text} is too much memory; {accepted}")),
            _ => Err(format!("{text} is not a whole number of MiB; {accepted}")),
        }
    }
}

/// Reads a positive number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = if plain { text.parse::<f64>().ok() } else { None };
    match value {
        Some(value) if value > 0.0 && value <= 1e6 => Ok(Duration::from_secs_f64(value)),
        _ => Err("accepted: seconds above 0 and up to 1000000, such as 10 or 2.5".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes() {
        for (text, mib) in [("16M", 16), ("16", 16), ("16384K", 16), ("1G", 1024), ("8m", 8)] {
            assert_eq!(text.parse(), Ok(Memory(mib)), "{text}");
        }
        for (text, why) in [
            ("", "not a memory size"),
            ("M", "not a memory size"),
            ("-16M", "not a memory size"),
            ("16MB", "not a memory size"),
            ("1.5G", "not a memory size"),
            ("99999999999999999999G", "not a memory size"),
            ("18446744073709551615G", "not a memory size"),
            ("7M", "too little"),
            ("0", "too little"),
            ("16385K", "not a whole number"),
            ("1025G", "too much"),
        ] {
            let error = text.parse::<Memory>().unwrap_err();
            assert!(error.contains(why) && error.contains("accepted:"), "{text}: {error}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(seconds("2.5"), Ok(Duration::from_millis(2500)));
        for text in ["", "0", "-1", "NaN", "inf", "1e400", "1e3", ".", "ten", "1000001"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn image_parameters_stand_after_the_second_dashes() {
        let options = Options::try_parse_from([
            "run",
            "l2fwd",
            "--memory",
            "16M",
            "--",
            "mac-updating=off",
            "--x",
        ])
        .unwrap();
        assert_eq!(options.parameters, ["mac-updating=off", "--x"]);
        assert_eq!(options.memory, Memory(16));
    }

    #[test]
    fn unknown_values_say_what_is_accepted() {
        let error = Options::try_parse_from(["run", "l2fwd", "--machine", "virt"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("q35, microvm, pc"), "{error}");
    }
}
