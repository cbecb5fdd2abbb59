//! `pktgen completions`: scripts for shells.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use pktgen::Error;

use super::Cli;
use crate::output;

/// Prints a script that lets a shell complete pktgen's options
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pktgen completions bash > ~/.local/share/bash-completion/completions/pktgen
  pktgen completions zsh > ~/.zfunc/_pktgen
  pktgen completions fish > ~/.config/fish/completions/pktgen.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pktgen", &mut script);
        output::print(&String::from_utf8_lossy(&script).trim_end())
    }
}
