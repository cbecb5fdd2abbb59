//! What a scenario file may hold, and what is said of what it may not.

use super::*;
use crate::stream::{LayerKind, Values};

#[test]
fn everything_that_a_file_can_say() {
    let scenario: Scenario = r#"
        rate = "95%@10G"
        duration = "1.5s"
        count = 100
        direction = "backward"
        catch-up = "100ms"

        [[stream]]
        name = "all"
        direction = "forward"
        rate = "1Mpps"
        weight = 2
        profile = "burst:10/1ms"
        size = "imix-trex"
        frame = "ethernet/ipv4/udp(source=7)"
        fields = ["ipv4.source=inc:10.0.0.1-10.0.0.9"]
        flows = 9
        checksums = "wrong:ipv4"
        stamp = true
        coverage = "payload"
        per-flow = true
        count = 50

        [[stream]]
    "#
    .parse()
    .unwrap();
    let [all, plain] = &scenario.streams[..] else { panic!("two streams") };
    assert_eq!(*plain, StreamSpec::default());
    assert_eq!((all.weight, all.flows, all.per_flow, all.count), (2, Some(9), true, Some(50)));
    assert_eq!(all.checksums, Checksums::Wrong(vec![LayerKind::Ipv4]));
    assert_eq!(all.coverage, Some(Coverage::Payload));
    assert!(matches!(all.fields[0].values, Values::Increment { step: 1, .. }));
    let mut options = Options::default();
    scenario.apply(&mut options);
    assert_eq!(options.rate, Rate::Line(9_500_000_000));
    assert_eq!((options.count, options.direction), (Some(100), Direction::Backward));
    assert_eq!(options.duration, Some(Duration::from_millis(1500)));
    assert_eq!(options.catch_up, Some(Duration::from_millis(100)));
}

#[test]
fn errors_name_the_line_and_what_is_accepted() {
    for (text, line, words) in [
        ("rate = \"10Mbit\"", "line 1", "accepted: `max`"),
        ("rate = 5", "line 1", "expected a string"),
        ("\n\nspeed = 1", "line 3", "unknown field `speed`, expected one of"),
        ("[[stream]]\nsize = \"64-32\"", "line 2", "accepted: bytes from 60 to 65280"),
        ("[[stream]]\nsize = \"sweep:128-64\"", "line 2", "is reversed"),
        ("[[stream]]\nname = \"a\"\nname = \"b\"", "line 3", "duplicate key"),
        ("[[stream]]\nfields = [\n \"a=inc:2-1\",\n]", "line 2", "reversed"),
        ("[[stream]]\nframe = \"ethernet/udp\"", "line 2", "udp cannot follow ethernet"),
        ("[[stream]]\nprofile = \"poison\"", "line 2", "accepted: constant, poisson"),
        ("[[stream]]\ndirection = \"up\"", "line 2", "accepted: both, forward"),
        ("[[stream]]\nchecksums = \"bad\"", "line 2", "accepted: correct"),
        ("[[stream]]\ncoverage = \"all\"", "line 2", "accepted: whole"),
        ("[[stream]]\nweight = -1", "line 2", "invalid value: integer `-1`"),
        ("duration = \"10\"", "line 1", "accepted: a number above 0 with ns, us, ms, s, m or h"),
        ("[[stream]]\nflow = 5", "line 2", "unknown field `flow`"),
        ("[[stream]\n", "line 1", ""),
        ("rate", "line 1", ""),
    ] {
        let error = text.parse::<Scenario>().map(drop).expect_err(text).to_string();
        println!("{error}\n");
        assert!(error.contains(line) && error.contains(words), "{text}: {error}");
    }
    for (text, words) in [
        ("", "one table [[stream]] for each"),
        ("[[stream]]\nname = \"x\"\nweight = 0", "stream 1 (`x`): a weight"),
        ("[[stream]]\nper-flow = true", "need `flows`"),
    ] {
        let error = text.parse::<Scenario>().map(drop).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let error = Scenario::open(Path::new("/nonexistent/scenario.toml")).unwrap_err().to_string();
    assert!(error.contains("cannot read the scenario /nonexistent"), "{error}");
}
