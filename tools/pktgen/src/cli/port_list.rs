//! `pktgen ports`: what ports there are, and what a given one offers.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use pktgen::{AnyPort, Environment, Error, probe};
use plat_linux::Clock;

use crate::output;

/// Lists the kinds of ports, or says what given ports offer
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pktgen ports
  pktgen ports vhost-user:/tmp/a,server virtio-user:/tmp/b,server")]
pub(crate) struct PortListArgs {
    /// Ports to open and to describe, as for --port of `run`
    #[arg(value_name = "SPEC")]
    ports: Vec<AnyPort>,
}

const KINDS: &str = "\
vhost-user:PATH          pktgen is the device; connects to the socket PATH
vhost-user:PATH,server   pktgen is the device; listens on PATH (QEMU, virtio-user connect)
virtio-user:PATH         pktgen is the driver; connects to PATH (a vhost switch, testpmd's net_vhost)
virtio-user:PATH,server  pktgen is the driver; listens on PATH
discard                  takes every frame and gives none back: the generator by itself
";

impl PortListArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let mut text = String::new();
        if self.ports.is_empty() {
            text.push_str(KINDS);
            machine(&mut text);
        }
        for port in &self.ports {
            let info = probe(port)?;
            let _ = writeln!(
                text,
                "{port}: {}, {}, frames up to {} B, {} receive and {} transmit queues, rings of {} to {}, offloads {}",
                info.driver,
                info.mac,
                info.max_frame,
                info.rx_queues,
                info.tx_queues,
                info.rx_ring.min,
                info.rx_ring.max,
                info.offloads
            );
        }
        output::print(&text.trim_end())
    }
}

/// What matters of the machine for its ports.
fn machine(text: &mut String) {
    let machine = Environment::read(&Clock::new(), None).machine;
    let pages = match (machine.huge_pages_free, machine.huge_pages_total) {
        (Some(free), Some(total)) => format!("{free} of {total} huge pages free"),
        _ => "huge pages unknown".into(),
    };
    let cpu = machine.cpu.unwrap_or_else(|| "unknown CPU".into());
    let _ =
        writeln!(text, "\n{cpu}, {} cores, clock {} Hz, {pages}", machine.cores, machine.tsc_hz);
}
