//! What a run found, for people and as JSON, and the exit status that follows from it.

use crate::console::say;
use crate::end::End;
use crate::image::Image;
use crate::options::Options;
use crate::plan::Plan;
use crate::session::Outcome;
use pktgen::{Rate, Report};
use plat_linux::{Clock, Environment};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// 0: all went well; 1: a failure; 2: the image refused its command line.
///
/// Traffic is well when every frame came back once, in order and intact. Where as much as possible was offered, loss is
/// the finding and not a failure; everything else that should not happen to a frame still is.
pub(crate) fn exit_status(plan: &Plan, outcome: &Outcome) -> u8 {
    if let Some(end) = outcome.end.filter(|end| *end != End::Success) {
        return end.exit_status();
    }
    if let Some(failure) = &outcome.failure {
        return failure.status;
    }
    match (&plan.offer, &outcome.report) {
        (Some(offer), Some(report)) if is_well(report, offer.rate) => 0,
        (Some(_), _) => 1,
        (None, _) => 0,
    }
}

fn is_well(report: &Report, rate: Rate) -> bool {
    let harmed =
        |d: &pktgen::DirectionReport| d.duplicated + d.reordered + d.corrupted + d.misdirected;
    report.is_clean()
        || rate == Rate::Max && report.directions.iter().all(|d| d.received > 0 && harmed(d) == 0)
}

/// The summary that ends a run.
pub(crate) fn print(plan: &Plan, outcome: &Outcome) {
    if let Some(report) = &outcome.report {
        say(format_args!("{}", report.to_string().trim_end()));
        say(format_args!("run: {}", verdict(report, plan.offer.as_ref().map(|offer| offer.rate))));
    }
    if let Some(end) = outcome.end {
        say(format_args!("run: {end}"));
    } else if outcome.interrupted {
        say(format_args!("run: ended by the user"));
    }
}

fn verdict(report: &Report, rate: Option<Rate>) -> String {
    let lost = report.lost();
    if report.is_clean() {
        "every frame came back once, in order, intact".into()
    } else if rate.is_some_and(|rate| is_well(report, rate)) {
        format!(
            "{lost} frames lost at the highest rate; all that came back were in order and intact"
        )
    } else {
        format!("not every frame came back once, in order and intact: {lost} lost (see above)")
    }
}

/// Writes the result; the file was opened before the run, so that an unwritable one is known early.
pub(crate) fn write_json(
    file: &mut File,
    options: &Options,
    image: &Image,
    outcome: &Outcome,
    status: u8,
) -> Result<(), String> {
    let value = to_json(options, image, outcome, status).map_err(|error| error.to_string())?;
    let text = serde_json::to_string_pretty(&value).map_err(|error| error.to_string())?;
    writeln!(file, "{text}").and_then(|()| file.flush()).map_err(|error| error.to_string())
}

fn to_json(
    options: &Options,
    image: &Image,
    outcome: &Outcome,
    status: u8,
) -> serde_json::Result<Value> {
    let mut object = match &outcome.report {
        Some(report) => serde_json::to_value(report)?,
        None => json!({ "directions": [], "environment": Environment::read(&Clock::new()) }),
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let run = json!({
        "image": image.name,
        "image_loadable_bytes": image.loadable,
        "machine": options.machine.name(),
        "accel": options.accel.name(),
        "memory_mib": options.memory.0,
        "parameters": options.parameters,
        "boot_ms": outcome.boot.map(milliseconds),
        "image_end": outcome.end.map(|end| end.to_string()),
        "failure": outcome.failure.as_ref().map(|failure| failure.text.clone()),
        "interrupted": outcome.interrupted,
        "exit_status": status,
    });
    if let (Value::Object(object), Value::Object(run)) = (&mut object, run) {
        object.extend(run);
        environment(object).insert("qemu".into(), qemu_version().into());
    }
    Ok(object)
}

/// The object `environment`, made if it is not there.
fn environment(object: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let value = object.entry("environment").or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("made an object above")
}

fn qemu_version() -> Option<String> {
    let output = std::process::Command::new(crate::command::QEMU).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use crate::plan::{self, Surroundings};
    use clap::Parser;

    fn outcome() -> Outcome {
        Outcome { boot: None, end: None, interrupted: false, report: None, failure: None }
    }

    fn case(name: &str) -> (Options, Image, Plan) {
        let options = Options::try_parse_from(["run", name]).unwrap();
        let image = Image { path: name.into(), name: name.into(), loadable: 7 };
        let around = Surroundings { scratch: "/scratch".as_ref(), free_udp_port: || Ok(5555) };
        let plan = plan::make(&options, &image, around).unwrap();
        (options, image, plan)
    }

    #[test]
    fn the_images_end_decides_first() {
        let (_, _, plan) = case("l2fwd");
        let with =
            |end| Outcome { end: Some(end), failure: Some(Failure::failed("x")), ..outcome() };
        assert_eq!(exit_status(&plan, &with(End::Usage)), 2);
        assert_eq!(exit_status(&plan, &with(End::Panic)), 1);
    }

    #[test]
    fn traffic_without_a_report_is_a_failure() {
        assert_eq!(exit_status(&case("l2fwd").2, &outcome()), 1);
        assert_eq!(exit_status(&case("udp-echo").2, &outcome()), 0);
    }

    #[test]
    fn json_has_its_fields_without_traffic() {
        let (options, image, _) = case("udp-echo");
        let outcome = Outcome { boot: Some(Duration::from_millis(71)), ..outcome() };
        let value = to_json(&options, &image, &outcome, 0).unwrap();
        assert_eq!(value["boot_ms"], 71.0);
        assert_eq!((&value["machine"], &value["image_loadable_bytes"]), (&json!("q35"), &json!(7)));
        assert!(value["environment"]["kernel"].is_string(), "{value}");
        assert!(value["directions"].is_array());
    }
}
