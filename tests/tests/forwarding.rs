//! l2fwd as an image: boots on every machine and forwards every frame, in both directions, unharmed.

use end_to_end::build::Program;
use end_to_end::process::launch;
use end_to_end::scratch::Scratch;
use end_to_end::{captures, have, turn};
use serde_json::Value;

const QEMU: &str = "qemu-system-x86_64";

/// Low enough for a busy machine with translated code; what the image can do is for bench/ to say.
const RATE: &str = "20kpps";
const SECONDS: &str = "2";

/// How often a run may lose frames because the machine let neither side run for long enough to empty a ring. Whatever
/// else happens to a frame fails the first time.
const ATTEMPTS: usize = 4;

/// Runs l2fwd with the built-in pktgen until nothing is lost; gives the result.
#[track_caller]
fn forward(more: &[&str]) -> Value {
    let scratch = Scratch::new();
    let json = scratch.file("result.json");
    let arguments = [&["--json", json.as_str()], more].concat();
    for attempt in 1..=ATTEMPTS {
        let ended = launch(Program::L2fwd, &arguments);
        let output = ended.output.clone();
        let text = std::fs::read(&json).unwrap_or_else(|error| panic!("{error}:\n{output}"));
        let result: Value =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{error}:\n{output}"));
        let directions = result["directions"].as_array().expect("a list");
        assert!(!directions.is_empty(), "{output}");
        for direction in directions {
            for harm in ["duplicated", "reordered", "corrupted", "misdirected"] {
                assert_eq!(direction[harm], 0, "{harm} in {direction}\n{output}");
            }
            assert!(
                direction["received"].as_u64().is_some_and(|received| received > 0),
                "{output}"
            );
        }
        if directions.iter().all(|direction| direction["lost"] == 0) {
            ended.expect(0, &["first poll", "every frame came back once"]);
            assert!(
                directions.iter().all(|direction| direction["sent"] == direction["received"]),
                "{output}"
            );
            return result;
        }
        println!("attempt {attempt} lost frames:\n{output}");
    }
    panic!("frames were lost in each of {ATTEMPTS} runs: {more:?}");
}

#[track_caller]
fn forward_for_a_while(more: &[&str]) -> Value {
    forward(&[&["--rate", RATE, "--duration", SECONDS], more].concat())
}

#[test]
fn every_machine_forwards_both_directions() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm", "pc"] {
        let result = forward_for_a_while(&["--machine", machine]);
        assert_eq!(result["machine"], machine);
        assert_eq!(result["directions"].as_array().unwrap().len(), 2, "{result}");
    }
}

#[test]
fn the_result_has_its_fields() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let result = forward_for_a_while(&["--machine", "microvm"]);
    for direction in result["directions"].as_array().unwrap() {
        for key in [
            "sent",
            "received",
            "lost",
            "duplicated",
            "reordered",
            "corrupted",
            "mpps",
            "duration_s",
        ] {
            assert!(direction[key].is_number(), "{key} in {direction}");
        }
    }
    assert!(
        result["environment"].is_object() && result["environment"]["cpu"].is_string(),
        "{result}"
    );
    assert!(result["boot_ms"].as_f64().is_some_and(|boot| boot > 0.0), "{result}");
}

#[test]
fn qboot_assigns_no_addresses_and_the_image_does() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "pc"] {
        forward_for_a_while(&["--machine", machine, "--firmware", "qboot"]);
    }
    forward_for_a_while(&["--machine", "microvm", "--firmware", "seabios"]);
}

#[test]
fn sixteen_mebibytes_are_enough() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for machine in ["q35", "microvm"] {
        forward_for_a_while(&["--machine", machine, "--memory", "16M"]);
    }
}

#[test]
fn large_frames_and_untouched_addresses() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    forward_for_a_while(&["--machine", "microvm", "--size", "1514", "--", "mac-updating=off"]);
}

#[test]
fn every_capture_comes_out_as_it_went_in() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    for (index, capture) in captures().iter().enumerate() {
        let capture = capture.to_str().expect("a name of the repository");
        let machine = if index % 2 == 0 { "q35" } else { "microvm" };
        let result = forward(&["--machine", machine, "--pcap", capture]);
        println!("{capture} on {machine}: {} frames", result["directions"][0]["sent"]);
    }
}

/// Loss at the highest rate is a finding, not a failure.
#[test]
fn the_highest_rate_is_reported_honestly() {
    if !have(QEMU) {
        return;
    }
    let _turn = turn::take();
    let scratch = Scratch::new();
    let json = scratch.file("result.json");
    launch(Program::L2fwd, &["--rate", "max", "--duration", "1", "--json", &json])
        .expect(0, &["first poll"]);
    let result: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    for direction in result["directions"].as_array().unwrap() {
        let [sent, received, lost, duplicated] =
            ["sent", "received", "lost", "duplicated"].map(|key| direction[key].as_u64().unwrap());
        assert!(received > 0, "{direction}");
        assert_eq!(sent, received - duplicated + lost, "the figures add up: {direction}");
    }
}
