//! `pktgen search`: what a device can do.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pktgen::document::{Document, Outcome};
use pktgen::search::{
    BackToBack, Completion, FrameLoss, Goal, LatencyAt, LossRatios, Recovery, RunnerDevice, Search,
    SearchOptions, Soak, Throughput,
};
use pktgen::{Environment, Error, FrameSize, Options, Rate, Runner};
use plat_linux::{Clock, CpuTimes, StopFlag};

use super::ports::PortArgs;
use super::{OutputArgs, seconds};
use crate::output::Output;

/// Searches for what a device can do: NDR and PDR, or one of RFC 2544's tests
#[derive(Debug, Args)]
#[command(after_help = "\
Kinds:
  loss-ratios   NDR and PDR, or other loss ratios, by the MLRsearch method
  throughput    the highest rate without loss (RFC 2544, section 26.1)
  latency       latency at the rates of --at (26.2)
  frame-loss    loss from the highest rate downwards (26.3)
  back-to-back  the longest burst without loss (26.4, RFC 9004)
  recovery      how long loss lasts after 110% of the throughput --at (26.5)
  soak          the rate --at, for long

Examples:
  pktgen search --port vhost-user:/tmp/a,server --port vhost-user:/tmp/b,server --report result
  pktgen search --port vhost-user:/tmp/a --goal ndr=0 --goal one=1% --fail-on 'ndr<1Mpps'
  pktgen search frame-loss --port vhost-user:/tmp/a --max-rate 2Mpps --trial 10 --steps 20")]
pub(crate) struct SearchArgs {
    /// What to search for
    #[arg(value_enum, default_value_t = Kind::LossRatios, hide_possible_values = true)]
    kind: Kind,
    #[command(flatten)]
    ports: PortArgs,
    #[command(flatten)]
    how: HowArgs,
    #[command(flatten)]
    outputs: OutputArgs,
}

/// The searches there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    LossRatios,
    Throughput,
    Latency,
    FrameLoss,
    BackToBack,
    Recovery,
    Soak,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Search")]
struct HowArgs {
    /// Bytes of each frame, L2 header included, FCS excluded
    #[arg(long, default_value = "64", value_name = "BYTES", allow_hyphen_values = true)]
    size: FrameSize,
    /// The lowest rate that is tried
    #[arg(long, default_value = "1kpps", value_name = "RATE", allow_hyphen_values = true)]
    min_rate: Rate,
    /// The highest rate that is tried
    #[arg(long, default_value = "14.880952Mpps", value_name = "RATE", allow_hyphen_values = true)]
    max_rate: Rate,
    /// A goal of loss-ratios: NAME=LOSS [default: ndr=0 and pdr=0.5%]
    #[arg(long, value_name = "GOAL", value_parser = goal, allow_hyphen_values = true)]
    goal: Vec<Goal>,
    /// How far apart a goal's bounds may be: 0.5%
    #[arg(long, value_name = "SHARE", value_parser = share, allow_hyphen_values = true)]
    width: Option<f64>,
    /// Rates of latency, recovery and soak: 1Mpps,2Mpps
    #[arg(long, value_name = "RATES", value_delimiter = ',', allow_hyphen_values = true)]
    at: Vec<Rate>,
    /// Seconds of a (full) trial [default: what the method says]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    trial: Option<Duration>,
    /// Steps of frame-loss [default: 10]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    steps: Option<u32>,
    /// How often to measure, where the method repeats
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    repeats: Option<u32>,
    /// Seconds of a soak [default: 7200]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    duration: Option<Duration>,
    /// End with what is known so many seconds after the first frame
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_hyphen_values = true)]
    max_time: Option<Duration>,
}

