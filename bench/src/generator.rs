//! The traffic generator's loop under measurement: frames into a port that throws them away.
//!
//! What is counted is all that a run does once it offers traffic: pacing, making frames, handing them over, counting.

use std::ops::ControlFlow;
use std::time::Duration;

use pktgen::{FieldSpec, Options, Rate, Runner, StreamSpec, discard};

use crate::gates::{Gate, PACKETS, new_pool};

/// Part of the name of the function that a run spends its time in.
const LOOP: &str = "Session*offer";

/// The generator's gates.
pub const GATES: &[Gate] = &[
    Gate::new("generate-unchanging", LOOP, "pktgen: one frame without a stamp", unchanging),
    Gate::new("generate-stamped", LOOP, "pktgen: sequence number and content checksum", stamped),
    Gate::new(
        "generate-four-fields",
        LOOP,
        "pktgen: the same and four varying fields",
        four_fields,
    ),
];

/// Four fields in three ways of varying, two of them across a checksum each.
const FIELDS: [&str; 4] = [
    "ipv4.source=inc:10.0.0.1-10.0.255.254",
    "ipv4.destination=random:10.1.0.0-10.1.255.255@7",
    "udp.source=inc:1024-65535/3",
    "udp.destination=dec:1-1000",
];

fn unchanging() {
    generate(StreamSpec { stamp: false, ..StreamSpec::default() });
}

fn stamped() {
    generate(StreamSpec::default());
}

fn four_fields() {
    generate(four_fields_stream());
}

/// A stream with the four fields, stamped.
pub fn four_fields_stream() -> StreamSpec {
    let field = |text: &&str| text.parse::<FieldSpec>().ok();
    let fields: Vec<FieldSpec> = FIELDS.iter().filter_map(field).collect();
    assert_eq!(fields.len(), FIELDS.len(), "each is a field");
    StreamSpec { fields, ..StreamSpec::default() }
}

fn generate(stream: StreamSpec) {
    let options = Options {
        rate: Rate::Max,
        count: Some(PACKETS),
        drain: Duration::from_millis(1),
        streams: vec![stream],
        ..Options::default()
    };
    let ports = vec![("discard".into(), discard::device())];
    let runner = Runner::with_devices(ports, new_pool(4096), options);
    let report = runner.and_then(|mut runner| runner.run(&mut |_| ControlFlow::Continue(())));
    assert_eq!(report.expect("a run").directions[0].sent, PACKETS);
}
