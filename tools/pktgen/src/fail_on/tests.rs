//! Which conditions hold where, and what is said of those that cannot.

use serde_json::json;

use super::*;

fn document() -> Value {
    json!({
        "directions": [
            {"direction": "forward", "sent": 1000, "lost": 0, "duplicated": 2, "rate_error": -0.02, "mpps": 1.5},
            {"direction": "backward", "sent": 1000, "lost": 5, "duplicated": 0, "rate_error": 0.001, "mpps": 2.0},
        ],
        "latency": {"streams": [
            {"stream": 0, "corrected": {"count": 9, "max_ns": 90_000, "percentiles": [
                {"percentile": 50.0, "ns": 7_000}, {"percentile": 99.9, "ns": 80_000}]}},
            {"stream": 1, "corrected": {"count": 0, "max_ns": 0, "percentiles": []}},
        ]},
    })
}

#[test]
fn conditions_hold_where_they_hold() {
    for (text, places) in [
        ("loss>0", &["backward"][..]),
        ("loss > 5", &[]),
        ("loss>=5", &["backward"]),
        ("loss>0.4%", &["backward"]),
        ("loss>0.5%", &[]),
        ("lost==0", &["forward"]),
        ("duplicated!=0", &["forward"]),
        ("rate_error>1%", &["forward"]),
        ("rate_error>0.05", &[]),
        ("mpps<1.75", &["forward"]),
        ("mpps<=2", &["forward", "backward"]),
        ("p50>6.9us", &["stream 0"]),
        ("p50>7us", &[]),
        ("p99.9<1ms", &["stream 0"]),
        ("max>0.00001s", &["stream 0"]),
    ] {
        let held = text.parse::<FailOn>().unwrap().check(&document()).unwrap();
        println!("{held:?}");
        assert_eq!(held.len(), places.len(), "{text}: {held:?}");
        assert!(held.iter().zip(places).all(|(held, place)| held.contains(place)), "{held:?}");
    }
}

fn search(kind: &str, found: &Value) -> Value {
    json!({"search": {"findings": {"kind": kind, "found": found}}})
}

#[test]
fn conditions_on_searches_hold_where_they_hold() {
    let goals = json!([
        {"name": "ndr", "status": "regular", "lower": 900_000, "upper": 1_000_000},
        {"name": "pdr", "status": "no_lower_bound", "lower": null, "upper": 1_000},
        {"name": "slow", "status": "unfinished", "lower": 800_000, "upper": null},
    ]);
    let soak = json!({"trials": 3, "lost": 5, "loss_ratio": 0.001});
    let point = |ns: u64| {
        let corrected = json!({"count": 9, "max_ns": ns, "percentiles": []});
        json!({"latency": {"streams": [{"stream": 0, "corrected": corrected}]}})
    };
    for (text, kind, found, holds) in [
        ("ndr<1Mpps", "loss_ratios", &goals, 1),
        ("ndr<0.9Mpps", "loss_ratios", &goals, 0),
        ("pdr < 1kpps", "loss_ratios", &goals, 1),
        ("slow>=800kpps", "loss_ratios", &goals, 1),
        ("throughput<2pps", "throughput", &json!({"throughput": 1, "losing": 3}), 1),
        ("throughput<2pps", "throughput", &json!({"throughput": null, "losing": 3}), 1),
        ("throughput<2pps", "throughput", &json!({"throughput": 2, "losing": null}), 0),
        ("burst<1000", "back_to_back", &json!({"average": 999.5}), 1),
        ("recovery>10ms", "recovery", &json!({"average_s": 0.02}), 1),
        ("recovery>20ms", "recovery", &json!({"average_s": 0.02}), 0),
        ("loss>4", "soak", &soak, 1),
        ("loss>0.1%", "soak", &soak, 0),
        ("max>50us", "latency", &json!([point(40_000), point(60_000)]), 1),
    ] {
        let held = text.parse::<FailOn>().unwrap().check(&search(kind, found)).unwrap();
        println!("{held:?}");
        assert_eq!(held.len(), holds, "{text}: {held:?}");
    }
}

#[test]
fn a_search_that_ended_too_early_passes_no_condition() {
    let early = json!([{"name": "ndr", "status": "unfinished", "lower": null, "upper": 5}]);
    for (text, kind, found) in [
        ("ndr<1Mpps", "loss_ratios", &early),
        ("pdr<1Mpps", "loss_ratios", &early),
        ("throughput<1Mpps", "throughput", &json!({"throughput": null, "losing": null})),
        ("burst<5", "back_to_back", &json!({"average": null})),
        ("loss>0", "soak", &json!({"trials": 0, "lost": 0, "loss_ratio": 0.0})),
        ("loss>0", "loss_ratios", &early),
    ] {
        let error = text.parse::<FailOn>().unwrap().check(&search(kind, found)).unwrap_err();
        assert!(error.contains("cannot be checked"), "{error}");
    }
}

#[test]
fn what_is_expected_and_does_not_hold_is_told_with_its_place() {
    for (text, places) in [
        ("sent==1000", &[][..]),
        ("loss==0", &["backward has 5"]),
        ("duplicated<1", &["forward has 2"]),
        ("mpps>1", &[]),
        ("mpps>3", &["forward has 1.5", "backward has 2"]),
        ("p50<7us", &["stream 0 has 7.000 us"]),
    ] {
        let unmet = text.parse::<FailOn>().unwrap().unmet(&document()).unwrap();
        assert_eq!(unmet.len(), places.len(), "{text}: {unmet:?}");
        assert!(unmet.iter().zip(places).all(|(told, place)| told.contains(place)), "{unmet:?}");
    }
}

#[test]
fn what_cannot_be_checked_does_not_pass() {
    for (text, document) in [
        ("p99>1us", document()),
        ("p50>1us", json!({"directions": []})),
        ("loss>0", json!({"directions": []})),
        (
            "rate_error>1%",
            json!({"directions": [{"direction": "forward", "sent": 1, "rate_error": null}]}),
        ),
    ] {
        let error = text.parse::<FailOn>().unwrap().check(&document).unwrap_err();
        assert!(error.contains("cannot be checked"), "{error}");
    }
}

#[test]
fn bad_conditions_say_what_is_accepted() {
    for text in [
        "",
        "loss",
        ">0",
        "loss>",
        "loss>x",
        "loss>-1",
        "loss>NaN",
        "loss>1e400",
        "loss>inf",
        "loss=0",
        "losses>0",
        "loss>5us",
        "p99>5",
        "p98.7>5us",
        "p>5us",
        "p99>5%",
        "mpps<50%",
        "ndr<5",
        "ndr<1Mbps",
        "ndr<max",
        "ndr<0pps",
        "<1Mpps",
        "burst<1Mpps",
        "recovery>5",
        "loss>0>1",
        "rate_error>1us",
    ] {
        let error = text.parse::<FailOn>().expect_err(text);
        assert!(error.contains("accepted: FIGURE"), "{error}");
    }
}
