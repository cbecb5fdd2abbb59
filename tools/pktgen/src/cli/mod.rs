//! The command line: one file per subcommand, and what they share.

mod completions;
mod outputs;
mod port_list;
mod ports;
mod replay;
mod report;
mod run;
mod search;
mod start;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};
use pktgen::Error;

pub(crate) use outputs::OutputArgs;

/// Sends frames into ports, and says what became of each.
#[derive(Debug, Parser)]
#[command(
    name = "pktgen",
    version,
    max_term_width = 100,
    disable_help_flag = true,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "\
Examples:
  pktgen run --port vhost-user:/tmp/a,server --port vhost-user:/tmp/b,server --rate 1Mpps --duration 10
  pktgen replay capture.pcap --port vhost-user:/tmp/a --port vhost-user:/tmp/b --compare --direction forward
  pktgen search --port vhost-user:/tmp/a,server --port vhost-user:/tmp/b,server --report result
  pktgen report result.json --out result

`pktgen COMMAND --help` has more. Ctrl-C ends a run with what there is; a second one ends pktgen at once."
)]
pub(crate) struct Cli {
    /// Print this
    // One help, and a short one: it fits a screen.
    #[arg(short, long, action = ArgAction::HelpShort, global = true, hide = true)]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Replay(replay::ReplayArgs),
    Search(search::SearchArgs),
    Report(report::ReportArgs),
    Ports(port_list::PortListArgs),
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn execute(&self) -> Result<ExitCode, Error> {
        match &self.command {
            Command::Run(args) => args.execute(),
            Command::Replay(args) => args.execute(),
            Command::Search(args) => args.execute(),
            Command::Report(args) => args.execute(),
            Command::Ports(args) => args.execute(),
            Command::Completions(args) => args.execute(),
        }
    }
}

/// Seconds, as a person writes them.
fn seconds(text: &str) -> Result<Duration, String> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = text.parse::<f64>().ok().filter(|&s| plain && s > 0.0 && s <= 1e9);
    value.map(Duration::from_secs_f64).filter(|time| !time.is_zero()).ok_or_else(|| {
        format!("`{text}` is no time; accepted: seconds above 0 and up to 1e9, such as 10 or 0.5")
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_fits_a_screen_and_has_examples() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let all = std::iter::once(command.clone()).chain(command.get_subcommands().cloned());
        for mut command in all.filter(|command| command.get_name() != "help") {
            let help = command.render_help().to_string();
            let lines = help.lines().count();
            println!("{}: {lines} lines", command.get_name());
            assert!(lines <= 52, "{lines} lines:\n{help}");
            assert!(help.contains("Example"), "{help}");
        }
    }
}