impl SearchArgs {
    pub(super) fn execute(&self) -> Result<ExitCode, Error> {
        let Self { ports, how, outputs, .. } = self;
        let options = Options { size: how.size, ..ports.options()? };
        let (search, limits) = (self.search()?, self.limits()?);
        search.check_with(&limits)?;
        let goals = self.goals();
        let names: Vec<&str> = goals.iter().map(|goal| goal.name.as_str()).collect();
        outputs.check_search_conditions(search.name(), &names)?;
        ports.pin()?;
        let stop = StopFlag::install().map_err(|error| Error::Usage(error.to_string()))?;
        let mut output = Output::open(outputs, None, &stop)?;
        let mut runner = Runner::open_wrapped(&ports.ports, options.clone(), |device| device)?;
        runner.stop_on(stop.clone());
        let started = ports.start(outputs.is_silent(), &stop).inspect_err(|_| output.abandon())?;
        let before = CpuTimes::read();
        let mut device = RunnerDevice::new(&mut runner, ports.ports.len(), options);
        let result = search.run(&mut device, &limits, &mut |progress| {
            output.progress(progress);
            if stop.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let ports = device.ports().to_vec();
        drop(device);
        drop(started);
        drop(runner);
        let outcome = result.inspect_err(|_| output.abandon())?;
        if let Completion::Failed(reason) = &outcome.completion
            && outcome.trials.is_empty()
            && !stop.is_set()
        {
            output.abandon();
            return Err(Error::Output(reason.clone()));
        }
        let failure = (!stop.is_set()).then(|| failure(&outcome.completion)).flatten();
        let text = outcome.to_string();
        let value = serde_json::to_value(&outcome)
            .map_err(|error| Error::Output(format!("the result is no JSON: {error}")))?;
        let outcome = Outcome::Search {
            interrupted: stop.is_set() && outcome.completion.is_partial(),
            size: how.size.bytes(),
            ports,
            search: value,
            environment: Box::new(Environment::read(&Clock::new(), before)),
        };
        let status = output.finish(Document::new("search", outcome), &text)?;
        match failure {
            Some(what) => Err(Error::Output(format!("the search failed: {what}"))),
            None => Ok(status),
        }
    }

    fn limits(&self) -> Result<SearchOptions, Error> {
        let (min_rate, max_rate) = (self.pps(self.how.min_rate)?, self.pps(self.how.max_rate)?);
        let max_time = self.how.max_time;
        Ok(SearchOptions { min_rate, max_rate, max_time, ..SearchOptions::default() })
    }

    /// A rate in frames per second.
    fn pps(&self, rate: Rate) -> Result<u64, Error> {
        let pps = rate.packets_per_second(u32::from(self.how.size.bytes()));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 1e9"
        )]
        pps.map(|pps| pps.round() as u64).ok_or_else(|| {
            Error::Usage(
                "a search needs rates that are numbers; accepted: 1Mpps or 1Gbit/s, not max".into(),
            )
        })
    }

    fn rates(&self) -> Result<Vec<u64>, Error> {
        if self.how.at.is_empty() {
            return Err(Error::Usage("this search needs a rate; accepted: --at 1Mpps".into()));
        }
        self.how.at.iter().map(|rate| self.pps(*rate)).collect()
    }

    fn rate(&self) -> Result<u64, Error> {
        match self.rates()?[..] {
            [rate] => Ok(rate),
            _ => Err(Error::Usage("this search has one rate; accepted: --at 1Mpps".into())),
        }
    }

    fn search(&self) -> Result<Search, Error> {
        let how = &self.how;
        self.refuse_what_does_not_apply()?;
        Ok(match self.kind {
            Kind::LossRatios => Search::LossRatios(LossRatios { goals: self.goals() }),
            Kind::Throughput => {
                let plain = Throughput::default();
                let resolution = how.width.unwrap_or(plain.resolution);
                Search::Throughput(Throughput {
                    trial: how.trial.unwrap_or(plain.trial),
                    resolution,
                    ..plain
                })
            }
            Kind::Latency => {
                let plain = LatencyAt::new(self.rates()?);
                let (trial, repeats) = (how.trial.unwrap_or(plain.trial), how.repeats.unwrap_or(1));
                Search::Latency(LatencyAt { trial, repeats, ..plain })
            }
            Kind::FrameLoss => {
                let plain = FrameLoss::default();
                let (trial, steps) =
                    (how.trial.unwrap_or(plain.trial), how.steps.unwrap_or(plain.steps));
                Search::FrameLoss(FrameLoss { trial, steps, ..plain })
            }
            Kind::BackToBack => {
                let plain = BackToBack::default();
                let throughput = if how.at.is_empty() { None } else { Some(self.rate()?) };
                let (longest, repeats) =
                    (how.trial.unwrap_or(plain.longest), how.repeats.unwrap_or(plain.repeats));
                Search::BackToBack(BackToBack { longest, repeats, throughput, ..plain })
            }
            Kind::Recovery => {
                let plain = Recovery::new(self.rate()?);
                let (duration, repeats) =
                    (how.trial.unwrap_or(plain.duration), how.repeats.unwrap_or(plain.repeats));
                Search::Recovery(Recovery { duration, repeats, ..plain })
            }
            Kind::Soak => Search::Soak(Soak {
                rate: self.rate()?,
                trial: how.trial.unwrap_or(Duration::from_secs(1)),
                total: how.duration.unwrap_or(Duration::from_secs(7200)),
            }),
        })
    }

