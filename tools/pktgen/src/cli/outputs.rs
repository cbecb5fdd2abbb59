//! Where results go.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use pktgen::fail_on::FailOn;
use pktgen::{Error, Options, Rate};

use crate::output::MetricsAddress;

/// Where results go.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Results")]
pub(crate) struct OutputArgs {
    /// Write the result as JSON to this file (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a JSON object per second, and the result as the last
    #[arg(long, value_name = "FILE")]
    pub(crate) jsonl: Option<PathBuf>,
    /// Write a page with plots to DIR/index.html
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) report: Option<PathBuf>,
    /// Serve figures to Prometheus, on loopback only: 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<MetricsAddress>,
    /// Exit with status 1 if so: loss>0, loss>0.1%, p99>50us, ndr<1Mpps
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
    pub(crate) fail_on: Vec<FailOn>,
    /// Show a full screen instead of a line per second
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) tui: bool,
    /// No line per second
    #[arg(long)]
    pub(crate) quiet: bool,
}

impl OutputArgs {
    /// Whether nothing else may write to the terminal.
    pub(crate) fn is_silent(&self) -> bool {
        self.tui || self.quiet
    }

    /// Refuses, before anything is sent, conditions that the result cannot answer.
    pub(crate) fn check_conditions(&self, options: &Options) -> Result<(), Error> {
        for condition in &self.fail_on {
            if condition.needs_search() {
                let what = format!("`{condition}` cannot be checked: this is no search");
                return Err(Error::Usage(what));
            }
            if condition.needs_rate() && options.rate == Rate::Max {
                let what = format!(
                    "`{condition}` cannot be checked: no rate is asked for; accepted with --rate RATE"
                );
                return Err(Error::Usage(what));
            }
            if condition.needs_latency() && options.latency.is_none() {
                let what = format!(
                    "`{condition}` cannot be checked: no latency is measured; accepted with --latency"
                );
                return Err(Error::Usage(what));
            }
        }
        Ok(())
    }

    /// As [`check_conditions`](Self::check_conditions), for the search called `search` with goals of these names.
    pub(crate) fn check_search_conditions(
        &self,
        search: &str,
        goals: &[&str],
    ) -> Result<(), Error> {
        let Some(condition) = self.fail_on.iter().find(|c| !c.fits_search(search, goals)) else {
            return Ok(());
        };
        Err(Error::Usage(format!(
            "`{condition}` cannot be checked: this search does not find it; accepted: a goal of loss-ratios by its name \
             (ndr<1Mpps), throughput<1Mpps, p99>50us of latency, burst<1000 of back-to-back, recovery>10ms, loss>0 of soak"
        )))
    }
}
