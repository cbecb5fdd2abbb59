//! Any text as any value of the command line or a scenario file: read, or refused with what is accepted; never a panic,
//! and nothing that takes memory or time beyond what it says. Texts are made of pieces of the syntax, so that they come
//! deep into it.

use std::fmt::Display;
use std::str::FromStr;

use pktgen::capture::{Rewrite, Span};
use pktgen::fail_on::FailOn;
use pktgen::{
    AnyPort, Checksums, Coverage, Direction, FieldSpec, FrameSpec, Profile, Rate, Scenario,
    SizeSpec, Speed, StreamSpec,
};
use proptest::prelude::*;

const PIECES: [&str; 86] = [
    "",
    " ",
    "0",
    "1",
    "-1",
    "64",
    "1514",
    "65280",
    "65535",
    "65536",
    "4294967296",
    "18446744073709551616",
    "0x",
    "0xff",
    "1e400",
    "NaN",
    "inf",
    "+",
    "-",
    ".",
    "..",
    ",",
    ":",
    "::",
    "/",
    "//",
    "@",
    "#",
    "%",
    "%@",
    "(",
    ")",
    "=",
    "==",
    ">",
    "<=",
    "x",
    "\0",
    "\n",
    "\"",
    "\u{e9}",
    "\u{10ffff}",
    "max",
    "pps",
    "kpps",
    "Mbit/s",
    "bps_L1",
    "10G",
    "sweep:",
    "uniform:",
    "imix-csit",
    "ethernet",
    "vlan",
    "qinq",
    "mpls",
    "arp",
    "ipv4",
    "ipv6",
    "udp",
    "tcp",
    "icmp",
    "vxlan",
    "gre",
    "hex:",
    "pcap:",
    "source",
    "destination",
    "id",
    "inc:",
    "dec:",
    "random:",
    "list:",
    "fixed:",
    "10.0.0.1",
    "fe80::1",
    "02:00:00:00:00:01",
    "burst:",
    "ramp:",
    "poisson",
    "ms",
    "wrong:",
    "vhost-user:",
    "queues",
    "loss",
    "p99",
    "[[stream]]\n",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12).prop_map(|all| all.concat())
}

/// Reads it; what is said where it cannot be.
fn refusal<T: FromStr<Err: Display>>(text: &str) -> Option<String> {
    text.parse::<T>().err().map(|error| error.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused_in_words(text in text()) {
        for refusal in [
            refusal::<Rate>(&text),
            refusal::<SizeSpec>(&text),
            refusal::<Profile>(&text),
            refusal::<FieldSpec>(&text),
            refusal::<Checksums>(&text),
            refusal::<Coverage>(&text),
            refusal::<Direction>(&text),
            refusal::<Speed>(&text),
            refusal::<Span>(&text),
            refusal::<Rewrite>(&text),
            refusal::<FailOn>(&text),
            refusal::<AnyPort>(&text),
        ].into_iter().flatten() {
            prop_assert!(refusal.contains("accepted"), "{text:?}: {refusal}");
        }
        for refusal in [refusal::<FrameSpec>(&text), refusal::<Scenario>(&text)].into_iter().flatten() {
            prop_assert!(!refusal.is_empty());
        }
    }

    /// A frame with fields: whatever reads is made into frames, or it is said why not.
    #[test]
    fn any_stream_is_made_or_refused_in_words(
        layers in prop::collection::vec(prop::sample::select(&PIECES[51..63]), 0..6),
        fields in prop::collection::vec((prop::sample::select(&PIECES[51..63]), prop::sample::select(&PIECES[65..68]), text()), 0..4),
        size in prop::sample::select(&["60", "64", "128", "1514", "imix-csit", "sweep:60-90", "65280"][..]),
    ) {
        let frame = format!("ethernet/{}", layers.join("/"));
        let Ok(frame) = frame.trim_end_matches('/').parse::<FrameSpec>() else { return Ok(()) };
        let fields = fields.iter().filter_map(|(layer, name, values)| format!("{layer}.{name}={values}").parse().ok());
        let stream =
            StreamSpec { frame, fields: fields.collect(), size: size.parse().unwrap(), ..StreamSpec::default() };
        if let Err(refusal) = stream.check() {
            prop_assert!(!refusal.is_empty());
        }
    }
}