    /// An option that this search would not look at is a mistake.
    fn refuse_what_does_not_apply(&self) -> Result<(), Error> {
        use Kind::{BackToBack, FrameLoss, Latency, LossRatios, Recovery, Soak, Throughput};
        let how = &self.how;
        let rules: [(&str, bool, &[Kind]); 6] = [
            ("--goal", !how.goal.is_empty(), &[LossRatios]),
            ("--width", how.width.is_some(), &[LossRatios, Throughput]),
            ("--at", !how.at.is_empty(), &[Latency, Recovery, Soak, BackToBack]),
            ("--steps", how.steps.is_some(), &[FrameLoss]),
            ("--repeats", how.repeats.is_some(), &[Latency, BackToBack, Recovery]),
            ("--duration", how.duration.is_some(), &[Soak]),
        ];
        for (option, given, kinds) in rules {
            if given && !kinds.contains(&self.kind) {
                let names = kinds
                    .iter()
                    .filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned()));
                let names = names.collect::<Vec<_>>().join(", ");
                return Err(Error::Usage(format!(
                    "{option} is for other searches; accepted with {names}"
                )));
            }
        }
        Ok(())
    }

    fn goals(&self) -> Vec<Goal> {
        let how = &self.how;
        let given =
            if how.goal.is_empty() { vec![Goal::ndr(), Goal::pdr()] } else { how.goal.clone() };
        let adapt = |goal: Goal| {
            let mut goal = Goal { goal_width: how.width.unwrap_or(goal.goal_width), ..goal };
            if let Some(trial) = how.trial {
                goal.final_trial = trial;
                goal.initial_trial = goal.initial_trial.min(trial);
                goal.duration_sum = trial * 2;
            }
            goal
        };
        given.into_iter().map(adapt).collect()
    }
}

/// Why a search that ended by itself found nothing to rely on.
fn failure(completion: &Completion) -> Option<String> {
    match completion {
        Completion::Failed(reason) => Some(reason.clone()),
        Completion::GeneratorTooSlow => Some(
            "the generator cannot keep even the lowest rate; accepted: a lower --min-rate".into(),
        ),
        _ => None,
    }
}

fn goal(text: &str) -> Result<Goal, String> {
    let accepted =
        "accepted: NAME=LOSS with a loss from 0 to below 100%, such as ndr=0, pdr=0.5% or 0.005";
    let (name, loss) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is no goal; {accepted}"))?;
    let loss = number(loss).filter(|loss| *loss < 1.0);
    match loss {
        Some(loss) if !name.is_empty() => Ok(Goal::new(name, loss)),
        _ => Err(format!("`{text}` is no goal; {accepted}")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    number(text).filter(|share| (1e-6..1.0).contains(share)).ok_or_else(|| {
        format!("`{text}` is no share; accepted: from 0.0001% to below 100%, such as 0.5% or 0.005")
    })
}

/// A number that is not negative, or a percentage.
fn number(text: &str) -> Option<f64> {
    let (number, factor) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    number
        .parse::<f64>()
        .ok()
        .filter(|value| plain && value.is_finite())
        .map(|value| value * factor)
}
